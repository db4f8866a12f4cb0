"""Scores systems on video: every frame's full answer, stale parts included.

Systems of one task that are given together are scored on the same videos and shown side by
side: mean average precision of detectors, J and F of segmenters. Patchwork systems are run once
per policy.

  patchwork-evaluate --system=vid-sf,vid-sf-int4,vid-pw-m4n2 --checkpoint=/tmp/sf,/tmp/sf,/tmp/pw \\
      --policy=raster,random --json=/tmp/scores.json
"""

import itertools
import json
import os
import sys

import numpy as np
from absl import flags
from tqdm import tqdm

from patchwork_tf import cli
from patchwork_tf.data import moving_objects
from patchwork_tf.data.annotated import moving_objects_videos
from patchwork_tf.metrics.detection import DetectionMetric
from patchwork_tf.metrics.segmentation import SegmentationMetric
from patchwork_tf.models.config import MEMORIES
from patchwork_tf.streaming.policies import POLICIES
from patchwork_tf.streaming.stream import stream
from patchwork_tf.training import checkpoints
from patchwork_tf.zoo.systems import get_system

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
_DATASET = flags.DEFINE_enum(
    "dataset", "moving_objects", ["moving_objects"], "What to score on.", flag_values=_FLAGS
)
_SPLIT = flags.DEFINE_enum(
    "split", "validation", list(moving_objects.SPLITS), "Part of the data set.", flag_values=_FLAGS
)
_POLICY = flags.DEFINE_list(
    "policy", "raster", f"How windows are chosen: {', '.join(POLICIES)}; separated by commas.", flag_values=_FLAGS
)
_WARM_START = flags.DEFINE_boolean(
    "warm_start",
    False,
    "Look at the whole first frame of each video instead of starting blind.",
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
_NUM_VIDEOS = flags.DEFINE_integer("num_videos", 50, "How many videos.", lower_bound=1, flag_values=_FLAGS)
_VIDEO_FRAMES = flags.DEFINE_integer(
    "video_frames", 32, "Frames per video (of moving_objects).", lower_bound=1, flag_values=_FLAGS
)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size", None, "One side or HEIGHTxWIDTH in pixels; by default the checkpoint's.", flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the data set and the random policy.", flag_values=_FLAGS)


# Columns of the printed table: title, and how to find the number in a result.
_COLUMNS = {
    "detection": (("mAP@0.5", lambda row: row["mAP_50"]), ("mAP VID", lambda row: row["mAP_vid"])),
    "segmentation": (("J", lambda row: row["J"]["mean"]), ("F", lambda row: row["F"]["mean"])),
}


def evaluate_stream(system, model, videos, class_names, policy, seed=0, warm_start=False, progress=None) -> dict:
    """Runs a system over videos and scores the answer to every frame.

    Args:
        system, model, warm_start: as for `stream`.
        videos: iterable of AnnotatedVideo.
        class_names: of the labels, in order.
        policy: key of POLICIES; seed: video k is run with seed + k.
        progress: called after every frame.

    Returns:
        The metric's `result()`; the number of 'videos' and 'frames'; 'mflops_max' and 'mflops_avg' of
        the frames.
    """
    metric = SegmentationMetric() if system.task == "segmentation" else DetectionMetric(class_names)
    costs = []
    for number, video in enumerate(videos):
        frames, sizes = itertools.tee(video.frames)
        answers = stream(system, model, frames, policy, seed + number, warm_start)
        for answer, frame, *truth in zip(answers, sizes, *_truth(system.task, video), strict=True):
            _add_frame(metric, video.name, answer, frame.shape[:2], *truth)
            costs.append(answer.mflops)
            if progress:
                progress()
    return {
        **metric.result(),
        "videos": number + 1,
        "frames": len(costs),
        "mflops_max": max(costs),
        "mflops_avg": float(np.mean(costs)),
    }


def _truth(task, video):
    return (video.masks,) if task == "segmentation" else (video.boxes, video.labels)


def _add_frame(metric, video_name, answer, size, *truth):
    if isinstance(metric, SegmentationMetric):
        metric.add_frame(video_name, answer.mask, *truth)
        return
    boxes, labels = truth
    scale = np.array(2 * size, np.float32)
    metric.add_frame(answer.boxes * scale, answer.scores, answer.classes, boxes * scale, labels)


def _evaluate():
    systems = [get_system(name) for name in _SYSTEM.value]
    if len({system.task for system in systems}) > 1:
        raise cli.UsageError("--system names detectors and segmenters; score them in two runs")
    for policy in _POLICY.value:
        if policy not in POLICIES:
            raise cli.UsageError(f"unknown policy '{policy}'; there are {', '.join(POLICIES)}")
    sources = cli.one_per_item("checkpoint", _CHECKPOINT.value, systems)
    if _JSON.value:
        cli.make_folder(os.path.dirname(os.path.abspath(_JSON.value)))
    rows = []
    for system, source in zip(systems, sources, strict=True):
        checkpoint = checkpoints.read(source) if source else None
        model, names = _build(system, checkpoint)
        for policy in ["whole frame"] if model.grid.is_whole_frame else _POLICY.value:
            score = _score(system, model, names, policy)
            rows.append(
                {
                    "system": system.name,
                    "policy": policy,
                    "warm_start": _WARM_START.value,
                    "memory": model.config.memory,
                    "checkpoint": checkpoint.path if checkpoint else "random weights",
                    "step": checkpoint.step if checkpoint else 0,
                    "dataset": f"{_DATASET.value}/{_SPLIT.value}, seed {_SEED.value}",
                    "image_size": list(model.config.image_size),
                    **score,
                }
            )
    print(_table(rows, systems[0].task))
    if _JSON.value:
        with cli.atomic_file(_JSON.value, "w") as file:
            json.dump(rows[0] if len(rows) == 1 else rows, file, indent=1)


def _build(system, checkpoint):
    """A system's model, and the names of its classes."""
    overrides = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value), memory=_MEMORY.value)
    if checkpoint:
        return checkpoints.build_from(system, checkpoint, **overrides), checkpoint.class_names
    names = list(moving_objects.CLASSES) if system.task == "detection" else ["foreground"]
    return checkpoints.build_from(system, None, num_classes=len(names), **overrides), names


def _score(system, model, names, policy):
    size = max(model.config.image_size)
    videos = moving_objects_videos(_NUM_VIDEOS.value, _VIDEO_FRAMES.value, size, _SPLIT.value, _SEED.value)
    total = _NUM_VIDEOS.value * _VIDEO_FRAMES.value
    with tqdm(total=total, unit="frame", desc=f"{system.name}, {policy}", dynamic_ncols=True) as bar:
        policy = "raster" if model.grid.is_whole_frame else policy
        return evaluate_stream(
            system, model, videos, names, policy, _SEED.value, _WARM_START.value, progress=bar.update
        )


def _table(rows, task) -> str:
    first = rows[0]
    columns = _COLUMNS[task]
    lines = [
        f"{first['dataset']}: {first['videos']} videos, {first['frames']} frames",
        f"{'system':<24}{'policy':<14}" + "".join(f"{title:>9}" for title, _ in columns) + "  weights",
    ]
    for row in rows:
        scores = "".join(f"{100 * find(row):>9.1f}" for _, find in columns)
        lines.append(f"{row['system']:<24}{row['policy']:<14}{scores}  {row['checkpoint']}")
    return "\n".join(lines)


def main(argv=None) -> int:
    return cli.run(_evaluate, _FLAGS, "patchwork-evaluate", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
