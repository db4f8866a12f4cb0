"""Measures how many clips per second a training pipeline delivers, and how many the training of a model takes.

All augmentation is included, and each is measured alone. Training waits for its data if the pipeline is slower.

  python tools/throughput.py --dataset=davis2016 --data_dir=$HOME/data --system=davis-sf --image_size=256
"""

import argparse
import concurrent.futures
import multiprocessing
import time

import keras
import tensorflow as tf

import patchwork_tf as pw
from patchwork_tf import choices
from patchwork_tf.data import clips
from patchwork_tf.data.datasets import Source, class_names
from patchwork_tf.task import get_task
from patchwork_tf.training.clip_model import ClipModel
from patchwork_tf.training.fit import compute_in, make_optimizer

_WARMUP_BATCHES = 3


def main(argv=None):
    """Prints clips per second of a pipeline, then steps per second of a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="moving_objects")
    parser.add_argument("--data_dir", help="TFDS folder it was prepared in")
    parser.add_argument("--config", help="which form of it; by default the first")
    parser.add_argument("--system", default="vid-pw-m4n2", help="whose model and truth")
    parser.add_argument("--image_size", type=int, default=384, help="pixels of a side")
    parser.add_argument("--depth", type=float, default=1.0)
    parser.add_argument("--clip_frames", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=8, help="clips per batch")
    parser.add_argument("--precision", choices=choices.PRECISIONS, default="float32", help="of the model")
    parser.add_argument("--processes", type=int, default=1, help="pipelines that run at the same time")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure each")
    given = parser.parse_args(argv)
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(given.processes, spawned) as pool:
        rate = sum(pool.map(_pipeline, [given] * given.processes))
    what = f"{given.clip_frames} frames of {given.image_size}x{given.image_size}"
    print(f"{given.dataset}, {what}, {given.processes} processes: {rate:.1f} clips/s")
    steps = _model(given)
    clips_per_second = f"{steps * given.batch_size:.1f} clips/s"
    print(f"{given.system}, depth {given.depth:g}, {given.precision}: {steps:.2f} steps/s, {clips_per_second}")


def _batches(given):
    source = Source(given.dataset, given.data_dir, "train", given.config)
    model = pw.get_system(given.system).model
    truth = get_task(model.task).truth
    names = class_names(source, truth)  # says so if there is none
    config = clips.ClipConfig(truth, given.clip_frames, (given.image_size, given.image_size))
    return clips.training_batches(clips.training_clips(source, config), model.grid, given.batch_size), names


def _pipeline(given) -> float:
    """Clips per second."""
    batches = iter(_batches(given)[0])
    return given.batch_size * _rate(lambda: next(batches), given.seconds)


def _model(given) -> float:
    """Steps per second on one batch, again and again."""
    batches, names = _batches(given)
    model = pw.build(given.system, image_size=given.image_size, depth=given.depth, num_classes=len(names))
    compute_in(model, given.precision)
    trainer = ClipModel(model)
    optimizer = make_optimizer(1e-6, 10**6, 0, precision=given.precision)
    trainer.compile(optimizer, jit_compile="auto" if keras.backend.backend() == "jax" else False)
    batch = next(iter(batches.take(1)))
    data = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return _rate(lambda: trainer.train_on_batch(*next(data)), given.seconds)


def _rate(function, seconds) -> float:
    """Calls per second."""
    for _ in range(_WARMUP_BATCHES):
        function()
    start, count = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        function()
        count += 1
    return count / (time.monotonic() - start)


if __name__ == "__main__":
    main()
