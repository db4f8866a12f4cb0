"""Frames of a video as they come."""

import numpy as np

from .errors import DataError, UsageError

STARTS = ("whole", "sweep")  # of a stream: how it looks at the first frame


def as_rgb(frame: np.ndarray, where: str = "frame") -> np.ndarray:
    """A frame as (h, w, 3) uint8 RGB: grey becomes RGB, alpha is dropped, 16 bits become 8.

    Args:
        frame: (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), uint8 or uint16.
        where: what the message of an error begins with.

    Raises:
        UsageError: for anything else. Floats are refused: nobody knows whether they end at 1 or at 255.
    """
    frame = np.asarray(frame)
    if frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and frame.size:
        return frame
    if frame.ndim == 2:
        frame = frame[..., None]
    if (
        frame.dtype not in (np.uint8, np.uint16)
        or frame.ndim != 3
        or frame.shape[2] not in (1, 3, 4)
        or not frame.size
    ):
        raise UsageError(
            f"{where}: an image is (h, w, 3) uint8 RGB, 0 to 255, not {frame.shape} {frame.dtype}; convert it"
        )
    if frame.dtype == np.uint16:
        frame = np.round(frame / 257).astype(np.uint8)
    return np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else np.ascontiguousarray(frame[..., :3])


def check_size(size, expected, where: str):
    """Raises DataError if a frame's size (h, w) is not that of the frames before it."""
    if tuple(size) != tuple(expected):
        raise DataError(
            f"{where} has {size[1]}x{size[0]} pixels, those before it {expected[1]}x{expected[0]}; frames of one "
            "video have one size"
        )


def sweep(cells: int, window_cells: int) -> list[tuple[int, int]]:
    """The fewest windows (row, column) that cover the frame, row by row."""
    starts = [*range(0, cells - window_cells, window_cells), cells - window_cells]
    return [(row, column) for row in starts for column in starts]
