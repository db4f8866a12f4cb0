"""Reads the network of a .tflite file as a functional Keras model, operator by operator.

Weights in 16 and 8 bits become float32, activations are in float32. What Keras cannot have, and what puts answers
together, is cut off where it begins, if no convolution comes after it: RESHAPE of maps, ARG_MAX, SSD's
post-processing and the like. The outputs are the maps before it; before ARG_MAX, class probabilities. Any other
operator that is not known is refused.
"""

import copy
import functools
import itertools
import re

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers, ops
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export import metadata
from patchwork_tf.layers import imported, rules
from patchwork_tf.runtime.quiet import hidden_stderr
from patchwork_tf.streaming.stream import model_input

# Operators that put answers together: what begins with one, and has no convolution in it, is cut off.
TAILS = (
    "RESHAPE",
    *("ARG_MAX", "ARG_MIN", "TOPK_V2", "REDUCE_MAX", "SUM", "FLOOR_DIV", "FLOOR_MOD", "SELECT", "SELECT_V2"),
    *("GATHER", "GATHER_ND", "PACK", "UNPACK", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "TILE"),
    *("SPLIT", "SPLIT_V", "STRIDED_SLICE", "SLICE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"),
    "TFLite_Detection_PostProcess",
)
_CONSTANT = ("DEQUANTIZE", "DENSIFY")  # of which constants are made
_FUSED = {1: "relu", 3: "relu6", 4: "tanh"}  # activations by the number that the file has for a fused one
# Operators that are one layer or function, whatever their options.
_ACTIVATIONS = {
    **{"RELU": "relu", "RELU6": "relu6", "TANH": "tanh"},
    **{"LOGISTIC": "sigmoid", "HARD_SWISH": "hard_silu"},
}
_MERGES = {
    "ADD": (layers.Add, ops.add),
    "SUB": (layers.Subtract, ops.subtract),
    "MUL": (layers.Multiply, ops.multiply),
}
_EXTREMES = {"MAXIMUM": ops.maximum, "MINIMUM": ops.minimum}
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")
_MOST_PIXELS = 1 << 12  # of a side
TOLERANCE = 1e-3  # of float files, relative to the largest number
# Least correlation with files in 8 bits: their activations are rounded, too. Of heads that see nothing of their
# kind, rounding is a good part.
CORRELATED = 0.75


def read_tflite(path: str, image_size=None, input_range=None) -> keras.Model:
    """The network of a .tflite file, whose answers were held against the file's own.

    Arguments are as for `read`, and so are errors: a network that answers otherwise than the file is one, too.

    Returns:
        Functional Keras model of frames (H, W, 3) in [-1, 1]; its outputs are maps by the names of tensors in the
        file. `patch` makes it look at windows.
    """
    source = read(path, input_range=input_range)
    prove(source, path)
    if image_size is None or tuple(np.broadcast_to(image_size, 2)) == source.image_size:
        return source.network
    return read(path, image_size, input_range).network


def prove(source: "TfliteNetwork", path: str, frames=None) -> dict[str, tuple[float, float]]:
    """Holds a network against its file, see `TfliteNetwork.compare`. Raises DataError if it answers otherwise.

    Frames are uint8 images of any size, by default some of a generated clip.
    """
    frames = render_clip(0, 3, max(source.image_size), "validation").frames if frames is None else frames
    try:
        found = source.compare([model_input(frame, source.image_size) for frame in frames])
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path}: LiteRT cannot run it ({_one_line(error)})") from None
    for name, (difference, correlation) in found.items():
        same = correlation >= CORRELATED if source.in_8_bits else difference <= TOLERANCE
        if not same:  # nor if it is no number
            raise DataError(
                f"{path}: what was read answers otherwise than LiteRT: {name} is off by {difference:.1e} of the "
                f"largest number, its correlation is {correlation:.2f}"
            )
    return found


