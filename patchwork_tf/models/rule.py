"""The rule by which windows are chosen without any training.

The value of a window is the sum over its cells of

    (need + background) * (1 - just_seen * freshness),   freshness = FRESHNESS_DECAY^age

where age is the number of frames since the cell was looked at. Need says how much of the answer that
matters is remembered in a cell: undecided pixels of a mask, or parts of detected objects. Of
the needs around a cell a part counts there too, for objects move next door. The background makes
sure that no cell is forgotten.
"""

import dataclasses

import numpy as np
from keras import ops

from patchwork_tf.grid import Grid
from patchwork_tf.layers.cell import remember

FRESHNESS_DECAY = 0.9  # per frame; told apart well up to some 60 frames
# Windows of equal value are visited in the order of their numbers. The preference is stronger than
# rounding errors of float32, so that every runtime decides alike, and weaker than a frame of age.
_ORDER = 1e-5


@dataclasses.dataclass(frozen=True)
class Rule:
    """The constants of the rule."""

    background: float  # need of a cell in which nothing is known to be
    neighbours: float  # what the mean need of the 3 x 3 cells around a cell, itself among them, counts for in it
    # What the freshness of a cell that was looked at in this frame counts for when the next window is chosen. With
    # 1 nothing is gained by looking there again; with less, objects may be followed.
    just_seen: float = 1.0
    # Whether detections need as much as the squares of their scores, for detectors that hold much for possible.
    squares_scores: bool = False

    def spread(self, grid: Grid) -> np.ndarray:
        """What the need of each cell counts for in each other, (cells, cells) float32."""
        places = np.stack(np.divmod(np.arange(grid.cells**2), grid.cells), axis=1)
        near = np.abs(places[:, None] - places).max(axis=2) <= 1
        mean = near / near.sum(axis=0)  # of the cells there are; at the frame's edge these are fewer
        return (np.eye(len(places)) + self.neighbours * mean).astype(np.float32)

    def values(self, need, freshness, grid: Grid):
        """Values (B, windows) of looking through each at the next frame, of need and freshness (B, M, M, 1)."""
        need, freshness = (ops.reshape(x, (-1, grid.cells**2)) for x in (need, freshness))
        worth = (ops.matmul(need, self.spread(grid)) + self.background) * (1 - self.just_seen * freshness)
        return ops.matmul(worth, grid.coverage.T.astype(np.float32)) + first_windows_first(grid)


def first_windows_first(grid: Grid) -> np.ndarray:
    """(windows,) float32, what breaks ties in favour of the windows with the lowest numbers."""
    return np.float32(-_ORDER) * np.arange(len(grid.windows), dtype=np.float32)


def advance_freshness(freshness, window, grid: Grid):
    """How fresh each cell is, (B, M, M, 1), after a frame seen through a window (B, 2), or as a whole.

    1 if it was just looked at, less by a tenth per frame, 0 where no window has been yet.
    """
    if window is None:
        return ops.ones_like(freshness)
    fresh = ops.ones((window.shape[0], grid.window_cells, grid.window_cells, 1))
    return remember(FRESHNESS_DECAY * freshness, fresh, window, grid)


def cell_of(centers, grid: Grid) -> np.ndarray:
    """Numbers (P,) int32 of the cells, row by row, that points (P, 2), fractions of the frame, are in."""
    rows, columns = (centers * grid.cells).astype(np.int32).T
    return rows * grid.cells + columns
