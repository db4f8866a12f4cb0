"""patchwork-evaluate --task: scores what any method has written to files, against the truth in files."""

import contextlib
import math
import os

import numpy as np
from pycocotools.coco import COCO

from patchwork_tf import files
from patchwork_tf.bars import progress
from patchwork_tf.cli import per_cent, table
from patchwork_tf.data.class_lists import read_class_list
from patchwork_tf.data.imagenet_vid import CLASSES
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.metrics import formats
from patchwork_tf.metrics.coco import CocoMetric
from patchwork_tf.metrics.coco import evaluate as evaluate_coco
from patchwork_tf.metrics.detection import DetectionMetric
from patchwork_tf.metrics.segmentation import STATISTICS, ClassMetric, SegmentationMetric
from patchwork_tf.pictures import read_classes


def run(flags) -> tuple[dict, str]:
    """Scores the files of --task; returns the scores and a table."""
    _require(flags, "predictions", "ground_truth")
    predictions, truth = flags.predictions, flags.ground_truth
    if flags.task == "segmentation":
        result = (
            _score_classes(predictions, truth, flags.labels) if flags.labels else _score_masks(predictions, truth)
        )
        missing = formats.missing_sequences(predictions, truth)  # they do not count
        result |= {"frames": _number_of_masks(predictions, truth), "missing_sequences": missing}
        if flags.labels:
            lines = {**result["per_class"], "mIoU": result["mIoU"]}.items()
            text = table(["class", "IoU"], [[name, per_cent(value)] for name, value in lines])
        else:
            text = _masks_table(result)
        return result, f"NOT PREDICTED, AND NOT COUNTED: {', '.join(missing)}\n{text}" if missing else text
    if flags.labels:
        raise UsageError("--labels is of masks that hold numbers of classes")
    if predictions.endswith(".json"):
        result = _score_coco(predictions, truth)
    else:
        _require(flags, "image_set")
        result = _score_detections(predictions, truth, flags.image_set, flags.coco)
    return result, _detections_table(result)


def _require(flags, *names):
    for name in names:
        if not flags[name].value:
            raise UsageError(f"--{name} is required with --task={flags.task}")


def _number_of_masks(predictions, truth) -> int:
    return sum(map(len, formats.mask_frames(predictions, truth).values()))


def _score_masks(predictions, truth) -> dict:
    """J and F of folders of PNG masks."""
    metric, total = SegmentationMetric(), _number_of_masks(predictions, truth)
    pairs = formats.mask_pairs(predictions, truth)
    for sequence, found, true in progress(iterable=pairs, total=total, unit="frame"):
        metric.add_frame(sequence, found > 0, true > 0)
    return metric.result()


def _score_classes(predictions, truth, labels) -> dict:
    """mIoU of folders of PNG files that hold numbers of classes, whose names are lines of a file."""
    metric, total = ClassMetric(read_class_list(labels).values()), _number_of_masks(predictions, truth)
    try:
        pairs = formats.mask_pairs(predictions, truth, read_classes, may_lack_ends=False)
        for _, found, true in progress(iterable=pairs, total=total, unit="frame"):
            metric.add_frame(found, true)
    except ValueError as error:
        raise DataError(f"{labels}: {error}") from None
    return metric.result()


def _score_detections(detections, annotations, image_set, with_coco) -> dict:
    """mAP of detections in the VID devkit's format."""
    frames = formats.read_image_set(image_set)
    detections_of = formats.read_detections(detections, frames)
    devkit, coco = DetectionMetric(CLASSES), CocoMetric(CLASSES) if with_coco else None
    nothing = np.zeros((0, 6))
    for number, frame in progress(iterable=frames.items(), unit="frame"):
        rows = detections_of.get(number, nothing)
        truth = formats.true_boxes(annotations, frame)
        for metric in filter(None, (devkit, coco)):
            metric.add_frame(rows[:, 2:], rows[:, 1], rows[:, 0].astype(int), *truth)
    return {**devkit.result(), **({"coco": coco.result()} if coco else {}), "frames": len(frames)}


def _score_coco(detections, annotations) -> dict:
    """COCO's numbers of detections.json against instances_*.json, in COCO's own formats."""
    listed = files.read_json(detections)
    truth = COCO()
    truth.dataset = files.read_json(annotations)
    if not isinstance(listed, list):
        raise DataError(f"{detections}: expected a list of detections")
    try:
        # pycocotools takes 0 for "no match", and one of several annotations with the same id.
        truth.dataset["annotations"] = [
            {**annotation, "id": number} for number, annotation in enumerate(truth.dataset["annotations"], start=1)
        ]
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            truth.createIndex()
        _check_rows(listed, truth, detections)
        return {"coco": evaluate_coco(truth, listed), "frames": len(truth.dataset["images"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{detections}, {annotations}: not COCO's formats ({type(error).__name__}: {error})"
        ) from None


def _check_rows(listed, truth, path):
    images, categories = set(truth.getImgIds()), set(truth.getCatIds())
    for number, row in enumerate(listed):
        where = f"{path}: detection {number}"
        if row["image_id"] not in images:
            raise DataError(f"{where} is of image {row['image_id']}, which has no annotations")
        if row["category_id"] not in categories:
            raise DataError(f"{where} is of category {row['category_id']}, which there is not")
        if len(row["bbox"]) != 4 or not all(map(math.isfinite, [*row["bbox"], row["score"]])):
            raise DataError(f"{where} needs a bbox of 4 finite numbers and a finite score")


def _masks_table(result) -> str:
    lines = []
    for name in [*result["J"]["per_sequence"], None]:
        parts = [result[m]["per_sequence"][name] if name else result[m] for m in "JF"]
        numbers = [per_cent(part[key]) for part in parts for key in STATISTICS]
        lines.append([name or "mean of sequences", *numbers])
    return table(["sequence", *(f"{m} {key}" for m in "JF" for key in STATISTICS)], lines)


def _detections_table(result) -> str:
    parts, keys = [], ("AP_50", "AP_vid")
    if "mAP_50" in result:
        rows = {name: [row["objects"], *(row[key] for key in keys)] for name, row in result["per_class"].items()}
        rows["mean"] = ["", *(result[f"m{key}"] for key in keys)]
        lines = [[name, count, *map(per_cent, values)] for name, (count, *values) in rows.items()]
        parts.append(table(["class", "objects", "AP@0.5", "AP VID"], lines))
    if "coco" in result:
        parts.append(table(["COCO", ""], [[key, per_cent(value)] for key, value in result["coco"].items()]))
    return "\n\n".join(parts)
