"""patchwork-evaluate --against: how well systems agree with a single-frame network. It takes no labels."""

import itertools

import numpy as np

from patchwork_tf import cli, provenance
from patchwork_tf.bars import progress
from patchwork_tf.commands.given import Given, given_systems, policies_of, policy_name
from patchwork_tf.commands.scoring import per_cent, size_text, table_of
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.streaming.step import step_of
from patchwork_tf.streaming.stream import stream_together
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system


def run(flags) -> tuple[list[dict], str]:
    """One row per system and policy, and a table."""
    system = get_system(flags.against)
    if not system.is_single_frame:
        raise UsageError(
            f"--against={system.name}: a reference must see all of every frame, as {system.reference}"
        )
    given = given_systems(flags, shipped=True, **cli.override(memory=flags.memory))
    if without := [one.name for one in given if one.class_names is None]:
        raise UsageError(f"no weights of {without[0]} are shipped: name some, --checkpoint=FOLDER")
    checkpoint = checkpoints.read(_weights_of_reference(flags, system, given))
    for one in given:
        if one.class_names != tuple(checkpoint.class_names):
            raise UsageError(f"{one.name} and {system.name} tell other classes apart: they cannot agree")
    runs = []
    for one in given:
        step = one.make_step()
        runs += [(one, step, policy) for policy in policies_of(flags, step)]
    _, steps, policies = zip(*runs, strict=True)
    reference = _reference(system, checkpoint, steps)
    about = Given(system.name, system.task, reference, checkpoint.path).facts(reference)
    videos = [Video(path) for path in flags.video if path]
    scores = _scores(flags, reference, steps, policies, videos)
    rows = [
        {
            **one.facts(step),
            "policy": policy_name(policy, step),
            "against": about,
            "dataset": f"{system.name} at {size_text(about)} on {', '.join(video.path for video in videos)}",
            **score,
        }
        for (one, step, policy), score in zip(runs, scores, strict=True)
    ]
    return rows, _table(rows, reference.task)


def _weights_of_reference(flags, system, given) -> str:
    """Where the weights of --against are: never in others than those that it is compared with were made of.

    Raises:
        UsageError: if it must be said.
    """
    sources = [source for source in flags.checkpoint if source]
    if len(sources) == 1:
        return sources[0]
    if any(flags.tflite) and sources:
        raise UsageError("--checkpoint: beside --tflite it is of --against alone; name one")
    own = next((one.source for one in given if one.name == system.name and not any(flags.tflite)), None)
    if own:
        return own
    if not checkpoints.find_pretrained(system.name):
        raise UsageError(f"no weights of {system.name} are shipped: name some, --checkpoint=FOLDER")
    shipped = {provenance.sha256(checkpoints.find_pretrained(name)) for name in checkpoints.list_pretrained()}
    if others := [one for one in given if one.weights_sha256 not in shipped]:
        raise UsageError(
            f"{others[0].weights} is not of the weights that are shipped: name those of {system.name}, "
            "--checkpoint=FOLDER"
        )
    return system.name


def _reference(system, checkpoint, steps):
    """The step that is held against, at the size of its weights: one of the others if it is there."""
    wanted = system.name, checkpoint.sha256, checkpoint.config.image_size
    for step in steps:
        if wanted == (step.info.system, step.info.weights_sha256, step.config.image_size) and step.model:
            return step
    return step_of(checkpoints.build_from(system, checkpoint))


def _scores(flags, reference, steps, policies, videos):
    counts, limit = [video.num_frames for video in videos], flags.max_frames
    total = None if None in counts else sum(min(count, limit or count) for count in counts)
    with progress(total=total, unit="frame", desc=f"against {flags.against}") as bar:
        options = {"seed": flags.seed, "blind_start": flags.blind_start}
        frames = ((itertools.islice(video, limit)) for video in videos)
        return score_agreement(steps, policies, reference, frames, progress=bar.update, **options)


def score_agreement(steps, policies, reference, videos, *, progress=None, **options) -> list[dict]:
    """Holds the answers of steps against what a single-frame network says of every frame.

    Args:
        steps: KerasSteps or ExportedSteps.
        policies: of each, as for `stream`.
        reference: likewise a step, of a single-frame network that sees every frame.
        videos: iterables of frames (h, w, 3) uint8.
        progress: called after every frame.
        **options: of `stream`.

    Returns:
        Per step 'agreement' in [0, 1], see `Task.agreement_metric`; 'videos', 'frames', 'mflops_max' and
        'mflops_avg'.
    """
    metrics = [reference.task.agreement_metric(reference.info.class_names) for _ in steps]
    costs, number = [], 0
    for number, video in enumerate(videos, start=1):  # noqa: B007  the last one counts
        for frame, (truth, *answers) in stream_together([reference, *steps], video, [None, *policies], **options):
            for metric, answer in zip(metrics, answers, strict=True):
                metric.add_frame(answer, truth, frame.shape[:2])
            costs.append([answer.mflops for answer in answers])
            if progress:
                progress()
    return [
        {
            "agreement": metric.result(),
            "videos": number,
            "frames": len(costs),
            "mflops_max": max(column),
            "mflops_avg": float(np.mean(column)),
        }
        for metric, column in zip(metrics, zip(*costs, strict=True), strict=True)
    ]


def _table(rows, task) -> str:
    first, against = rows[0], rows[0]["against"]
    columns = [
        {"agreement": per_cent(row["agreement"]), "MFLOPs per frame": f"{row['mflops_avg']:.0f}"} for row in rows
    ]
    text = (
        f"agreement with {against['system']} at {size_text(against)}, weights {against['weights']['name']}, on "
        f"every whole frame ({task.agreement}): {first['videos']} videos, {first['frames']} frames\n"
        f"{table_of(rows, columns)}"
    )
    if first["agreement"] is None:
        text += f"\n{against['system']} found nothing that it is sure of in these videos."
    return text
