"""Which window to look at next, for those who choose without looking: endless window streams."""

import itertools

import numpy as np

from patchwork_tf.grid import Grid


def random_windows(grid: Grid, seed: int = 0):
    """Every window equally likely in every frame: yields (row, column)."""
    rng = np.random.default_rng(seed)
    while True:
        row, column = rng.integers(0, grid.positions, 2)
        yield int(row), int(column)


def raster_windows(grid: Grid, seed: int = 0):
    """Sweeps the frame with the fewest windows that cover it, row by row: yields (row, column)."""
    del seed
    yield from itertools.cycle(grid.raster)


POLICIES = {"random": random_windows, "raster": raster_windows}
