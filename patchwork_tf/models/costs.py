"""What a model costs, counted from its layers, as they are called."""

import dataclasses
import math

import keras

from patchwork_tf.layers.cell import PatchworkCell
from patchwork_tf.models.graph import graph_of

_FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One line of a model's bill, for one step at batch size 1 in float32."""

    name: str  # of the layer, or of a state tensor that belongs to no layer
    kind: str  # its class, 'state' for a state tensor
    output: tuple[int, ...]  # (H, W, C) or (C,) of what it computes
    macs: int = 0  # multiply-adds
    parameters: int = 0  # trainable or not; a batch normalisation's are counted where it stands
    activation_bytes: int = 0  # of its output
    state_bytes: int = 0  # of what it remembers


def count_macs(model, whole_frame: bool = False) -> int:
    """Multiply-adds of all convolutions and dense layers of a step, the paper's FLOPs (Tables 4 and 5).

    Args:
        model: a model of the zoo, or a functional Keras model, for its whole input.
        whole_frame: count a step that looks at the whole frame (a warm start), not at one window.
    """
    return sum(row.macs for row in _rows(model, whole_frame))


def plan_macs(plan) -> tuple[int, int]:
    """Multiply-adds of a step by a plan, and how many of them are on the map of the full frame."""
    on_map = [_row(step.call) for step in plan.steps if not step.on_window]
    return sum(row.macs for row in _plan_rows(plan)), sum(row.macs for row in on_map)


def layer_costs(model) -> list[LayerCost]:
    """The bill of a model: every layer with weights in the order of its calls, then the other states."""
    shapes = model.memory_shapes()
    rows = [row for row in _rows(model, False) if row.parameters]
    named = {row.name for row in rows}
    return rows + [
        LayerCost(name, "state", shape, state_bytes=_FLOAT_BYTES * math.prod(shape))
        for name, shape in shapes.items()
        if name.removesuffix("_memory") not in named
    ]


def state_bytes(model) -> int:
    """Bytes of all state tensors of one stream in float32."""
    return sum(_FLOAT_BYTES * math.prod(shape) for shape in model.memory_shapes().values())


def backbone_rows(model) -> list[tuple]:
    """Of MobileNetV2 as built the rows of Table 3: input (H, W, C) of the window, operator, t or None, c, n, s."""
    layers = {layer.name: layer for layer in model.backbone.network.layers}
    if model.config.backbone != "mobilenet_v2":
        return []
    grid = model.feature_grid

    def window(layer, channels):
        return *(side * grid.window_cells // grid.cells for side in layer.input.shape[1:3]), channels

    stem = layers["Conv1"]
    rows = [(window(stem, 3), "s-conv2d", None, stem.filters, 1, stem.strides[0])]
    for name in (name for name in layers if name.endswith("_depthwise")):
        prefix = name.removesuffix("depthwise")
        expand, depthwise, project = (layers.get(f"{prefix}{part}") for part in ("expand", "depthwise", "project"))
        channels = (expand or depthwise).input.shape[3]
        key = ("s-bottleneck", depthwise.input.shape[3] // channels, project.filters)
        if rows[-1][1:4] == key and depthwise.strides[0] == 1:
            rows[-1] = (*rows[-1][:4], rows[-1][4] + 1, rows[-1][5])
        else:
            rows.append((window(expand or depthwise, channels), *key, 1, depthwise.strides[0]))
    last = layers["Conv_1"]
    return [*rows, (window(last, last.input.shape[3]), "s-conv2d", None, last.filters, 1, 1)]


def _rows(model, whole_frame) -> list[LayerCost]:
    """Of every call of a step."""
    if not hasattr(model, "plan"):
        return [_row(call) for call in graph_of(model).calls]
    rows = _plan_rows(model.plan, whole_frame)
    if attention := getattr(model, "attention", None):
        for part in (attention.reduce, attention.mix):
            rows += [_row(call) for call in graph_of(part).calls]
        rows.append(_cost(attention.value, (1, attention.value.units), math.prod(attention.value.kernel.shape)))
    return rows


def _plan_rows(plan, whole_frame=False) -> list[LayerCost]:
    part = 1 if whole_frame else plan.grid.window_cells / plan.grid.cells
    return [_row(step.call, part if step.on_window else 1) for step in plan.steps]


def _row(call, scale=1) -> LayerCost:
    """Of a call, of `scale` times as many rows and columns as the full frame's."""
    layer, shape, memory = call.layer, call.outputs[0].shape, 0
    if isinstance(layer, PatchworkCell):
        layer, memory = layer.layer, _FLOAT_BYTES * math.prod(layer.memory_shape)
    if len(shape) == 4:
        shape = (None, *(round(side * scale) for side in shape[1:3]), shape[3])
    pixels = math.prod(shape[1:3]) if len(shape) == 4 else 1
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense):
        kernels = (layer.kernel,)
    elif isinstance(layer, keras.layers.Conv2DTranspose):  # every pixel that goes in meets all of the kernel
        kernels, pixels = (layer.kernel,), pixels // math.prod(layer.strides)
    else:
        kernels = ()
    return _cost(layer, shape, pixels * sum(math.prod(kernel.shape) for kernel in kernels), memory)


def _cost(layer, shape, macs, memory=0) -> LayerCost:
    output = tuple(shape[1:])
    parameters = sum(math.prod(weight.shape) for weight in getattr(layer, "weights", ()))
    return LayerCost(
        layer.name, type(layer).__name__, output, macs, parameters, _FLOAT_BYTES * math.prod(output), memory
    )
