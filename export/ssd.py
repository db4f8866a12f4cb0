"""Reads SSD MobileNetV2 detectors of the TensorFlow Object Detection API out of .tflite files.

The graph is followed from its input: MobileNetV2 as in `keras.applications`, 1 x 1 predictors at
`block_13_expand_relu`, at `out_relu` and after each of four pairs of extra layers. Batch normalisation is
folded in such files, so biases become betas of normalisations that do nothing else.
"""

import dataclasses
import warnings
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from patchwork_tf.errors import DataError
from patchwork_tf.export.metadata import read_tflite
from patchwork_tf.layers.blocks import BATCH_NORM_EPSILON, make_divisible
from patchwork_tf.models.boxes import CODE_SCALES
from patchwork_tf.models.heads import HEAD_KINDS
from patchwork_tf.models.mobilenet_v2 import BOTTLENECKS, ENDPOINTS, STEM_CHANNELS
from patchwork_tf.quiet import hidden_stderr

_KIND = HEAD_KINDS["ssd"]
_POSTPROCESS = "TFLite_Detection_PostProcess"
_BACKGROUND_NAMES = ("???", "background", "__background__")
# Depths to look for: those of published models, then all others of two digits.
_DEPTHS = (1.0, 0.35, 0.5, 0.75, 1.3, 1.4, *(number / 100 for number in range(10, 201)))
_MOST_PIXELS = 1 << 12  # of a side
_DTYPES = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}


