"""The attention network: which window to look at next (paper, Section 3.3).

Two SepConv3x3 and a dense layer on the restored feature map of the full frame say what each of the (M - N + 1)^2
windows is worth beside what the rule of `rule.py` says. How fresh the memory of each cell is, and how much
of the answer is there, go in too.
"""

import keras
from keras import layers, ops

from patchwork_tf.grid import Grid
from patchwork_tf.layers.blocks import separable
from patchwork_tf.layers.cell import window_of

WIDTH = 64
CELL_MAPS = 2  # freshness and need


class AttentionNetwork(layers.Layer):
    """What windows are worth beside the rule's values: nothing, until it is trained.

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
        # The two SepConv3x3 and the dense layer.
        self.reduce = _separable(frame_shape, f"{name}_sep1")
        self.mix = _separable((height, width, WIDTH + CELL_MAPS), f"{name}_sep2")
        self.value = layers.Dense(len(grid.windows), kernel_initializer="zeros", name=f"{name}_value")
        self.value.build((None, height * width * WIDTH))
        self.built = True

    @property
    def is_trained(self) -> bool:
        """Whether it adds anything to the rule."""
        return any(bool(ops.any(variable != 0)) for variable in self.value.variables)

    def corrections(self, restored, freshness, need):
        """What to add (B, windows) to the rule's values, of a map (B, H, W, C), freshness and need of cells."""
        x = self.reduce(restored)
        cells = ops.concatenate([freshness, need], axis=-1)
        cells = ops.image.resize(cells, self.size, interpolation="bilinear", data_format="channels_last")
        x = self.mix(ops.concatenate([x, cells], axis=-1))
        height, width = self.size
        return self.value(ops.reshape(x, (-1, height * width * WIDTH)))


def _separable(shape, name) -> keras.Model:
    features = keras.Input(shape)
    return keras.Model(features, separable(features, WIDTH, name=name), name=name)


def best_window(values, grid: Grid):
    """The best window (B, 2) int32 of values (B, windows)."""
    _, best = ops.top_k(values, 1)  # LiteRT has no operator for Keras' argmax
    return window_of(best[:, 0], grid)
