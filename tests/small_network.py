"""A segmenter and a detector of few layers, which compile in seconds: for what does not depend on the network.

A plugin: --plugins=small_network --system=small, or small-boxes.
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
_CONFIG = pw.ModelConfig("segmentation", cells=2, window=1, depth=0.5, image_size=64, backbone="four layers")
pw.register(pw.System("small", _CONFIG, pw.StreamConfig(), reference="davis-sf"))
_BOXES = dataclasses.replace(_CONFIG, task="detection", heads="ssd", num_classes=30)
pw.register(pw.System("small-boxes", _BOXES, pw.StreamConfig(), reference="vid-sf"))
