"""patchwork-evaluate --against: how well systems agree with a single-frame network. It takes no labels."""

import itertools

import numpy as np
from tabulate import tabulate

from patchwork_tf import cli
from patchwork_tf.bars import progress
from patchwork_tf.commands.given import given_systems, policies_of, policy_name
from patchwork_tf.commands.scoring import per_cent
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.streaming.step import step_of
from patchwork_tf.streaming.stream import stream_together
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system


def run(flags) -> tuple[list[dict], str]:
    """One row per system and policy, and a table."""
    checkpoint = _weights_of_reference(flags)
    steps, policies, weights = [], [], []
    for given in given_systems(flags, shipped=True, **cli.override(memory=flags.memory)):
        if given.class_names is None:
            raise UsageError(f"no weights of {given.name} are shipped: name some, --checkpoint=FOLDER")
        if given.class_names != tuple(checkpoint.class_names):
            raise UsageError(f"{given.name} and {flags.against} tell other classes apart: they cannot agree")
        step = given.make_step()
        for policy in policies_of(flags, step):
            steps.append(step)
            policies.append(policy)
            weights.append(given.weights)
    reference = _reference(flags, checkpoint, zip(steps, weights, strict=True))
    videos = [Video(path) for path in flags.video if path]
    scores = _scores(flags, reference, steps, policies, videos)
    rows = [
        {
            "system": step.info.system,
            "policy": policy_name(policy, step),
            "checkpoint": source,
            "against": flags.against,
            "videos_scored": [video.path for video in videos],
            "image_size": list(step.config.image_size),
            **score,
        }
        for step, policy, source, score in zip(steps, policies, weights, scores, strict=True)
    ]
    return rows, _table(rows, reference.task)


def _weights_of_reference(flags) -> checkpoints.Checkpoint:
    system = get_system(flags.against)
    if not system.is_single_frame:
        raise UsageError(
            f"--against={system.name}: a reference must see all of every frame, as {system.reference}"
        )
    given = [source for source in flags.checkpoint if source]
    source = given[0] if len(given) == 1 else system.name
    if source == system.name and not checkpoints.find_pretrained(system.name):
        raise UsageError(f"no weights of {system.name} are shipped: name some, --checkpoint=FOLDER")
    return checkpoints.read(source)


def _reference(flags, checkpoint, others):
    """The step that is held against: one of the `others`, pairs of a step and its weights, if it is there."""
    for step, weights in others:
        if (step.info.system, weights) == (flags.against, checkpoint.path):
            return step
    size = cli.override(image_size=flags.image_size)
    return step_of(checkpoints.build_from(get_system(flags.against), checkpoint, **size))


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
    first = rows[0]
    lines = [
        [row["system"], row["policy"], per_cent(row["agreement"]), f"{row['mflops_avg']:.0f}"] for row in rows
    ]
    titles = ["system", "policy", "agreement", "MFLOPs per frame"]
    text = (
        f"agreement with {first['against']} on every whole frame ({task.agreement}): {first['videos']} videos, "
        f"{first['frames']} frames\n"
        + tabulate(lines, titles, "plain", disable_numparse=True, colalign=("left", "left", "right", "right"))
    )
    if first["agreement"] is None:
        text += f"\n{first['against']} found nothing that it is sure of in these videos."
    return text
