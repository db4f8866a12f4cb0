"""tf.data pipelines: clips and the windows to look at them through, batched for training.

An element of every pipeline is a dict that describes one clip:
    'frames' (T, H, W, 3) uint8, 'index' () int64,
    for detection 'boxes' (T, G, 4) float32 as fractions of the frame and 'labels' (T, G) int32,
    1 + class or 0 for padding, for segmentation 'masks' (T, H, W) uint8, 1 for foreground.
"""

import numpy as np
import tensorflow as tf

from patchwork_tf.data import moving_objects
from patchwork_tf.data.augmentation import augment
from patchwork_tf.data.moving_objects_builder import MovingObjects
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.grid import Grid

# How the windows of a training clip are chosen; 'mixed' tosses a coin per clip.
TRAIN_WINDOWS = ("random", "raster", "mixed")
_WINDOW_STREAM, _AUGMENTATION_STREAM = 101, 102  # keep the random streams of one clip apart


def moving_objects_clips(
    num_frames, image_size, split="train", seed=0, start=0, task="detection"
) -> tf.data.Dataset:
    """Endless generated clips, rendered on the fly.

    Args:
        num_frames: T.
        image_size: (H, W). Scenes are rendered square and stretched to it.
        split: one of moving_objects.SPLITS.
        seed: of the data set.
        start: index of the first clip; a resumed training run starts where it stopped.
        task: 'detection' or 'segmentation', of objects from anything else.
    """
    size = max(image_size)
    objects = moving_objects.MAX_OBJECTS

    def render(index):
        clip = moving_objects.render_clip(int(index), num_frames, size, split, seed)
        return clip.frames, clip.instances[..., None], clip.boxes, clip.labels

    def element(index):
        frames, instances, boxes, labels = tf.numpy_function(
            render, [index], (tf.uint8, tf.uint8, tf.float32, tf.int32)
        )
        clip = {
            "frames": tf.ensure_shape(frames, (num_frames, size, size, 3)),
            "instances": tf.ensure_shape(instances, (num_frames, size, size, 1)),
            "boxes": tf.ensure_shape(boxes, (num_frames, objects, 4)),
            "labels": tf.ensure_shape(labels, (num_frames, objects)),
        }
        return {**_for_task(clip, image_size, task), "index": index}

    indices = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
    return indices.map(element, num_parallel_calls=2, deterministic=True)


def _for_task(clip, image_size, task):
    """Frames of `image_size` and what a task has to predict in them."""
    frames, masks = clip["frames"], clip["instances"] > 0
    if frames.shape[1:3] != image_size:
        frames = tf.cast(tf.round(tf.image.resize(frames, image_size)), tf.uint8)
        masks = tf.image.resize(tf.cast(masks, tf.uint8), image_size, method="nearest")
    if task == "segmentation":
        return {"frames": frames, "masks": tf.cast(masks[..., 0], tf.uint8)}
    return {"frames": frames, "boxes": clip["boxes"], "labels": clip["labels"]}


def prepared_clips(
    data_dir, num_frames, image_size, split="train", seed=0, start=0, task="detection"
) -> tf.data.Dataset:
    """Endless clips of moving_objects as prepared by its TFDS builder.

    Args:
        data_dir: TFDS folder. Its config of the size nearest above `image_size` is used.
        num_frames: T, at most the prepared clips' length; a random part of each clip is taken.
        image_size, split, seed, start, task: as for `moving_objects_clips`.

    Raises:
        DataError: if no suitable data set was prepared there.
    """
    builder = _open_builder(data_dir, max(image_size), num_frames)
    # TFDS has shuffled the clips on disk; with their order fixed, a run can resume anywhere.
    videos = builder.as_dataset(split=split, shuffle_files=False).repeat().enumerate().skip(start)

    def element(index, clip):
        length = clip["frames"].shape[0]
        first = tf.random.stateless_uniform((), [index, seed], 0, length - num_frames + 1, tf.int64)
        part = {}
        for key in ("frames", "instances", "boxes", "labels"):
            shape = (num_frames, *clip[key].shape[1:])
            part[key] = tf.ensure_shape(clip[key][first : first + num_frames], shape)
        return {**_for_task(part, image_size, task), "index": index}

    return videos.map(element, num_parallel_calls=2, deterministic=True)


def _open_builder(data_dir, size, num_frames):
    for config in MovingObjects.BUILDER_CONFIGS:
        if config.image_size >= size or config is MovingObjects.BUILDER_CONFIGS[-1]:
            break
    builder = MovingObjects(config=config.name, data_dir=data_dir)
    if not builder.is_prepared():
        raise DataError(
            f"{data_dir}: moving_objects/{config.name} was not prepared there; run python -m "
            f"patchwork_tf.data.moving_objects_builder --data_dir={data_dir} --config={config.name}"
        )
    if num_frames > config.clip_frames:
        raise UsageError(f"--clip_frames={num_frames}: the clips in {data_dir} have {config.clip_frames} frames")
    return builder


def training_batches(clips, grid: Grid, batch_size, *, windows="mixed", augmented=True, seed=0):
    """Batches for `ClipModel.fit`: (clip, truth) with windows chosen for every clip.

    Everything random is a function of the clip's index and the seed, so that a run that starts
    at clip k sees what an unbroken run sees from clip k on.
    """

    def prepare(clip):
        index = clip["index"]
        if augmented:
            clip = augment(clip, seed=tf.stack([index, seed * 1000 + _AUGMENTATION_STREAM]))
        num_frames = clip["frames"].shape[0]
        chosen = tf.numpy_function(
            lambda i: clip_windows(grid, num_frames, windows, seed, int(i)), [index], tf.int32
        )
        chosen = tf.ensure_shape(chosen, (num_frames, 2))
        truth = {key: clip[key] for key in ("boxes", "labels", "masks") if key in clip}
        return {"frames": clip["frames"], "windows": chosen}, truth

    batches = clips.map(prepare, num_parallel_calls=2, deterministic=True)
    return batches.batch(batch_size, drop_remainder=True).prefetch(2)


def clip_windows(grid: Grid, num_frames, how, seed=0, index=0) -> np.ndarray:
    """Windows (T, 2) int32 of one training clip: drawn anew per frame, or a raster from a random start."""
    rng = np.random.default_rng([seed, _WINDOW_STREAM, index])
    if how == "mixed":
        how = "raster" if rng.random() < 0.5 else "random"
    if how == "random":
        return rng.integers(0, grid.positions, (num_frames, 2), dtype=np.int32)
    sweep = np.array(grid.raster, np.int32)
    return sweep[(rng.integers(len(sweep)) + np.arange(num_frames)) % len(sweep)]
