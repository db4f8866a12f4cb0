"""Non-maximum suppression, in operators that LiteRT has built in."""

import tensorflow as tf

MAX_DETECTIONS = 100
IOU_THRESHOLD = 0.5
SCORE_THRESHOLD = 0.01
# Pairs of anchor and class that enter suppression, best scores first.
_CANDIDATES = 400


def suppress(boxes, scores, max_detections=MAX_DETECTIONS):
    """Keeps the best of overlapping boxes of the same class. An anchor may speak for several classes.

    Args:
        boxes: (A, 4) float32 corner boxes as fractions of the frame.
        scores: (A, classes) float32.
        max_detections: D.

    Returns:
        boxes (D, 4), scores (D,), classes (D,) int32 from 0, count () int32: the first `count`
        rows are detections, best first; the rest is zero.
    """
    num_anchors, num_classes = scores.shape
    candidates = min(_CANDIDATES, num_anchors * num_classes)
    top_scores, index = tf.math.top_k(tf.reshape(scores, (-1,)), candidates)
    classes = tf.math.floormod(index, num_classes)
    top_boxes = tf.gather(boxes, tf.math.floordiv(index, num_classes))
    return _suppress(top_boxes, top_scores, tf.cast(classes, tf.float32), max_detections)


def best_classes(scores):
    """Best score (A,) and its class (A,), both float32, of scores (A, classes)."""
    return tf.reduce_max(scores, 1), tf.cast(tf.argmax(scores, 1, tf.int32), tf.float32)


def suppress_best(boxes, scores, classes, max_detections=MAX_DETECTIONS):
    """Keeps the best of overlapping boxes of the same class. An anchor speaks for its best class only.

    Args:
        boxes: (A, 4) float32 corner boxes as fractions of the frame.
        scores, classes: (A,) float32, from `best_classes`.
        max_detections: D.

    Returns:
        As `suppress`.
    """
    return _suppress(boxes, scores, classes, max_detections)


def _suppress(boxes, scores, classes, max_detections):
    # Boxes of different classes, shifted apart, never overlap: one call serves all classes.
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes + 2.0 * classes[:, None],
        scores=scores,
        max_output_size=max_detections,
        iou_threshold=IOU_THRESHOLD,
        score_threshold=SCORE_THRESHOLD,
        pad_to_max_output_size=True,
    )
    valid = tf.range(max_detections) < count
    return (
        tf.where(valid[:, None], tf.gather(boxes, kept), 0.0),
        tf.where(valid, tf.gather(scores, kept), 0.0),
        tf.where(valid, tf.cast(tf.gather(classes, kept), tf.int32), 0),
        count,
    )
