"""Results as files, in the forms that other projects read and write.

VID devkit   detections.txt, one line each: frame_id class_id score x1 y1 x2 y2, classes from 1,
             pixels from 0, inclusive; and image_set.txt: video/frame frame_id
COCO         detections.json: a list of {image_id, category_id, bbox [x, y, width, height], score}
DAVIS        <sequence>/<frame>.png, foreground not 0
"""

import io
import math
import os
from collections.abc import Iterator

import numpy as np
import PIL.Image

from patchwork_tf.data.davis2016 import read_sequences
from patchwork_tf.data.imagenet_vid import CLASSES, read_annotation
from patchwork_tf.data.schema import numbered_lines, read_list
from patchwork_tf.errors import DataError
from patchwork_tf.files import atomic_file, write_json
from patchwork_tf.pictures import list_folder, read_mask

DETECTIONS, IMAGE_SET, COCO_DETECTIONS = "detections.txt", "image_set.txt", "detections.json"
_KEPT_DIGITS = 6


class DetectionWriter:
    """Writes the detections of all frames into a folder as the VID devkit and COCO want them.

    Frames are numbered from 1 in the order of their names, which is that of the devkit's lists. `coco_ids` are
    COCO's numbers of the classes, if the videos are COCO's images, named by their number; by default categories
    are 1 + class and images the frames' numbers.
    """

    def __init__(self, folder: str, coco_ids=None):
        self.folder = folder
        self.coco_ids = coco_ids
        self.frames = {}  # name -> rows of class, score, xmin, ymin, xmax, ymax in pixels

    def add_frame(self, video: str, frame: str, answer, size):
        """Adds the answer (Detections) to a frame of `size` (h, w) pixels."""
        boxes = np.asarray(answer.boxes, float) * np.array(2 * size)
        rows = zip(answer.classes.tolist(), answer.scores.tolist(), boxes.tolist(), strict=True)
        self.frames[f"{video}/{frame}"] = [
            (label, round(score, _KEPT_DIGITS), xmin, ymin, xmax, ymax)
            for label, score, (ymin, xmin, ymax, xmax) in rows
        ]

    def merge(self, other: "DetectionWriter"):
        """Adds what was added to another one."""
        self.frames |= other.frames

    def close(self):
        """Writes the files, once every frame was added."""
        lines, images, coco = [], [], []
        for number, name in enumerate(sorted(self.frames), start=1):
            images.append(f"{name} {number}")
            for label, score, xmin, ymin, xmax, ymax in self.frames[name]:
                # The devkit's boxes are inclusive: the last pixel, not where the next begins.
                edges = " ".join(f"{edge:.2f}" for edge in (xmin, ymin, xmax - 1, ymax - 1))
                lines.append(f"{number} {label + 1} {score} {edges}")
                row = {
                    "image_id": int(name.split("/")[0]) if self.coco_ids else number,
                    "category_id": self.coco_ids[label] if self.coco_ids else label + 1,
                    "bbox": [round(edge, 2) for edge in (xmin, ymin, xmax - xmin, ymax - ymin)],
                    "score": score,
                }
                coco.append(row)
        for name, content in ((DETECTIONS, lines), (IMAGE_SET, images)):
            with atomic_file(os.path.join(self.folder, name), "w") as file:
                file.writelines(f"{line}\n" for line in content)
        write_json(os.path.join(self.folder, COCO_DETECTIONS), coco)


class MaskWriter:
    """Writes the masks of all frames as DAVIS wants them, 0 and 255; of several classes their numbers."""

    def __init__(self, folder: str, classes: int = 1):
        self.folder = folder
        self._foreground = 255 if classes == 1 else 1
        self._pictures = {}  # path -> PNG

    def add_frame(self, video: str, frame: str, answer, size):
        """Adds the answer (Mask) to a frame."""
        with io.BytesIO() as picture:
            PIL.Image.fromarray(answer.mask.astype(np.uint8) * self._foreground).save(picture, format="png")
            self._pictures[os.path.join(self.folder, video, f"{frame}.png")] = picture.getvalue()

    def merge(self, other: "MaskWriter"):
        """Writes what was added to another one: those of all videos may be too many to hold."""
        other.close()

    def close(self):
        """Writes the masks that were added."""
        for path, picture in self._pictures.items():
            with atomic_file(path) as file:
                file.write(picture)
        self._pictures = {}


def read_image_set(path: str) -> dict[int, str]:
    """'video/frame' by frame id, from lines 'video/frame frame_id'. Raises DataError."""
    frames = {}
    for number, line in enumerate(read_list(path), start=1):
        words = line.split()
        if len(words) != 2 or not words[1].isdecimal():
            raise DataError(f"{path}:{number}: expected 'video/frame frame_id', found '{line}'")
        if int(words[1]) in frames:
            raise DataError(f"{path}:{number}: frame id {words[1]} is there twice")
        frames[int(words[1])] = words[0]
    return frames


