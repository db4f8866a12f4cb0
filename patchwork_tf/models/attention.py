"""The attention network: which window to look at next (paper, Section 3.3).

Two SepConv3x3 and a dense layer on the restored feature map of the full frame give a Q-value
for each of the (M - N + 1)^2 windows. A map of how fresh the memory of each cell is goes in too.
"""

import keras
import numpy as np
from keras import layers, ops

from patchwork_tf.grid import Grid
from patchwork_tf.layers.blocks import SepConvCell
from patchwork_tf.layers.cell import remember, window_of

WIDTH = 64
FRESHNESS_DECAY = 0.9  # per frame; told apart well up to some 40 frames, two raster sweeps of 4 x 4 windows
# Before training, windows of equal staleness are visited in the order of their numbers. The
# preference is stronger than rounding errors, so that every runtime decides alike.
_ORDER = 1e-3


def advance_freshness(freshness, window, grid: Grid):
    """How fresh each cell is after a frame: 1 if it was just looked at, less by a tenth per frame.

    Args:
        freshness: (B, M, M, 1) float32 before the frame, 0 where no window has been yet.
        window: (B, 2) int32 that the frame was looked at through, or None for all of it.

    Returns:
        (B, M, M, 1) float32.
    """
    size = grid.cells if window is None else grid.window
    seen = ops.ones(((freshness if window is None else window).shape[0], size, size, 1))
    return remember(FRESHNESS_DECAY * freshness, seen, window, grid)


class AttentionNetwork(layers.Layer):
    """Q-values of all windows from the restored map.

    Until it is trained it prefers the stalest window, which amounts to a raster.

    Args:
        grid: the frame's grid.
        frame_shape: (H, W, C) of the restored map.
        name: of the layer, and what its layers' names start with.
    """

    def __init__(self, grid: Grid, frame_shape, name="attention"):
        super().__init__(name=name)
        height, width, _ = frame_shape
        self.grid = grid
        self.size = (height, width)
        actions = len(grid.windows)
        self.reduce = SepConvCell(WIDTH, Grid(), frame_shape, name=f"{name}_sep1")
        self.mix = SepConvCell(WIDTH, Grid(), (height, width, WIDTH + 1), name=f"{name}_sep2")
        self.value = layers.Dense(
            actions,
            kernel_initializer="zeros",
            bias_initializer=_FirstWindowsFirst(),
            name=f"{name}_value",
        )
        self.need = layers.Dense(
            actions, use_bias=False, kernel_initializer=_StalestFirst(grid), name=f"{name}_need"
        )

    def q_values(self, restored, freshness):
        """Value (B, windows) of looking through each window at the next frame.

        Args:
            restored: (B, H, W, C) float32, the last feature map of the full frame.
            freshness: (B, M, M, 1) float32, see `advance_freshness`.
        """
        x, _ = self.reduce.step(restored, None, {})
        fresh = ops.image.resize(freshness, self.size, interpolation="bilinear", data_format="channels_last")
        x, _ = self.mix.step(ops.concatenate([x, fresh], axis=-1), None, {})
        height, width = self.size
        features = ops.reshape(x, (-1, height * width * WIDTH))
        cells = ops.reshape(freshness, (-1, self.grid.cells**2))
        return self.value(features) + self.need(cells)

    def next_window(self, q_values):
        """The best window (B, 2) int32 of Q-values (B, windows)."""
        _, best = ops.top_k(q_values, 1)  # LiteRT has no operator for Keras' argmax
        return window_of(best[:, 0], self.grid)


class _FirstWindowsFirst(keras.initializers.Initializer):
    """Biases (windows,) that break ties in favour of the windows with the lowest numbers."""

    def __call__(self, shape, dtype=None):
        return ops.convert_to_tensor(-_ORDER * np.arange(shape[0]), dtype=dtype)


class _StalestFirst(keras.initializers.Initializer):
    """A kernel (cells, windows) by which a window is worth what its cells have lost in freshness."""

    def __init__(self, grid: Grid):
        self.grid = grid

    def __call__(self, shape, dtype=None):
        kernel = -self.grid.coverage.T.astype(np.float32) / self.grid.window**2
        return ops.convert_to_tensor(kernel.reshape(shape), dtype=dtype)
