"""Results as files, in the forms that other projects read and write.

VID devkit   detections.txt, one line each: frame_id class_id score x1 y1 x2 y2, classes from 1,
             pixels from 0, inclusive; and image_set.txt: video/frame frame_id
COCO         detections.json: a list of {image_id, category_id, bbox [x, y, width, height], score}
DAVIS        <sequence>/<frame>.png, foreground not 0
"""

import json
import math
import os
from collections.abc import Iterator

import numpy as np
import PIL.Image

from patchwork_tf.cli import atomic_file, make_folder
from patchwork_tf.data.imagenet_vid import CLASSES, read_annotation
from patchwork_tf.data.schema import read_list, read_mask
from patchwork_tf.errors import DataError

DETECTIONS, IMAGE_SET, COCO_DETECTIONS = "detections.txt", "image_set.txt", "detections.json"
_KEPT_DIGITS = 6


class DetectionWriter:
    """Writes the detections of all frames as the VID devkit and COCO want them.

    Args:
        folder: where detections.txt, image_set.txt and detections.json go.
        category_ids: COCO's number of every class; by default 1 + class.
    """

    def __init__(self, folder: str, category_ids=None):
        make_folder(folder)
        self.folder = folder
        self.category_ids = category_ids
        self.lines, self.images, self.coco = [], [], []

    def add_frame(self, video: str, frame: str, answer, size):
        """Adds the answer (Detections) to a frame of `size` (h, w) pixels."""
        self.images.append(f"{video}/{frame} {len(self.images) + 1}")
        boxes = answer.boxes * np.array(2 * size)
        for (ymin, xmin, ymax, xmax), score, label in zip(
            boxes.tolist(), answer.scores, answer.classes, strict=True
        ):
            score = round(float(score), _KEPT_DIGITS)
            # The devkit's boxes are inclusive: the last pixel, not where the next begins.
            edges = " ".join(f"{edge:.2f}" for edge in (xmin, ymin, xmax - 1, ymax - 1))
            self.lines.append(f"{len(self.images)} {label + 1} {score} {edges}")
            category = int(label) + 1 if self.category_ids is None else self.category_ids[int(label)]
            bbox = [round(edge, 2) for edge in (xmin, ymin, xmax - xmin, ymax - ymin)]
            image = int(video) if video.isdigit() else len(self.images)
            self.coco.append({"image_id": image, "category_id": category, "bbox": bbox, "score": score})

    def close(self):
        for name, lines in ((DETECTIONS, self.lines), (IMAGE_SET, self.images)):
            with atomic_file(os.path.join(self.folder, name), "w") as file:
                file.writelines(f"{line}\n" for line in lines)
        with atomic_file(os.path.join(self.folder, COCO_DETECTIONS), "w") as file:
            json.dump(self.coco, file)


class MaskWriter:
    """Writes the masks of all frames as DAVIS wants them: 0 and 255."""

    def __init__(self, folder: str):
        make_folder(folder)
        self.folder = folder

    def add_frame(self, video: str, frame: str, answer, size):
        """Adds the answer (Segmentation) to a frame."""
        del size
        path = os.path.join(self.folder, video, f"{frame}.png")
        with atomic_file(path) as file:
            PIL.Image.fromarray(answer.mask.astype(np.uint8) * 255).save(file, format="png")

    def close(self):
        pass


def read_image_set(path: str) -> dict[int, str]:
    """'video/frame' by frame id, from lines 'video/frame frame_id'. Raises DataError."""
    frames = {}
    for number, line in enumerate(read_list(path), start=1):
        words = line.split()
        if len(words) != 2 or not words[1].isdigit():
            raise DataError(f"{path}:{number}: expected 'video/frame frame_id', found '{line}'")
        if int(words[1]) in frames:
            raise DataError(f"{path}:{number}: frame id {words[1]} is there twice")
        frames[int(words[1])] = words[0]
    return frames


