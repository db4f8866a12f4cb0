"""How well answers agree with what a reference says of every whole frame. It takes no labels, only a video."""

import numpy as np

from patchwork_tf.metrics.detection import DetectionMetric
from patchwork_tf.metrics.segmentation import region_similarity

BELIEVED = 0.4  # score from which on the reference's detections are held for true


class Agreement:
    """Collects answers frame by frame.

    Args:
        class_names: of detections.
    """

    def __init__(self, class_names):
        self._detections = DetectionMetric(class_names)
        self._similarities = []

    def add_frame(self, answer, reference, size):
        """Holds an answer against the reference's of the same frame, of `size` (h, w)."""
        if hasattr(answer, "mask"):
            self._similarities.append(region_similarity(answer.mask, reference.mask))
            return
        scale = np.array(2 * size, np.float32)
        sure = reference.scores >= BELIEVED
        self._detections.add_frame(
            answer.boxes * scale,
            answer.scores,
            answer.classes,
            reference.boxes[sure] * scale,
            reference.classes[sure],
        )

    def result(self) -> float | None:
        """Agreement in [0, 1]: average precision at IoU 0.5 with all classes in one ranking, or mean J of masks.

        None if the reference found nothing.
        """
        if self._similarities:
            return float(np.mean(self._similarities))
        return self._detections.pooled_precision()
