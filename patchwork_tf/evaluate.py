"""Scores systems on video: every frame's full answer, stale parts included.

Systems given together are scored on the same videos and shown side by side. Patchwork
systems are run once per policy.

  patchwork-evaluate --system=vid-sf,vid-sf-int4,vid-pw-m4n2 --checkpoint=/tmp/sf,/tmp/sf,/tmp/pw \\
      --policy=raster,random --json=/tmp/scores.json
"""

import json
import os
import sys

import numpy as np
from absl import flags
from tqdm import tqdm

from patchwork_tf import cli
from patchwork_tf.data import moving_objects
from patchwork_tf.metrics.detection import DetectionMetric
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
_JSON = flags.DEFINE_string("json", None, "Where to write the scores.", flag_values=_FLAGS)
_NUM_VIDEOS = flags.DEFINE_integer("num_videos", 50, "How many videos.", lower_bound=1, flag_values=_FLAGS)
_VIDEO_FRAMES = flags.DEFINE_integer(
    "video_frames", 32, "Frames per video (of moving_objects).", lower_bound=1, flag_values=_FLAGS
)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size", None, "One side or HEIGHTxWIDTH in pixels; by default the checkpoint's.", flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the data set and the random policy.", flag_values=_FLAGS)


def evaluate_stream(system, model, videos, class_names, policy, seed=0, progress=None) -> dict:
    """Runs a system over videos and scores the answer to every frame.

    Args:
        system, model: as for `stream`.
        videos: iterable of (frames, boxes (T, G, 4) as fractions, labels (T, G), 1 + class or 0).
        class_names: of the labels, in order.
        policy: key of POLICIES; seed: video k is run with seed + k.
        progress: called after every frame.

    Returns:
        `DetectionMetric.result()` and the number of 'videos' and 'frames'.
    """
    metric = DetectionMetric(class_names)
    num_videos = num_frames = 0
    for number, (frames, boxes, labels) in enumerate(videos):
        scale = np.array(2 * frames.shape[1:3], np.float32)
        answers = stream(system, model, frames, policy, seed + number)
        for answer, true_boxes, true_labels in zip(answers, boxes, labels, strict=True):
            there = true_labels > 0
            metric.add_frame(
                answer.boxes * scale,
                answer.scores,
                answer.classes,
                true_boxes[there] * scale,
                true_labels[there] - 1,
            )
            num_frames += 1
            if progress:
                progress()
        num_videos += 1
    return {**metric.result(), "videos": num_videos, "frames": num_frames}


def _evaluate():
    systems = [get_system(name) for name in _SYSTEM.value]
    for policy in _POLICY.value:
        if policy not in POLICIES:
            raise cli.UsageError(f"unknown policy '{policy}'; there are {', '.join(POLICIES)}")
    sources = cli.one_per_item("checkpoint", _CHECKPOINT.value, systems)
    size = cli.parse_image_size(_IMAGE_SIZE.value)
    if _JSON.value:
        cli.make_folder(os.path.dirname(os.path.abspath(_JSON.value)))
    rows = []
    for system, source in zip(systems, sources, strict=True):
        checkpoint = checkpoints.read(source) if source else None
        names = checkpoint.class_names if checkpoint else list(moving_objects.CLASSES)
        overrides = cli.override(image_size=size, num_classes=None if checkpoint else len(names))
        model = checkpoints.build_from(system, checkpoint, **overrides)
        for policy in ["whole frame"] if model.grid.is_whole_frame else _POLICY.value:
            score = _score(system, model, names, policy)
            rows.append(
                {
                    "system": system.name,
                    "policy": policy,
                    "checkpoint": checkpoint.path if checkpoint else "random weights",
                    "step": checkpoint.step if checkpoint else 0,
                    "dataset": f"{_DATASET.value}/{_SPLIT.value}, seed {_SEED.value}",
                    "image_size": list(model.config.image_size),
                    **score,
                }
            )
    print(_table(rows))
    if _JSON.value:
        with cli.atomic_file(_JSON.value, "w") as file:
            json.dump(rows[0] if len(rows) == 1 else rows, file, indent=1)


def _score(system, model, names, policy):
    videos = _videos(max(model.config.image_size))
    total = _NUM_VIDEOS.value * _VIDEO_FRAMES.value
    with tqdm(total=total, unit="frame", desc=f"{system.name}, {policy}", dynamic_ncols=True) as bar:
        policy = "raster" if model.grid.is_whole_frame else policy
        return evaluate_stream(system, model, videos, names, policy, _SEED.value, bar.update)


def _videos(size):
    for index in range(_NUM_VIDEOS.value):
        clip = moving_objects.render_clip(index, _VIDEO_FRAMES.value, size, _SPLIT.value, _SEED.value)
        yield clip.frames, clip.boxes, clip.labels


def _table(rows) -> str:
    first = rows[0]
    lines = [
        f"{first['dataset']}: {first['videos']} videos, {first['frames']} frames",
        f"{'system':<24}{'policy':<14}{'mAP@0.5':>9}{'mAP VID':>9}  weights",
    ]
    for row in rows:
        lines.append(
            f"{row['system']:<24}{row['policy']:<14}{100 * row['mAP_50']:>9.1f}{100 * row['mAP_vid']:>9.1f}"
            f"  {row['checkpoint']}"
        )
    return "\n".join(lines)


def main(argv=None) -> int:
    return cli.run(_evaluate, _FLAGS, "patchwork-evaluate", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
