"""Mean average precision over the frames of videos.

Two rules for when a detection matches an object: IoU >= 0.5 (`mAP_50`), and ImageNet VID's
(`mAP_vid`), which asks less of objects smaller than about 25 pixels. Precision is integrated
over all recall points, as the ILSVRC devkit does.
"""

import numpy as np

RULES = ("vid", "50")


class DetectionMetric:
    """Collects detections and objects frame by frame, then computes average precisions.

    Args:
        class_names: of the classes, in order.
    """

    def __init__(self, class_names):
        self.class_names = list(class_names)
        self._scores = [[] for _ in self.class_names]
        self._matches = {rule: [[] for _ in self.class_names] for rule in RULES}
        self._objects = np.zeros(len(self.class_names), int)

    def add_frame(self, boxes, scores, classes, true_boxes, true_classes):
        """Matches the detections of one frame with its objects.

        Args:
            boxes: (D, 4), true_boxes: (G, 4): ymin, xmin, ymax, xmax in pixels, the maxima
                exclusive. (The devkit's inclusive boxes plus one: the same widths.)
            scores: (D,), classes: (D,) from 0, true_classes: (G,) from 0.
        """
        order = np.argsort(-np.asarray(scores), kind="stable")
        boxes, scores, classes = (np.asarray(a)[order] for a in (boxes, scores, classes))
        for c in np.union1d(classes, true_classes).astype(int):
            truth = np.asarray(true_boxes)[np.asarray(true_classes) == c].reshape(-1, 4)
            detected = boxes[classes == c].reshape(-1, 4)
            self._objects[c] += len(truth)
            self._scores[c].extend(scores[classes == c])
            overlaps = pairwise_iou(detected, truth)
            for rule in RULES:
                self._matches[rule][c].extend(_match(overlaps, match_thresholds(truth, rule)))

    def merge(self, other: "DetectionMetric"):
        """Adds what another one has collected, of frames that come after."""
        for own, more in zip(self._scores, other._scores, strict=True):
            own += more
        for rule in RULES:
            for own, more in zip(self._matches[rule], other._matches[rule], strict=True):
                own += more
        self._objects += other._objects

    def result(self) -> dict:
        """Average precisions in [0, 1].

        Returns:
            'mAP_vid' and 'mAP_50', means over the classes that have objects; 'AP_50', see `pooled_precision`; and
            'per_class', class name -> {'AP_vid', 'AP_50', 'objects'}; an AP is None for a class without objects.
        """
        per_class = {}
        for c, name in enumerate(self.class_names):
            row = {"objects": int(self._objects[c])}
            for rule in RULES:
                row[f"AP_{rule}"] = average_precision(self._scores[c], self._matches[rule][c], self._objects[c])
            per_class[name] = row
        means = {}
        for rule in RULES:
            values = [row[f"AP_{rule}"] for row in per_class.values() if row["objects"]]
            means[f"mAP_{rule}"] = float(np.mean(values)) if values else None
        return {**means, "AP_50": self.pooled_precision(), "per_class": per_class}

    def pooled_precision(self, rule: str = "50") -> float | None:
        """Average precision in [0, 1] of the detections of all classes in one ranking; None without objects.

        A detection still finds only objects of its own class.
        """
        scores, matches = (
            np.concatenate([np.asarray(part) for part in parts]) for parts in (self._scores, self._matches[rule])
        )
        return average_precision(scores, matches, int(self._objects.sum()))


def match_thresholds(true_boxes: np.ndarray, rule: str) -> np.ndarray:
    """The IoU (G,) at which objects (G, 4) in pixels count as found, by 'vid' or '50'.

    ImageNet VID: min(0.5, w h / ((w + 10) (h + 10))).
    """
    if rule == "50":
        return np.full(len(true_boxes), 0.5)
    height, width = (true_boxes[:, 2:] - true_boxes[:, :2]).T
    return np.minimum(0.5, width * height / ((width + 10) * (height + 10)))


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (A, B) of boxes (A, 4) and (B, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.maximum(high - low, 0), axis=-1)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b))
    return intersection / np.maximum(area_a[:, None] + area_b - intersection, 1e-12)


def _match(overlaps: np.ndarray, thresholds: np.ndarray) -> list[bool]:
    """Which detections, best score first, find an object that none before them found."""
    free = np.ones(len(thresholds), bool)
    matches = []
    for row in overlaps:
        allowed = np.where(free & (row >= thresholds), row, -1.0)
        best = int(np.argmax(allowed)) if len(allowed) else -1
        hit = best >= 0 and allowed[best] >= 0
        if hit:
            free[best] = False
        matches.append(hit)
    return matches


def average_precision(scores, matches, num_objects: int) -> float | None:
    """Area under the precision envelope over recall; None without objects.

    Args:
        scores: (D,) of all detections of a class in all frames, matches: (D,) bool.
        num_objects: how many there were to find.
    """
    if num_objects == 0:
        return None
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    hits = np.asarray(matches, bool)[order]
    true_positives = np.cumsum(hits)
    precision = true_positives / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_objects)
