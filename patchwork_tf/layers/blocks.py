"""Blocks of functional networks: a convolution, batch normalisation and ReLU6, as in MobileNetV2.

Each takes a symbolic tensor (B, H, W, C) and returns one. Layers are called NAME, NAME_BN and NAME_relu.
"""

import keras
from keras import layers

# He et al.: keeps the variance of what passes through a ReLU, or through none. Keras counts a depthwise
# kernel's fan-in as if it were a full convolution's; its fan-out is what one channel really sees.
_RELU_INIT = {"scale": 2.0, "mode": "fan_in"}
_LINEAR_INIT = {"scale": 1.0, "mode": "fan_in"}
_DEPTHWISE_INIT = {"scale": 2.0, "mode": "fan_out"}

# keras.applications uses 0.999, which needs thousands of steps from scratch; the momentum
# plays no part in inference, so loaded weights behave the same.
BATCH_NORM_MOMENTUM = 0.99
BATCH_NORM_EPSILON = 1e-3


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds a channel count to a multiple of `divisor`, by at most 10 % down (MobileNetV2)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def convolution(x, filters: int, kernel=3, *, name: str, linear=False, bn_name=None, relu_name=None, **options):
    """A convolution with SAME padding; `linear` has no ReLU6 after it."""
    init = keras.initializers.VarianceScaling(**(_LINEAR_INIT if linear else _RELU_INIT))
    layer = layers.Conv2D(
        filters, kernel, padding="same", use_bias=False, kernel_initializer=init, name=name, **options
    )
    x = _normalised(layer(x), bn_name or f"{name}_BN")
    return x if linear else layers.ReLU(6.0, name=relu_name or f"{name}_relu")(x)


def pointwise(x, filters: int, *, name: str, **options):
    """A 1 x 1 convolution."""
    return convolution(x, filters, 1, name=name, **options)


def depthwise(x, *, name: str, strides=1):
    """A depthwise 3 x 3 convolution."""
    init = keras.initializers.VarianceScaling(**_DEPTHWISE_INIT)
    layer = layers.DepthwiseConv2D(
        3, strides, padding="same", use_bias=False, depthwise_initializer=init, name=name
    )
    return layers.ReLU(6.0, name=f"{name}_relu")(_normalised(layer(x), f"{name}_BN"))


def separable(x, filters: int, *, name: str, strides=1):
    """The paper's SepConv3x3: a depthwise 3 x 3 convolution, then 1 x 1 to `filters`."""
    return pointwise(depthwise(x, name=f"{name}_depthwise", strides=strides), filters, name=f"{name}_pointwise")


def _normalised(x, name):
    return layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, name=name)(x)
