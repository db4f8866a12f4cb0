"""Measures how many clips per second a training pipeline delivers, all augmentation included.

Compare with the `train/steps_per_second` that patchwork-train logs for TensorBoard, times its batch size: training
waits for its data if the pipeline is slower.

  python tools/throughput.py --dataset=davis2016 --data_dir=$HOME/data --image_size=256
"""

import argparse
import time

from patchwork_tf.data import clips
from patchwork_tf.data.datasets import Source, class_names, truths
from patchwork_tf.grid import Grid

_WARMUP_BATCHES = 3


def main(argv=None):
    """Prints clips and frames per second of a training pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="moving_objects")
    parser.add_argument("--data_dir", help="TFDS folder it was prepared in")
    parser.add_argument("--config", help="which form of it; by default the first")
    parser.add_argument("--truth", help="objects or masks; by default the first that it has")
    parser.add_argument("--image_size", type=int, default=384, help="pixels of a side")
    parser.add_argument("--clip_frames", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=8, help="clips per batch")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure")
    given = parser.parse_args(argv)
    source = Source(given.dataset, given.data_dir, "train", given.config)
    truth = given.truth or next(iter(truths(source)))
    class_names(source, truth)  # says so if there is none
    size = (given.image_size, given.image_size)
    config = clips.ClipConfig(truth, given.clip_frames, size)
    videos = clips.training_clips(source, config)
    batches = iter(clips.training_batches(videos, Grid(4, 2), given.batch_size))
    for _ in range(_WARMUP_BATCHES):
        next(batches)
    start, count = time.monotonic(), 0
    while time.monotonic() - start < given.seconds:
        next(batches)
        count += 1
    rate = count * given.batch_size / (time.monotonic() - start)
    print(
        f"{given.dataset}, {given.clip_frames} frames of {size[0]}x{size[1]}: {rate:.1f} clips/s, "
        f"{rate * given.clip_frames:.0f} frames/s"
    )


if __name__ == "__main__":
    main()
