"""What comes and goes between two frames without cause: boxes of objects that stay, pixels that do not change."""

import numpy as np

from patchwork_tf.metrics.detection import pairwise_iou
from patchwork_tf.truth import BELIEVED

_SAME = 0.5  # IoU of what is the same object


class BoxFlicker:
    """Of objects that a reference sees in two frames in turn: how many are found in one of them alone."""

    def __init__(self):
        self._last, self._changed, self._pairs = None, 0, 0

    def add_frame(self, answer, reference, is_first: bool):
        """Takes the answer to a frame, and what is so; `is_first`: of a video."""
        sure = reference.scores >= BELIEVED
        boxes, classes = reference.boxes[sure], reference.classes[sure]
        found = _found(boxes, classes, answer)
        if self._last is not None and not is_first:
            self._compare(boxes, classes, found)
        self._last = boxes, classes, found

    def _compare(self, boxes, classes, found):
        before, classes_before, found_before = self._last
        if not len(boxes) or not len(before):
            return
        overlap = pairwise_iou(boxes, before) * (classes[:, None] == classes_before)
        partner = overlap.argmax(axis=1)
        stays = overlap.max(axis=1) >= _SAME
        self._pairs += int(stays.sum())
        self._changed += int((found != found_before[partner])[stays].sum())

    def merge(self, other: "BoxFlicker"):
        """Adds that of other videos."""
        self._changed += other._changed
        self._pairs += other._pairs

    def result(self) -> float | None:
        """In [0, 1]; None if nothing stayed."""
        return self._changed / self._pairs if self._pairs else None


def _found(boxes, classes, answer):
    """Which objects are among the answer's sure detections."""
    sure = answer.scores >= BELIEVED
    if not len(boxes) or not sure.any():
        return np.zeros(len(boxes), bool)
    overlap = pairwise_iou(boxes, answer.boxes[sure]) * (classes[:, None] == answer.classes[sure])
    return overlap.max(axis=1) >= _SAME


class MaskFlicker:
    """Pixels that change between two frames where a reference's do not, as a part of its foreground."""

    def __init__(self):
        self._last, self._changed, self._foreground = None, 0, 0

    def add_frame(self, answer, reference, is_first: bool):
        """Takes the answer to a frame, and what is so; `is_first`: of a video."""
        mask, true = answer.mask, reference.mask
        if self._last is not None and not is_first:
            before, true_before = self._last
            still = true == true_before
            self._changed += int(np.sum(still & (mask != before)))
            self._foreground += int(np.sum((true > 0) | (true_before > 0)))
        self._last = mask, true

    def merge(self, other: "MaskFlicker"):
        """Adds that of other videos."""
        self._changed += other._changed
        self._foreground += other._foreground

    def result(self) -> float | None:
        """0 if nothing flickers; None without foreground."""
        return self._changed / self._foreground if self._foreground else None


def flicker_of(task: str):
    """What measures it for a task; None if nothing does."""
    return {"detection": BoxFlicker, "segmentation": MaskFlicker}.get(task, lambda: None)()
