"""patchwork-evaluate --task: scores what any method has written to files, against the truth in files."""

import contextlib
import math
import os

import numpy as np
from pycocotools.coco import COCO

from patchwork_tf import files
from patchwork_tf.bars import progress
from patchwork_tf.commands.scoring import per_cent
from patchwork_tf.data.class_lists import read_class_list
from patchwork_tf.data.imagenet_vid import CLASSES
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.metrics import formats
from patchwork_tf.metrics.coco import CocoMetric
from patchwork_tf.metrics.coco import evaluate as evaluate_coco
from patchwork_tf.metrics.detection import DetectionMetric
from patchwork_tf.metrics.segmentation import STATISTICS, ClassMetric, SegmentationMetric


def run(flags) -> tuple[dict, str]:
    """Scores the files of --task; returns the scores and a table."""
    _require(flags, "predictions", "ground_truth")
    if flags.labels and flags.task != "segmentation":
        raise UsageError("--labels is of masks that hold numbers of classes")
    if flags.labels:
        result = score_classes(flags.predictions, flags.ground_truth, flags.labels)
        return result, _classes_table(result)
    if flags.task == "segmentation":
        result = score_masks(flags.predictions, flags.ground_truth)
        return result, _masks_table(result)
    if flags.predictions.endswith(".json"):
        result = score_coco(flags.predictions, flags.ground_truth)
    else:
        _require(flags, "image_set")
        result = score_detections(flags.predictions, flags.ground_truth, flags.image_set, flags.coco)
    return result, _detections_table(result)


def _require(flags, *names):
    for name in names:
        if not flags[name].value:
            raise UsageError(f"--{name} is required with --task={flags.task}")


def score_masks(predictions: str, ground_truth: str) -> dict:
    """J and F of folders of PNG masks: see `formats.mask_pairs` and `SegmentationMetric.result`.

    Returns:
        Also the number of 'frames', and 'missing_sequences', which were not predicted and do not count.
    """
    metric = SegmentationMetric()
    total = sum(map(len, formats.mask_frames(predictions, ground_truth).values()))
    pairs = formats.mask_pairs(predictions, ground_truth)
    for pair in progress(iterable=pairs, total=total, unit="frame"):
        metric.add_frame(*pair)
    missing = formats.missing_sequences(predictions, ground_truth)
    return {**metric.result(), "frames": total, "missing_sequences": missing}


def score_classes(predictions: str, ground_truth: str, labels: str) -> dict:
    """mIoU of folders of PNG files that hold numbers of classes, see `formats.class_pairs` and `ClassMetric`.

    Args:
        predictions, ground_truth: the folders.
        labels: text file of the classes' names, the background first.

    Returns:
        Also the number of 'frames', and 'missing_sequences', which were not predicted and do not count.
    """
    metric = ClassMetric(read_class_list(labels).values())
    total = sum(map(len, formats.mask_frames(predictions, ground_truth).values()))
    try:
        pairs = formats.class_pairs(predictions, ground_truth)
        for _, found, truth in progress(iterable=pairs, total=total, unit="frame"):
            metric.add_frame(found, truth)
    except ValueError as error:
        raise DataError(f"{labels}: {error}") from None
    missing = formats.missing_sequences(predictions, ground_truth)
    return {**metric.result(), "frames": total, "missing_sequences": missing}


def score_detections(detections: str, annotations: str, image_set: str, with_coco: bool = True) -> dict:
    """mAP of detections in the VID devkit's format.

    Args:
        detections: file of lines frame_id class_id score x1 y1 x2 y2.
        annotations: folder of one VOC XML per frame.
        image_set: file of lines video/frame frame_id.
        with_coco: whether to compute COCO's numbers as well.

    Returns:
        `DetectionMetric.result()`, 'coco', and the number of 'frames'.
    """
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


def score_coco(detections: str, annotations: str) -> dict:
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
    missing = result["missing_sequences"]
    lines = [f"NOT PREDICTED, AND NOT COUNTED: {', '.join(missing)}"] if missing else []
    lines += [f"{'sequence':<24}" + "".join(f"{f'{m} {s}':>10}" for m in "JF" for s in STATISTICS)]
    for name in [*result["J"]["per_sequence"], None]:
        parts = [result[m]["per_sequence"][name] if name else result[m] for m in "JF"]
        numbers = "".join(f"{per_cent(part[key]):>10}" for part in parts for key in STATISTICS)
        lines.append(f"{name or 'mean of sequences':<24}{numbers}")
    return "\n".join(lines)


def _classes_table(result) -> str:
    missing = result["missing_sequences"]
    lines = [f"NOT PREDICTED, AND NOT COUNTED: {', '.join(missing)}"] if missing else []
    lines += [f"{name:<24}{per_cent(value):>10}" for name, value in result["per_class"].items()]
    return "\n".join([*lines, f"{'mIoU':<24}{per_cent(result['mIoU']):>10}"])


def _detections_table(result) -> str:
    lines = [f"{'class':<24}{'objects':>9}{'AP@0.5':>9}{'AP VID':>9}"] if "mAP_50" in result else []
    for name, row in result.get("per_class", {}).items():
        lines.append(f"{name:<24}{row['objects']:>9}{per_cent(row['AP_50']):>9}{per_cent(row['AP_vid']):>9}")
    if "mAP_50" in result:
        lines.append(f"{'mean':<24}{'':>9}{per_cent(result['mAP_50']):>9}{per_cent(result['mAP_vid']):>9}")
    lines += [f"COCO {key:<19}{per_cent(value):>18}" for key, value in result.get("coco", {}).items()]
    return "\n".join(lines)
