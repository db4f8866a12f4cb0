"""Scores systems on video: every frame's full answer, stale parts included.

Systems of one task that are given together are scored on the same videos and shown side by
side: mean average precision of detectors, J and F of segmenters. Patchwork systems are run once
per policy.

  patchwork-evaluate --system=vid-sf,vid-sf-int4,vid-pw-m4n2 --checkpoint=/tmp/sf --policy=rule,raster \\
      --json=/tmp/scores.json

With --against it needs no labels: it tells how well systems agree, on any video, with what a
single-frame network says of every whole frame.

  patchwork-evaluate --system=oid-sf-int4,oid-pw-m4n2 --against=oid-sf --video=clip.mp4

With --task it scores what any method has written to files: PNG masks as DAVIS has them, detections
in the format of the VID devkit, or COCO's.

  patchwork-evaluate --task=segmentation --predictions=MASKS --ground_truth=DAVIS
  patchwork-evaluate --task=detection --detections=detections.txt --annotations=Annotations/VID/val \\
      --image_set=image_set.txt
  patchwork-evaluate --task=detection --detections=detections.json --annotations=instances_val2017.json
"""

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable

from absl import flags
from tqdm import tqdm

from patchwork_tf import cli, files, scoring
from patchwork_tf.data.datasets import COCO_IDS, DATASETS, annotated_videos, class_names
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.metrics.formats import DetectionWriter, MaskWriter
from patchwork_tf.metrics.segmentation import STATISTICS
from patchwork_tf.models.config import EVERY_FRAME, MEMORIES
from patchwork_tf.streaming.policies import POLICIES
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import System, get_system

_FLAGS = flags.FlagValues()
_SYSTEM = flags.DEFINE_list(
    "system", "vid-pw-m4n2", "Systems of the zoo, separated by commas.", flag_values=_FLAGS
)
_CHECKPOINT = flags.DEFINE_list(
    "checkpoint",
    "",
    "Checkpoint file or training folder of each system, separated by commas; one serves all. "
    "Without it the weights are random.",
    flag_values=_FLAGS,
)
_TFLITE = flags.DEFINE_list(
    "tflite",
    "",
    "Exported files, separated by commas, to score in place of --system and --checkpoint: what ships.",
    flag_values=_FLAGS,
)
_DATASET = flags.DEFINE_enum("dataset", "moving_objects", list(DATASETS), "What to score on.", flag_values=_FLAGS)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "TFDS folder that holds the prepared data set (see docs/data.md); without it moving_objects is generated.",
    flag_values=_FLAGS,
)
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "Which form of the data set; by default the first. Of generated moving_objects, the kind of scenes: varied, "
    "sparse, or mixed, which takes turns.",
    flag_values=_FLAGS,
)
_SPLIT = flags.DEFINE_string(
    "split", "validation", "Part of the data set, such as validation or train[90%:].", flag_values=_FLAGS
)
_POLICY = flags.DEFINE_list(
    "policy",
    "",
    f"How windows are chosen: {', '.join(POLICIES)}; separated by commas. By default as the model does: learned "
    "if it was trained to, else by the rule.",
    flag_values=_FLAGS,
)
_BLIND_START = flags.DEFINE_boolean(
    "blind_start",
    False,
    "Look at the first frame of each video through a window, too, instead of at all of it.",
    flag_values=_FLAGS,
)
_MEMORY = flags.DEFINE_enum(
    "memory",
    None,
    list(MEMORIES),
    "What Patchwork systems remember: features, at every convolution (Figure 11b), or pixels, at the "
    "input (Figure 11a: the ceiling of accuracy, at the cost of the single-frame network). By default "
    "the checkpoint's.",
    flag_values=_FLAGS,
)
_JSON = flags.DEFINE_string("json", None, "Where to write the scores.", flag_values=_FLAGS)
_SAVE_PREDICTIONS = flags.DEFINE_string(
    "save_predictions",
    None,
    "Folder to write the answers to, one below it per system and policy if there are several: PNG masks, or "
    "detections.txt with image_set.txt (VID devkit) and detections.json (COCO); with --video_frames not of all "
    "frames, which scoring masks insists on.",
    flag_values=_FLAGS,
)
_COCO = flags.DEFINE_boolean(
    "coco",
    True,
    "Compute COCO's numbers of detections too; on the whole of ImageNet VID they take gigabytes.",
    flag_values=_FLAGS,
)
_NUM_VIDEOS = flags.DEFINE_integer(
    "num_videos",
    None,
    "At most how many videos; by default all, and 50 generated ones.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_VIDEO_FRAMES = flags.DEFINE_integer(
    "video_frames",
    None,
    "At most how many frames per video; by default all, and 32 of generated ones.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size", None, "One side or HEIGHTxWIDTH in pixels; by default the checkpoint's.", flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the data set and the random policy.", flag_values=_FLAGS)


_AGAINST = flags.DEFINE_string(
    "against",
    None,
    "Single-frame system whose answers are held for true, in place of a data set's labels; it has the weights of "
    "--checkpoint, if that is one for all. Without --checkpoint all have the shipped weights.",
    flag_values=_FLAGS,
)
_VIDEO = flags.DEFINE_list(
    "video",
    "",
    "With --against: video files or folders of frames, separated by commas.",
    flag_values=_FLAGS,
)
_TASK = flags.DEFINE_enum(
    "task",
    None,
    ["segmentation", "detection"],
    "Score files instead of a system: of this kind.",
    flag_values=_FLAGS,
)
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "With --task=segmentation: folder of <sequence>/<frame>.png.", flag_values=_FLAGS
)
_GROUND_TRUTH = flags.DEFINE_string(
    "ground_truth", None, "With --task=segmentation: the true masks, or the root of DAVIS.", flag_values=_FLAGS
)
_DETECTIONS = flags.DEFINE_string(
    "detections",
    None,
    "With --task=detection: file with a line 'frame_id class_id score x1 y1 x2 y2' each, or COCO's .json.",
    flag_values=_FLAGS,
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations",
    None,
    "With --task=detection: folder of <video>/<frame>.xml, or COCO's instances .json.",
    flag_values=_FLAGS,
)
_IMAGE_SET = flags.DEFINE_string(
    "image_set", None, "With --task=detection: file with a line 'video/frame frame_id' each.", flag_values=_FLAGS
)

