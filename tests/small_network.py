"""A segmenter and a detector of few layers, which compile in seconds: for what does not depend on the network.

A plugin: --plugins=small_network --system=small, or small-boxes, or one of their single-frame twins.
"""

import dataclasses

import keras

import patchwork_tf as pw
from patchwork_tf.layers.blocks import convolution


def four_layers(image_size, depth, last_channels):
    """Patches of 4 x 4 pixels, then three convolutions of stride 2."""
    frame = keras.Input((*image_size, 3))
    filters = int(32 * depth)
    x = convolution(frame, filters, 4, strides=4, name="stride_4")
    for stride in (8, 16, 32):
        x = convolution(x, filters, strides=2, name=f"stride_{stride}")
    return keras.Model(frame, x)


pw.register_backbone("four layers", four_layers, {stride: f"stride_{stride}_relu" for stride in (4, 8, 16, 32)})
_MASKS = pw.ModelConfig("segmentation", depth=0.5, image_size=64, backbone="four layers")
_BOXES = dataclasses.replace(_MASKS, task="detection", heads="ssd", num_classes=30)
_STREAMS = {"": {}, "-int4": {"interval": 4}, "-int4-delay3": {"interval": 4, "delay": 3}}

for name, single in {"small": _MASKS, "small-boxes": _BOXES}.items():
    for suffix, stream in _STREAMS.items():
        pw.register(pw.System(f"{name}-sf{suffix}", single, pw.StreamConfig(**stream), reference=f"{name}-sf"))
    pw.register(pw.System(name, dataclasses.replace(single, cells=2, window_cells=1), reference=f"{name}-sf"))
