"""How good the answer for a full frame is, stale parts included, in what users score: overlap, objects found.

An answer is counted up cell by cell, and the counts of all cells give its score. So what an answer is worth that
holds some cells of one frame and some of another is known without making it.
"""

import math

import numpy as np
from keras import ops

from patchwork_tf.models import boxes as box_ops
from patchwork_tf.models.rule import cell_of
from patchwork_tf.models.segmenter import FOREGROUND, UNKNOWN

_FOUND_IOU = 0.5  # from which on a box is the object's
_FALSE_IOU = 0.3  # below which it is nobody's; what lies between is mostly suppressed by a better one
_FALSE_SCORE = 0.1  # a box that is nobody's counts against an answer by what its score is above this
_FALSE_WEIGHT = 0.25


def blank_answer(model, batch_size: int) -> dict:
    """The outputs of a model that has seen nothing yet."""
    if model.config.task == "segmentation":
        cells = model.grid.cells
        mask = ops.full((batch_size, *model.config.image_size), FOREGROUND)
        return {"mask": mask, "undecided": ops.ones((batch_size, cells, cells, 1))}
    anchors = len(model.anchors)
    scores = ops.zeros((batch_size, anchors, model.config.num_classes))
    return {"boxes": ops.zeros((batch_size, anchors, 4)), "scores": scores}


def count_cells(model, answer, truth):
    """Counts of what windows renew of an answer, in each cell.

    Args:
        model: a Patchwork model.
        answer: outputs of `model.step`, for the full frame.
        truth: of the frame: 'boxes' (B, G, 4) and 'labels' (B, G) int32, 1 + class or 0 for padding, or
            'masks' (B, H, W) uint8, 1 for foreground.

    Returns:
        (B, cells, n): of masks the pixels of intersection and union; of detections the best score
        of each of G objects, and the score of the worst false detection.
    """
    if "mask" in answer:
        return _count_mask(answer["mask"], truth["masks"], model.grid)
    cells = cell_of(model.part_centers, model.grid)
    anchors = [np.flatnonzero(cells == number) for number in range(model.grid.cells**2)]
    return _count_detections(answer["boxes"][:, : len(cells)], answer["scores"][:, : len(cells)], truth, anchors)


def count_map(answer, truth):
    """The same (B, 1, n) of what the map of the full frame shows, see `PatchworkModel.map_answer`.

    Masks have nothing of that kind: (B, 0, n).
    """
    if not answer:
        return ops.zeros((truth["masks"].shape[0], 0, 2))
    every = np.arange(answer["boxes"].shape[1])
    return _count_detections(answer["boxes"], answer["scores"], truth, [every])


def score_of(counts, truth):
    """The score (B,) of answers whose counts, (B, rows, n), are those of `count_cells` and `count_map`.

    Of masks it is the intersection over the union; of detections the mean score of the objects, less false ones.
    """
    if "masks" in truth:
        intersection, union = ops.unstack(ops.sum(counts, axis=1), 2, axis=-1)
        return ops.where(union > 0, intersection / ops.maximum(union, 1.0), 1.0)
    found, false = ops.max(counts[..., :-1], axis=1), ops.sum(counts[..., -1], axis=1)
    objects = ops.maximum(ops.sum(ops.cast(truth["labels"] > 0, "float32"), axis=1), 1.0)
    return (ops.sum(found, axis=1) - _FALSE_WEIGHT * false) / objects


def answer_score(model, answer, truth):
    """The score (B,) of outputs of `model.step`; truth as for `count_cells`."""
    rest = {}
    if "boxes" in answer:
        rest = {key: answer[key][:, len(model.part_centers) :] for key in ("boxes", "scores")}
    return score_of(ops.concatenate([count_cells(model, answer, truth), count_map(rest, truth)], axis=1), truth)


def _count_mask(mask, masks, grid):
    known, true = masks != UNKNOWN, masks == 1
    said = (mask > FOREGROUND) & known
    pixels = ops.cast(ops.stack([said & true, said | true], axis=-1), "float32")
    cell = tuple(side // grid.cells for side in masks.shape[1:])
    sums = ops.average_pool(pixels, cell, cell, data_format="channels_last") * float(math.prod(cell))
    return ops.reshape(sums, (-1, grid.cells**2, 2))


def _count_detections(boxes, scores, truth, rows):
    """Counts (B, rows, G + 1) of boxes (B, A, 4) and scores (B, A, classes), each row being of some anchors."""
    labels = truth["labels"]
    overlap = box_ops.iou(boxes, truth["boxes"]) * ops.cast(labels > 0, "float32")[:, None]  # (B, A, G)
    wanted = ops.one_hot(ops.maximum(labels - 1, 0), scores.shape[-1])  # (B, G, classes)
    of_object = ops.matmul(scores, ops.transpose(wanted, (0, 2, 1)))  # (B, A, G)
    found = ops.where(overlap >= _FOUND_IOU, of_object, 0.0)
    best = ops.max(scores, axis=-1)
    false = ops.where(ops.max(overlap, axis=-1) < _FALSE_IOU, ops.relu(best - _FALSE_SCORE), 0.0)
    counts = ops.concatenate([found, false[..., None]], axis=-1)  # (B, A, G + 1)
    return ops.stack([ops.max(ops.take(counts, anchors, axis=1), axis=1) for anchors in rows], axis=1)
