"""Scores a system's answers to videos, and results that anybody's method has written to files."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import math
import os

import numpy as np
from pycocotools.coco import COCO
from tqdm import tqdm

from patchwork_tf import files
from patchwork_tf.data.imagenet_vid import CLASSES
from patchwork_tf.errors import DataError
from patchwork_tf.metrics import coco as coco_metric
from patchwork_tf.metrics import formats
from patchwork_tf.metrics.agreement import Agreement
from patchwork_tf.metrics.detection import DetectionMetric
from patchwork_tf.metrics.segmentation import SegmentationMetric
from patchwork_tf.streaming.stream import stream, stream_together
from patchwork_tf.streaming.truth import frame_truth


def score_stream(
    step,
    videos,
    class_names,
    policy=None,
    *,
    seed=0,
    blind_start=False,
    coco=True,
    writer=None,
    progress=None,
) -> dict:
    """Runs a model or an exported file over videos and scores the answer to every frame.

    Args:
        step: KerasStep or ExportedStep.
        videos: iterable of AnnotatedVideo.
        class_names: of the labels, in order.
        policy, blind_start: as for `stream`.
        seed: video k is run with seed + k.
        coco: whether COCO's numbers of detections are computed too.
        writer: DetectionWriter or MaskWriter that gets every answer, or None.
        progress: called after every frame with the numbers of its video and of it in the video.

    Returns:
        The metric's `result()`, and 'coco'; the number of 'videos' and 'frames'; 'mflops_max' and
        'mflops_avg' of the frames; 'cell_visits' (M, M), the part of frames in which each cell was looked at.
    """
    metrics = _metrics(step.config.task, class_names, coco)
    costs, visits, number = [], collections.Counter(), -1
    for number, video in enumerate(videos):
        video = dataclasses.replace(video, masks=list(video.masks))
        frames, shown = itertools.tee(video.frames)
        answers = stream(
            step,
            frames,
            policy,
            seed=seed + number,
            blind_start=blind_start,
            truth=functools.partial(frame_truth, step.config, video, fit=step.info.fit),
        )
        for t, (answer, frame, name) in enumerate(zip(answers, shown, video.frame_names, strict=True)):
            size = frame.shape[:2]
            for metric in metrics.values():
                _add_frame(metric, video, t, answer, size)
            if writer:
                writer.add_frame(video.name, name, answer, size)
            costs.append(answer.mflops)
            visits[answer.window] += 1
            if progress:
                progress(number, t)
    return {
        **_results(metrics),
        "videos": number + 1,
        "frames": len(costs),
        "mflops_max": max(costs),
        "mflops_avg": float(np.mean(costs)),
        "cell_visits": _cell_visits(visits, step.grid, len(costs)),
    }


def score_agreement(
    steps, policies, reference, videos, *, max_frames=None, progress=None, **options
) -> list[dict]:
    """Holds the answers of steps against what a single-frame network says of every frame.

    Args:
        steps: KerasSteps or ExportedSteps.
        policies: of each, as for `stream`.
        reference: likewise a step, of a single-frame network that sees every frame.
        videos: a list of iterables of frames (h, w, 3) uint8.
        max_frames: per video.
        progress: called after every frame.
        **options: of `stream`.

    Returns:
        Per step 'agreement' in [0, 1], see `Agreement`; 'videos', 'frames', 'mflops_max' and 'mflops_avg'.
    """
    names = reference.info.class_names
    metrics, costs = [Agreement(names) for _ in steps], []
    for video in videos:
        frames = itertools.islice(video, max_frames)
        together = stream_together([reference, *steps], frames, [None, *policies], **options)
        for frame, (truth, *answers) in together:
            for metric, answer in zip(metrics, answers, strict=True):
                metric.add_frame(answer, truth, frame.shape[:2])
            costs.append([answer.mflops for answer in answers])
            if progress:
                progress()
    return [
        {
            "agreement": metric.result(),
            "videos": len(videos),
            "frames": len(costs),
            "mflops_max": max(column),
            "mflops_avg": float(np.mean(column)),
        }
        for metric, column in zip(metrics, zip(*costs, strict=True), strict=True)
    ]


def _cell_visits(visits, grid, frames) -> list[list[float]]:
    """How often each cell (M, M) was looked at, as a part of all frames."""
    counts = np.zeros((grid.cells, grid.cells))
    for window, count in visits.items():
        if window is not None:
            row, column = window
            counts[row : row + grid.window, column : column + grid.window] += count
    return (counts / frames).round(4).tolist()


def _metrics(task, class_names, coco) -> dict:
    if task == "segmentation":
        return {"main": SegmentationMetric()}
    return {
        "main": DetectionMetric(class_names),
        **({"coco": coco_metric.CocoMetric(class_names)} if coco else {}),
    }


def _results(metrics) -> dict:
    result = metrics["main"].result()
    return {**result, "coco": metrics["coco"].result()} if "coco" in metrics else result


def _add_frame(metric, video, t, answer, size):
    if isinstance(metric, SegmentationMetric):
        metric.add_frame(video.name, answer.mask, video.masks[t])
        return
    scale = np.array(2 * size, np.float32)
    found = (answer.boxes * scale, answer.scores, answer.classes)
    boxes, labels = video.boxes[t] * scale, video.labels[t]
    crowds = video.crowds[t] if len(video.crowds) else np.zeros(len(labels), bool)
    if isinstance(metric, coco_metric.CocoMetric):
        metric.add_frame(*found, boxes, labels, crowds, video.areas[t] if len(video.areas) else None)
    else:
        metric.add_frame(*found, boxes[~crowds], labels[~crowds])


def score_masks(predictions: str, ground_truth: str) -> dict:
    """J and F of folders of PNG masks: see `formats.mask_pairs` and `SegmentationMetric.result`.

    Returns:
        Also the number of 'frames', and 'missing_sequences', which were not predicted and do not count.
    """
    metric = SegmentationMetric()
    total = sum(map(len, formats.mask_frames(predictions, ground_truth).values()))
    pairs = formats.mask_pairs(predictions, ground_truth)
    for sequence, _, mask, truth in tqdm(pairs, total=total, unit="frame", dynamic_ncols=True):
        metric.add_frame(sequence, mask, truth)
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
    found = formats.read_detections(detections, frames)
    metrics = _metrics("detection", CLASSES, with_coco)
    nothing = np.zeros((0, 6))
    for number, frame in tqdm(frames.items(), unit="frame", dynamic_ncols=True):
        rows = found.get(number, nothing)
        truth = formats.true_boxes(annotations, frame)
        for metric in metrics.values():
            metric.add_frame(rows[:, 2:], rows[:, 1], rows[:, 0].astype(int), *truth)
    return {**_results(metrics), "frames": len(frames)}


def score_coco(detections: str, annotations: str) -> dict:
    """COCO's numbers of detections.json against instances_*.json, in COCO's own formats."""
    found = files.read_json(detections)
    truth = COCO()
    truth.dataset = files.read_json(annotations)
    if not isinstance(found, list):
        raise DataError(f"{detections}: expected a list of detections")
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            truth.createIndex()
        _check_rows(found, truth, detections)
        return {"coco": coco_metric.evaluate(truth, found), "frames": len(truth.dataset["images"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{detections}, {annotations}: not COCO's formats ({type(error).__name__}: {error})"
        ) from None


def _check_rows(found, truth, path):
    images, categories = set(truth.getImgIds()), set(truth.getCatIds())
    for number, row in enumerate(found):
        where = f"{path}: detection {number}"
        if row["image_id"] not in images:
            raise DataError(f"{where} is of image {row['image_id']}, which has no annotations")
        if row["category_id"] not in categories:
            raise DataError(f"{where} is of category {row['category_id']}, which there is not")
        if len(row["bbox"]) != 4 or not all(map(math.isfinite, [*row["bbox"], row["score"]])):
            raise DataError(f"{where} needs a bbox of 4 finite numbers and a finite score")
