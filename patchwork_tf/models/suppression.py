"""Non-maximum suppression, for every backend. Exported files have LiteRT's own operator in its place."""

from keras import ops

from patchwork_tf.models.boxes import iou

MAX_DETECTIONS = 100
IOU_THRESHOLD = 0.5
SCORE_THRESHOLD = 0.01
# Of a box, as a fraction of the frame. Exported files shift the boxes of each class elsewhere: in float32, smaller
# ones have no area there.
LEAST_SIDE = 1e-4
# Best-ranked candidates, pairs of anchor and class, that enter suppression.
_CANDIDATES = 400


def suppress(boxes, scores, classes, weights=None, max_detections=MAX_DETECTIONS, candidates=_CANDIDATES):
    """Keeps of overlapping boxes of the same class the one that ranks first.

    Args:
        boxes: (B, A, 4) float32 corner boxes as fractions of the frame.
        scores, classes: (B, A) float32 and int32.
        weights: (B, A) float32, by which scores are multiplied when boxes compete, and before they are held
            against SCORE_THRESHOLD: stale ones count less. By default all are 1.
        max_detections: D.
        candidates: how many boxes enter suppression at most, the best-ranked ones.

    Returns:
        boxes (B, D, 4), scores (B, D), classes (B, D) int32 from 0, count (B,) int32: the first `count` rows are
        detections, in the order of their rank; the rest is zero.
    """
    ranks = ranked(boxes, scores, weights)
    ranks, index = ops.top_k(ranks, min(candidates, ranks.shape[1]))
    boxes = ops.take_along_axis(boxes, index[..., None], axis=1)
    scores, classes = (ops.take_along_axis(x, index, axis=1) for x in (scores, classes))
    kept = _kept(boxes, classes, ranks > SCORE_THRESHOLD)
    count = ops.minimum(ops.sum(ops.cast(kept, "int32"), axis=1), max_detections)
    # Sorted by rank already: those that are kept move up, in their order.
    places = ops.arange(kept.shape[1], dtype="int32")
    order = ops.argsort(ops.where(kept, places, places + kept.shape[1]), axis=1)
    order = _padded(order, max_detections)
    valid = ops.arange(max_detections, dtype="int32") < count[:, None]
    return (
        ops.where(valid[..., None], ops.take_along_axis(boxes, order[..., None], axis=1), 0.0),
        ops.where(valid, ops.take_along_axis(scores, order, axis=1), 0.0),
        ops.where(valid, ops.take_along_axis(classes, order, axis=1), 0),
        count,
    )


def ranked(boxes, scores, weights):
    """By what boxes compete (..., A): scores, weighted unless that is None; 0 for boxes without any area."""
    ranks = scores if weights is None else scores * weights
    # LiteRT's operator returns such a box again and again, in the place of all that come after it.
    return ops.where(ops.all(boxes[..., 2:] - boxes[..., :2] > LEAST_SIDE, axis=-1), ranks, 0.0)


def best_classes(scores):
    """Best score (..., A) float32 and its class (..., A) int32 of scores (..., A, classes)."""
    return ops.max(scores, axis=-1), ops.cast(ops.argmax(scores, axis=-1), "int32")


def every_class(boxes, scores, weights):
    """What `suppress` takes, if every anchor may speak for several classes: its best pairs of anchor and class.

    Args:
        boxes: (B, A, 4), scores: (B, A, classes), weights: (B, A) float32.
    """
    classes = scores.shape[-1]
    flat = ops.reshape(scores * weights[..., None], (scores.shape[0], -1))
    _, index = ops.top_k(flat, min(_CANDIDATES, flat.shape[1]))
    anchor = index // classes
    return (
        ops.take_along_axis(boxes, anchor[..., None], axis=1),
        ops.take_along_axis(ops.reshape(scores, flat.shape), index, axis=1),
        ops.cast(index % classes, "int32"),
        ops.take_along_axis(weights, anchor, axis=1),
    )


def _kept(boxes, classes, candidates):
    """Which of boxes (B, K, 4), best first, no better one of their class that is kept overlaps: (B, K) bool."""
    same = classes[:, :, None] == classes[:, None]
    better = ops.tril(ops.ones((boxes.shape[1],) * 2, "bool"), -1)
    rivals = (iou(boxes, boxes) > IOU_THRESHOLD) & same & better & candidates[:, None]

    def next_round(kept, _):
        beaten = ops.any(rivals & kept[:, None], axis=2)
        return candidates & ~beaten, kept

    # Who is kept depends on better ones alone: round n settles at least the first n, mostly many more.
    kept, _ = ops.while_loop(lambda kept, before: ops.any(kept != before), next_round, (candidates, ~candidates))
    return kept


def _padded(order, size):
    missing = size - order.shape[1]
    return ops.pad(order, ((0, 0), (0, missing))) if missing > 0 else order[:, :size]
