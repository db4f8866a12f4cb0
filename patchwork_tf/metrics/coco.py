"""Average precision of COCO, by pycocotools."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from patchwork_tf.metrics.metric import FrameMetric

# In the order of COCOeval.stats.
STATISTICS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)


class CocoMetric(FrameMetric):
    """Collects detections and objects frame by frame, then computes COCO's twelve numbers."""

    def __init__(self, class_names):
        super().__init__()
        self.categories = [{"id": c, "name": name} for c, name in enumerate(class_names)]

    def add_frame(self, boxes, scores, classes, true_boxes, true_classes, crowds=None, areas=None):
        """Adds a frame, as DetectionMetric does.

        `crowds` (G,) bool are boxes around several objects, which are neither hit nor missed; `areas` (G,) pixels
        of the objects, by default of their boxes.
        """
        true_boxes = _xywh(true_boxes)
        crowds = np.zeros(len(true_boxes), bool) if crowds is None else crowds
        areas = [box[2] * box[3] for box in true_boxes] if areas is None else areas
        detections = [
            {"category_id": int(label), "bbox": box, "score": float(score)}
            for box, score, label in zip(_xywh(boxes), scores, classes, strict=True)
        ]
        annotations = [
            {"category_id": int(label), "bbox": box, "area": float(area), "iscrowd": int(crowd)}
            for box, label, crowd, area in zip(true_boxes, true_classes, crowds, areas, strict=True)
        ]
        self.records.append((detections, annotations))

    def in_coco_format(self) -> tuple[dict, list[dict]]:
        """The objects as COCO's instances, and the detections as its results."""
        images, detections, annotations = [], [], []
        for image, (found, true) in enumerate(self.records, start=1):
            images.append({"id": image})
            detections += [{"image_id": image, **row} for row in found]
            annotations += [{"image_id": image, **row} for row in true]
        annotations = [{"id": number, **row} for number, row in enumerate(annotations, start=1)]
        truth = {"info": {}, "images": images, "annotations": annotations, "categories": self.categories}
        return truth, detections

    def result(self) -> dict[str, float | None]:
        """STATISTICS in [0, 1], None where there is nothing to find."""
        truth = COCO()
        truth.dataset, detections = self.in_coco_format()
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
        return evaluate(truth, detections)


def evaluate(truth: COCO, detections: list[dict]) -> dict[str, float | None]:
    """COCO's numbers of detections in COCO's result format."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        results = truth.loadRes(detections) if detections else COCO()
        if not detections:
            results.dataset = {**truth.dataset, "annotations": []}
            results.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(x) if x >= 0 else None for name, x in zip(STATISTICS, evaluation.stats, strict=True)}


def _xywh(boxes) -> list[list[float]]:
    """x, y, width, height of boxes (N, 4): ymin, xmin, ymax, xmax."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    return np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], 1).tolist()
