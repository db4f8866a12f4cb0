"""patchwork-evaluate --against: how well systems agree with a single-frame network. It takes no labels."""

import functools
import itertools

import numpy as np

from patchwork_tf import cli, provenance
from patchwork_tf.bars import progress
from patchwork_tf.commands.given import Given, given_systems, policies_of, policy_name
from patchwork_tf.commands.resuming import Rows, project_digest, video_digest
from patchwork_tf.commands.scoring import made_of, per_cent, size_text, table_of
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.export.reference import FileStep
from patchwork_tf.streaming.step import step_of
from patchwork_tf.streaming.stream import stream
from patchwork_tf.zoo import checkpoints


def run(flags) -> tuple[list[dict], str]:
    """One row per system and policy, and a table."""
    is_file = flags.against.endswith(".tflite")
    system = None if is_file else _reference(flags)
    given = given_systems(flags, shipped=True, **cli.override(memory=flags.memory))
    if without := [one.name for one in given if one.class_names is None]:
        raise UsageError(f"no weights of {without[0]} are shipped: name some, --checkpoint=FOLDER")
    if is_file:
        checkpoint, reference = _file_reference(flags)
        about = Given(flags.against, reference.task.name, reference, flags.against).facts(reference)
    else:
        checkpoint = checkpoints.read(_weights_of_reference(flags, system, given))
        reference = step_of(checkpoints.build_from(system, checkpoint))
        about = Given(system.name, system.task, reference, checkpoint.path).facts(reference)
    for one in given:
        if one.class_names != tuple(checkpoint.class_names) or one.task != reference.task.name:
            raise UsageError(f"{one.name} and {flags.against} tell other classes apart: they cannot agree")
    videos = [Video(path) for path in flags.video if path]
    believed = functools.cache(functools.partial(_believed, flags, reference, videos))  # if a row is made at all
    rows = Rows(flags.json, _made_of_run(flags, about, videos))
    for one in given:
        step = one.make_step()
        for policy in policies_of(flags, step):
            make = functools.partial(_row, flags, one, step, policy, videos, about, believed)
            rows.add(made_of(flags, one, step, policy, None), make)
    return rows.done, _table(rows.done, reference.task)


def _reference(flags):
    """The system of --against, perhaps of the checkpoint's own network. Raises UsageError if it is none."""
    sources = [source for source in flags.checkpoint if source]
    system = checkpoints.system_of(flags.against, sources[0] if len(sources) == 1 else None)
    if not system.is_single_frame:
        raise UsageError(
            f"--against={system.name}: a reference must see all of every frame, as {system.reference}"
        )
    return system


def _file_reference(flags):
    """The checkpoint that was imported from a .tflite, and that file as a step. Raises UsageError without one."""
    sources = [source for source in flags.checkpoint if source]
    if len(sources) != 1:
        raise UsageError(
            f"--against={flags.against}: name what patchwork-import has made of it, --checkpoint=FOLDER"
        )
    checkpoint = checkpoints.read(sources[0])
    return checkpoint, FileStep(flags.against, checkpoint)


def _made_of_run(flags, about, videos) -> dict:
    """What all rows of a command depend on."""
    return {
        "code": project_digest(),
        "against": about,
        "videos": [(video.path, video_digest(video.path)) for video in videos],
        "settings": {name: flags[name].value for name in ("seed", "max_frames", "start")},
    }


def _row(flags, given, step, policy, videos, about, believed) -> dict:
    """One system by one policy."""
    paths = ", ".join(video.path for video in videos)
    return {
        **given.facts(step),
        "policy": policy_name(policy, step),
        "against": about,
        "dataset": f"{about['system']} at {size_text(about)} on {paths}",
        **_score(flags, step, policy, videos, believed()),
    }


def _believed(flags, reference, videos) -> list[list]:
    """What the reference says of every frame of every video."""
    found = []
    with _bar(flags, videos, reference, None) as bar:
        for video in videos:
            answers = stream(reference, itertools.islice(video, flags.max_frames))
            found.append([_counted(answer, bar) for answer in answers])
    return found


def _score(flags, step, policy, videos, believed) -> dict:
    """How well a step agrees: 'agreement' in [0, 1], see `Task.agreement_metric`, and what its frames cost."""
    metric, costs = step.task.agreement_metric(step.info.class_names), []
    with _bar(flags, videos, step, policy) as bar:
        for video, truths in zip(videos, believed, strict=True):
            shown, copy = itertools.tee(itertools.islice(video, flags.max_frames))
            answers = stream(step, copy, policy, seed=flags.seed, start=flags.start)
            for frame, answer, truth in zip(shown, answers, truths, strict=True):
                metric.add_frame(answer, truth, frame.shape[:2])
                costs.append(_counted(answer, bar).mflops)
    return {
        "agreement": metric.result(),
        "videos": len(videos),
        "frames": len(costs),
        "mflops_max": max(costs),
        "mflops_avg": float(np.mean(costs)),
    }


def _bar(flags, videos, step, policy):
    counts, limit = [video.num_frames for video in videos], flags.max_frames
    total = None if None in counts else sum(min(count, limit or count) for count in counts)
    return progress(total=total, unit="frame", desc=f"{step.info.system}, {policy_name(policy, step)}")


def _counted(answer, bar):
    bar.update()
    return answer


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