def read_detections(path: str, frames: dict[int, str]) -> dict[int, np.ndarray]:
    """Detections of the VID devkit's format by frame id, (D, 6): class from 0, score, ymin, xmin, ymax, xmax.

    The maxima are exclusive. Raises DataError with the line that is malformed, or of an unknown frame or class.
    """
    detections = {}
    for where, words in numbered_lines(path):
        frame, row = _read_detection(words, where, frames)
        detections.setdefault(frame, []).append(row)
    return {frame: np.array(rows) for frame, rows in detections.items()}


def _read_detection(words, where, frames):
    try:
        frame, label, *numbers = words
        frame, label = int(frame), int(label)
        score, xmin, ymin, xmax, ymax = (float(number) for number in numbers)
    except ValueError:
        raise DataError(
            f"{where}: expected 'frame_id class_id score x1 y1 x2 y2', found '{' '.join(words)}'"
        ) from None
    if not all(map(math.isfinite, (score, xmin, ymin, xmax, ymax))):
        raise DataError(f"{where}: not all of '{' '.join(words)}' are finite numbers")
    if frame not in frames:
        raise DataError(f"{where}: frame id {frame} is not in the image set")
    if not 1 <= label <= len(CLASSES):
        raise DataError(f"{where}: class id {label}; there are 1 to {len(CLASSES)}")
    return frame, (label - 1, score, ymin, xmin, ymax + 1, xmax + 1)


def true_boxes(annotations: str, frame: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (G, 4) in pixels, the maxima exclusive, and classes (G,) of `<annotations>/<frame>.xml`."""
    objects = read_annotation(f"{annotations}/{frame}.xml")
    boxes = np.array([thing.box for thing, _ in objects]).reshape(-1, 4)
    return boxes, np.array([described["label"] for _, described in objects], int)


def mask_pairs(
    predictions: str, ground_truth: str, read=read_mask, may_lack_ends: bool = True
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Sequence, mask and true mask (H, W) uint8 of every true mask of sequences in both folders, in order.

    Folders hold `<sequence>/<frame>.png`; the truth may be the root of DAVIS, of which Annotations/480p is taken.
    Raises DataError if there is nothing to compare, a mask is missing, unreadable or of another size. First and
    last frames of sequences may be missing, for the official rules do not read them.
    """
    for sequence, frames in mask_frames(predictions, ground_truth).items():
        for number, frame in enumerate(frames):
            path, truth = (os.path.join(root, sequence, frame) for root in (predictions, mask_root(ground_truth)))
            truth, is_end = read(truth), number in (0, len(frames) - 1)
            is_lacking = may_lack_ends and is_end and not os.path.exists(path)
            found = np.zeros_like(truth) if is_lacking else read(path)
            if found.shape != truth.shape:
                raise DataError(
                    f"{path}: the mask has {found.shape[1]}x{found.shape[0]} pixels, the true one "
                    f"{truth.shape[1]}x{truth.shape[0]}"
                )
            yield sequence, found, truth


def mask_frames(predictions: str, ground_truth: str) -> dict[str, list[str]]:
    """Names of the true masks of every sequence that was predicted. Raises DataError if there is none."""
    root = mask_root(ground_truth)
    for folder in (predictions, root):
        if not os.path.isdir(folder):
            raise DataError(f"{folder}: no such folder")
    sequences = {}
    for sequence in list_folder(predictions):
        if os.path.isdir(os.path.join(root, sequence)) and os.path.isdir(os.path.join(predictions, sequence)):
            frames = [name for name in list_folder(os.path.join(root, sequence)) if name.endswith(".png")]
            if frames:
                sequences[sequence] = frames
    if not sequences:
        raise DataError(f"{predictions}: no folder in it is a sequence of {root}")
    return sequences


def missing_sequences(predictions: str, ground_truth: str) -> list[str]:
    """Sequences of the ground truth that were not predicted; of DAVIS, of the list that predicted ones are in."""
    predicted = set(mask_frames(predictions, ground_truth))
    expected = set(list_folder(mask_root(ground_truth)))
    for folder in ("ImageSets/480p", "ImageSets/2016"):
        for name in ("val.txt", "train.txt"):
            path = os.path.join(ground_truth, folder, name)
            if os.path.exists(path):
                listed = set(read_sequences(ground_truth, path))
                if predicted & listed:
                    expected = min(expected, listed, key=len)
    return sorted(expected - predicted)


def mask_root(ground_truth: str) -> str:
    """The folder of sequences, given that or the root of DAVIS."""
    of_davis = os.path.join(ground_truth, "Annotations", "480p")
    return of_davis if os.path.isdir(of_davis) else ground_truth
