"""What a model costs, counted from its layers after it was built."""

import dataclasses
import math

import keras

from patchwork_tf.layers.cell import PatchworkCell
from patchwork_tf.models.mobilenet_v2 import StatefulMobileNetV2

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_FLOAT_BYTES = 4


def count_macs(model, whole_frame: bool = False) -> int:
    """Multiply-adds at batch size 1: all convolutions and dense layers in a model or layer.

    The paper's FLOPs (Tables 4 and 5), before division by 10^6.

    Args:
        model: a model of the zoo, or any layer if not `whole_frame`.
        whole_frame: count a step that looks at the whole frame (a warm start), not at one window.
    """
    macs = sum(map(_macs, _leaves(model)))
    if not whole_frame:
        return macs
    # What runs on a window grows with its area; what runs on the full map stays.
    on_full_map = sum(map(count_macs, model.full_map_parts))
    grid = model.feature_grid
    return on_full_map + (macs - on_full_map) * grid.cells**2 // grid.window**2


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One line of a model's bill, for one step at batch size 1 in float32.

    Attributes:
        name: of the layer, or of a state tensor that belongs to no layer.
        kind: its class, 'state' for a state tensor.
        output: (H, W, C) or (C,) of what it computes.
        macs: multiply-adds.
        parameters: trainable or not; a batch normalisation's are counted where it stands.
        activation_bytes: of its output.
        state_bytes: of what it remembers.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    macs: int = 0
    parameters: int = 0
    activation_bytes: int = 0
    state_bytes: int = 0


def layer_costs(model) -> list[LayerCost]:
    """The bill of a model: every layer with weights in the order of construction, then the other states."""
    shapes = model.memory_shapes()
    states = {name: _FLOAT_BYTES * math.prod(shape) for name, shape in shapes.items()}
    rows = []
    for layer in _leaves(model):
        if not layer.weights:
            continue
        output = _output_shape(layer)
        rows.append(
            LayerCost(
                layer.name,
                type(layer).__name__,
                output,
                _macs(layer),
                layer.count_params(),
                _FLOAT_BYTES * math.prod(output),
                states.pop(layer.name, 0),
            )
        )
    return rows + [LayerCost(name, "state", shapes[name], state_bytes=size) for name, size in states.items()]


def state_bytes(model) -> int:
    """Bytes of all state tensors of one stream in float32."""
    return sum(_FLOAT_BYTES * math.prod(shape) for shape in model.memory_shapes().values())


def backbone_rows(model) -> list[tuple]:
    """The backbone as built, in the form of Table 3.

    Returns:
        Of MobileNetV2 one (input (H, W, C) of the window, operator, t, c, n, s) per row of the table; t is None
        where there is no expansion.
    """
    backbone, grid = model.backbone, model.feature_grid
    if not isinstance(backbone, StatefulMobileNetV2):
        return []

    def window(cell: PatchworkCell, channels):
        height, width, _ = cell.frame_shape
        return height * grid.window // grid.cells, width * grid.window // grid.cells, channels

    stem = backbone.parts[0].cell
    rows = [(window(stem, 3), "s-conv2d", None, stem.layer.filters, 1, stem.layer.strides[0])]
    for block in backbone.blocks:
        cell = block.depthwise.cell
        shape = window(cell, cell.frame_shape[-1] // block.expansion)
        stride = cell.layer.strides[0]
        key = ("s-bottleneck", block.expansion, block.out_shape[-1])
        if rows[-1][1:4] == key and stride == 1:
            rows[-1] = (*rows[-1][:4], rows[-1][4] + 1, rows[-1][5])
        else:
            rows.append((shape, *key, 1, stride))
    height, width, channels = backbone.blocks[-1].out_shape
    shape = (height * grid.window // grid.cells, width * grid.window // grid.cells)
    rows.append(((*shape, channels), "s-conv2d", None, backbone.parts[-1].convolution.filters, 1, 1))
    return rows


def _leaves(layer):
    """The layers that have no parts, in the order of construction."""
    if not layer._layers:
        yield layer
    for part in layer._layers:
        yield from _leaves(part)


def _macs(layer) -> int:
    if isinstance(layer, _CONVOLUTIONS):
        height, width, _ = _output_shape(layer)
        return height * width * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    return 0


def _output_shape(layer) -> tuple[int, ...]:
    return tuple(layer.compute_output_shape(layer.get_build_config()["input_shape"])[1:])
