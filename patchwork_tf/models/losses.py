"""What a step freshly predicts against the truth: the SSD loss of detectors, cross-entropy of segmenters.

The class loss of detectors is focal loss, not hard-negative mining: mining takes the hardest three
negatives per positive of an image, and half of all windows hold no positive at all. Focal
loss weighs every anchor on its own, whatever else is in its window.
"""

from keras import ops

from patchwork_tf import devices
from patchwork_tf.models import boxes as box_ops
from patchwork_tf.truth import BACKGROUND, IGNORED, UNKNOWN

MATCH_IOU = 0.5  # at least: an anchor is an object's (SSD)
IGNORE_IOU = 0.4  # between this and MATCH_IOU: neither object nor background
FORCED_IOU = 0.1  # an object's best anchors are its own from here on, however poor
FOCAL_GAMMA = 2.0
FOCAL_ALPHA = 0.25  # of positives, where classes do not exclude each other
# What an anchor counts for on top, where a teacher sees an object: a student in doubt is to say so, not nothing.
_BELIEF_WEIGHT = 1.0


def select_windows(network, values, windows):
    """Keeps of full-frame values (B, T, ...) what each frame's step predicts through its window, (B, T, 2)."""
    batch, time = values.shape[:2]
    flat = ops.reshape(values, (batch * time, *values.shape[2:]))
    selected = network.select_window(flat, ops.reshape(windows, (batch * time, 2)))
    return ops.reshape(selected, (batch, time, *selected.shape[1:]))


def match_anchors(anchors, boxes, labels):
    """Decides what every anchor should predict.

    Args:
        anchors: (A, 4) in centre form.
        boxes: (..., G, 4) corner boxes, padded with anything.
        labels: (..., G) int32: 1 + class, 0 for padding, IGNORED for objects that should
            be neither learned nor called background.

    Returns:
        classes: (..., A) int32: 1 + class, BACKGROUND or IGNORED.
        codes: (..., A, 4) box regression targets, meaningful where classes > 0.
    """
    center, size = anchors[..., :2], anchors[..., 2:]
    corners = ops.concatenate([center - size / 2, center + size / 2], axis=-1)
    overlap = box_ops.iou(corners, boxes)  # (..., A, G)
    overlap = ops.where(labels[..., None, :] == 0, -1.0, overlap)
    best_of_object = ops.max(overlap, axis=-2, keepdims=True)
    forced = (overlap >= best_of_object - 1e-5) & (best_of_object > FORCED_IOU)
    overlap = ops.where(forced, overlap + 1.0, overlap)  # beats every other object
    best = ops.max(overlap, axis=-1)  # (..., A)
    choice = ops.one_hot(ops.argmax(overlap, axis=-1), labels.shape[-1])  # (..., A, G)
    chosen_label = ops.sum(choice * ops.cast(labels, "float32")[..., None, :], axis=-1)
    classes = ops.where(best >= IGNORE_IOU, IGNORED, BACKGROUND)
    classes = ops.where(best >= MATCH_IOU, ops.cast(chosen_label, "int32"), classes)
    return classes, box_ops.encode(ops.matmul(choice, boxes), anchors)


def seen_labels(boxes, labels, windows, grid, warm=None):
    """Labels, those of objects IGNORED whose centre no window of the clip has covered so far.

    Args:
        boxes: (B, T, G, 4), labels: (B, T, G) int32, windows: (B, T, 2) int32.
        warm: (B,) float32, 1 for clips whose first frame was seen as a whole, or None.
    """
    cells = ops.arange(grid.cells, dtype="int32")
    first = windows[..., None]  # (B, T, 2, 1)
    covered = (cells >= first) & (cells < first + grid.window_cells)  # (B, T, 2, M)
    covered = covered[:, :, 0, :, None] & covered[:, :, 1, None, :]  # (B, T, M, M)
    covered_so_far = ops.cumsum(ops.cast(covered, "float32"), axis=1) > 0
    if warm is not None:
        covered_so_far = covered_so_far | (warm > 0)[:, None, None, None]
    center = (boxes[..., :2] + boxes[..., 2:]) / 2 * grid.cells
    center = ops.clip(ops.cast(ops.floor(center), "int32"), 0, grid.cells - 1)  # (B, T, G, 2)
    here = center[..., None] == cells  # (B, T, G, 2, M)
    here = here[..., 0, :, None] & here[..., 1, None, :]  # (B, T, G, M, M)
    center_seen = ops.any(here & covered_so_far[:, :, None], axis=(-2, -1))
    return ops.where((labels > 0) & ~center_seen, IGNORED, labels)


