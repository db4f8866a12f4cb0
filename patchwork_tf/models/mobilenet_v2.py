"""MobileNetV2 (paper, Table 3 and Figure 9b), with the layers and names of `keras.applications`."""

import keras

from patchwork_tf.layers.blocks import convolution, depthwise, make_divisible, pointwise
from patchwork_tf.models.backbone import register_backbone

# Table 3, one row each: expansion t, channels c, repetitions n, stride s of the first.
STEM_CHANNELS = 32
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LAST_CHANNELS = 1280
# Of each stride the last map, expanded, before the one that halves it.
ENDPOINTS = {4: "block_3_expand_relu", 8: "block_6_expand_relu", 16: "block_13_expand_relu", 32: "out_relu"}


def mobilenet_v2(
    image_size, depth: float = 1.0, last_channels: int | None = None, bottlenecks=BOTTLENECKS
) -> keras.Model:
    """The network without its top, for images (H, W); `depth` is keras.applications' `alpha`.

    The last map's channels are by default as there, never fewer than of depth 1. Bottlenecks are rows of Table 3.
    """
    frame = keras.Input((*image_size, 3), name="image")
    x = convolution(frame, make_divisible(STEM_CHANNELS * depth), strides=2, name="Conv1", bn_name="bn_Conv1")
    number = 0
    for expansion, channels, repetitions, stride in bottlenecks:
        for repetition in range(repetitions):
            prefix = f"block_{number}_" if number else "expanded_conv_"
            filters = make_divisible(int(channels * depth))
            x = _bottleneck(x, expansion, filters, 1 if repetition else stride, prefix)
            number += 1
    channels = last_channels or make_divisible(LAST_CHANNELS * max(depth, 1.0))
    x = pointwise(x, channels, name="Conv_1", bn_name="Conv_1_bn", relu_name="out_relu")
    return keras.Model(frame, x, name="mobilenet_v2")


def _bottleneck(x, expansion, filters, stride, prefix):
    """Inverted residual block (Figure 9b)."""
    y = x
    if expansion > 1:
        y = pointwise(y, expansion * x.shape[3], name=f"{prefix}expand")
    y = depthwise(y, name=f"{prefix}depthwise", strides=stride)
    y = pointwise(y, filters, name=f"{prefix}project", linear=True)
    if stride > 1 or x.shape[3] != filters:
        return y
    return keras.layers.Add(name=f"{prefix}add")([x, y])


register_backbone("mobilenet_v2", mobilenet_v2, ENDPOINTS)
