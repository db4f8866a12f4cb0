"""What a layer needs of its surroundings to run on a window: one rule per kind of layer.

A rule is a function of a layer and the shape (H, W, C) of its full-frame input to a `Need`:

    POINTWISE       nothing: each pixel of the output depends on one pixel of the input, or on one patch of them
    Border(...)     pixels around the window
    MEAN            the mean over the map
    WHOLE_MAP       the map of the full frame

Layers without a rule are refused: none is ever taken for pointwise.
"""

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from patchwork_tf.errors import UsageError

EDGE = "edge"  # a fill: pixels outside of the frame are those of its edge


@dataclasses.dataclass(frozen=True)
class Need:
    """What a layer needs, in words."""

    words: str


POINTWISE, MEAN, WHOLE_MAP = (Need(words) for words in ("pointwise", "mean", "whole map"))


@dataclasses.dataclass(frozen=True)
class Border:
    """Pixels around a window that a layer looks at.

    Attributes:
        rows: how many above and below, columns: left and right.
        run: function of the layer and a window with its border (B, h, w, C) to the layer's output for the window
            alone; by default the layer runs on all of it, and what is more than the window is cut off.
        fill: what is outside of the frame: a number, or EDGE, of a border of one pixel.
        counts: whether `run` also takes which pixels (1, h, w, 1) are inside of the frame, as ones and zeros.
    """

    rows: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (0, 0)
    run: Callable | None = None
    fill: float | str = 0.0
    counts: bool = False

    def __post_init__(self):
        for pair in (self.rows, self.columns):
            if not (
                isinstance(pair, tuple | list)
                and len(pair) == 2
                and all(isinstance(n, int | np.integer) and n >= 0 for n in pair)
            ):
                raise UsageError("Border(rows=(above, below), columns=(left, right)) takes pairs of whole pixels")
        if self.fill != EDGE and not isinstance(self.fill, int | float):
            raise UsageError(f"Border(fill=...) takes a number or '{EDGE}', not {self.fill!r}")
        if self.fill == EDGE and max(*self.rows, *self.columns) > 1:
            raise UsageError(
                f"Border(fill='{EDGE}') is one pixel wide; on_map= runs what looks farther on the map"
            )


@dataclasses.dataclass(frozen=True)
class Instead:
    """Another layer that does the same on windows, and has a rule of its own."""

    layer: keras.layers.Layer


class Refused(UsageError):
    """A layer cannot run on a window; says why, after the layer's name."""


Rule = Callable[[keras.layers.Layer, tuple[int, int, int]], Need | Border | Instead]
_RULES: dict[type, Rule] = {}
_OPERATIONS: dict[str, Rule] = {}  # of keras.ops in a graph, whose classes are private: by name


def register_layer_rule(layer: type, rule: Rule | Need | Border):
    """Says what layers of a class need. Raises UsageError if `layer` is no class.

    Args:
        layer: the class; layers of its subclasses may need something else, and have no rule by this.
        rule: a Need, a Border, or a function of a layer and the shape (H, W, C) of its full-frame input to one.
    """
    if not isinstance(layer, type):
        raise UsageError(f"rules are of classes: register_layer_rule({type(layer).__name__}, ...)")
    _RULES[layer] = rule if callable(rule) else lambda *_: rule


def need_of(layer, shape, padding=None) -> Need | Border | Instead:
    """What a Keras layer, or an operation of keras.ops, needs on windows of a map (H, W, C) of the full frame.

    The `padding` is ((top, bottom), (left, right)), which a ZeroPadding2D before it adds. Raises Refused if it has
    no rule, or cannot run on windows.
    """
    kind = type(layer)
    if getattr(layer, "data_format", None) == "channels_first":
        raise Refused("its data_format is 'channels_first'; maps are (batch, height, width, channels) here")
    if padding is not None:
        if kind not in _AFTER_PADDING or layer.padding != "valid":
            raise Refused("ZeroPadding2D goes before convolutions and max-pooling with padding 'valid' alone")
        return _AFTER_PADDING[kind](layer, shape, padding)
    rule = _RULES.get(kind)
    if rule is None and kind.__module__.startswith("keras."):
        rule = _OPERATIONS.get(kind.__name__)
    if rule is None:
        raise Refused(f"there is no rule for it; pw.register_layer_rule({kind.__name__}, ...) gives one")
    need = rule(layer, shape)
    if not isinstance(need, Need | Border | Instead):
        raise UsageError(
            f"the rule of {kind.__name__} gives {need!r}; a rule is pw.POINTWISE, pw.Border(...), or a function "
            "of (layer, shape) to one"
        )
    return need


