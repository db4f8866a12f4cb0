"""Mean average precision over the frames of videos.

Two rules for when a detection matches an object: IoU >= 0.5 (`mAP_50`), and ImageNet VID's
(`mAP_vid`), which asks less of objects smaller than about 25 pixels. Precision is integrated
over all recall points, as the ILSVRC devkit does.
"""

import numpy as np

from patchwork_tf.metrics.metric import FrameMetric

RULES = ("vid", "50")


class DetectionMetric(FrameMetric):
    """Collects detections and objects frame by frame, then computes average precisions."""

    def __init__(self, class_names):
        super().__init__()
        self.class_names = list(class_names)

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
            overlaps = pairwise_iou(boxes[classes == c].reshape(-1, 4), truth)
            matches = {rule: _match(overlaps, match_thresholds(truth, rule)) for rule in RULES}
            self.records.append((c, scores[classes == c], matches, len(truth)))

    def result(self) -> dict:
        """Average precisions in [0, 1].

        Returns:
            'mAP_vid' and 'mAP_50', means over the classes that have objects; 'AP_50', see `pooled_precision`; and
            'per_class', class name -> {'AP_vid', 'AP_50', 'objects'}; an AP is None for a class without objects.
        """
        per_class, means = {}, {}
        for c, name in enumerate(self.class_names):
            records = [record for record in self.records if record[0] == c]
            per_class[name] = {
                "objects": sum(objects for *_, objects in records),
                **{f"AP_{rule}": _precision_of(records, rule) for rule in RULES},
            }
        for rule in RULES:
            values = [row[f"AP_{rule}"] for row in per_class.values() if row["objects"]]
            means[f"mAP_{rule}"] = float(np.mean(values)) if values else None
        return {**means, "AP_50": self.pooled_precision(), "per_class": per_class}

    def pooled_precision(self) -> float | None:
        """Average precision in [0, 1] of the detections of all classes in one ranking; None without objects.

        A detection still finds only objects of its own class.
        """
        return _precision_of(sorted(self.records, key=lambda record: record[0]), "50")


def _precision_of(records, rule) -> float | None:
    scores = [score for _, scores, _, _ in records for score in scores]
    matches = [match for _, _, matches, _ in records for match in matches[rule]]
    return average_precision(scores, matches, sum(objects for *_, objects in records))


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
    """Area under the precision envelope over recall of scores (D,) and matches (D,); None without objects."""
    if num_objects == 0:
        return None
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    hits = np.asarray(matches, bool)[order]
    true_positives = np.cumsum(hits)
    precision = true_positives / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_objects)
