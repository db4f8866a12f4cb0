"""What comes and goes between two frames without cause: boxes of objects that stay, pixels that do not change."""

import numpy as np

from patchwork_tf.metrics.detection import pairwise_iou
from patchwork_tf.metrics.metric import FrameMetric
from patchwork_tf.truth import BELIEVED

_SAME = 0.5  # IoU of what is the same object


class _Flicker(FrameMetric):
    """Records are, of two frames in turn, how much has changed and how much could have."""

    _last = None

    def add_frame(self, answer, reference, is_first: bool):
        """Takes the answer to a frame, and what is so; `is_first`: of a video."""
        now = self.seen(answer, reference)
        if self._last is not None and not is_first:
            self.records.append(self.changes(*self._last, *now))
        self._last = now

    def result(self) -> float | None:
        """What part changed without cause, 0 if nothing flickers; None if nothing could."""
        total = sum(total for _, total in self.records)
        return sum(changed for changed, _ in self.records) / total if total else None


class BoxFlicker(_Flicker):
    """Of objects that a reference sees in two frames in turn: how many are found in one of them alone."""

    def seen(self, answer, reference):
        """The reference's sure objects, and which of them are among the answer's sure detections."""
        sure, true = answer.scores >= BELIEVED, reference.scores >= BELIEVED
        boxes, classes = reference.boxes[true], reference.classes[true]
        if not len(boxes) or not sure.any():
            return boxes, classes, np.zeros(len(boxes), bool)
        overlap = pairwise_iou(boxes, answer.boxes[sure]) * (classes[:, None] == answer.classes[sure])
        return boxes, classes, overlap.max(axis=1) >= _SAME

    def changes(self, before, classes_before, found_before, boxes, classes, found) -> tuple[int, int]:
        """Objects that are found in one of two frames alone, and all that stay."""
        if not len(boxes) or not len(before):
            return 0, 0
        overlap = pairwise_iou(boxes, before) * (classes[:, None] == classes_before)
        stays = overlap.max(axis=1) >= _SAME
        return int((found != found_before[overlap.argmax(axis=1)])[stays].sum()), int(stays.sum())


class MaskFlicker(_Flicker):
    """Pixels that change between two frames where a reference's do not, as a part of its foreground."""

    def seen(self, answer, reference):
        """Both masks."""
        return answer.mask, reference.mask

    def changes(self, before, true_before, mask, true) -> tuple[int, int]:
        """Pixels that change without cause, and those of the foreground."""
        still = true == true_before
        return int(np.sum(still & (mask != before))), int(np.sum((true > 0) | (true_before > 0)))


def flicker_of(task: str):
    """What measures it for a task; None if nothing does."""
    return {"detection": BoxFlicker, "segmentation": MaskFlicker}.get(task, lambda: None)()