# Columns of the printed table: title, and how to find the number in a result.
_COLUMNS = {
    "detection": (("mAP@0.5", lambda row: row["mAP_50"]), ("mAP VID", lambda row: row["mAP_vid"])),
    "segmentation": (("J", lambda row: row["J"]["mean"]), ("F", lambda row: row["F"]["mean"])),
}


def _evaluate():
    _check_mode()
    if _JSON.value:
        files.check_output(_JSON.value)
    if _TASK.value:
        result = _score_files()
        print(_file_table(result))
    elif _AGAINST.value:
        result = _agreement()
        print(_agreement_table(result))
    else:
        rows = _score_systems()
        result = rows[0] if len(rows) == 1 else rows
        print(_table(rows, get_system(rows[0]["system"]).task))
    if _JSON.value:
        with files.atomic_file(_JSON.value, "w") as file:
            json.dump(result, file, indent=1)


def _check_mode():
    """Files are scored with --task, systems without; a flag of the one says nothing to the other."""
    of_files = [
        flag.name for flag in (_PREDICTIONS, _GROUND_TRUTH, _DETECTIONS, _ANNOTATIONS, _IMAGE_SET) if flag.value
    ]
    if of_files and not _TASK.value:
        raise UsageError(f"--{of_files[0]} scores files: say --task=segmentation or --task=detection too")
    of_systems = [
        name for name in ("system", "checkpoint", "tflite", "dataset", "save_predictions") if _FLAGS[name].present
    ]
    if bool(_AGAINST.value) != any(_VIDEO.value):
        raise UsageError("--against and --video=FILE_OR_FOLDER,... go together")
    if _AGAINST.value and (given := [name for name in ("dataset", "save_predictions") if _FLAGS[name].present]):
        raise UsageError(f"--against needs no labels: leave out --{given[0]}")
    if of_systems and _TASK.value:
        raise UsageError(f"--task scores files, --{of_systems[0]} is for scoring systems: give one of them")


def _score_files() -> dict:
    if _TASK.value == "segmentation":
        _require(_PREDICTIONS, _GROUND_TRUTH)
        return scoring.score_masks(_PREDICTIONS.value, _GROUND_TRUTH.value)
    _require(_DETECTIONS, _ANNOTATIONS)
    if _DETECTIONS.value.endswith(".json"):
        return scoring.score_coco(_DETECTIONS.value, _ANNOTATIONS.value)
    _require(_IMAGE_SET)
    return scoring.score_detections(_DETECTIONS.value, _ANNOTATIONS.value, _IMAGE_SET.value, _COCO.value)


def _require(*needed):
    for flag in needed:
        if not flag.value:
            raise UsageError(f"--{flag.name} is required with --task={_TASK.value}")


@dataclasses.dataclass(frozen=True)
class _Run:
    """One row of the table.

    Attributes:
        system: of the zoo.
        make_step: makes what is run, a KerasStep or ExportedStep.
        policy: of windows, None for the model's own.
        weights: where they come from.
        at_step: of training.
    """

    system: System
    make_step: Callable
    policy: str | None
    weights: str
    at_step: int = 0


def _score_systems() -> list[dict]:
    runs = _exported_runs() if any(_TFLITE.value) else _model_runs()
    return [_score(run, len(runs) > 1) for run in runs]


