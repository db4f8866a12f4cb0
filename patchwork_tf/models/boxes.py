"""SSD anchors and box arithmetic.

Boxes are (ymin, xmin, ymax, xmax), anchors (ycenter, xcenter, height, width), all as
fractions of the frame's height and width.
"""

import math

import numpy as np
from keras import ops

ANCHORS_PER_LOCATION = 6
# Anchor scale per level, stride 8 first, as a fraction of the frame. SSD spaces its scales evenly;
# here the finest level is smaller, for the small objects that video has at 384 pixels.
SCALES = (0.06, 0.13, 0.25, 0.40, 0.56, 0.73, 0.90)
ASPECT_RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)  # width / height
# How strongly centre and size codes are scaled, as in Faster R-CNN and TF's SSD.
CODE_SCALES = (10.0, 10.0, 5.0, 5.0)
MAX_SIZE_CODE = CODE_SCALES[2] * math.log(1000 / 16)  # keeps exp() finite for an untrained network


def level_anchors(level: int, feature_size) -> np.ndarray:
    """Anchors of one feature map: (h, w, 6, 4) float32.

    Five aspect ratios at the level's scale, and a square between this scale and the next
    (Liu et al., SSD, Section 2.2).
    """
    scale = SCALES[level]
    next_scale = SCALES[level + 1] if level + 1 < len(SCALES) else 1.0
    sizes = [(scale / np.sqrt(ratio), scale * np.sqrt(ratio)) for ratio in ASPECT_RATIOS]
    sizes.append((np.sqrt(scale * next_scale),) * 2)
    height, width = feature_size
    y = (np.arange(height) + 0.5) / height
    x = (np.arange(width) + 0.5) / width
    anchors = np.empty((height, width, ANCHORS_PER_LOCATION, 4), np.float32)
    anchors[..., 0] = y[:, None, None]
    anchors[..., 1] = x[:, None]
    anchors[..., 2:] = np.asarray(sizes, np.float32)
    return anchors


def to_corners(anchors):
    """(..., 4) centre form to (..., 4) corner form."""
    center, size = anchors[..., :2], anchors[..., 2:]
    return ops.concatenate([center - size / 2, center + size / 2], axis=-1)


def encode(boxes, anchors):
    """Box regression targets (..., 4) of corner boxes (..., 4) relative to anchors (..., 4)."""
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-4)
    codes = ops.concatenate(
        [(center - anchors[..., :2]) / anchors[..., 2:], ops.log(size / anchors[..., 2:])], axis=-1
    )
    return codes * np.asarray(CODE_SCALES, np.float32)


def decode(codes, anchors):
    """Inverse of `encode`, clipped to the frame: corner boxes (..., 4)."""
    center = codes[..., :2] / CODE_SCALES[0] * anchors[..., 2:] + anchors[..., :2]
    size = ops.exp(ops.minimum(codes[..., 2:], MAX_SIZE_CODE) / CODE_SCALES[2]) * anchors[..., 2:]
    return ops.clip(ops.concatenate([center - size / 2, center + size / 2], axis=-1), 0.0, 1.0)


def iou(a, b):
    """Intersection over union of corner boxes (..., A, 4) and (..., G, 4): (..., A, G)."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    overlap = ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2])
    intersection = ops.prod(ops.maximum(overlap, 0.0), axis=-1)
    area_a = ops.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = ops.prod(b[..., 2:] - b[..., :2], axis=-1)
    return intersection / ops.maximum(area_a + area_b - intersection, 1e-9)