def detection_loss(logits, codes, class_targets, code_targets, sigmoid=False):
    """SSD loss over a batch, per matched anchor: the focal loss of classes, the smooth L1 loss of boxes.

    Args:
        logits: (..., A, 1 + classes), codes: (..., A, 4).
        class_targets: (..., A) int32, code_targets: (..., A, 4), from `match_anchors`.
        sigmoid: whether each class has a probability of its own, as in `HeadKind`.
    """
    positive = ops.cast(class_targets > 0, "float32")
    count = _count(positive)
    target = ops.one_hot(ops.maximum(class_targets, 0), logits.shape[-1])
    focal = _sigmoid_focal(logits[..., 1:], target[..., 1:]) if sigmoid else _softmax_focal(logits, target)
    class_loss = ops.sum(focal * ops.cast(class_targets != IGNORED, "float32")) / count
    box_loss = ops.sum(ops.sum(_smooth_l1(codes - code_targets), axis=-1) * positive) / count
    return class_loss, box_loss


def _softmax_focal(logits, target):
    """Focal loss (...,) of classes (..., C) that exclude each other."""
    log_p = ops.sum(ops.log_softmax(logits) * target, axis=-1)
    return -((1 - ops.exp(log_p)) ** FOCAL_GAMMA) * log_p


def _sigmoid_focal(logits, target):
    """Focal loss (...,) of classes (..., C) each by itself, summed (Lin et al., Equation 5)."""
    log_p = ops.log_sigmoid(ops.where(target > 0, logits, -logits))
    weight = ops.where(target > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return ops.sum(-weight * (1 - ops.exp(log_p)) ** FOCAL_GAMMA * log_p, axis=-1)


def detection_imitation_loss(logits, codes, taught_logits, taught_codes, sigmoid=False):
    """How far predictions are from a teacher's, per object that it sees; arguments are as of `detection_loss`.

    The divergence of the classes' probabilities, and the smooth L1 loss of the boxes, each anchor counting for the
    probability that there is an object: 0 for equal predictions.
    """
    if sigmoid:
        logits, taught_logits = logits[..., 1:], taught_logits[..., 1:]
        p = ops.sigmoid(taught_logits)
        belief = ops.max(p, axis=-1)
        # The Kullback-Leibler divergence of classes each by itself.
        divergence = p * (taught_logits - logits) - ops.softplus(taught_logits) + ops.softplus(logits)
        divergence = ops.sum(divergence, axis=-1)
    else:
        belief = 1 - ops.softmax(taught_logits)[..., BACKGROUND]
        divergence = softmax_divergence(logits, taught_logits)
    count = _count(belief)
    error = ops.sum(_smooth_l1(codes - taught_codes), axis=-1)
    return ops.sum(divergence * (1 + _BELIEF_WEIGHT * belief)) / count, ops.sum(error * belief) / count


def softmax_divergence(logits, taught):
    """Kullback-Leibler divergence (...,) of classes (..., C) that exclude each other, from the taught ones."""
    return ops.sum(ops.softmax(taught) * (ops.log_softmax(taught) - ops.log_softmax(logits)), axis=-1)


def _smooth_l1(error):
    size = ops.abs(error)
    return ops.where(size < 1, 0.5 * size**2, size - 0.5)


def mask_targets(masks, size):
    """Shrinks masks (B, T, H, W) uint8, with UNKNOWN pixels, to the logits' size (h, w), which divides theirs.

    Returns (B, T, h, w, 2) float32: the part of each block that is foreground, and its weight, 0 if any of it is
    unknown.
    """
    batch, time, height, width = masks.shape
    blocks = (batch, time, size[0], height // size[0], size[1], width // size[1])
    foreground = ops.mean(ops.cast(ops.reshape(masks == 1, blocks), "float32"), axis=(3, 5))
    labelled = ops.all(ops.reshape(masks != UNKNOWN, blocks), axis=(3, 5))
    return ops.stack([foreground, ops.cast(labelled, "float32")], axis=-1)


def mask_loss(logits, targets):
    """Cross-entropy per known pixel, 0 if there is none, of logits (..., 2) and `mask_targets` (..., 2)."""
    foreground, weight = targets[..., 0], targets[..., 1]
    log_p = ops.log_softmax(logits)
    error = -foreground * log_p[..., 1] - (1 - foreground) * log_p[..., 0]
    return ops.sum(error * weight) / _count(weight)


def _count(weights):
    """The sum over the whole batch, 1 at least; per device, if each has a part of it."""
    return ops.maximum(devices.mean(ops.sum(weights)), 1.0 / devices.count())
