"""Measures how many clips per second a training pipeline delivers, all augmentation included.

Compare with the `train/steps_per_second` that patchwork-train logs for TensorBoard, times its batch
size: training waits for its data if the pipeline is slower.

  python -m patchwork_tf.data.throughput --dataset=davis2016 --data_dir=~/data --image_size=256
"""

import sys
import time

from absl import flags
from tqdm import tqdm

from patchwork_tf import cli
from patchwork_tf.data import clips
from patchwork_tf.data.datasets import DATASETS, class_names
from patchwork_tf.grid import Grid

_FLAGS = flags.FlagValues()
_DATASET = flags.DEFINE_enum("dataset", "moving_objects", list(DATASETS), "What to read.", flag_values=_FLAGS)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS folder it was prepared in.", flag_values=_FLAGS)
_CONFIG = flags.DEFINE_string("config", None, "Which form of it; by default the first.", flag_values=_FLAGS)
_SPLIT = flags.DEFINE_string("split", "train", "Part of the data set.", flag_values=_FLAGS)
_TASK = flags.DEFINE_enum(
    "task", None, ["detection", "segmentation"], "By default the first that it has truth for.", flag_values=_FLAGS
)
_IMAGE_SIZE = flags.DEFINE_string("image_size", "384", "One side or HEIGHTxWIDTH in pixels.", flag_values=_FLAGS)
_CLIP_FRAMES = flags.DEFINE_integer("clip_frames", 8, "Frames per clip.", lower_bound=1, flag_values=_FLAGS)
_STRIDE = flags.DEFINE_integer("stride", 1, "Frames from one to the next.", lower_bound=1, flag_values=_FLAGS)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Clips per batch.", lower_bound=1, flag_values=_FLAGS)
_SECONDS = flags.DEFINE_float("seconds", 20.0, "How long to measure.", lower_bound=1.0, flag_values=_FLAGS)
_DETERMINISTIC = flags.DEFINE_boolean("deterministic", True, "Clips in their order.", flag_values=_FLAGS)
_WARMUP_BATCHES = 3


def _measure():
    task = _TASK.value or next(iter(DATASETS[_DATASET.value].class_names))
    class_names(_DATASET.value, task)  # says so if there is no truth for it
    settings = clips.ClipConfig(
        task=task,
        num_frames=_CLIP_FRAMES.value,
        image_size=cli.parse_image_size(_IMAGE_SIZE.value),
        stride=_STRIDE.value,
        deterministic=_DETERMINISTIC.value,
    )
    videos = clips.training_clips(_DATASET.value, _DATA_DIR.value, _SPLIT.value, settings, _CONFIG.value)
    batches = iter(clips.training_batches(videos, Grid(4, 2), _BATCH_SIZE.value))
    for _ in range(_WARMUP_BATCHES):
        next(batches)
    start, count = time.monotonic(), 0
    with tqdm(unit="batch", dynamic_ncols=True) as bar:
        while time.monotonic() - start < _SECONDS.value:
            next(batches)
            count += 1
            bar.update()
    rate = count * _BATCH_SIZE.value / (time.monotonic() - start)
    print(
        f"{_DATASET.value}, {settings.num_frames} frames of {settings.image_size[0]}x{settings.image_size[1]}: "
        f"{rate:.1f} clips/s, {rate * settings.num_frames:.0f} frames/s"
    )


def main(argv=None) -> int:
    return cli.run(_measure, _FLAGS, "patchwork_tf.data.throughput", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
