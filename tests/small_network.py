"""A segmenter and a detector of few layers, which compile in seconds: for what does not depend on the network.

A plugin: --plugins=small_network --system=small, or small-boxes, or one of their single-frame twins.
"""

import dataclasses

from keras import layers

import patchwork_tf as pw
from patchwork_tf.layers.blocks import ConvCell, Pointwise
from patchwork_tf.models.backbone import Backbone


class FourLayers(Backbone):
    """Patches of 4 x 4 pixels, then three convolutions of stride 2."""

    def __init__(self, grid, image_size, depth, last_channels):
        filters = int(32 * depth)
        parts = [("stride_4", Pointwise(filters, size=4, name="stride_4"))]
        for stride in (8, 16, 32):
            shape = (*(2 * side // stride for side in image_size), filters)
            name = f"stride_{stride}"
            parts.append((name, ConvCell(layers.Conv2D, grid, shape, strides=2, filters=filters, name=name)))
        names = {stride: f"stride_{stride}" for stride in (4, 8, 16, 32)}
        super().__init__(grid, parts, names, {name: filters for name, _ in parts}, image_size)


pw.register_backbone("four layers", FourLayers)
_MASKS = pw.ModelConfig("segmentation", depth=0.5, image_size=64, backbone="four layers")
_BOXES = dataclasses.replace(_MASKS, task="detection", heads="ssd", num_classes=30)
_STREAMS = {"": {}, "-int4": {"interval": 4}, "-int4-delay3": {"interval": 4, "delay": 3}}

for name, single in {"small": _MASKS, "small-boxes": _BOXES}.items():
    for suffix, stream in _STREAMS.items():
        pw.register(pw.System(f"{name}-sf{suffix}", single, pw.StreamConfig(**stream), reference=f"{name}-sf"))
    pw.register(pw.System(name, dataclasses.replace(single, cells=2, window=1), reference=f"{name}-sf"))
