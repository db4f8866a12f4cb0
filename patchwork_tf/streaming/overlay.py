"""Drawing an answer onto its frame: boxes, the attended window, and how stale the rest is."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from patchwork_tf import drawing
from patchwork_tf.grid import Grid
from patchwork_tf.task import Task

MIN_SIDE = 384  # smaller frames are enlarged, so that text can be read
NEVER = -1  # age of a cell that no window has covered yet
_STALEST = 8  # frames; older cells are drawn alike
_WINDOW_COLOUR = (255, 220, 40)


def fresh_ages(grid: Grid) -> np.ndarray:
    """Ages (M, M) of the cells before the first frame: never seen."""
    return np.full((grid.cells, grid.cells), NEVER)


def advance_ages(ages: np.ndarray, grid: Grid, answer) -> np.ndarray:
    """Ages (M, M) in frames after a frame that was answered."""
    ages = np.where(ages == NEVER, NEVER, ages + 1)
    if answer.whole_frame:
        return np.zeros_like(ages)
    if answer.window is not None:
        row, column = answer.window
        ages[row : row + grid.window_cells, column : column + grid.window_cells] = 0
    return ages


@dataclasses.dataclass(frozen=True)
class Style:
    """What is drawn of answers."""

    task: Task  # that draws its answer
    class_names: Sequence[str]  # of the model
    min_score: float = 0.3  # detections below it are left out
    show_values: bool = False  # also a square per window, top right: the brighter, the more is expected of it


def draw(frame, answer, ages, style: Style, title="") -> np.ndarray:
    """Draws the answer to a frame (H, W, 3) uint8 RGB; the new image is larger if the frame is small.

    `ages` (M, M) are frames since each cell was looked at, or NEVER. Stale cells are darkened, the staler the
    darker, and cells never seen are grey. The title is shown at the bottom.
    """
    factor = max(1, -(-MIN_SIDE // min(frame.shape[:2])))
    image = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    image = _shade(image, ages)
    if answer.window is not None and ages.shape[0] > 1:
        _outline_window(image, ages)
    image = style.task.draw(image, answer, style.class_names, style.min_score)
    if style.show_values and answer.q_values is not None:
        _draw_values(image, answer.q_values)
    if title:
        drawing.caption(image, title)
    return image


def _shade(image, ages):
    """Darkens stale cells and takes the colour out of those never seen."""
    height, width = image.shape[:2]
    light = np.where(ages == NEVER, 1.0, 1.0 - 0.6 * np.minimum(ages, _STALEST) / _STALEST).astype(np.float32)
    light = cv2.resize(light, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    unseen = cv2.resize((ages == NEVER).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    shaded = (image * light).astype(np.uint8)
    grey = (0.25 * image.mean(axis=2, keepdims=True)).astype(np.uint8)
    return np.where(unseen[..., None] > 0, grey, shaded)


def _outline_window(image, ages):
    cells = ages.shape[0]
    rows, columns = np.nonzero(ages == 0)
    height, width = image.shape[:2]
    top, bottom = rows.min() * height // cells, (rows.max() + 1) * height // cells
    left, right = columns.min() * width // cells, (columns.max() + 1) * width // cells
    line = drawing.thickness(image) + 1
    corner = (right - line // 2 - 1, bottom - line // 2 - 1)
    cv2.rectangle(image, (left + line // 2, top + line // 2), corner, _WINDOW_COLOUR, line)


def _draw_values(image, q_values):
    """A square for each window, the brighter, the higher its value; the highest is outlined."""
    side = round(len(q_values) ** 0.5)  # windows in a row
    values, square = q_values.reshape(side, side), max(4, min(image.shape[:2]) // (5 * side))
    scaled = (255 * (values - values.min()) / max(np.ptp(values), 1e-6)).astype(np.uint8)
    enlarged = cv2.resize(scaled, None, fx=square, fy=square, interpolation=cv2.INTER_NEAREST)
    picture = np.ascontiguousarray(cv2.applyColorMap(enlarged, cv2.COLORMAP_VIRIDIS)[..., ::-1])
    row, column = divmod(int(values.argmax()), side)
    corner = (column * square, row * square)
    cv2.rectangle(picture, corner, (corner[0] + square - 1, corner[1] + square - 1), (255, 255, 255), 1)
    image[6 : 6 + side * square, -6 - side * square : -6] = picture
