"""Convolution blocks: batch normalisation and ReLU6 after every convolution, as in MobileNetV2."""

import keras
from keras import layers

from patchwork_tf.grid import Grid
from patchwork_tf.layers.cell import PatchworkCell

# He et al.: keeps the variance of what passes through a ReLU, or through none. Keras counts a depthwise
# kernel's fan-in as if it were a full convolution's; its fan-out is what one channel really sees.
RELU_INIT = {"scale": 2.0, "mode": "fan_in"}
LINEAR_INIT = {"scale": 1.0, "mode": "fan_in"}
DEPTHWISE_INIT = {"scale": 2.0, "mode": "fan_out"}

# keras.applications uses 0.999, which needs thousands of steps from scratch; the momentum
# plays no part in inference, so loaded weights behave the same.
BATCH_NORM_MOMENTUM = 0.99
BATCH_NORM_EPSILON = 1e-3


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds a channel count to a multiple of `divisor`, by at most 10 % down (MobileNetV2)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def batch_norm(name: str) -> layers.BatchNormalization:
    return layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, name=name)


class Pointwise(layers.Layer):
    """1 x 1 convolution, batch normalisation and, unless `linear`, ReLU6. Needs no memory.

    With a `size` above 1 it looks at patches of so many pixels a side, which do not overlap and need none either.
    """

    def __init__(self, filters, *, name, bn_name=None, linear=False, size=1):
        super().__init__(name=f"{name}_block")
        init = keras.initializers.VarianceScaling(**(LINEAR_INIT if linear else RELU_INIT))
        self.convolution = layers.Conv2D(
            filters, size, strides=size, use_bias=False, kernel_initializer=init, name=name
        )
        self.norm = batch_norm(bn_name or f"{name}_BN")
        self.activation = None if linear else layers.ReLU(6.0, name=f"{name}_relu")

    def call(self, x):
        x = self.norm(self.convolution(x))
        return self.activation(x) if self.activation else x

    def compute_output_spec(self, x):
        return self.call(x)  # each part knows its own; by default TensorFlow traces a graph to find out

    def memory_shapes(self):
        return {}

    def step(self, x, window, state):
        """(B, h, w, C) -> (B, h / size, w / size, filters) and the state as it is, whatever the window."""
        del window
        return self(x), state


class ConvCell(layers.Layer):
    """A Patchwork Cell, batch normalisation and ReLU6."""

    def __init__(self, convolution, grid: Grid, frame_shape, *, name, bn_name=None, **kwargs):
        super().__init__(name=f"{name}_block")
        if convolution is layers.DepthwiseConv2D:
            kwargs["depthwise_initializer"] = keras.initializers.VarianceScaling(**DEPTHWISE_INIT)
        else:
            kwargs["kernel_initializer"] = keras.initializers.VarianceScaling(**RELU_INIT)
        layer = convolution(kernel_size=3, padding="same", use_bias=False, name=name, **kwargs)
        self.cell = PatchworkCell(layer, grid, frame_shape)
        self.norm = batch_norm(bn_name or f"{name}_BN")
        self.activation = layers.ReLU(6.0, name=f"{name}_relu")

    def memory_shapes(self):
        return self.cell.memory_shapes()

    def step(self, x, window, state):
        """(B, h, w, C) -> (B, h / stride, w / stride, F) and the new state; see PatchworkCell.step."""
        x, state = self.cell.step(x, window, state)
        return self.activation(self.norm(x)), state


class SepConvCell(layers.Layer):
    """Depthwise 3 x 3 cell, then 1 x 1 convolution to `filters`: the paper's SepConv3x3."""

    def __init__(self, filters, grid: Grid, frame_shape, *, name, strides=1):
        super().__init__(name=f"{name}_block")
        self.depthwise = ConvCell(
            layers.DepthwiseConv2D, grid, frame_shape, strides=strides, name=f"{name}_depthwise"
        )
        self.pointwise = Pointwise(filters, name=f"{name}_pointwise")

    def memory_shapes(self):
        return self.depthwise.memory_shapes()

    def step(self, x, window, state):
        """(B, h, w, C) -> (B, h / stride, w / stride, filters) and the new state."""
        x, state = self.depthwise.step(x, window, state)
        return self.pointwise(x), state