def _exported_runs() -> list[_Run]:
    """Of every exported file and policy."""
    from patchwork_tf.export.streaming import ExportedStep  # a command may use all of the project, the library not

    given = [name for name in ("system", "checkpoint", "image_size", "memory") if _FLAGS[name].present]
    if given:
        raise UsageError(f"--tflite: the file says what it is; leave out --{given[0]}")
    runs = []
    for path in filter(None, _TFLITE.value):
        step = ExportedStep(path)
        system = get_system(step.facts["system"])
        if not _AGAINST.value:
            _check_classes(path, step.info.class_names, system.task)
        runs += [_Run(system, lambda step=step: step, policy, path) for policy in _policies(system)]
    return runs


def _model_runs() -> list[_Run]:
    """Of every system and policy."""
    systems = [get_system(name) for name in cli.non_empty("system", _SYSTEM.value)]
    if len({system.task for system in systems}) > 1:
        raise UsageError("--system names detectors and segmenters; score them in two runs")
    sources = cli.one_per_item("checkpoint", _CHECKPOINT.value, systems)
    runs = []
    for system, source in zip(systems, sources, strict=True):
        checkpoint = checkpoints.read(source) if source else None
        if _AGAINST.value and not checkpoint:
            checkpoint = _shipped(system)
        overrides = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value), memory=_MEMORY.value)
        known = ("random weights", 0)
        if checkpoint:
            if not _AGAINST.value:
                _check_classes(checkpoint.path, checkpoint.class_names, system.task)
            known = (checkpoint.path, checkpoint.step)
        else:
            overrides["num_classes"] = len(class_names(_DATASET.value, system.task))
        make_step = functools.partial(_built, system, checkpoint, **overrides)
        runs += [_Run(system, make_step, policy, *known) for policy in _policies(system)]
    return runs


def _shipped(system):
    """The checkpoint that comes with the package."""
    if not checkpoints.find_pretrained(system.name):
        raise UsageError(f"no weights of {system.name} are shipped: name some, --checkpoint=FOLDER")
    return checkpoints.read(system.name)


def _agreement() -> list[dict]:
    """One row per system and policy: how well it agrees with --against."""
    system = get_system(_AGAINST.value)
    if not system.model.grid.is_whole_frame or system.stream != EVERY_FRAME:
        raise UsageError(
            f"--against={system.name}: a reference must see all of every frame, as {system.name[:3]}-sf"
        )
    given = [source for source in _CHECKPOINT.value if source]
    checkpoint = checkpoints.read(given[0]) if len(given) == 1 else _shipped(system)
    size = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value))
    reference = KerasStep(checkpoints.build_from(system, checkpoint, **size))
    runs = _exported_runs() if any(_TFLITE.value) else _model_runs()
    steps = [run.make_step() for run in runs]
    for run, step in zip(runs, steps, strict=True):
        if step.info.class_names != reference.info.class_names:
            raise UsageError(f"{run.system.name} and {system.name} tell other classes apart: they cannot agree")
    videos = [Video(path) for path in _VIDEO.value if path]
    counts = [video.num_frames for video in videos]
    total = None if None in counts else sum(min(count, _VIDEO_FRAMES.value or count) for count in counts)
    with tqdm(total=total, unit="frame", desc=f"against {system.name}", dynamic_ncols=True) as bar:
        scores = scoring.score_agreement(
            steps,
            [run.policy for run in runs],
            reference,
            videos,
            max_frames=_VIDEO_FRAMES.value,
            progress=bar.update,
            seed=_SEED.value,
            blind_start=_BLIND_START.value,
        )
    return [
        {
            "system": run.system.name,
            "policy": _policy_name(run, step),
            "checkpoint": run.weights,
            "against": system.name,
            "videos_scored": [video.path for video in videos],
            "image_size": list(step.config.image_size),
            **score,
        }
        for run, step, score in zip(runs, steps, scores, strict=True)
    ]


def _policy_name(run, step) -> str:
    return "whole frame" if step.grid.is_whole_frame else run.policy or step.policy


def _policies(system) -> list[str | None]:
    policies = [policy for policy in _POLICY.value if policy]
    for policy in policies:
        if policy not in POLICIES:
            raise UsageError(f"unknown policy '{policy}'; there are {', '.join(POLICIES)}")
    return [None] if system.model.grid.is_whole_frame else policies or [None]


def _check_classes(path, known, task):
    names = class_names(_DATASET.value, task)
    if list(known) != list(names):
        raise UsageError(
            f"{path} knows {len(known)} classes ({known[0]}, ...), "
            f"{_DATASET.value} has {len(names)} ({names[0]}, ...)"
        )


