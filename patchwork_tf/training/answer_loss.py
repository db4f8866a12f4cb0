"""How wrong the answer for a full frame is, stale parts included: what looking at a window can mend.

Losses are per item of the batch and relative to that of knowing nothing, so that both tasks speak
of the same scale: 0 is perfect, 1 a blank answer.
"""

import math

import numpy as np
from keras import ops

from patchwork_tf.models import boxes as box_ops
from patchwork_tf.models.detector import BACKGROUND
from patchwork_tf.models.segmenter import UNKNOWN
from patchwork_tf.training.losses import FOCAL_GAMMA, IGNORED, match_anchors

_MIN_PROBABILITY = 1e-3  # however sure and wrong an answer is, its loss is finite
_BLANK_DETECTION = (1 - _MIN_PROBABILITY) ** FOCAL_GAMMA * -math.log(_MIN_PROBABILITY) + 1
_BLANK_MASK = math.log(2)


def answer_targets(model, truth) -> dict:
    """What the answer to one frame should be: worked out once, however many answers are held against it.

    Args:
        model: a model of the zoo.
        truth: of the frame: 'boxes' (B, G, 4) and 'labels' (B, G) int32, 1 + class or 0 for padding, or
            'masks' (B, H, W) uint8, 1 for foreground.

    Returns:
        Of each of P parts of an answer, which are anchors or pixels: 'classes' (B, P) and 'boxes' (B, P, 4), or
        'masks' (B, P); and 'weights' (B, P), what the part counts for.
    """
    if model.config.task == "segmentation":
        masks = ops.reshape(truth["masks"], (truth["masks"].shape[0], -1))
        known = ops.cast(masks != UNKNOWN, "float32")
        count = ops.maximum(ops.sum(known, axis=1, keepdims=True), 1.0)
        return {"masks": masks, "weights": known / count / _BLANK_MASK}
    classes, codes = match_anchors(model.anchors, truth["boxes"], truth["labels"])
    objects = ops.sum(ops.cast(classes > 0, "float32"), axis=1, keepdims=True)
    weights = ops.cast(classes != IGNORED, "float32") / ops.maximum(objects, 1.0) / _BLANK_DETECTION
    return {
        "classes": classes,
        "boxes": box_ops.decode(codes, np.asarray(model.anchors)[None]),
        "weights": weights,
    }


def answer_loss(model, outputs, targets):
    """The loss (B,) of what `model.step` answers to one frame: its outputs against `answer_targets`."""
    return ops.sum(part_losses(model, outputs, targets), axis=1)


def part_losses(model, outputs, targets):
    """The summands (B, P) of `answer_loss`, one per pixel or anchor; of some if both arguments hold only those."""
    if model.config.task == "segmentation":
        return _mask_losses(outputs["mask"], **targets)
    return _detection_losses(outputs["boxes"], outputs["scores"], targets)


def blank_answer(model, batch_size: int) -> dict:
    """The outputs of a model that has seen nothing yet."""
    if model.config.task == "segmentation":
        return {"mask": ops.full((batch_size, *model.config.image_size), 0.5)}
    anchors = len(model.anchors)
    scores = ops.zeros((batch_size, anchors, model.config.num_classes))
    return {"boxes": ops.zeros((batch_size, anchors, 4)), "scores": scores}


def _mask_losses(mask, masks, weights):
    """Cross-entropy of each pixel; `mask` is (B, H, W) or (B, P)."""
    p = ops.reshape(mask, masks.shape)
    return -ops.log(ops.clip(ops.where(masks == 1, p, 1 - p), _MIN_PROBABILITY, 1.0)) * weights


def _detection_losses(boxes, scores, targets):
    """Focal loss of each anchor, and 1 - IoU if it is an object's."""
    classes = targets["classes"]
    wanted = ops.one_hot(ops.maximum(classes - 1, 0), scores.shape[-1])
    p_object = ops.sum(scores * wanted, axis=-1)
    p = ops.where(classes == BACKGROUND, 1 - ops.sum(scores, axis=-1), p_object)
    p = ops.clip(p, _MIN_PROBABILITY, 1.0)
    focal = -((1 - p) ** FOCAL_GAMMA) * ops.log(p)
    positive = ops.cast(classes > 0, "float32")
    return (focal + positive * (1 - _paired_iou(boxes, targets["boxes"]))) * targets["weights"]


def _paired_iou(a, b):
    """Intersection over union (...,) of boxes (..., 4) with their counterparts."""
    low, high = ops.maximum(a[..., :2], b[..., :2]), ops.minimum(a[..., 2:], b[..., 2:])
    intersection = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    areas = [ops.prod(ops.maximum(x[..., 2:] - x[..., :2], 0.0), axis=-1) for x in (a, b)]
    return intersection / ops.maximum(areas[0] + areas[1] - intersection, 1e-9)
