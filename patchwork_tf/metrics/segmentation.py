"""Region similarity J and contour accuracy F of DAVIS 2016 (Perazzi et al., CVPR 2016).

The numbers are those of the official code (davis-matlab, davis2017-evaluation): statistics of a
sequence leave out its first and last frame, and overall numbers are means over sequences.
"""

import functools
import itertools

import cv2
import numpy as np

from patchwork_tf.metrics.metric import FrameMetric

MEASURES = ("J", "F")
STATISTICS = ("mean", "recall", "decay")
BOUNDARY_WIDTH = 0.008  # how far a contour may be off, relative to the frame's diagonal
RECALL_THRESHOLD = 0.5
_DECAY_BINS = 4


class SegmentationMetric(FrameMetric):
    """Collects masks frame by frame, then computes the statistics of J and F."""

    def add_frame(self, sequence: str, mask: np.ndarray, truth: np.ndarray):
        """Compares the mask of the next frame of a sequence with the true one, (H, W) bool both."""
        self.records.append((sequence, region_similarity(mask, truth), contour_accuracy(mask, truth)))

    def result(self) -> dict:
        """The statistics, in [0, 1].

        Returns:
            'J' and 'F', each with 'mean', 'recall', 'decay' over all sequences, and 'per_sequence',
            sequence -> {'mean', 'recall', 'decay', 'per_frame'}.
        """
        result, sequences = {}, dict.fromkeys(sequence for sequence, *_ in self.records)
        for column, measure in enumerate(MEASURES, start=1):
            per_sequence, means = {}, {}
            for name in sequences:
                values = [record[column] for record in self.records if record[0] == name]
                per_sequence[name] = {**statistics(values), "per_frame": values}
            for key in STATISTICS:
                values = [row[key] for row in per_sequence.values() if row[key] is not None]
                means[key] = float(np.mean(values)) if values else None
            result[measure] = {**means, "per_sequence": per_sequence}
        return result


class ClassMetric:
    """Intersection over union of every class over all pixels of all frames, as PASCAL VOC has it.

    The names of the classes are in the order of their numbers, the background first.
    """

    IGNORED = 255  # of the truth

    def __init__(self, names):
        self.names = list(names)
        self._counts = np.zeros((len(self.names), len(self.names)), np.int64)

    def add_frame(self, found: np.ndarray, truth: np.ndarray):
        """Numbers of classes (H, W) uint8. Raises ValueError if one has no name."""
        counted = truth != self.IGNORED
        found, truth, classes = found[counted].astype(np.int64), truth[counted].astype(np.int64), len(self.names)
        for numbers in (found, truth):
            if numbers.size and numbers.max() >= classes:
                raise ValueError(f"there is a class {numbers.max()}, names are given for 0 to {classes - 1}")
        self._counts += np.bincount(classes * truth + found, minlength=classes**2).reshape(classes, classes)

    def result(self) -> dict:
        """'mIoU', the mean over classes that were there or predicted, and 'per_class', None of others."""
        hits = np.diag(self._counts)
        unions = self._counts.sum(0) + self._counts.sum(1) - hits
        per_class = {
            name: float(hit / union) if union else None
            for name, hit, union in zip(self.names, hits.tolist(), unions.tolist(), strict=True)
        }
        known = [value for value in per_class.values() if value is not None]
        return {"mIoU": float(np.mean(known)) if known else None, "per_class": per_class}


def region_similarity(mask: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two masks (H, W) bool; 1 if both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def contour_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    """F: harmonic mean of the precision and recall of the contour pixels of a mask (H, W) bool.

    A contour pixel counts as found if the other contour has one within BOUNDARY_WIDTH.
    """
    radius = int(np.ceil(BOUNDARY_WIDTH * np.linalg.norm(mask.shape)))
    predicted, true = contour(mask), contour(truth)
    if not predicted.any() or not true.any():
        return float(not predicted.any() and not true.any())
    precision = np.count_nonzero(predicted & _dilate(true, radius)) / np.count_nonzero(predicted)
    recall = np.count_nonzero(true & _dilate(predicted, radius)) / np.count_nonzero(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """Pixels (H, W) of a mask that differ from their right, lower or lower right neighbour."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    return (here ^ padded[:-1, 1:]) | (here ^ padded[1:, :-1]) | (here ^ padded[1:, 1:])


def statistics(values) -> dict[str, float | None]:
    """Mean, recall and decay of a measure (T,) over the frames of a sequence, its first and last left out.

    'recall' is the part of frames above RECALL_THRESHOLD, 'decay' the mean of the first quarter minus that of the
    last. All are None if nothing is left.
    """
    values = np.asarray(values, float)[1:-1]
    if not len(values):
        return dict.fromkeys(STATISTICS)
    edges = np.round(np.linspace(1, len(values), _DECAY_BINS + 1) + 1e-10).astype(int) - 1
    bins = [values[first : last + 1] for first, last in itertools.pairwise(edges)]
    return {
        "mean": float(values.mean()),
        "recall": float((values > RECALL_THRESHOLD).mean()),
        "decay": float(bins[0].mean() - bins[-1].mean()),
    }


def _dilate(mask, radius):
    return cv2.dilate(mask.astype(np.uint8), _disk(radius)) > 0


@functools.lru_cache
def _disk(radius):
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x**2 + y**2 <= radius**2).astype(np.uint8)