def _score(run, one_of_many) -> dict:
    step = run.make_step()
    policy = _policy_name(run, step)
    videos, count = annotated_videos(
        _DATASET.value,
        _DATA_DIR.value,
        _SPLIT.value,
        count=_NUM_VIDEOS.value,
        num_frames=_VIDEO_FRAMES.value,
        size=max(step.config.image_size),
        seed=_SEED.value,
        config=_CONFIG.value,
    )
    writer = _writer(run.system, policy, one_of_many)
    with tqdm(total=count, unit="video", desc=f"{run.system.name}, {policy}", dynamic_ncols=True) as bar:

        def progress(video, frame):
            bar.update(video - bar.n)
            bar.set_postfix(frame=frame + 1)

        score = scoring.score_stream(
            step,
            videos,
            class_names(_DATASET.value, run.system.task),
            run.policy,
            seed=_SEED.value,
            blind_start=_BLIND_START.value,
            coco=_COCO.value,
            writer=writer,
            progress=progress,
        )
        bar.update(score["videos"] - bar.n)
    if writer:
        writer.close()
    config = f"{_CONFIG.value}, " if _CONFIG.value else ""
    return {
        "system": run.system.name,
        "policy": policy,
        "blind_start": _BLIND_START.value,
        "checkpoint": run.weights,
        "step": run.at_step,
        "dataset": f"{_DATASET.value}/{_SPLIT.value}, {config}seed {_SEED.value}",
        "image_size": list(step.config.image_size),
        **score,
    }


@functools.lru_cache(maxsize=1)  # the policies of a system share it, and what was compiled of it
def _built(system, checkpoint, **overrides) -> KerasStep:
    return KerasStep(checkpoints.build_from(system, checkpoint, **overrides))


def _writer(system, policy, one_of_many):
    folder = _SAVE_PREDICTIONS.value
    if not folder:
        return None
    if one_of_many:
        folder = os.path.join(folder, f"{system.name}-{policy.replace(' ', '-')}")
    if system.task == "segmentation":
        return MaskWriter(folder)
    return DetectionWriter(folder, COCO_IDS if _DATASET.value == "coco" else None)


def _file_table(result) -> str:
    """The main numbers of `_score_files` as text."""
    if "J" in result:
        missing = result["missing_sequences"]
        lines = [f"NOT PREDICTED, AND NOT COUNTED: {', '.join(missing)}"] if missing else []
        lines += [f"{'sequence':<24}" + "".join(f"{f'{m} {s}':>10}" for m in "JF" for s in STATISTICS)]
        for name in [*result["J"]["per_sequence"], None]:
            parts = [result[m]["per_sequence"][name] if name else result[m] for m in "JF"]
            numbers = "".join(f"{_number(part[key]):>10}" for part in parts for key in STATISTICS)
            lines.append(f"{name or 'mean of sequences':<24}{numbers}")
        return "\n".join(lines)
    lines = [f"{'class':<24}{'objects':>9}{'AP@0.5':>9}{'AP VID':>9}"] if "mAP_50" in result else []
    for name, row in result.get("per_class", {}).items():
        lines.append(f"{name:<24}{row['objects']:>9}{_number(row['AP_50']):>9}{_number(row['AP_vid']):>9}")
    if "mAP_50" in result:
        lines.append(f"{'mean':<24}{'':>9}{_number(result['mAP_50']):>9}{_number(result['mAP_vid']):>9}")
    lines += [f"COCO {key:<19}{_number(value):>18}" for key, value in result.get("coco", {}).items()]
    return "\n".join(lines)


def _agreement_table(rows) -> str:
    first = rows[0]
    what = "J of masks" if get_system(first["system"]).task == "segmentation" else "mAP@0.5"
    lines = [
        f"agreement with {first['against']} on every whole frame ({what}): {first['videos']} videos, "
        f"{first['frames']} frames",
        f"{'system':<24}{'policy':<14}{'agreement':>10}{'MFLOPs per frame':>18}",
    ]
    for row in rows:
        agreement = _number(row["agreement"])
        lines.append(f"{row['system']:<24}{row['policy']:<14}{agreement:>10}{row['mflops_avg']:>18.0f}")
    if first["agreement"] is None:
        lines.append(f"{first['against']} found nothing that it is sure of in these videos.")
    return "\n".join(lines)


def _number(value) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _table(rows, task) -> str:
    first = rows[0]
    columns = _COLUMNS[task]
    lines = [
        f"{first['dataset']}: {first['videos']} videos, {first['frames']} frames",
        f"{'system':<24}{'policy':<14}" + "".join(f"{title:>9}" for title, _ in columns) + "  weights",
    ]
    for row in rows:
        scores = "".join(f"{_number(find(row)):>9}" for _, find in columns)
        lines.append(f"{row['system']:<24}{row['policy']:<14}{scores}  {row['checkpoint']}")
    return "\n".join(lines)


def main(argv=None) -> int:
    return cli.run(_evaluate, _FLAGS, "patchwork-evaluate", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