# Convolution and pooling


def same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Pixels that SAME padding adds before and after a map of `size`, for kernels of `extent` pixels."""
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _sliding(layer, shape, kernel, strides, rates, padding=None, **how) -> Border | Need:
    """The border of what slides kernels over a map that is padded as the layer says.

    With 'valid' that is by `padding` ((top, bottom), (left, right)) of a ZeroPadding2D before it, or not at all.
    """
    sides = []
    for axis, (size, side, stride, rate) in enumerate(zip(shape, kernel, strides, rates, strict=False)):
        extent = (side - 1) * rate + 1
        if size % stride:
            raise Refused(f"its stride of {stride} pixels does not divide a map of {size}")
        before, after = (padding or ((0, 0), (0, 0)))[axis]
        if layer.padding == "same":
            before, after = same_padding(size, extent, stride)
        outputs = (size + before + after - extent) // stride + 1
        if outputs != size // stride or (before and before + stride > extent):
            raise Refused(
                f"it makes {outputs} pixels of {size} with stride {stride}: padding 'same', or a ZeroPadding2D "
                f"before it, makes {size // stride}, and windows stay in their places"
            )
        sides.append((before, max(extent - stride - before, 0)))
    return Border(*sides, **how) if any(map(any, sides)) else POINTWISE


def _activated(layer, x):
    if getattr(layer, "use_bias", False):
        x = x + ops.cast(layer.bias, x.dtype)
    return x if layer.activation is None else layer.activation(x)


def _convolve(operation, kernels, layer, context):
    kernels = (ops.cast(getattr(layer, name), context.dtype) for name in kernels)
    x = operation(context, *kernels, layer.strides, "valid", "channels_last", layer.dilation_rate)
    return _activated(layer, x)


def _convolution(operation, *kernels):
    run = functools.partial(_convolve, operation, kernels)

    def rule(layer, shape, padding=None):
        return _sliding(layer, shape, layer.kernel_size, layer.strides, layer.dilation_rate, padding, run=run)

    return rule


def _average_pool(layer, context, inside):
    """Averages of what is inside of the frame."""

    def average(x):
        return ops.average_pool(x, layer.pool_size, layer.strides, "valid", "channels_last")

    return average(context) / average(inside)


def _max_pooling(layer, shape, padding=None):
    def run(layer, context):
        return ops.max_pool(context, layer.pool_size, layer.strides, "valid", "channels_last")

    fill = 0.0 if padding else -float("inf")
    return _sliding(layer, shape, layer.pool_size, layer.strides, (1, 1), padding, run=run, fill=fill)


def _average_pooling(layer, shape):
    return _sliding(layer, shape, layer.pool_size, layer.strides, (1, 1), run=_average_pool, counts=True)


def _transposed(layer, shape):
    """Output o of a SAME transposed convolution gets from inputs i with 0 <= o - i stride + before < kernel."""
    if layer.padding != "same" or any(rate != 1 for rate in layer.dilation_rate) or layer.output_padding:
        raise Refused(
            "transposed convolutions run on windows with padding 'same', and without dilation or output_padding"
        )
    sides = []
    for kernel, stride in zip(layer.kernel_size, layer.strides, strict=True):
        before = max(kernel - stride, 0) // 2
        sides.append(((kernel - 1 - before) // stride, (stride - 1 + before) // stride))
    if not any(map(any, sides)):
        return POINTWISE
    return Border(*sides, run=functools.partial(_convolve_transposed, sides))


def _convolve_transposed(sides, layer, context):
    kernel = ops.cast(layer.kernel, context.dtype)
    x = ops.conv_transpose(context, kernel, layer.strides, "valid", None, "channels_last")
    spans = []
    for (before, after), size, kernel, stride in zip(
        sides, context.shape[1:3], layer.kernel_size, layer.strides, strict=True
    ):
        first = before * stride + max(kernel - stride, 0) // 2
        spans.append(slice(first, first + (size - before - after) * stride))
    return _activated(layer, x[:, spans[0], spans[1]])


# Sizes


def _resized(factors, layer, context):
    """Bilinear, and without the border of one pixel."""
    height, width = context.shape[1:3]
    size = (height * factors[0], width * factors[1])
    x = ops.image.resize(context, size, interpolation="bilinear", data_format="channels_last")
    return x[:, factors[0] : -factors[0], factors[1] : -factors[1]]


def _upsampling(layer, shape):
    if layer.interpolation == "nearest":
        return POINTWISE
    if layer.interpolation != "bilinear":
        raise Refused(f"windows are enlarged by 'nearest' and 'bilinear', not by {layer.interpolation!r}")
    return Border((1, 1), (1, 1), functools.partial(_resized, layer.size), EDGE)


def _resizing(layer, shape):
    """A window has another size to be resized to, and the same factor."""
    if layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio or layer.antialias:
        raise Refused("maps are resized by whole factors, without antialias or a change of their aspect ratio")
    wanted = (layer.height, layer.width)
    if any(side % size for side, size in zip(wanted, shape, strict=False)):
        raise Refused(f"it resizes {shape[0]}x{shape[1]} to {wanted[0]}x{wanted[1]}, which is no whole factor")
    factors = (wanted[0] // shape[0], wanted[1] // shape[1])
    return Instead(layers.UpSampling2D(factors, interpolation=layer.interpolation, name=layer.name))


# What needs nothing, or everything


def _over_channels(layer, shape):
    """Pointwise, if its axis is that of the channels."""
    if all(axis in (-1, len(shape)) for axis in np.ravel(layer.axis)):
        return POINTWISE
    raise Refused(f"its axis is {layer.axis}, not that of the channels")


def _prelu(layer, shape):
    if set(layer.shared_axes or ()) >= {1, 2}:
        return POINTWISE
    raise Refused("its slopes differ from pixel to pixel: shared_axes=[1, 2] shares them")


def _mean_over(layer, shape):
    """Operation mean."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    if sorted(axis % 4 for axis in axes if axis is not None) == [1, 2]:
        return MEAN
    return POINTWISE if list(axes) in ([-1], [3]) and layer.keepdims else WHOLE_MAP


