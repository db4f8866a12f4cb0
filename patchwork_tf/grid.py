"""The grid of cells that a frame is cut into, and the windows that cover it."""

import dataclasses

import numpy as np

from patchwork_tf.errors import UsageError
from patchwork_tf.runtime.frames import sweep


@dataclasses.dataclass(frozen=True)
class Grid:
    """A frame of `cells` x `cells` cells, seen through windows of `window_cells` x `window_cells` cells.

    The paper's M and N. A window (row, column) names its top left cell, so there are
    (M - N + 1)^2 windows; they are numbered row by row, the numbers being the actions of
    the attention network. M = N is the single-frame network: its one window is the frame.
    """

    cells: int = 1
    window_cells: int = 1

    def __post_init__(self):
        if not 1 <= self.window_cells <= self.cells:
            raise UsageError(
                f"a window of {self.window_cells} x {self.window_cells} cells does not fit a grid of "
                f"{self.cells} x {self.cells}; N must be between 1 and M"
            )

    @property
    def is_whole_frame(self) -> bool:
        return self.window_cells == self.cells

    @property
    def positions(self) -> int:
        """Window positions along one side, M - N + 1."""
        return self.cells - self.window_cells + 1

    @property
    def windows(self) -> list[tuple[int, int]]:
        """All windows (row, column) in the order of their action numbers."""
        return [(r, q) for r in range(self.positions) for q in range(self.positions)]

    def window_size(self, shape) -> tuple[int, int]:
        """(h, w) in pixels of a window on a map of `shape` (H, W, ...)."""
        height, width = shape[:2]
        return height * self.window_cells // self.cells, width * self.window_cells // self.cells

    @property
    def coverage(self) -> np.ndarray:
        """Which cells, row by row, each window covers: (windows, cells) bool."""
        covered = np.zeros((len(self.windows), self.cells, self.cells), bool)
        for action, (row, column) in enumerate(self.windows):
            covered[action, row : row + self.window_cells, column : column + self.window_cells] = True
        return covered.reshape(len(self.windows), -1)

    @property
    def raster(self) -> list[tuple[int, int]]:
        """The fewest windows that cover the frame, row by row: one sweep of the raster policy."""
        return sweep(self.cells, self.window_cells)
