"""What every backbone is: blocks one after the other, and feature maps that heads ask for by their stride."""

from collections.abc import Callable

from keras import layers

from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.layers.cell import crop_window

STRIDE = 32  # of the last feature map


class Backbone(layers.Layer):
    """One window of pixels in, feature maps of that window out.

    A subclass makes the blocks. Blocks are those of `layers.blocks`, or have the same `memory_shapes` and `step`;
    one with several feature maps has `maps`, see `mobilenet_v2.Bottleneck`.

    Args:
        grid: the frame's grid.
        parts: (name of its feature map, block) in their order.
        endpoints: stride -> name of the feature map that heads of that stride look at; the last one at STRIDE.
        channels: of the feature maps that `endpoints` name, by name.
        image_size: (H, W) of the full frame in pixels.
    """

    def __init__(self, grid: Grid, parts, endpoints: dict[int, str], channels: dict[str, int], image_size):
        super().__init__(name="backbone")
        self.grid = grid
        self.names, self.parts = [name for name, _ in parts], [part for _, part in parts]
        self.endpoints, self.endpoint_channels = endpoints, channels
        self.out_shape = (*(-(-side // STRIDE) for side in image_size), channels[endpoints[STRIDE]])

    def endpoint(self, stride: int) -> str:
        """Name of the feature map of a stride. Raises UsageError if there is none."""
        if stride not in self.endpoints:
            raise UsageError(
                f"{type(self).__name__} has no feature map of stride {stride}, which these heads look at; it has "
                f"{', '.join(map(str, self.endpoints))}"
            )
        return self.endpoints[stride]

    def memory_shapes(self):
        shapes = {}
        for part in self.parts:
            shapes |= part.memory_shapes()
        return shapes

    def step(self, frame, window, state):
        """One step.

        Args:
            frame: (B, H, W, 3) float32 in [-1, 1]; only the window's pixels are looked at.
            window: (B, 2) int32, row and column of the window's top left cell, or None to look
                at the whole frame.
            state: dict name -> tensor.

        Returns:
            The window's feature maps by name, and the new state.
        """
        x, maps = crop_window(frame, window, self.grid), {}
        for name, part in zip(self.names, self.parts, strict=True):
            if hasattr(part, "maps"):
                of_part, state = part.maps(x, window, state)
                x = list(of_part.values())[-1]
                maps |= of_part
            else:
                x, state = part.step(x, window, state)
            maps[name] = x
        return maps, state


_BACKBONES: dict[str, Callable[..., Backbone]] = {}


def register_backbone(name: str, make: Callable[..., Backbone]):
    """Makes a backbone known: ModelConfig(backbone=name) has it from then on.

    Args:
        name: its name.
        make: function of a grid, (H, W) in pixels, depth, and the channels of the last map or None for its own
            number, to a Backbone.

    Raises:
        UsageError: if the name is taken by another.
    """
    if _BACKBONES.setdefault(name, make) is not make:
        raise UsageError(f"there is a backbone '{name}' already; choose another name")


def make_backbone(name: str, grid: Grid, image_size, depth: float, last_channels: int | None) -> Backbone:
    """A registered backbone. Raises UsageError if there is none of that name."""
    if name not in _BACKBONES:
        raise UsageError(f"backbone must be one of {', '.join(_BACKBONES)}, not {name}")
    return _BACKBONES[name](grid, image_size, depth, last_channels)
