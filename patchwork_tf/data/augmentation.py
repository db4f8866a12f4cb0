"""Augmentation of clips: drawn once per clip, so that motion stays what it was."""

import tensorflow as tf

MIN_CROP = 0.7  # side of the smallest crop, relative to the frame
MIN_VISIBLE = 0.3  # a box that a crop leaves less of is dropped
BRIGHTNESS, CONTRAST, SATURATION = 0.15, 0.25, 0.4


def augment(clip: dict, seed) -> dict:
    """Flips, crops and recolours a clip, all frames alike: a function of the clip and the seed (2,).

    'frames' (T, H, W, 3) uint8, 'boxes' (T, G, 4) and 'labels' (T, G), or 'masks' (T, H, W) uint8 are replaced;
    labels of boxes cut off become 0. What else is in the clip is passed through.
    """
    draw = tf.random.stateless_uniform((8,), seed=seed)
    side = MIN_CROP + (1 - MIN_CROP) * draw[0]
    corner = (1 - side) * draw[1:3]
    region = tf.concat([corner, corner + side], axis=0)  # (ymin, xmin, ymax, xmax), of the frame's aspect ratio
    flips = draw[3] < 0.5
    frames = _recolour(_crop(clip["frames"], region, "bilinear"), 2 * draw[4:7] - 1)
    result = {**clip, "frames": _flip(frames, flips)}
    if "masks" in clip:
        masks = tf.cast(_crop(clip["masks"][..., None], region, "nearest")[..., 0], tf.uint8)
        result["masks"] = _flip(masks, flips)
    if "boxes" in clip:
        boxes, result["labels"] = clip_boxes(clip["boxes"], clip["labels"], region)
        ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
        result["boxes"] = tf.where(flips, tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1), boxes)
    return result


def _crop(images, region, method):
    """Zooms (T, H, W, C) uint8 into a region; float32."""
    num_frames, height, width = images.shape[:3]
    regions = tf.tile(region[None], (num_frames, 1))
    return tf.image.crop_and_resize(images, regions, tf.range(num_frames), (height, width), method=method)


def _flip(images, flips):
    return tf.cond(flips, lambda: images[:, :, ::-1], lambda: images)


def clip_boxes(boxes, labels, region):
    """What a crop, `region` (..., 4), leaves of boxes (..., 4) and labels (...).

    Boxes become fractions of the crop, and labels 0 where less than MIN_VISIBLE is left.
    """
    corner, size = region[..., :2], region[..., 2:] - region[..., :2]
    moved = (boxes - tf.concat([corner, corner], -1)) / tf.concat([size, size], -1)
    clipped = tf.clip_by_value(moved, 0.0, 1.0)
    return clipped, tf.where(_area(clipped) >= MIN_VISIBLE * _area(moved), labels, 0)


def _area(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _recolour(frames, draw):
    """Brightness, contrast and saturation by draws in [-1, 1]; float frames in, uint8 out."""
    contrast, saturation = 1 + CONTRAST * draw[1], 1 + SATURATION * draw[2]
    # Away from grey by saturation, then away from the mean by contrast: one matrix, for there are many pixels.
    colours = contrast * (saturation * tf.eye(3) + (1 - saturation) / 3)
    mean = tf.reduce_mean(frames)
    frames = tf.matmul(frames, colours) + ((1 - contrast) * mean + 255 * BRIGHTNESS * draw[0])
    return tf.cast(tf.round(tf.clip_by_value(frames, 0.0, 255.0)), tf.uint8)