def read(path: str, image_size=None, input_range=None) -> "TfliteNetwork":
    """Reads a network.

    Args:
        path: of the .tflite file.
        image_size: (H, W) of the network's frames, or a side; by default the file's own. Sizes inside follow.
        input_range: (low, high), what the file's input has for black and white. By default what the file says, if
            its input is in 8 bits; else it must be given.

    Raises:
        DataError: if the file is missing, damaged, or has an operator that is not read; names it and its place.
        UsageError: if `input_range` is missing.
    """
    try:
        return TfliteNetwork(path, image_size, input_range)
    except (DataError, UsageError):
        raise
    except Exception as error:  # a damaged table may raise anything where it is read
        raise DataError(f"{path}: damaged, or not a network of one frame ({_one_line(error)})") from None


class _Unread(Exception):
    """An operator cannot be read; says why."""


class TfliteNetwork:
    """A .tflite file, and what it computes as a Keras model. Arguments are those of `read`.

    Attributes:
        network: functional Keras model of frames (H, W, 3) in [-1, 1].
        image_size: (H, W) of the file's own input.
        input_range: what the file's input has for black and white.
        operators: of the file, in their order.
        constants, symbols: arrays, and symbolic tensors of the network, by number of the file's tensor.
        outputs: tensors of the file by name of the network's output.
        cut: names of the operators that were cut off, in their order.
        unproven: of tensors that were made by an operator that LiteRT has not, those that they are made of.
        proven: as `outputs`, but of what is unproven, what it is made of.
    """

    def __init__(self, path, image_size=None, input_range=None):
        self.path = path
        self.model = flatbuffer_utils.read_model_from_bytearray(bytearray(metadata.read_tflite(path)))
        self.graph = self.model.subgraphs[0]
        self.operators = self.graph.operators
        if len(self.graph.inputs) != 1:
            raise DataError(f"{path}: it has {len(self.graph.inputs)} inputs, not one frame")
        self.input = self.graph.inputs[0]
        batch, *size, channels = self.shape(self.input)
        if (batch, len(size), channels) != (1, 2, 3) or not all(0 < side <= _MOST_PIXELS for side in size):
            raise DataError(f"{path}: its input is {list(self.shape(self.input))}, not [1, H, W, 3]")
        self.image_size = tuple(size)
        if image_size is not None and (np.size(image_size) > 2 or np.min(image_size) < 1):
            raise UsageError(f"image_size is a side in pixels, or (H, W), not {image_size}")
        self.size = tuple(np.broadcast_to(size if image_size is None else image_size, 2).tolist())
        self.input_range = self._range(input_range)
        self.constants = self._constants()
        self.symbols, self.layers, self.names = {}, [], set()
        self.stacked = {}  # by what PACK has made: the map, the axis and how many
        self.cut, self.ends, self.chosen, self.unproven = [], [], set(), {}
        self.before_convolutions = self._before_convolutions()
        self._read()

    # Against the file

    def answers(self, frame) -> dict[str, np.ndarray]:
        """What LiteRT computes of a frame (1, H, W, 3) in [-1, 1] at the file's size, by name as in `proven`."""
        found = self._proving(self.as_input(frame))
        return {name: found[tensor] for name, tensor in self.proven.items()}

    @functools.cached_property
    def _proving(self):
        return self.runner(list(dict.fromkeys(self.proven.values())))

    def runner(self, tensors, fast: bool = False) -> "LiteRt":
        """What computes these tensors of the file, see there."""
        known = (self.constants.keys() | self.symbols.keys()) - self.unproven.keys()
        operators = [operator for operator in self.operators if operator.outputs[0] in known]
        return LiteRt(cut_file(self.model, operators, tensors), tensors, fast)

    def as_input(self, frame):
        """A frame (1, H, W, 3) in [-1, 1] as the file's input has it."""
        low, high = self.input_range
        kind = _DTYPES[self.graph.tensors[self.input].type]
        if kind != np.float32:
            return np.round((frame + 1) * 127.5 + np.iinfo(kind).min).astype(kind)
        return ((frame + 1) / 2 * (high - low) + low).astype(np.float32)

    def compare(self, frames) -> dict[str, tuple[float, float]]:
        """How far outputs are from the file's, on frames (1, H, W, 3) in [-1, 1] at its size.

        By name the largest difference, relative to the largest number, and the correlation.
        """
        proven = {name: self.symbols[tensor] for name, tensor in self.proven.items()}
        proven = keras.Model(self.network.input, proven)
        pairs = [(self.answers(frame), proven(frame, training=False)) for frame in frames]
        found = {}
        for name in self.outputs:
            theirs, ours = (np.stack([np.asarray(pair[k][name]) for pair in pairs]) for k in (0, 1))
            largest = max(float(np.abs(theirs).max()), 1e-9)
            found[name] = float(np.abs(ours - theirs).max()) / largest, _correlation(ours, theirs)
        return found

    @property
    def in_8_bits(self) -> bool:
        """Whether the file's weights are."""
        kinds = {self.graph.tensors[op.inputs[1]].type for op in self.operators if self.name(op) == "CONV_2D"}
        return bool(kinds & {schema.TensorType.INT8, schema.TensorType.UINT8})

    def shape(self, tensor) -> tuple[int, ...]:
        found = self.graph.tensors[tensor].shape
        return () if found is None else tuple(map(int, found))

    def rounding(self, tensor) -> float:
        """To how much numbers of a tensor are rounded; 0 in float."""
        quantization = self.graph.tensors[tensor].quantization
        scales = None if quantization is None else quantization.scale
        return 0.0 if scales is None else float(np.max(scales))

    def name(self, operator) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return code.customCode.decode() if number == schema.BuiltinOperator.CUSTOM else _OPERATORS[number]

    def _before_convolutions(self) -> set[int]:
        """Tensors that convolutions are made of."""
        found = set()
        for operator in reversed(self.operators):
            if self.name(operator) in _WITH_WEIGHTS or found & set(operator.outputs):
                found |= set(operator.inputs)
        return found

    # What is constant

    def _range(self, given):
        tensor = self.graph.tensors[self.input]
        kind, scales = _DTYPES.get(tensor.type), tensor.quantization and tensor.quantization.scale
        if given is not None:
            return given
        if kind == np.uint8 and scales is None:
            return 0.0, 255.0
        if kind in (np.uint8, np.int8):
            limits = np.array([np.iinfo(kind).min, np.iinfo(kind).max])
            return tuple(_dequantized(limits, tensor).tolist())
        raise UsageError(
            f"{self.path}: its input is float32; say what it has for black and white: -1,1 or 0,1 or 0,255, by "
            "input_range=(-1, 1), of commands --input_range=-1,1; who trained it knows"
        )

    def _constants(self) -> dict[int, np.ndarray]:
        """Those of the file, and what operators make of them alone."""
        made = {tensor for operator in self.operators for tensor in operator.outputs}
        found = {}
        for number, tensor in enumerate(self.graph.tensors):
            data = self.model.buffers[tensor.buffer].data
            if number not in made and data is not None and tensor.type in _DTYPES and tensor.sparsity is None:
                raw = np.frombuffer(bytes(data), _DTYPES[tensor.type]).reshape(self.shape(number))
                found[number] = _dequantized(raw, tensor)
        stored = {number for number in range(len(self.graph.tensors)) if number not in made} - {self.input}
        makers = []
        for operator in self.operators:
            if self.name(operator) in _CONSTANT and set(operator.inputs) <= stored:
                makers.append(operator)
                stored |= set(operator.outputs)
        outputs = [operator.outputs[0] for operator in makers]
        return found | (LiteRt(cut_file(self.model, makers, outputs), outputs)() if makers else {})

    # The network

    def _read(self):
        """Goes through the operators in their order. The maps that what is cut off begins with are outputs."""
        frame = keras.Input((*self.size, 3), name="frame")
        low, high = self.input_range
        x = frame
        if (low, high) != (-1.0, 1.0):
            x = layers.Rescaling((high - low) / 2, (high + low) / 2, name="input_range")(frame)
        self.symbols[self.input] = x
        for number, operator in enumerate(self.operators):
            self._operator(number, operator)
        self.ends += [x for x in self.graph.outputs if x in self.symbols]
        # Tensors that only differ in how they are rounded are one output: a file has no two names for it.
        ends, named = {id(self.symbols[tensor]): tensor for tensor in reversed(self.ends)}, set()
        self.outputs = {_unused(self.named(tensor), named): tensor for tensor in reversed(ends.values())}
        if not self.outputs:
            raise DataError(f"{self.path}: it has no map among its answers")
        self.proven = {name: self.unproven.get(tensor, tensor) for name, tensor in self.outputs.items()}
        self.network = keras.Model(frame, {name: self._answer(tensor) for name, tensor in self.outputs.items()})
        for layer, weights in self.layers:
            layer.set_weights(weights)

    def _answer(self, tensor):
        """What the network has for one of its ends: where the file takes the best of several, probabilities."""
        x = self.symbols[tensor]
        maker = next((self.name(operator) for operator in self.operators if tensor in operator.outputs), "")
        if tensor not in self.chosen or x.shape[-1] == 1 or maker in ("SOFTMAX", "LOGISTIC"):
            return x
        return layers.Softmax(name=f"{self.named(tensor)}_probabilities")(x)

    def named(self, tensor) -> str:
        """A name for what makes a tensor."""
        text = self.graph.tensors[tensor].name.decode(errors="replace").split(";")[0]
        text = re.sub(r"\W+", "_", text).strip("_")
        return text or f"tensor_{tensor}"

    def _operator(self, number, operator):
        name = self.name(operator)
        if any(tensor in self.constants for tensor in operator.outputs):
            return
        inputs = [tensor for tensor in operator.inputs if tensor in self.symbols]
        if self._begins_tail(name, operator):
            self.cut.append(name)
            self.chosen |= set(inputs if name == "ARG_MAX" else [])
            self.ends += [tensor for tensor in inputs if tensor != self.input]
            return
        try:
            made = self._made(name, operator) if inputs else None
        except _Unread as why:
            raise self._refused(number, operator, f"is not read: {why}") from None
        if made is None:
            raise self._refused(number, operator, "is not read")
        for tensor, symbol in zip(operator.outputs, made if isinstance(made, list) else [made], strict=True):
            self.symbols[tensor] = symbol
            for x in self.unproven.keys() & set(inputs):
                self.unproven[tensor] = self.unproven[x]

    def _made(self, name, operator):
        """The symbol that an operator makes, or a list of them; None if the operator is not known."""
        if name in _CONVERSIONS:
            return self._x(operator)
        if name in _EXTREMES:
            return _EXTREMES[name](*self._operands(operator))
        if name in _ACTIVATIONS:
            return self._activation(operator, _ACTIVATIONS[name], self._x(operator))
        if name in _MERGES:
            made = self._merged(operator, *_MERGES[name])
        elif read := getattr(self, f"_read_{name.lower()}", None):
            made = read(operator)
        else:
            return None
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
        if not fused:
            return made
        if fused not in _FUSED:
            raise _Unread(f"its fused activation has the number {fused}")
        return self._activation(operator, _FUSED[fused], made)

    def _refused(self, number, operator, why) -> DataError:
        name = self.name(operator)
        return DataError(f"{self.path}: operator {number}, {name} ({self.named(operator.outputs[0])}), {why}")

    def _begins_tail(self, name, operator) -> bool:
        known = self.symbols.keys() | self.constants.keys() | {-1}  # -1 is an input that is left out
        if set(operator.inputs) - known:
            return True  # of what was cut off already
        if set(operator.outputs) & self.before_convolutions:
            return False
        if name in TAILS:
            return True
        constants = [self.constants[tensor] for tensor in operator.inputs if tensor in self.constants]
        return name in _ARITHMETIC and any(any(side != 1 for side in x.shape[:-1]) for x in constants)

    def _add(self, operator, kind, x, *weights, name="", **options):
        """A layer called on x, named by what it makes; its weights are set when all are built."""
        layer = kind(name=_unused(self.named(operator.outputs[0]) + name, self.names), **options)
        if weights:
            self.layers.append((layer, weights))
        return layer(*x) if isinstance(x, tuple) else layer(x)

    def _x(self, operator):
        return self.symbols[operator.inputs[0]]

    def _operands(self, operator) -> list:
        """Its inputs, symbols or constants."""
        return [self.symbols.get(tensor, self.constants.get(tensor)) for tensor in operator.inputs]

    def _activation(self, operator, name, x):
        if name in ("relu", "relu6"):
            return self._add(operator, layers.ReLU, x, name="_relu", max_value=6.0 if name == "relu6" else None)
        return self._add(operator, layers.Activation, x, name=f"_{name}", activation=name)

    def _weights(self, operator, axes):
        kernel = self.constants[operator.inputs[1]].transpose(axes)
        has_bias = len(operator.inputs) > 2 and operator.inputs[2] in self.constants
        return kernel, ([self.constants[operator.inputs[2]]] if has_bias else [])

    def _padded(self, operator) -> tuple:
        """The input of a convolution, and its padding.

        SAME padding of an odd size begins a pixel before the map, of an even size on it. Where the file's size
        and ours differ in that, ours is padded as the file's is: a pixel sees what it saw in training.
        """
        padding, x = _PADDING[operator.builtinOptions.padding], self._x(operator)
        if padding == "valid" or self.size == self.image_size:
            return x, padding
        kernel, (strides, rates) = self.shape(operator.inputs[1])[1:3], _strides_and_rates(operator)
        usual, widths = [], []
        for axis, size in enumerate(self.shape(operator.inputs[0])[1:3]):
            about = ((kernel[axis] - 1) * rates[axis] + 1, strides[axis])
            before, after = rules.same_padding(x.shape[1 + axis], *about)
            first = min(rules.same_padding(size, *about)[0], before + after)
            usual.append((before, after))
            widths.append((first, before + after - first))
        if widths == usual:
            return x, "same"
        return self._add(operator, layers.ZeroPadding2D, x, name="_pad", padding=widths), "valid"

    def _convolution(self, operator, kind, x, kernel, bias, **options):
        more = {"kernel_size": kernel.shape[:2], "use_bias": bool(bias)}
        return self._add(operator, kind, x, kernel, *bias, **more, **options)

    def _read_conv_2d(self, operator):
        (x, padding), (strides, rates) = self._padded(operator), _strides_and_rates(operator)
        kernel, bias = self._weights(operator, (1, 2, 3, 0))  # OHWI
        options = {"padding": padding, "strides": strides, "dilation_rate": rates}
        options |= {"filters": kernel.shape[3], "groups": x.shape[3] // kernel.shape[2]}
        return self._convolution(operator, layers.Conv2D, x, kernel, bias, **options)

    def _read_depthwise_conv_2d(self, operator):
        (x, padding), (strides, rates) = self._padded(operator), _strides_and_rates(operator)
        kernel, bias = self._weights(operator, (1, 2, 3, 0))  # 1HWC
        kernel = kernel.reshape(*kernel.shape[:2], x.shape[3], -1)
        options = {"padding": padding, "strides": strides, "dilation_rate": rates}
        options |= {"depth_multiplier": kernel.shape[3]}
        return self._convolution(operator, layers.DepthwiseConv2D, x, kernel, bias, **options)

    def _transposed(self, operator, x, kernel, bias, padding, strides):
        options = {"filters": kernel.shape[2], "padding": _PADDING[padding], "strides": strides}  # HWOI
        return self._convolution(operator, layers.Conv2DTranspose, x, kernel, bias, **options)

    def _read_transpose_conv(self, operator):
        options, (_, kernel, x, *bias) = operator.builtinOptions, operator.inputs
        kernel = self.constants[kernel].transpose(1, 2, 0, 3)  # OHWI
        bias = [self.constants[tensor] for tensor in bias if tensor in self.constants]
        strides = (options.strideH, options.strideW)
        return self._transposed(operator, self.symbols[x], kernel, bias, options.padding, strides)

    def _read_convolution2dtransposebias(self, operator):
        """MediaPipe's own. Its padding counts from 1."""
        padding, *strides = np.frombuffer(bytes(operator.customOptions), np.int32).tolist()
        kernel, bias = self._weights(operator, (1, 2, 0, 3))
        self.unproven[operator.outputs[0]] = operator.inputs[0]
        return self._transposed(operator, self._x(operator), kernel, bias, padding - 1, strides[::-1])

    def _read_fully_connected(self, operator):
        kernel, bias = self._weights(operator, (1, 0))
        options = {"units": kernel.shape[1], "use_bias": bool(bias)}
        return self._add(operator, layers.Dense, self._x(operator), kernel, *bias, **options)

    def _merged(self, operator, layer, operation):
        operands = self._operands(operator)
        if all(tensor in self.symbols for tensor in operator.inputs):
            return self._add(operator, layer, operands)
        return operation(*operands)

    def _read_leaky_relu(self, operator):
        return self._add(
            operator, layers.LeakyReLU, self._x(operator), negative_slope=operator.builtinOptions.alpha
        )

    def _read_prelu(self, operator):
        slopes = self.constants[operator.inputs[1]].reshape(1, 1, -1)
        return self._add(operator, layers.PReLU, self._x(operator), slopes, shared_axes=[1, 2])

    def _read_softmax(self, operator):
        return self._add(operator, layers.Softmax, self._x(operator))

    def _read_concatenation(self, operator):
        axis = operator.builtinOptions.axis % len(self.shape(operator.inputs[0]))
        if axis != len(self.shape(operator.inputs[0])) - 1:
            raise _Unread(f"it joins maps along axis {axis}")
        return self._add(operator, layers.Concatenate, [self.symbols[tensor] for tensor in operator.inputs])

    def _read_pad(self, operator):
        widths = self.constants[operator.inputs[1]].tolist()
        x = self._x(operator)
        if any(widths[1] + widths[2]):
            x = self._add(operator, layers.ZeroPadding2D, x, name="_pad", padding=widths[1:3])
        if any(widths[3]):
            before, after = widths[3]
            x = self._add(operator, imported.ChannelPadding, x, name="_channels", before=before, after=after)
        return x

    def _pooled(self, operator, layer):
        options = operator.builtinOptions
        sizes = {"pool_size": (options.filterHeight, options.filterWidth)}
        sizes |= {"strides": (options.strideH, options.strideW), "padding": _PADDING[options.padding]}
        return self._add(operator, layer, self._x(operator), **sizes)

    def _read_max_pool_2d(self, operator):
        return self._pooled(operator, layers.MaxPooling2D)

    def _read_average_pool_2d(self, operator):
        options = operator.builtinOptions
        if (options.filterHeight, options.filterWidth) == self.shape(operator.inputs[0])[1:3]:  # of the whole map
            return self._mean(operator, True)
        return self._pooled(operator, layers.AveragePooling2D)

    def _read_mean(self, operator):
        axes = sorted(axis % 4 for axis in np.ravel(self.constants[operator.inputs[1]]).tolist())
        if axes != [1, 2]:
            raise _Unread(f"it is a mean over axes {axes}")
        return self._mean(operator, bool(operator.builtinOptions.keepDims))

    def _mean(self, operator, keepdims):
        return self._add(operator, layers.GlobalAveragePooling2D, self._x(operator), keepdims=keepdims)

    def _read_reshape(self, operator):
        """Of numbers without a place."""
        (source, *_), (made, *_) = operator.inputs, operator.outputs
        if source in self.stacked:
            return self._repeated(operator)
        if len(self.shape(made)) < 2:  # to be added to a map
            return self._x(operator)
        return self._add(operator, layers.Reshape, self._x(operator), target_shape=self.shape(made)[1:])

    def _read_pack(self, operator):
        """The same map twice, side by side: the API's nearest upsampling puts it into rows, then columns so."""
        options, (first, *others) = operator.builtinOptions, operator.inputs
        if set(others) != {first} or options.axis not in (2, 3) or len(self.shape(first)) != 4:
            raise _Unread("it stacks other than copies of a map")
        self.stacked[operator.outputs[0]] = (first, options.axis, len(operator.inputs))
        return self.symbols[first]

    def _repeated(self, operator):
        """RESHAPE of what PACK has stacked: each pixel so many times along an axis."""
        source, axis, times = self.stacked[operator.inputs[0]]
        batch, height, width, channels = self.shape(source)
        grown = {3: (1, times), 2: (times, 1)}[axis]
        if self.shape(operator.outputs[0]) != (batch, height * grown[0], width * grown[1], channels):
            raise _Unread("what is stacked becomes no larger map")
        x = self.symbols[operator.inputs[0]]
        return self._add(operator, layers.UpSampling2D, x, size=grown, interpolation="nearest")

    def _read_strided_slice(self, operator):
        """Of every second pixel, say, as YOLO's Focus has it; or of some channels."""
        options, (_, *limits) = operator.builtinOptions, operator.inputs
        begin, end, strides = (self.constants[tensor].tolist() for tensor in limits)
        shape = self.shape(operator.inputs[0])
        begin = [0 if options.beginMask >> axis & 1 else begin[axis] % shape[axis] for axis in range(len(begin))]
        end = [shape[axis] if options.endMask >> axis & 1 else end[axis] for axis in range(len(end))]
        end = [side + shape[axis] if side < 0 else min(side, shape[axis]) for axis, side in enumerate(end)]
        if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask or len(shape) != 4:
            raise _Unread("it is no slice of a map")
        x = self._x(operator)
        if strides[1] != 1 or strides[2] != 1:
            whole = all(shape[axis] % strides[axis] == 0 and begin[axis] < strides[axis] for axis in (1, 2))
            whole &= all(end[axis] > shape[axis] - strides[axis] + begin[axis] for axis in (1, 2))
            if not whole or strides[1] != strides[2]:
                raise _Unread(f"it takes every {strides[1]} and {strides[2]} pixels of a part of a map")
            x = self._add(operator, imported.PixelSlice, x, size=strides[1], row=begin[1], column=begin[2])
        elif [*begin[1:3], *end[1:3]] != [0, 0, *shape[1:3]]:
            raise _Unread("it cuts a part out of a map")
        return self._channels(operator, x, begin[3], end[3], strides[3])

    def _channels(self, operator, x, start, stop, stride=1):
        if stride != 1:
            raise _Unread(f"it takes every {stride} channels")
        if (start, stop) == (0, x.shape[3]):
            return x
        return self._add(operator, imported.ChannelSlice, x, name=f"_{start}_{stop}", start=start, stop=stop)

    def _read_slice(self, operator):
        begin, size = (self.constants[tensor].tolist() for tensor in operator.inputs[1:3])
        shape = self.shape(operator.inputs[0])
        size = [shape[axis] - begin[axis] if side < 0 else side for axis, side in enumerate(size)]
        if len(shape) != 4 or [*begin[:3], *size[:3]] != [0, 0, 0, *shape[:3]]:
            raise _Unread("it cuts a part out of a map")
        return self._channels(operator, self._x(operator), begin[3], begin[3] + size[3])

    def _read_split(self, operator):
        axis, tensor = operator.inputs
        return self._split(operator, tensor, axis)

    def _read_split_v(self, operator):
        tensor, _, axis = operator.inputs
        return self._split(operator, tensor, axis)

    def _split(self, operator, tensor, axis):
        axis = int(np.ravel(self.constants[axis])[0]) % len(self.shape(tensor))
        if axis != 3:
            raise _Unread(f"it splits along axis {axis}")
        edges = np.cumsum([0, *(self.shape(output)[3] for output in operator.outputs)]).tolist()
        x = self.symbols[tensor]
        return [self._channels(operator, x, first, last) for first, last in itertools.pairwise(edges)]

    def _read_space_to_depth(self, operator):
        block, x = operator.builtinOptions.blockSize, self._x(operator)
        pixels = [
            self._add(
                operator, imported.PixelSlice, x, name=f"_{row}_{column}", size=block, row=row, column=column
            )
            for row in range(block)
            for column in range(block)
        ]
        return self._add(operator, layers.Concatenate, pixels)

    def _read_depth_to_space(self, operator):
        return self._add(
            operator, imported.DepthToSpace, self._x(operator), block=operator.builtinOptions.blockSize
        )

    def _read_resize_nearest_neighbor(self, operator):
        return self._resized(operator, "nearest")

    def _read_resize_bilinear(self, operator):
        return self._resized(operator, "bilinear")

    def _resized(self, operator, interpolation):
        options, x = operator.builtinOptions, self._x(operator)
        (height, width), old = self.shape(operator.inputs[0])[1:3], self.shape(operator.outputs[0])[1:3]
        if (height, width) == old:
            return x
        if (height, width) == (1, 1):  # spread over a map, of which there must be another
            return self._add(operator, imported.Spread, (x, self._map_of(old)))
        if interpolation == "nearest" and any(new % own for new, own in zip(old, (height, width), strict=True)):
            return self._add(operator, imported.NearestResizing, (x, self._map_of(old)))
        aligned = options.alignCorners and interpolation == "bilinear"
        if self.size == self.image_size and aligned:
            return self._add(operator, imported.AlignedResizing, x, height=old[0], width=old[1])
        is_centred = options.halfPixelCenters or aligned or interpolation == "nearest"
        grown = [(side - aligned) / (own - aligned) for side, own in zip(old, (height, width), strict=True)]
        if any(factor % 1 for factor in grown):
            raise _Unread(f"it resizes {height}x{width} to {old[0]}x{old[1]}, which is no whole factor")
        rows, columns = map(int, grown)
        if aligned or not is_centred:  # of aligned corners pixels are at multiples of the factor, too
            return self._add(operator, imported.CornerResizing, x, rows=rows, columns=columns)
        return self._add(operator, layers.UpSampling2D, x, size=(rows, columns), interpolation=interpolation)

    def _map_of(self, size):
        """A map of a size in the file, whose size another follows."""
        for tensor, x in self.symbols.items():
            if self.shape(tensor)[1:3] == size and len(x.shape) == 4:
                return x
        raise _Unread(
            f"it makes a map of {size[0]}x{size[1]} pixels, and there is no other of that size before it"
        )


def _strides_and_rates(operator) -> tuple:
    options = operator.builtinOptions
    return (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)


_WITH_WEIGHTS = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"),
    *("Convolution2DTransposeBias", "FULLY_CONNECTED"),
)
_ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")
_PADDING = ("same", "valid")
_OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}


