"""Non-maximum suppression, for every backend. Exported files have LiteRT's own operator in its place."""

from keras import ops

from patchwork_tf.models.boxes import iou

MAX_DETECTIONS = 100
IOU_THRESHOLD = 0.5
SCORE_THRESHOLD = 0.01
# Of a box, as a fraction of the frame. Exported files shift the boxes of each class elsewhere: in float32, smaller
# ones have no area there.
LEAST_SIDE = 1e-4
# How many candidates, best-ranked first, are held against each other at once.
_AT_ONCE = 400


def suppress(boxes, scores, classes, weights=None, max_detections=MAX_DETECTIONS):
    """Keeps of overlapping boxes of the same class the one that ranks first.

    Args:
        boxes: (B, A, 4) float32 corner boxes as fractions of the frame.
        scores, classes: (B, A) float32 and int32.
        weights: (B, A) float32, by which scores are multiplied when boxes compete, and before they are held
            against SCORE_THRESHOLD: stale ones count less. By default all are 1.
        max_detections: D.

    Returns:
        boxes (B, D, 4), scores (B, D), classes (B, D) int32 from 0, count (B,) int32: the first `count` rows are
        detections, in the order of their rank; the rest is zero.
    """
    ranks = ranked(boxes, scores, weights)
    places = ops.arange(ranks.shape[1], dtype="int32")
    nothing = ops.zeros_like(ranks[:, :1])
    chosen = ops.cast(ops.tile(nothing, (1, max_detections)), "int32")  # numbers of anchors, the first `count`
    count = ops.cast(nothing[:, 0], "int32")

    def is_open(left, chosen, count):
        return ops.any((ops.max(left, axis=1) > SCORE_THRESHOLD) & (count < max_detections))

    def next_round(left, chosen, count):
        """Takes the best that are left, and adds to those chosen which of them none of these overlaps."""
        rank, index = ops.top_k(left, min(_AT_ONCE, left.shape[1]))
        # The best that are left, of equal ones those that come first, are taken.
        taken = (left > rank[:, -1:]) | ((left == rank[:, -1:]) & (places <= index[:, -1:]))
        before, (box, label) = _of(chosen, boxes, classes), _of(index, boxes, classes)
        is_chosen = ops.arange(max_detections, dtype="int32") < count[:, None]
        beaten = _overlaps(box, label, *before) & is_chosen[:, None]
        kept = _kept(box, label, (rank > SCORE_THRESHOLD) & ~ops.any(beaten, axis=2))
        # Those that are kept move up behind the ones chosen before, in their order.
        valid, numbers = (ops.concatenate(pair, axis=1) for pair in ((is_chosen, kept), (chosen, index)))
        order = ops.argsort(ops.where(valid, 0, 1) * valid.shape[1] + ops.arange(valid.shape[1]), axis=1)
        chosen = ops.take_along_axis(numbers, order[:, :max_detections], axis=1)
        count = ops.minimum(ops.sum(ops.cast(valid, "int32"), axis=1), max_detections)
        return ops.where(taken, 0.0, left), chosen, count

    _, chosen, count = ops.while_loop(is_open, next_round, (ranks, chosen, count))
    valid = ops.arange(max_detections, dtype="int32") < count[:, None]
    boxes, classes = _of(chosen, boxes, classes)
    return (
        ops.where(valid[..., None], boxes, 0.0),
        ops.where(valid, ops.take_along_axis(scores, chosen, axis=1), 0.0),
        ops.where(valid, classes, 0),
        count,
    )


def _of(index, boxes, classes):
    """Boxes (B, K, 4) and classes (B, K) of anchors (B, K)."""
    return ops.take_along_axis(boxes, index[..., None], axis=1), ops.take_along_axis(classes, index, axis=1)


def ranked(boxes, scores, weights):
    """By what boxes compete (..., A): scores, weighted unless that is None; 0 for boxes without any area."""
    ranks = scores if weights is None else scores * weights
    # LiteRT's operator returns such a box again and again, in the place of all that come after it.
    return ops.where(ops.all(boxes[..., 2:] - boxes[..., :2] > LEAST_SIDE, axis=-1), ranks, 0.0)


def best_classes(scores):
    """Best score (..., A) float32 and its class (..., A) int32 of scores (..., A, classes)."""
    return ops.max(scores, axis=-1), ops.cast(ops.argmax(scores, axis=-1), "int32")


def every_class(boxes, scores, weights):
    """What `suppress` takes, if each anchor speaks for all of its classes: one candidate for each pair."""
    anchors, classes = scores.shape[1:]
    numbers = ops.tile(ops.arange(classes, dtype="int32"), (scores.shape[0], anchors))
    boxes, weights = (ops.repeat(x, classes, axis=1) for x in (boxes, weights))
    return boxes, ops.reshape(scores, (scores.shape[0], -1)), numbers, weights


def _kept(boxes, classes, candidates):
    """Which of boxes (B, K, 4), best first, no better one of their class that is kept overlaps: (B, K) bool."""
    better = ops.tril(ops.ones((boxes.shape[1],) * 2, "bool"), -1)
    rivals = _overlaps(boxes, classes, boxes, classes) & better & candidates[:, None]

    def next_round(kept, _):
        beaten = ops.any(rivals & kept[:, None], axis=2)
        return candidates & ~beaten, kept

    # Who is kept depends on better ones alone: round n settles at least the first n, mostly many more.
    kept, _ = ops.while_loop(lambda kept, before: ops.any(kept != before), next_round, (candidates, ~candidates))
    return kept


def _overlaps(boxes, classes, others, of_others):
    """Which of boxes (B, K, 4) overlap which others (B, J, 4) of their class: (B, K, J) bool."""
    return (iou(boxes, others) > IOU_THRESHOLD) & (classes[:, :, None] == of_others[:, None])
