"""Stateful MobileNetV2 (paper, Table 3 and Figure 9b).

Every 3 x 3 convolution is a Patchwork Cell. Layers have the names and channel numbers of
`keras.applications.MobileNetV2`, so its weights load by layer name.
"""

from keras import layers

from patchwork_tf.grid import Grid
from patchwork_tf.layers.blocks import ConvCell, Pointwise, make_divisible
from patchwork_tf.layers.cell import crop_window

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
STRIDE = 32  # of the last feature map


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
        self.endpoint_channels = {
            f"{prefix}expand_relu": expanded,
            f"{prefix}depthwise_relu": expanded,
            f"{prefix}project_BN": filters,
            f"{prefix}add": filters,
        }

    def memory_shapes(self):
        return self.depthwise.memory_shapes()

    def step(self, x, window, state):
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


class StatefulMobileNetV2(layers.Layer):
    """The backbone: one window of pixels in, feature maps of that window out.

    Args:
        grid: the frame's grid; with a window of the whole frame this is plain MobileNetV2.
        image_size: (H, W) of the full frame in pixels, both divisible by 32 M.
            Any size, if the window is the whole frame.
        depth: width multiplier of all layers, keras.applications' `alpha`.
        last_channels: of the last feature map; by default as in keras.applications, which never makes it narrower.
    """

    def __init__(self, grid: Grid, image_size, depth=1.0, last_channels: int | None = None):
        super().__init__(name="backbone")
        self.grid = grid
        height, width = image_size
        stem = make_divisible(STEM_CHANNELS * depth)
        self.stem = ConvCell(
            layers.Conv2D,
            grid,
            (height, width, 3),
            strides=2,
            filters=stem,
            name="Conv1",
            bn_name="bn_Conv1",
        )
        shape = (-(-height // 2), -(-width // 2), stem)
        self.blocks = []
        for expansion, channels, repetitions, first_stride in BOTTLENECKS:
            for repetition in range(repetitions):
                block = Bottleneck(
                    len(self.blocks),
                    grid,
                    shape,
                    expansion=expansion,
                    filters=make_divisible(int(channels * depth)),
                    stride=first_stride if repetition == 0 else 1,
                )
                shape = block.out_shape
                self.blocks.append(block)
        last_channels = last_channels or make_divisible(LAST_CHANNELS * max(depth, 1.0))
        self.last = Pointwise(last_channels, name="Conv_1", bn_name="Conv_1_bn")
        self.out_shape = (*shape[:2], last_channels)
        self.endpoint_channels = {"Conv1_relu": stem, "out_relu": last_channels}
        for block in self.blocks:
            self.endpoint_channels |= block.endpoint_channels

    def memory_shapes(self):
        shapes = dict(self.stem.memory_shapes())
        for block in self.blocks:
            shapes |= block.memory_shapes()
        return shapes

    def step(self, frame, window, state):
        """One step.

        Args:
            frame: (B, H, W, 3) float32 in [-1, 1]; only the window's pixels are looked at.
            window: (B, 2) int32, row and column of the window's top left cell, or None to look
                at the whole frame.
            state: dict name -> tensor.

        Returns:
            The window's feature maps by keras.applications layer name (`block_6_expand_relu`,
            `block_12_add`, `out_relu`, ...), and the new state.
        """
        x = crop_window(frame, window, self.grid)
        x, state = self.stem.step(x, window, state)
        endpoints = {"Conv1_relu": x}
        for block in self.blocks:
            maps, state = block.step(x, window, state)
            endpoints |= maps
            x = list(maps.values())[-1]
        endpoints["out_relu"] = self.last(x)
        return endpoints, state
