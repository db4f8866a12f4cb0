"""Layers that networks out of .tflite files have and Keras has not, and what they need on windows.

Keras saves them by the numbers that they were made with.
"""

import keras
import numpy as np
from keras import layers, ops

from patchwork_tf.layers import rules


@keras.saving.register_keras_serializable("patchwork_tf")
class DepthToSpace(layers.Layer):
    """Spreads channels over blocks of pixels: (B, h, w, block block C) -> (B, h block, w block, C)."""

    def __init__(self, block: int, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def call(self, x):
        _, height, width, channels = x.shape
        block, rest = self.block, channels // self.block**2
        x = ops.transpose(ops.reshape(x, (-1, height, width, block, block, rest)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height * block, width * block, rest))


@keras.saving.register_keras_serializable("patchwork_tf")
class ChannelPadding(layers.Layer):
    """Channels of zeros, `before` and `after` those that there are."""

    def __init__(self, before: int, after: int, **kwargs):
        super().__init__(**kwargs)
        self.before, self.after = before, after

    def call(self, x):
        # A PAD of channels crashes TensorFlow's graph optimizer beside others.
        nothing = ops.zeros_like(x[..., :1])
        zeros = [ops.repeat(nothing, count, axis=-1) for count in (self.before, self.after)]
        return ops.concatenate([zeros[0], x, zeros[1]], axis=-1)


@keras.saving.register_keras_serializable("patchwork_tf")
class ChannelSlice(layers.Layer):
    """Channels `start` to `stop`."""

    def __init__(self, start: int, stop: int, **kwargs):
        super().__init__(**kwargs)
        self.start, self.stop = start, stop

    def call(self, x):
        return x[..., self.start : self.stop]


@keras.saving.register_keras_serializable("patchwork_tf")
class PixelSlice(layers.Layer):
    """One pixel of each block of `size` x `size`: (B, h size, w size, C) -> (B, h, w, C)."""

    def __init__(self, size: int, row: int, column: int, **kwargs):
        super().__init__(**kwargs)
        self.size, self.row, self.column = size, row, column

    def call(self, x):
        return x[:, self.row :: self.size, self.column :: self.size]


@keras.saving.register_keras_serializable("patchwork_tf")
class Spread(layers.Layer):
    """Numbers (B, 1, 1, C) at every pixel of a map, for which another (B, h, w, c) stands."""

    def call(self, numbers, like):
        return numbers + ops.zeros_like(like[..., :1])

    def compute_output_shape(self, numbers_shape, like_shape):
        return (*like_shape[:3], numbers_shape[3])


@keras.saving.register_keras_serializable("patchwork_tf")
class NearestResizing(layers.Layer):
    """A map (B, h, w, C) at the size of another: each pixel is the one whose corner is at or before its own."""

    def call(self, x, like):
        for axis in (1, 2):
            size, wanted = x.shape[axis], like.shape[axis]
            x = ops.take(x, np.arange(wanted) * size // wanted, axis=axis)
        return x

    def compute_output_shape(self, x_shape, like_shape):
        return (*like_shape[:3], x_shape[3])


@keras.saving.register_keras_serializable("patchwork_tf")
class AlignedResizing(layers.Layer):
    """Bilinear resizing in which the corners of both maps are the centres of their outermost pixels."""

    def __init__(self, height: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width = height, width

    def call(self, x):
        x = ops.einsum("oi,biwc->bowc", _parts(x.shape[1], self.height), x)
        return ops.einsum("oi,bhic->bhoc", _parts(x.shape[2], self.width), x)


@keras.saving.register_keras_serializable("patchwork_tf")
class CornerResizing(layers.Layer):
    """Bilinear resizing by whole factors, in which pixels are at their upper left corners, as in TF 1."""

    def __init__(self, rows: int, columns: int, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = rows, columns

    def call(self, x):
        return self.enlarged(ops.concatenate([x, x[:, -1:]], 1), 0)

    def enlarged(self, x, before: int):
        """What is made of x (B, before + h + 1, w, C), and of its columns likewise if there are as many more."""
        height = x.shape[1] - before - 1
        width = x.shape[2] - before - 1 if before else x.shape[2]
        if not before:
            x = ops.concatenate([x, x[:, :, -1:]], 2)
        x = ops.einsum("oi,biwc->bowc", _corner_parts(height, self.rows, before), x)
        return ops.einsum("oi,bhic->bhoc", _corner_parts(width, self.columns, before), x)


def _corner_parts(size: int, factor: int, before: int) -> np.ndarray:
    """What each of before + size + 1 pixels counts in each of size factor ones, float32."""
    places = np.arange(size * factor) / factor + before
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(before + size + 1))).astype(np.float32)


def _parts(size: int, wanted: int) -> np.ndarray:
    """What each of `size` pixels counts in each of the `wanted` ones, (wanted, size) float32."""
    places = np.linspace(0, size - 1, wanted)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size))).astype(np.float32)


def _refused(layer, shape):
    raise rules.Refused(
        f"it resizes {shape[0]}x{shape[1]} to {layer.height}x{layer.width} with aligned corners, by no whole "
        "factor; read the network at a size that has one, such as 512 for 513"
    )


for _layer in (DepthToSpace, ChannelPadding, ChannelSlice, PixelSlice, Spread):
    rules.register_layer_rule(_layer, rules.POINTWISE)
rules.register_layer_rule(
    CornerResizing, rules.Border((1, 1), (1, 1), lambda layer, context: layer.enlarged(context, 1), rules.EDGE)
)
rules.register_layer_rule(NearestResizing, rules.WHOLE_MAP)
rules.register_layer_rule(AlignedResizing, _refused)