def _dequantized(raw, tensor) -> np.ndarray:
    """The numbers that a tensor stands for; float32, but for integers that are no quantized numbers."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not np.issubdtype(raw.dtype, np.integer):
        return raw.astype(np.float32) if np.issubdtype(raw.dtype, np.floating) else raw
    shape = [1] * raw.ndim
    if len(quantization.scale) > 1:
        shape[quantization.quantizedDimension] = -1
    scale, zero = (np.reshape(x, shape) for x in (quantization.scale, quantization.zeroPoint))
    return ((raw.astype(np.float64) - zero) * scale).astype(np.float32)


# What LiteRT computes


def cut_file(model, operators, outputs) -> bytes:
    """A .tflite of some operators of a model alone, whose outputs are the tensors of these numbers."""
    model, graph = copy.copy(model), copy.copy(model.subgraphs[0])
    graph.operators, graph.outputs, model.subgraphs, model.signatureDefs = operators, outputs, [graph], None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


class LiteRt:
    """A .tflite that LiteRT runs, for the tensors of these numbers among its outputs.

    If it shall be fast, XNNPACK may run it, which cannot run what has no input.
    """

    def __init__(self, content: bytes, outputs, fast: bool = False):
        resolver = OpResolverType.AUTO if fast else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._outputs = list(outputs)
        with hidden_stderr():
            self._interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
            self._interpreter.allocate_tensors()

    def __call__(self, frame=None) -> dict[int, np.ndarray]:
        """The wanted tensors by their numbers, float32."""
        if frame is not None:
            self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], frame)
        self._interpreter.invoke()
        found = {}
        for details in self._interpreter.get_output_details():
            raw, (scale, zero) = self._interpreter.get_tensor(details["index"]), details["quantization"]
            found[details["index"]] = (raw.astype(np.float32) - zero) * scale if scale else raw.astype(np.float32)
        return {tensor: found[tensor] for tensor in self._outputs}


def _unused(name: str, taken: set[str]) -> str:
    """A name, numbered if it is taken; it is taken then."""
    numbered = (f"{name}_{count}" for count in itertools.count(2))
    name = name if name not in taken else next(other for other in numbered if other not in taken)
    taken.add(name)
    return name


def _correlation(a, b) -> float:
    """1 if neither differs from place to place."""
    flat = [a.std() > 0, b.std() > 0]
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if all(flat) else float(not any(flat))


def _one_line(error) -> str:
    return " ".join(str(error).split())[:200]
