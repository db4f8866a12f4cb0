"""What is known after a frame: all of it, also what was not looked at."""

import dataclasses
import functools

import numpy as np

from .resizing import restore_boxes, restore_map

# Outputs of a step that are about windows, not the task's answer.
WINDOW_OUTPUTS = ("next_window", "need", "freshness", "rule_values", "q_values")
FOREGROUND = 0.5  # probability above which a pixel is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a system says after a frame; a task's own kind of answer adds what it is asked for.

    Attributes:
        window: (row, column) looked at in this frame; None if the frame was not processed, or
            looked at as a whole.
        whole_frame: whether this frame was looked at as a whole, to start with.
        mflops: what this frame cost, multiply-adds / 10^6.
        q_values: (windows,) float32, what it is held for worth to look through each window at the next
            frame; None if the frame was not processed, or there is no choice.
        freshness: (M, M) float32, 1 where this frame was looked at, else 0.9 to the power of the cell's age; None
            likewise.
    """

    window: tuple[int, int] | None = None
    whole_frame: bool = False
    mflops: float = 0.0
    q_values: np.ndarray | None = None
    freshness: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detections(Answer):
    """Objects in a frame.

    Attributes:
        boxes: (D, 4) float32, ymin, xmin, ymax, xmax as fractions of the frame, in the order in which they
            won over others: by score, which counts less the longer ago it was found.
        scores: (D,) float32.
        classes: (D,) int32, from 0.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask(Answer):
    """The foreground of a frame.

    Attributes:
        probability: (H, W) float32 at the network's image size, of each pixel to be foreground.
        numbers: (H, W) uint8 likewise, of a segmenter of several classes: 1 and the number of the class, 0 for
            background; else None.
        size: (h, w) of the frame.
        resize_mode: how it was brought to the network's size.
    """

    probability: np.ndarray
    numbers: np.ndarray | None = None
    size: tuple[int, int]
    resize_mode: str = "stretch"

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """(h, w) uint8 at the frame's own size, where it is: 1 and the number of the class, 0 for background."""
        if self.numbers is not None:
            return restore_map(self.numbers, self.size, self.resize_mode)
        return (restore_map(self.probability, self.size, self.resize_mode) > FOREGROUND).astype(np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maps(Answer):
    """The outputs of a network.

    Attributes:
        maps: by name, (H, W, C) float32 as the network has them; one without a place is (C,).
    """

    maps: dict[str, np.ndarray]


def detections(outputs, size, image_size, resize_mode) -> Detections:
    """Outputs of a step, None if there are none yet, as an answer for a frame.

    Args:
        outputs: arrays without the axis of the batch: 'boxes' (D, 4), 'scores' (D,), 'classes' (D,), 'count'.
        size: (h, w) of the frame in pixels.
        image_size: (H, W) of the network.
        resize_mode: how the frame was brought to that size.
    """
    if outputs is None:
        nothing = np.zeros(0, np.float32)
        return Detections(boxes=nothing.reshape(0, 4), scores=nothing, classes=nothing.astype(np.int32))
    boxes, scores, classes = (outputs[key][: int(outputs["count"])] for key in ("boxes", "scores", "classes"))
    boxes = restore_boxes(boxes, size, image_size, resize_mode)
    return Detections(boxes=boxes, scores=scores, classes=classes)


def mask(outputs, size, image_size, resize_mode) -> Mask:
    """The same of 'mask' (H, W) and, of several classes, 'classes' (H, W); undecided without outputs."""
    probability = np.full(image_size, FOREGROUND, np.float32) if outputs is None else outputs["mask"]
    numbers = outputs["classes"].astype(np.uint8) if outputs and "classes" in outputs else None
    return Mask(probability=probability, numbers=numbers, size=tuple(size), resize_mode=resize_mode)


def maps(outputs, size, image_size, resize_mode) -> Maps:
    """The same of all outputs but those that are about windows."""
    del size, image_size, resize_mode
    return Maps(maps={key: x for key, x in (outputs or {}).items() if key not in WINDOW_OUTPUTS})


OF_TASK = {"detection": detections, "segmentation": mask, "maps": maps}