_CONVOLUTIONS = {
    layers.Conv2D: _convolution(ops.conv, "kernel"),
    layers.DepthwiseConv2D: _convolution(ops.depthwise_conv, "kernel"),
    layers.SeparableConv2D: _convolution(ops.separable_conv, "depthwise_kernel", "pointwise_kernel"),
    layers.Conv2DTranspose: _transposed,
    layers.MaxPooling2D: _max_pooling,
    layers.AveragePooling2D: _average_pooling,
    layers.UpSampling2D: _upsampling,
    layers.Resizing: _resizing,
}
_AFTER_PADDING = {
    kind: _CONVOLUTIONS[kind]
    for kind in (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.MaxPooling2D)
}
_POINTWISE = (
    *(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Dense, layers.Rescaling),
    *(layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum),
    *(layers.Dropout, layers.SpatialDropout2D, layers.GaussianNoise, layers.GaussianDropout),
    *(layers.ActivityRegularization, layers.Identity),
)
_WHOLE_MAP = (
    *(layers.GlobalMaxPooling2D, layers.GroupNormalization, layers.Attention, layers.MultiHeadAttention),
    *(layers.Flatten, layers.Reshape, layers.Permute),
)
_OVER_CHANNELS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.Normalization,
    layers.Softmax,
    layers.Concatenate,
)
for _layer, _rule in _CONVOLUTIONS.items():
    register_layer_rule(_layer, _rule)
for _kinds, _rule in ((_POINTWISE, POINTWISE), (_WHOLE_MAP, WHOLE_MAP), (_OVER_CHANNELS, _over_channels)):
    for _kind in _kinds:
        register_layer_rule(_kind, _rule)
register_layer_rule(layers.PReLU, _prelu)
register_layer_rule(layers.GlobalAveragePooling2D, MEAN)
_ARITHMETIC = """Add Subtract Multiply Divide TrueDivide Maximum Minimum Negative Power Square Abs Absolute Clip
Exp Log Sqrt Tanh Sigmoid Silu Relu Relu6 Gelu Elu HardSigmoid HardSilu LeakyRelu Softplus"""
_OPERATIONS |= dict.fromkeys(_ARITHMETIC.split(), lambda *_: POINTWISE)
_OPERATIONS["Mean"] = _mean_over
