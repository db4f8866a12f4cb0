"""Layers of a network that looks at windows: each takes what it remembers, and returns it renewed.

    y, memory = layer(x, window, memory)

A window of None is the whole frame: all memory is made anew then. `PatchworkCell` (cell.py) is the one that the
others serve.
"""

from keras import KerasTensor, layers, ops

from patchwork_tf.grid import Grid
from patchwork_tf.layers.cell import crop_window, remember


class Look(layers.Layer):
    """Cuts the window (B, h, w, C) out of a map (B, H, W, C) of the full frame. Remembers nothing."""

    def __init__(self, grid: Grid, **kwargs):
        super().__init__(**kwargs)
        self.grid = grid

    def call(self, x, window):
        return crop_window(x, window, self.grid)

    def compute_output_spec(self, x, window):
        return KerasTensor((x.shape[0], *self.grid.window_size(x.shape[1:3]), x.shape[3]), x.dtype)


class Remember(layers.Layer):
    """Puts the map of the full frame together: the window's features, and what was remembered of the rest."""

    def __init__(self, grid: Grid, frame_shape, **kwargs):
        super().__init__(**kwargs)
        self.grid, self.memory_shape = grid, tuple(frame_shape)

    def call(self, x, window, memory):
        memory = remember(memory, x, window, self.grid)
        return memory, memory

    def compute_output_spec(self, x, window, memory):
        memory = KerasTensor((x.shape[0], *self.memory_shape), x.dtype)
        return memory, memory


class CellMeans(layers.Layer):
    """Mean over the map of the full frame, of the means of its cells (B, M, M, C), which are what it remembers."""

    def __init__(self, grid: Grid, frame_shape, keepdims: bool, **kwargs):
        super().__init__(**kwargs)
        self.grid, self.keepdims = grid, keepdims
        self.cell = tuple(side // grid.cells for side in frame_shape[:2])
        self.memory_shape = (grid.cells, grid.cells, frame_shape[2])

    def call(self, x, window, memory):
        means = ops.average_pool(x, self.cell, self.cell, data_format="channels_last")
        memory = remember(memory, means, window, self.grid)
        return ops.mean(memory, axis=(1, 2), keepdims=self.keepdims), memory

    def compute_output_spec(self, x, window, memory):
        mean = KerasTensor((x.shape[0], *((1, 1) if self.keepdims else ()), x.shape[3]), x.dtype)
        return mean, KerasTensor((x.shape[0], *self.memory_shape), x.dtype)
