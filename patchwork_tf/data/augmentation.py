"""Augmentation of clips: drawn once per clip, so that motion stays what it was."""

import tensorflow as tf

MIN_CROP = 0.7  # side of the smallest crop, relative to the frame
MIN_VISIBLE = 0.3  # a box that a crop leaves less of is dropped
BRIGHTNESS, CONTRAST, SATURATION = 0.15, 0.25, 0.4


def augment(clip: dict, seed) -> dict:
    """Flips, crops and recolours a clip, all frames alike.

    Args:
        clip: 'frames' (T, H, W, 3) uint8, 'boxes' (T, G, 4), 'labels' (T, G), and others, which
            are passed through.
        seed: (2,) integer tensor; the result is a function of the clip and the seed.

    Returns:
        The clip with 'frames', 'boxes' and 'labels' replaced; labels of boxes cut off become 0.
    """
    draw = tf.random.stateless_uniform((8,), seed=seed)
    frames, boxes, labels = clip["frames"], clip["boxes"], clip["labels"]
    frames, boxes, labels = _crop(frames, boxes, labels, draw[:3])
    frames, boxes = tf.cond(draw[3] < 0.5, lambda: _flip(frames, boxes), lambda: (frames, boxes))
    frames = _recolour(frames, 2 * draw[4:7] - 1)
    return {**clip, "frames": frames, "boxes": boxes, "labels": labels}


def _flip(frames, boxes):
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return frames[:, :, ::-1], tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1)


def _crop(frames, boxes, labels, draw):
    """Zooms into a random part of the frame with its aspect ratio."""
    side = MIN_CROP + (1 - MIN_CROP) * draw[0]
    corner = (1 - side) * draw[1:]
    region = tf.concat([corner, corner + side], axis=0)  # (4,)
    num_frames, height, width = frames.shape[:3]
    crops = tf.image.crop_and_resize(
        tf.cast(frames, tf.float32),
        tf.tile(region[None], (num_frames, 1)),
        tf.range(num_frames),
        (height, width),
    )
    moved = (boxes - tf.tile(corner, (2,))) / side
    clipped = tf.clip_by_value(moved, 0.0, 1.0)
    kept = _area(clipped) >= MIN_VISIBLE * _area(moved)
    return crops, clipped, tf.where(kept, labels, 0)


def _area(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _recolour(frames, draw):
    """Brightness, contrast and saturation by draws in [-1, 1]; float frames in, uint8 out."""
    grey = tf.reduce_mean(frames, axis=-1, keepdims=True)
    frames = grey + (frames - grey) * (1 + SATURATION * draw[2])
    mean = tf.reduce_mean(frames)
    frames = mean + (frames - mean) * (1 + CONTRAST * draw[1]) + 255 * BRIGHTNESS * draw[0]
    return tf.cast(tf.round(tf.clip_by_value(frames, 0.0, 255.0)), tf.uint8)
