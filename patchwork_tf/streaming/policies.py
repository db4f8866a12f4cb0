"""Which window to look at next.

Random, raster and learned can be deployed. Oracle and foresight look at the whole frame before they choose,
and tell what there is to gain: foresight, one step ahead, for a policy that does not know the truth.

A policy is a generator of windows (row, column), endless. It is sent the model's choice for the
next frame, the `next_window` of the last step, and follows it or not.
"""

import itertools

import numpy as np

from patchwork_tf.grid import Grid


def random_windows(grid: Grid, seed: int = 0):
    """Every window equally likely in every frame."""
    rng = np.random.default_rng(seed)
    while True:
        row, column = rng.integers(0, grid.positions, 2)
        yield int(row), int(column)


def raster_windows(grid: Grid, seed: int = 0):
    """Sweeps the frame with the fewest windows that cover it, row by row."""
    del seed
    for number in itertools.count():
        yield grid.raster[number % len(grid.raster)]


def learned_windows(grid: Grid, seed: int = 0):
    """What the attention network chooses, from the first window on."""
    del grid, seed
    window = (0, 0)
    while True:
        window = yield window


def oracle_windows(grid: Grid, seed: int = 0):
    """Whatever it is told: `stream` tries all windows against the truth, and chooses for it."""
    return learned_windows(grid, seed)


def foresight_windows(grid: Grid, seed: int = 0):
    """Whatever it is told, too: `stream` tries all windows against what the model says of the whole frame."""
    return learned_windows(grid, seed)


POLICIES = {
    "random": random_windows,
    "raster": raster_windows,
    "learned": learned_windows,
    "oracle": oracle_windows,
    "foresight": foresight_windows,
}
LOOK_FIRST = frozenset({"oracle", "foresight"})  # those that try every window of a frame before they choose
DEPLOYABLE = tuple(name for name in POLICIES if name not in LOOK_FIRST)