def read_detections(path: str, frames: dict[int, str], num_classes: int = len(CLASSES)) -> dict[int, np.ndarray]:
    """Detections of the VID devkit's format, by frame id.

    Returns:
        Frame id -> (D, 6) float64: class from 0, score, ymin, xmin, ymax, xmax, the maxima exclusive.

    Raises:
        DataError: that names the line, if it is malformed or its frame or class unknown.
    """
    found = {}
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    frame, row = _read_detection(line, f"{path}:{number}", frames, num_classes)
                    found.setdefault(frame, []).append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read these detections ({error})") from None
    return {frame: np.array(rows) for frame, rows in found.items()}


def _read_detection(line, where, frames, num_classes):
    try:
        frame, label, *numbers = line.split()
        frame, label = int(frame), int(label)
        score, xmin, ymin, xmax, ymax = (float(number) for number in numbers)
    except ValueError:
        raise DataError(
            f"{where}: expected 'frame_id class_id score x1 y1 x2 y2', found '{line.strip()}'"
        ) from None
    if not all(map(math.isfinite, (score, xmin, ymin, xmax, ymax))):
        raise DataError(f"{where}: not all of '{line.strip()}' are finite numbers")
    if frame not in frames:
        raise DataError(f"{where}: frame id {frame} is not in the image set")
    if not 1 <= label <= num_classes:
        raise DataError(f"{where}: class id {label}; there are 1 to {num_classes}")
    return frame, (label - 1, score, ymin, xmin, ymax + 1, xmax + 1)


def true_boxes(annotations: str, frame: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (G, 4) in pixels, the maxima exclusive, and classes (G,) of `<annotations>/<frame>.xml`."""
    objects = read_annotation(f"{annotations}/{frame}.xml", in_pixels=True)
    boxes = np.array([thing["box"] for thing in objects]).reshape(-1, 4)
    return boxes, np.array([thing["label"] for thing in objects], int)


def mask_pairs(predictions: str, ground_truth: str) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Sequence, frame, mask and true mask (H, W) bool of every true mask, in order.

    Args:
        predictions: folder of `<sequence>/<frame>.png`.
        ground_truth: the same, or the root of DAVIS, of which Annotations/480p is taken; only
            sequences that are in `predictions` too are.

    Raises:
        DataError: if there is nothing to compare, a mask is missing, unreadable or of another size.
    """
    for sequence, frames in mask_frames(predictions, ground_truth).items():
        folder = os.path.join(mask_root(ground_truth), sequence)
        for frame in frames:
            path = os.path.join(predictions, sequence, frame)
            mask, truth = read_mask(path), read_mask(os.path.join(folder, frame))
            if mask.shape != truth.shape:
                raise DataError(
                    f"{path}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, the true one "
                    f"{truth.shape[1]}x{truth.shape[0]}"
                )
            yield sequence, frame, mask > 0, truth > 0


def mask_frames(predictions: str, ground_truth: str) -> dict[str, list[str]]:
    """Names of the true masks of every sequence that was predicted. Raises DataError if there is none."""
    root = mask_root(ground_truth)
    for folder in (predictions, root):
        if not os.path.isdir(folder):
            raise DataError(f"{folder}: no such folder")
    sequences = {}
    for sequence in sorted(os.listdir(predictions)):
        if os.path.isdir(os.path.join(root, sequence)) and os.path.isdir(os.path.join(predictions, sequence)):
            frames = sorted(f for f in os.listdir(os.path.join(root, sequence)) if f.endswith(".png"))
            if frames:
                sequences[sequence] = frames
    if not sequences:
        raise DataError(f"{predictions}: no folder in it is a sequence of {root}")
    return sequences


def mask_root(ground_truth: str) -> str:
    """The folder of sequences, given that or the root of DAVIS."""
    inside = os.path.join(ground_truth, "Annotations", "480p")
    return inside if os.path.isdir(inside) else ground_truth
