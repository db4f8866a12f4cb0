"""Stateful MobileNetV2 (paper, Table 3 and Figure 9b).

Every 3 x 3 convolution is a Patchwork Cell. Layers have the names and channel numbers of
`keras.applications.MobileNetV2`, so its weights load by layer name.
"""

from keras import layers

from patchwork_tf.grid import Grid
from patchwork_tf.layers.blocks import ConvCell, Pointwise, make_divisible
from patchwork_tf.models.backbone import Backbone, register_backbone

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


class Bottleneck(layers.Layer):
    """Inverted residual block whose depthwise convolution is a cell (Figure 9b)."""

    def __init__(self, block, grid: Grid, frame_shape, *, expansion, filters, stride):
        prefix = f"block_{block}_" if block else "expanded_conv_"
        super().__init__(name=prefix.rstrip("_"))
        height, width, channels = frame_shape
        expanded = expansion * channels
        self.expand = Pointwise(expanded, name=f"{prefix}expand") if expansion > 1 else None
        self.depthwise = ConvCell(
            layers.DepthwiseConv2D,
            grid,
            (height, width, expanded),
            strides=stride,
            name=f"{prefix}depthwise",
        )
        self.project = Pointwise(filters, name=f"{prefix}project", linear=True)
        self.has_shortcut = stride == 1 and channels == filters
        self.prefix = prefix
        self.expansion = expansion
        self.out_shape = (-(-height // stride), -(-width // stride), filters)
        self.out_name = f"{prefix}add" if self.has_shortcut else f"{prefix}project_BN"
        self.endpoint_channels = {
            f"{prefix}expand_relu": expanded,
            f"{prefix}depthwise_relu": expanded,
            f"{prefix}project_BN": filters,
            f"{prefix}add": filters,
        }

    def memory_shapes(self):
        return self.depthwise.memory_shapes()

    def maps(self, x, window, state):
        """One step.

        Args:
            x: (B, h, w, C) float32, window: (B, 2) int32, state: dict.

        Returns:
            The block's feature maps by their keras.applications layer name, the output last,
            and the new state.
        """
        maps = {}
        y = x
        if self.expand:
            y = maps[f"{self.prefix}expand_relu"] = self.expand(y)
        y, state = self.depthwise.step(y, window, state)
        maps[f"{self.prefix}depthwise_relu"] = y
        y = maps[f"{self.prefix}project_BN"] = self.project(y)
        if self.has_shortcut:
            y = maps[f"{self.prefix}add"] = x + y
        return maps, state


class StatefulMobileNetV2(Backbone):
    """MobileNetV2 with a memory; if the grid's window is the whole frame, plain MobileNetV2.

    Its feature maps are named as in keras.applications: `block_6_expand_relu`, `block_12_add`, `out_relu`.

    Args:
        grid: the frame's grid.
        image_size: (H, W) of the full frame in pixels, both divisible by 32 M.
            Any size, if the window is the whole frame.
        depth: width multiplier of all layers, keras.applications' `alpha`.
        last_channels: of the last feature map; by default as in keras.applications, which never makes it narrower.
    """

    def __init__(self, grid: Grid, image_size, depth=1.0, last_channels: int | None = None):
        stem = make_divisible(STEM_CHANNELS * depth)
        conv1 = ConvCell(
            layers.Conv2D, grid, (*image_size, 3), strides=2, filters=stem, name="Conv1", bn_name="bn_Conv1"
        )
        shape = (*(-(-side // 2) for side in image_size), stem)
        blocks, channels = [], {"Conv1_relu": stem}
        for expansion, width, repetitions, first_stride in BOTTLENECKS:
            for repetition in range(repetitions):
                block = Bottleneck(
                    len(blocks),
                    grid,
                    shape,
                    expansion=expansion,
                    filters=make_divisible(int(width * depth)),
                    stride=first_stride if repetition == 0 else 1,
                )
                shape = block.out_shape
                channels |= block.endpoint_channels
                blocks.append(block)
        channels["out_relu"] = last_channels or make_divisible(LAST_CHANNELS * max(depth, 1.0))
        last = Pointwise(channels["out_relu"], name="Conv_1", bn_name="Conv_1_bn")
        named = [(block.out_name, block) for block in blocks]
        parts = [("Conv1_relu", conv1), *named, ("out_relu", last)]
        super().__init__(grid, parts, ENDPOINTS, channels, image_size)

    @property
    def blocks(self) -> list[Bottleneck]:
        """The bottlenecks of Table 3."""
        return self.parts[1:-1]


register_backbone("mobilenet_v2", StatefulMobileNetV2)
