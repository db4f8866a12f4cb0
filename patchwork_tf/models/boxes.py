"""SSD anchors and box arithmetic.

Boxes are (ymin, xmin, ymax, xmax), anchors (ycenter, xcenter, height, width), all as
fractions of the frame's height and width.
"""

import dataclasses
import itertools
import math

import numpy as np
from keras import ops

# Anchor scale per level, stride 8 first, as a fraction of the frame. SSD spaces its scales evenly;
# here the finest level is smaller, for the small objects that video has at 384 pixels.
_PATCHWORK_SCALES = (0.06, 0.13, 0.25, 0.40, 0.56, 0.73, 0.90)
# ssd_anchor_generator of the TensorFlow Object Detection API: six levels from 0.2 to 0.95, and what is smaller
# on the lowest one.
_SSD_SCALES = tuple(0.2 + 0.15 * level for level in range(6))
_SSD_LOWEST_SCALE = 0.1
# How strongly centre and size codes are scaled, as in Faster R-CNN and TF's SSD.
CODE_SCALES = (10.0, 10.0, 5.0, 5.0)
LARGEST_SIZE = math.log(1000 / 16)  # of a box, as the logarithm of its part of the anchor's: keeps exp() finite


def _shape(scale: float, ratio: float) -> tuple[float, float]:
    """Height and width of an anchor; ratio is width / height."""
    return scale / math.sqrt(ratio), scale * math.sqrt(ratio)


def _shapes(scales, ratios) -> tuple:
    """Per level five aspect ratios at its scale, and a square between it and the next (SSD, Section 2.2)."""
    return tuple(
        (*(_shape(scale, ratio) for ratio in ratios), _shape(math.sqrt(scale * larger), 1.0))
        for scale, larger in itertools.pairwise((*scales, 1.0))
    )


# (height, width) per level and anchor. Liu et al., SSD, Section 2.2.
PATCHWORK_ANCHORS = _shapes(_PATCHWORK_SCALES, (1.0, 2.0, 1 / 2, 3.0, 1 / 3))
SSD_ANCHORS = (
    (_shape(_SSD_LOWEST_SCALE, 1.0), _shape(_SSD_SCALES[0], 2.0), _shape(_SSD_SCALES[0], 0.5)),
    *_shapes(_SSD_SCALES, (1.0, 2.0, 0.5, 3.0, 0.3333))[1:],  # the API's configurations write a third so
)


def level_anchors(shapes, feature_size, offset: float = 0.5) -> np.ndarray:
    """Anchors (h, w, a, 4) float32 of `shapes` (a, 2) at every pixel of a map (h, w), `offset` from its corner."""
    height, width = feature_size
    y = (np.arange(height) + offset) / height
    x = (np.arange(width) + offset) / width
    anchors = np.empty((height, width, len(shapes), 4), np.float32)
    anchors[..., 0] = y[:, None, None]
    anchors[..., 1] = x[:, None]
    anchors[..., 2:] = np.asarray(shapes, np.float32)
    return anchors


def encode(boxes, anchors):
    """Box regression targets (..., 4) of corner boxes (..., 4) relative to anchors (..., 4)."""
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-4)
    codes = ops.concatenate(
        [(center - anchors[..., :2]) / anchors[..., 2:], ops.log(size / anchors[..., 2:])], axis=-1
    )
    return codes * np.asarray(CODE_SCALES, np.float32)


@dataclasses.dataclass(frozen=True)
class BoxCoder:
    """How the numbers that a network predicts of an anchor become a box."""

    scales: tuple[float, float, float, float] = CODE_SCALES  # of ycenter, xcenter, height and width
    exponential: bool = True  # whether sizes are logarithms; else they are multiples of the anchor's
    numbers: int = 4  # per anchor, of which four are a box
    places: tuple[int, int, int, int] = (0, 1, 2, 3)  # of ycenter, xcenter, height and width among them

    def decode(self, codes, anchors):
        """Corner boxes (..., 4), clipped to the frame, of codes (..., numbers) and anchors (..., 4)."""
        if self.places != (0, 1, 2, 3) or self.numbers != 4:
            codes = ops.take(codes, np.array(self.places), axis=-1)
        center = codes[..., :2] / np.float32(self.scales[:2]) * anchors[..., 2:] + anchors[..., :2]
        size = codes[..., 2:]
        if self.exponential:
            size = ops.exp(ops.minimum(size / np.float32(self.scales[2:]), LARGEST_SIZE))
        else:
            size = size / np.float32(self.scales[2:])
        size = size * anchors[..., 2:]
        return ops.clip(ops.concatenate([center - size / 2, center + size / 2], axis=-1), 0.0, 1.0)


CODER = BoxCoder()  # of `encode`


def iou(a, b):
    """Intersection over union of corner boxes (..., A, 4) and (..., G, 4): (..., A, G)."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    overlap = ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2])
    intersection = ops.prod(ops.maximum(overlap, 0.0), axis=-1)
    area_a = ops.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = ops.prod(b[..., 2:] - b[..., :2], axis=-1)
    return intersection / ops.maximum(area_a + area_b - intersection, 1e-9)