@dataclasses.dataclass(frozen=True, eq=False)
class SsdFile:
    """An SSD MobileNetV2 that was read.

    Attributes:
        path: of the file.
        image_size: (H, W) of its input.
        depth: width multiplier.
        num_classes: foreground classes.
        arrays: weights by `<layer>/<variable>`; kernels in the file's precision.
        anchors: (A, 4) float32 in centre form; None if the file has only raw outputs.
        codes, logits: numbers of the tensors with box codes and class logits of all anchors.
    """

    path: str
    image_size: tuple[int, int]
    depth: float
    num_classes: int
    arrays: dict[str, np.ndarray]
    anchors: np.ndarray | None
    codes: int
    logits: int

    def raw_outputs(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class logits (A, 1 + classes) and box codes (A, 4) of a frame (1, H, W, 3), by LiteRT."""
        interpreter = _verified(self.path)
        try:
            interpreter.allocate_tensors()
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], frame)
            interpreter.invoke()
            logits = interpreter.get_tensor(self.logits).reshape(-1, 1 + self.num_classes)
            return logits, interpreter.get_tensor(self.codes).reshape(-1, 4)
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{self.path}: LiteRT cannot run it ({_one_line(error)})") from None


def read(path: str) -> SsdFile:
    """Reads a detector.

    Raises:
        DataError: if the file is missing, damaged or no float SSD MobileNetV2; says what it is instead, as far as
            known.
    """
    try:
        return _read(path)
    except (LookupError, TypeError, ValueError, AttributeError):  # numbers that lead nowhere
        raise DataError(f"{path}: damaged, or not an SSD MobileNetV2 of the Object Detection API") from None


def _read(path) -> SsdFile:
    graph = _Graph(path)
    arrays, predictors = _weights(graph)
    depth = _depth(graph, arrays)
    codes, logits = (graph.joined([pair[part] for pair in predictors]) for part in (0, 1))
    counts = [graph.shape(of_boxes.outputs[0])[-1] // 4 for of_boxes, _ in predictors]
    expected = [len(shapes) for shapes in _KIND.anchor_shapes]
    if counts != expected:
        raise graph.refused(f"its maps have {counts} anchors per location, not {expected}")
    num_classes = graph.shape(predictors[0][1].outputs[0])[-1] // counts[0] - 1
    return SsdFile(
        path,
        tuple(map(int, graph.shape(graph.input)[1:3])),
        depth,
        num_classes,
        arrays,
        graph.anchors(),
        codes,
        logits,
    )


def read_labels(path: str | None, source: SsdFile) -> list[str]:
    """Names of a detector's foreground classes, from a text file with one per line.

    Args:
        path: of the file; None takes the labels that are packed into the .tflite, if there are any.
        source: the detector.

    Raises:
        DataError: if there are none, or not as many as classes. The background may be the first of them.
    """
    where, text = path, None
    if path is not None:
        try:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DataError(f"{path}: not a text file") from None
    elif zipfile.is_zipfile(source.path):
        where = f"{source.path}'s own labels"
        text = _packed_text(source.path, where)
    if text is None:
        raise DataError(f"{source.path}: no labels are packed into it; name a text file, --labels=FILE")
    labels = [line.strip() for line in text.splitlines() if line.strip()]
    if len(labels) == source.num_classes + 1 and labels[0].lower() in _BACKGROUND_NAMES:
        labels = labels[1:]
    if len(labels) != source.num_classes:
        raise DataError(
            f"{where}: {len(labels)} labels, but the detector has {source.num_classes} classes; one per line, "
            "with or without ??? for the background first"
        )
    return labels


def _packed_text(path, where) -> str | None:
    """The first text that is packed into a file. Raises DataError if it is damaged."""
    try:
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if name.endswith(".txt")]
            return packed.read(names[0]).decode() if names else None
    except Exception as error:  # whatever zipfile and its decoders raise
        raise DataError(f"{where} are damaged ({error})") from None


def _verified(path) -> Interpreter:
    """LiteRT's interpreter of a file whose structure it has proven. Raises DataError if it is damaged."""
    with hidden_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keeping all tensors costs memory: we know
        try:
            return Interpreter(path, experimental_preserve_all_tensors=True)
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{path}: LiteRT cannot load it, it may be damaged ({_one_line(error)})") from None


def _one_line(error) -> str:
    return " ".join(str(error).split())


class _Graph:
    """The graph of a .tflite file, to be followed from its input."""

    def __init__(self, path: str):
        self.path = path
        content = read_tflite(path)
        _verified(path)
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        graph = model.subgraphs[0]
        if len(graph.inputs) != 1:
            raise self.refused(f"it has {len(graph.inputs)} inputs")
        self.input, self.outputs = graph.inputs[0], list(graph.outputs)
        self._tensors, self._buffers = graph.tensors, model.buffers
        self._operators = graph.operators
        self._codes = model.operatorCodes
        self._takers = {}
        for operator in graph.operators:
            for tensor in operator.inputs:
                self._takers.setdefault(tensor, []).append(operator)
        self._sources = {op.outputs[0]: op.inputs[0] for op in graph.operators if self.name(op) == "DEQUANTIZE"}
        self._check_kind()

    def _check_kind(self):
        names = {self.name(operator) for operator in self._operators}
        kinds = {self._tensors[operator.inputs[1]].type for operator in self._operators if self._is_conv(operator)}
        if kinds & {schema.TensorType.INT8, schema.TensorType.UINT8}:
            raise self.refused("it is quantized to 8 bits; give the float32 or float16 file it was made from")
        if self._tensors[self.input].type != schema.TensorType.FLOAT32:
            raise self.refused("its input is not float32")
        batch, *sides, channels = self.shape(self.input)
        if (batch, len(sides), channels) != (1, 2, 3) or not all(0 < side <= _MOST_PIXELS for side in sides):
            raise self.refused(f"its input is {list(self.shape(self.input))}, not [1, H, W, 3]")
        if "SOFTMAX" in names:
            raise self.refused("its scores are a softmax over classes; those of SSD MobileNetV2 are sigmoids")

    def refused(self, why: str) -> DataError:
        return DataError(f"{self.path}: not an SSD MobileNetV2 of the Object Detection API: {why}")

    def name(self, operator) -> str:
        code = self._codes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        if number == schema.BuiltinOperator.CUSTOM:
            return code.customCode.decode()
        return _OPERATOR_NAMES[number]

    def _is_conv(self, operator) -> bool:
        return self.name(operator) in ("CONV_2D", "DEPTHWISE_CONV_2D")

    def shape(self, tensor) -> tuple[int, ...]:
        return tuple(map(int, self._tensors[tensor].shape))

    def takers(self, tensor, name: str) -> list:
        """The operators of a name that take a tensor."""
        return [operator for operator in self._takers.get(tensor, []) if self.name(operator) == name]

    def constant(self, tensor) -> np.ndarray:
        """A constant in the file's precision."""
        tensor = self._sources.get(tensor, tensor)
        kind = _DTYPES.get(self._tensors[tensor].type)
        data = self._buffers[self._tensors[tensor].buffer].data
        if kind is None or data is None:
            raise self.refused("a convolution has weights that are not constants in float32 or float16")
        return np.frombuffer(bytes(data), kind).reshape(self.shape(tensor))

    def weights(self, operator) -> tuple[np.ndarray, np.ndarray]:
        """Kernel as Keras has it, and bias, of a convolution."""
        kernel, bias = (self.constant(tensor) for tensor in operator.inputs[1:3])
        return kernel.transpose(1, 2, 3, 0), bias  # OHWI -> HWIO; depthwise 1HWC -> HWC1

    def follow(self, tensor, name: str, layer: str, kernel: int):
        """The one convolution of a tensor that is not a predictor."""
        matches = [
            operator for operator in self.takers(tensor, name) if not self.takers(operator.outputs[0], "RESHAPE")
        ]
        if len(matches) != 1:
            raise self.refused(f"there is no {layer} where it should be")
        if self.shape(matches[0].inputs[1])[1:3] != (kernel, kernel):
            raise self.refused(
                f"{layer} has a kernel of {self.shape(matches[0].inputs[1])[1:3]}, not {kernel} x {kernel}"
            )
        return matches[0]

    def output(self, operator):
        """What comes out of an operator, after a ReLU6 of its own if there is one."""
        (relu,) = self.takers(operator.outputs[0], "RELU6") or [operator]
        return relu.outputs[0]

    def predictors(self, tensor, layer: str) -> tuple:
        """The outputs of the box predictor and of the class predictor of a feature map."""
        matches = [
            operator for operator in self.takers(tensor, "CONV_2D") if self.takers(operator.outputs[0], "RESHAPE")
        ]
        if len(matches) != 2 or any(self.shape(operator.inputs[1])[1:3] != (1, 1) for operator in matches):
            raise self.refused(
                f"there are no two 1 x 1 predictors at {layer}; SSDLite and FPN models are not read"
            )
        of_boxes = [self._rows(operator)[-1] == 4 for operator in matches]
        if all(of_boxes):  # three classes: boxes come first in the API's graphs
            return tuple(matches)
        if not any(of_boxes):
            raise self.refused(f"no predictor at {layer} predicts 4 numbers per box")
        return tuple(matches if of_boxes[0] else matches[::-1])

    def _rows(self, operator) -> tuple[int, ...]:
        return self.shape(self.takers(operator.outputs[0], "RESHAPE")[0].outputs[0])

    def joined(self, predictors) -> int:
        """The tensor in which the predictions of all maps are put together, in their order."""
        rows = [self.takers(operator.outputs[0], "RESHAPE")[0].outputs[0] for operator in predictors]
        (join,) = self.takers(rows[0], "CONCATENATION") or [None]
        if join is None or list(join.inputs) != rows:
            raise self.refused("the predictions of its maps are not put together in their order")
        return join.outputs[0]

    def anchors(self) -> np.ndarray | None:
        """Anchors (A, 4) of the post-processing operator, if there is one."""
        for operator in self._operators:
            if self.name(operator) != _POSTPROCESS:
                continue
            options = flexbuffers.Loads(bytes(operator.customOptions))
            scales = tuple(float(options[f"{side}_scale"]) for side in "yxhw")
            if scales != CODE_SCALES:
                raise self.refused(f"its box codes are scaled by {scales}, not {CODE_SCALES}")
            return self.constant(operator.inputs[2]).astype(np.float32)
        return None


def _weights(graph) -> tuple[dict, list]:
    """Arrays by `<layer>/<variable>`, and the predictors of each map: (boxes, classes)."""
    arrays, predictors = {}, []

    def convolution(x, kind, layer, norm=None, kernel=1):
        operator = graph.follow(x, kind, layer, kernel)
        arrays.update(_normalised(layer, norm or f"{layer}_BN", *graph.weights(operator)))
        return graph.output(operator)

    def predict(x, layer, head):
        pair = graph.predictors(x, layer)
        for operator, part in zip(pair, ("boxes", "classes"), strict=True):
            kernel, bias = graph.weights(operator)
            arrays[f"{head}_{part}/kernel"], arrays[f"{head}_{part}/bias"] = kernel, bias.astype(np.float32)
        predictors.append(pair)

    x = convolution(graph.input, "CONV_2D", "Conv1", "bn_Conv1", kernel=3)
    block = 0
    for expansion, _, repetitions, _ in BOTTLENECKS:
        for repetition in range(repetitions):
            prefix, start = f"block_{block}_" if block else "expanded_conv_", x
            if expansion > 1:
                x = convolution(x, "CONV_2D", f"{prefix}expand")
            if f"{prefix}expand_relu" == ENDPOINTS[_KIND.strides[0]]:
                predict(x, f"{prefix}expand_relu", "head_16")
            x = convolution(x, "DEPTHWISE_CONV_2D", f"{prefix}depthwise", kernel=3)
            x = convolution(x, "CONV_2D", f"{prefix}project")
            if repetition:
                (add,) = graph.takers(x, "ADD") or [None]
                if add is None or start not in add.inputs:
                    raise graph.refused(f"block {block} has no shortcut")
                x = add.outputs[0]
            block += 1
    x = convolution(x, "CONV_2D", "Conv_1", "Conv_1_bn")
    predict(x, "out_relu", "head_32")
    for number in range(len(_KIND.anchor_shapes) - len(_KIND.strides)):
        x = convolution(x, "CONV_2D", f"pyramid_{number}_reduce")
        x = convolution(x, "CONV_2D", f"pyramid_{number}_conv", kernel=3)
        predict(x, f"extra layer {number}", f"pyramid_{number}")
    return arrays, predictors


def _normalised(layer, norm, kernel, bias) -> dict:
    """A convolution with a bias as one without, and a batch normalisation that adds it."""
    ones = np.ones(len(bias), np.float32)
    return {
        f"{layer}/kernel": kernel,
        f"{norm}/beta": bias.astype(np.float32),
        f"{norm}/gamma": ones,
        f"{norm}/moving_mean": 0 * ones,
        f"{norm}/moving_variance": ones - np.float32(BATCH_NORM_EPSILON),
    }


def _depth(graph, arrays) -> float:
    """The width multiplier that makes a network of these channels."""
    widths = [arrays["bn_Conv1/beta"].size]
    block = 0
    for _, _, repetitions, _ in BOTTLENECKS:
        prefix = f"block_{block}_" if block else "expanded_conv_"
        widths.append(arrays[f"{prefix}project_BN/beta"].size)
        block += repetitions
    widths.append(arrays["Conv_1_bn/beta"].size)
    extra = len(_KIND.anchor_shapes) - len(_KIND.strides)
    widths += [arrays[f"pyramid_{number}_conv_BN/beta"].size for number in range(extra)]
    for depth in _DEPTHS:
        channels = [
            make_divisible(int(width * depth)) for width in (STEM_CHANNELS, *(row[1] for row in BOTTLENECKS))
        ]
        if widths == [*channels, _KIND.last_channels(depth), *_KIND.map_widths(depth)]:
            return depth
    raise graph.refused(f"its layers have {widths} channels, which no depth of MobileNetV2 gives")


_OPERATOR_NAMES = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
