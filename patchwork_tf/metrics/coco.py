"""Average precision of COCO, by pycocotools."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# In the order of COCOeval.stats.
STATISTICS = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
)


class CocoMetric:
    """Collects detections and objects frame by frame, then computes COCO's twelve numbers.

    Args:
        class_names: of the classes, in order.
    """

    def __init__(self, class_names):
        self.ground_truth = {
            "info": {},
            "images": [],
            "annotations": [],
            "categories": [{"id": c, "name": name} for c, name in enumerate(class_names)],
        }
        self.detections = []

    def add_frame(self, boxes, scores, classes, true_boxes, true_classes, crowds_and_areas=(None, None)):
        """Adds a frame: see DetectionMetric.add_frame.

        Args:
            crowds_and_areas: (G,) bool, boxes around several objects, which are neither hit nor missed; and (G,)
                pixels of the objects, by default of their boxes.
        """
        crowds, areas = crowds_and_areas
        crowds = np.zeros(len(true_boxes), bool) if crowds is None else crowds
        image = len(self.ground_truth["images"]) + 1
        self.ground_truth["images"].append({"id": image})
        true_boxes = _xywh(true_boxes)
        areas = [box[2] * box[3] for box in true_boxes] if areas is None else areas
        for box, label, crowd, area in zip(true_boxes, true_classes, crowds, areas, strict=True):
            annotation = {
                "id": len(self.ground_truth["annotations"]) + 1,
                "image_id": image,
                "category_id": int(label),
                "bbox": box,
                "area": float(area),
                "iscrowd": int(crowd),
            }
            self.ground_truth["annotations"].append(annotation)
        for box, score, label in zip(_xywh(boxes), scores, classes, strict=True):
            detection = {"image_id": image, "category_id": int(label), "bbox": box, "score": float(score)}
            self.detections.append(detection)

    def merge(self, other: "CocoMetric"):
        """Adds what another one has collected, of images that come after."""
        own, more = self.ground_truth, other.ground_truth
        images, annotations = len(own["images"]), len(own["annotations"])
        own["images"] += [{"id": images + image["id"]} for image in more["images"]]
        for row in more["annotations"]:
            of_row = {"id": annotations + row["id"], "image_id": images + row["image_id"]}
            own["annotations"].append({**row, **of_row})
        self.detections += [{**row, "image_id": images + row["image_id"]} for row in other.detections]

    def result(self) -> dict[str, float | None]:
        """STATISTICS in [0, 1], None where there is nothing to find."""
        truth = COCO()
        truth.dataset = self.ground_truth
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            return evaluate(truth, self.detections)


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
