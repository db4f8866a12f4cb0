"""Full int8: weights and activations, and all of the memory that is features.

The heavy part of the step is quantized by ai-edge-quantizer with ranges calibrated on rolled states. What
makes predictions out of logits and codes, the prediction memory and the choice of a window stay in floating point.

Ranges are made equal wherever data are only moved: along slices, concatenations and updates, and from a state
that goes in to the same state that comes out. So no value is rounded again on its way through the
memory, a state cannot drift, and no state is converted around its update.
"""

import copy
import re

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from patchwork_tf.errors import UsageError
from patchwork_tf.export import calibration
from patchwork_tf.export.float_scope import FLOAT_SCOPE
from patchwork_tf.export.tflite import SIGNATURE, START

_MOVES = {  # operators that move data: how many of their first inputs are data, None for all
    schema.BuiltinOperator.SLICE: 1,
    schema.BuiltinOperator.STRIDED_SLICE: 1,
    schema.BuiltinOperator.RESHAPE: 1,
    schema.BuiltinOperator.CONCATENATION: None,
    schema.BuiltinOperator.DYNAMIC_UPDATE_SLICE: 2,
}
_CHANNEL_AXIS = {schema.BuiltinOperator.CONV_2D: 0, schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3}  # of kernels
# Of a channel's largest weight, as a part of its bias: a bias has 31 bits, in steps of the kernel's scale (the
# largest weight / 127) times the input's, which is 0.004 or more.
_LEAST_WEIGHT = 127 / (0.004 * 2**30)
_MOMENTS_OF = 24  # samples, or up to twice as many, whose inputs weigh the errors of weights
_VALUES = 4000  # of a tensor, drawn at random per sample, that stand for all


def load_quantizer():
    """The module of ai-edge-quantizer. Raises UsageError that says what is not installed: it, or what it needs."""
    try:
        from ai_edge_quantizer import quantizer
    except ImportError as error:
        package = (error.name or "").partition(".")[0].replace("_", "-") or "ai-edge-quantizer"
        raise UsageError(f"--quantize=int8 needs {package} ({error}): pip install {package}") from None
    return quantizer


def quantize(content: bytes, samples: list[dict]) -> tuple[bytes, list[dict]]:
    """An exported file in int8.

    Each signature is quantized by itself, as the first frame has ranges of its own; the states that it leaves are
    then given those that the step takes.

    Args:
        content: the file in float32, of a Step with `in_8_bits=True`.
        samples: inputs of the step by name, states that were rolled over video among them.

    Returns:
        The file, and what its metadata should say of its states.
    """
    quantizer = load_quantizer()
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    signatures = [signature.signatureKey.decode() for signature in model.signatureDefs]
    graphs = {signature: _Graph(content, signature) for signature in signatures}
    inputs = {
        signature: [{name: sample[name] for name in graph.inputs} for sample in samples]
        for signature, graph in graphs.items()
    }
    moments, rounded, ranges = {}, {}, {}  # the first two by the kernel's bytes: both graphs have the same
    for signature, graph in graphs.items():
        graph.revive_channels()
        ranges[signature] = graph.observe(inputs[signature], moments)

    def quantized(signature):
        graph = graphs[signature]
        of_kernels = graph.round_kernels(moments, rounded)
        tool = quantizer.Quantizer(graph.content())
        tool.add_static_config(".*", "*", 8, 8)
        in_float = "|".join(map(re.escape, sorted(graph.in_float())))
        tool.update_quantization_recipe(f"(^|;)({in_float})(;|$)", "*", algorithm_key="no_quantize")
        of_tensors = graph.equal_where_moved(ranges[signature])
        return _Graph(bytes(tool.quantize({**of_tensors, **of_kernels}).quantized_model), signature)

    step = quantized(SIGNATURE)
    step.open_states()
    states = step.states()
    if START in graphs:
        first = quantized(START)
        first.leave_states_of(step)
        step.add(first)
    return step.content(), states


class _Graph:
    """The graph of one signature of a file, as far as quantization needs to know it."""

    def __init__(self, content, signature):
        self.model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        (self._signature,) = (s for s in self.model.signatureDefs if s.signatureKey.decode() == signature)
        self.graph = self.model.subgraphs[self._signature.subgraphIndex]
        self._signature.subgraphIndex = 0
        # The quantizer lists what it made of an output that others read, too, in its place.
        self.graph.outputs = list(self.outputs.values())
        self.model.subgraphs, self.model.signatureDefs = [self.graph], [self._signature]
        buffers, self.model.buffers = self.model.buffers, [schema.BufferT()]
        self._take_buffers(self.graph.tensors, buffers)
        self._take_buffers(self.model.metadata or [], buffers)

    def _take_buffers(self, users, buffers):
        """Adds to the model's buffers those of other `buffers` that tensors or metadata use, equal ones once."""
        places = {bytes(buffer.data): k for k, buffer in enumerate(self.model.buffers) if buffer.data is not None}
        for user in users:
            data = buffers[user.buffer].data
            if data is None or not len(data):
                user.buffer = 0
                continue
            key = bytes(data)
            if key not in places:
                places[key] = len(self.model.buffers)
                self.model.buffers.append(schema.BufferT(np.frombuffer(key, np.uint8)))  # others pack byte by byte
            user.buffer = places[key]

    @property
    def inputs(self) -> dict[str, int]:
        """Numbers of the tensors that go in, by their names in the signature."""
        return {tensor.name.decode(): tensor.tensorIndex for tensor in self._signature.inputs}

    @property
    def outputs(self) -> dict[str, int]:
        """Likewise of those that come out."""
        return {tensor.name.decode(): tensor.tensorIndex for tensor in self._signature.outputs}

    def name(self, index) -> str:
        return self.graph.tensors[index].name.decode()

    def _code(self, operator) -> int:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def revive_channels(self):
        """Gives channels that training has driven to a bias and no weights one weight that can be told from 0.

        Their scale would be so small that the bias had to be cut off, and with it all that the channel says.
        """
        for operator in self.graph.operators:
            axis = _CHANNEL_AXIS.get(self._code(operator))
            if axis is None:
                continue
            kernel, bias = (self._constant(index) for index in operator.inputs[1:3])
            rows = np.moveaxis(kernel, axis, 0).reshape(len(bias), -1)  # copies, if channels are last
            places = np.abs(rows).argmax(1)
            least = _LEAST_WEIGHT * np.abs(bias)
            dead = np.flatnonzero(np.abs(rows).max(1) < least)
            rows[dead, places[dead]] = least[dead]
            if len(dead):
                revived = np.moveaxis(rows.reshape(np.moveaxis(kernel, axis, 0).shape), 0, axis)
                self._set_constant(operator.inputs[1], revived)

    def observe(self, inputs: list[dict], moments: dict) -> dict:
        """Runs over inputs; returns the range of every tensor by its name, as the quantizer takes it.

        Adds to `moments` those of what the kernels look at, by the kernel's bytes.
        """
        interpreter = Interpreter(model_content=self.content(), experimental_preserve_all_tensors=True)
        run = interpreter.get_signature_runner(self._signature.signatureKey.decode())
        computed = [*self.inputs.values(), *(index for op in self.graph.operators for index in op.outputs)]
        observed = {k: [] for k in computed if self.graph.tensors[k].type == schema.TensorType.FLOAT32}
        kernels, every = list(self._quantized_kernels()), max(1, len(inputs) // _MOMENTS_OF)
        rng = np.random.default_rng(0)
        for number, values in enumerate(inputs):
            run(**values)
            for index, found in observed.items():
                x = interpreter.get_tensor(index).ravel()
                found += [x.min(), x.max()], x[rng.integers(x.size, size=min(x.size, _VALUES))]
            for operator, kernel in kernels if number % every == 0 else ():
                x, key = interpreter.get_tensor(operator.inputs[0]), kernel.tobytes()
                moments[key] = moments.get(key, 0) + calibration.moments(x, self._window(operator, kernel), rng)
        ranges = {self.name(k): calibration.least_error_range(np.concatenate(x)) for k, x in observed.items()}
        return {name: {"min": np.array([low]), "max": np.array([high])} for name, (low, high) in ranges.items()}

    def round_kernels(self, moments: dict, rounded: dict) -> dict:
        """Rounds all kernels to 8 bits, once if they are in `rounded` by then; returns their ranges by name."""
        ranges = {}
        for operator, kernel in list(self._quantized_kernels()):  # before any changes: operators may share one
            axis, key = _CHANNEL_AXIS[self._code(operator)], kernel.tobytes()
            channels_first = np.moveaxis(kernel, axis, 0)
            rows = channels_first.reshape(len(channels_first), -1)
            steps = calibration.scales(rows)
            if key not in rounded:
                found = moments[key]
                if self._window(operator, kernel).depthwise:
                    found = calibration.rounded(rows, steps, found)
                else:  # place by place, which are as many parts of a row
                    parts = zip(np.split(rows, len(found), axis=1), found, strict=True)
                    found = np.concatenate([calibration.rounded(part, steps, of) for part, of in parts], axis=1)
                rounded[key] = np.moveaxis(found.reshape(channels_first.shape), 0, axis)
            largest = np.moveaxis((calibration.STEPS * steps).astype(np.float32).reshape(-1, 1, 1, 1), 0, axis)
            ranges[self.name(operator.inputs[1])] = {"min": -largest, "max": largest}
            self._set_constant(operator.inputs[1], rounded[key])
        return ranges

    def _quantized_kernels(self):
        """Pairs of an operator and its kernel, of those that are to be in 8 bits."""
        floats = self.in_float()
        for operator in self.graph.operators:
            if self._code(operator) in _CHANNEL_AXIS and self.name(operator.outputs[0]) not in floats:
                yield operator, self._constant(operator.inputs[1])

    def _window(self, operator, kernel) -> calibration.Window:
        options = operator.builtinOptions
        return calibration.Window(
            size=kernel.shape[1:3],
            strides=(options.strideH, options.strideW),
            dilations=(options.dilationHFactor, options.dilationWFactor),
            same=options.padding == schema.Padding.SAME,
            depthwise=self._code(operator) == schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        )

    def _set_constant(self, index, value):
        """Replaces a constant, in a buffer of its own: others may have had the same."""
        self.model.buffers.append(schema.BufferT(np.frombuffer(value.tobytes(), np.uint8)))
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1

    def _constant(self, index) -> np.ndarray:
        tensor = self.graph.tensors[index]
        data = bytes(self.model.buffers[tensor.buffer].data)
        return np.frombuffer(data, np.float32).reshape(tensor.shape).copy()

    def in_float(self) -> set[str]:
        """Names of the tensors that stay in floating point: outputs of such operators, inputs of them alone."""
        indices = {k for k, tensor in enumerate(self.graph.tensors) if FLOAT_SCOPE in tensor.name.decode()}
        for operator in self.graph.operators:  # a result that leaves the graph has lost its own name
            if set(self.outputs.values()).intersection(operator.outputs) and indices.intersection(operator.inputs):
                indices.update(operator.outputs)
        indices |= {index for name, index in self.outputs.items() if not name.startswith("state_")}
        indices.add(self.inputs["frame"])
        for index in self.inputs.values():
            users = [operator for operator in self.graph.operators if index in operator.inputs]
            if all(indices.intersection(operator.outputs) for operator in users):
                indices.add(index)
        return {self.name(index) for index in indices}

    def equal_where_moved(self, ranges: dict) -> dict:
        """Calibrated ranges by tensor name, widened to those of all tensors that share their data."""
        groups = self._groups()
        widened = {}
        for name, group in groups.items():
            recorded = [ranges[member] for member in group if member in ranges]
            if recorded and name in ranges:
                low, high = min(r["min"].min() for r in recorded), max(r["max"].max() for r in recorded)
                shape = ranges[name]["min"].shape
                widened[name] = {"min": np.full(shape, min(low, 0.0)), "max": np.full(shape, max(high, 0.0))}
        return {**ranges, **widened}

    def open_states(self):
        """Takes the conversions from and to float32 off the states: they go in and come out in int8.

        A state that something reads or writes in float32 stays as it is.
        """
        inputs, outputs = set(), set()
        for name in self.inputs.keys() & self.outputs.keys():
            readers = [self._code(op) for op in self.graph.operators if self.inputs[name] in op.inputs]
            writers = [self._code(op) for op in self.graph.operators if self.outputs[name] in op.outputs]
            if (readers, writers) == ([schema.BuiltinOperator.QUANTIZE], [schema.BuiltinOperator.DEQUANTIZE]):
                inputs.add(self.inputs[name])
                outputs.add(self.outputs[name])
        inner, kept = {}, []
        for operator in self.graph.operators:
            code, (first, *_), (result, *_) = self._code(operator), operator.inputs, operator.outputs
            if code == schema.BuiltinOperator.QUANTIZE and first in inputs:
                inner[first] = result
                continue
            if code == schema.BuiltinOperator.DEQUANTIZE and result in outputs:
                inner[result] = first
                if not any(result in other.inputs for other in self.graph.operators):
                    continue
            kept.append(operator)
        self.graph.operators = kept
        self.graph.inputs = [inner.get(index, index) for index in self.graph.inputs]
        self.graph.outputs = [inner.get(index, index) for index in self.graph.outputs]
        for tensor in (*self._signature.inputs, *self._signature.outputs):
            tensor.tensorIndex = inner.get(tensor.tensorIndex, tensor.tensorIndex)

    def leave_states_of(self, step: "_Graph"):
        """Has the states come out in the types and ranges that another graph takes."""
        for output in self._signature.outputs:
            name = output.name.decode()
            if not name.startswith("state_"):
                continue
            wanted = step.graph.tensors[step.inputs[name]]
            if wanted.type != schema.TensorType.INT8:
                continue
            source = output.tensorIndex
            for operator in self.graph.operators:
                if source in operator.outputs and self._code(operator) == schema.BuiltinOperator.DEQUANTIZE:
                    source = operator.inputs[0]
            result = copy.deepcopy(self.graph.tensors[source])
            result.name, result.buffer = f"{name}_out".encode(), 0
            result.type, result.quantization = wanted.type, copy.deepcopy(wanted.quantization)
            self.graph.tensors.append(result)
            conversion = schema.OperatorT()
            conversion.opcodeIndex = self._opcode(schema.BuiltinOperator.QUANTIZE)
            conversion.inputs, conversion.outputs = [source], [len(self.graph.tensors) - 1]
            self.graph.operators.append(conversion)
            outputs = list(self.graph.outputs)
            outputs[outputs.index(output.tensorIndex)] = len(self.graph.tensors) - 1
            self.graph.outputs, output.tensorIndex = outputs, len(self.graph.tensors) - 1
        # Conversions to float32 that nobody reads any more are taken out.
        read = set(self.graph.outputs).union(*(operator.inputs for operator in self.graph.operators))
        self.graph.operators = [
            operator
            for operator in self.graph.operators
            if self._code(operator) != schema.BuiltinOperator.DEQUANTIZE or read.intersection(operator.outputs)
        ]

    def _opcode(self, code, version=1) -> int:
        """Number of an operator in the model's list of those it has."""
        for number, known in enumerate(self.model.operatorCodes):
            if max(known.builtinCode, known.deprecatedBuiltinCode) == code and known.version >= version:
                return number
        new = schema.OperatorCodeT()
        new.builtinCode, new.deprecatedBuiltinCode, new.version = code, min(code, 127), version
        self.model.operatorCodes.append(new)
        return len(self.model.operatorCodes) - 1

    def add(self, other: "_Graph"):
        """Takes another graph, and its signature, into the same file; `other` is of no use any more."""
        codes = [
            self._opcode(max(code.builtinCode, code.deprecatedBuiltinCode), code.version)
            for code in other.model.operatorCodes
        ]
        for operator in other.graph.operators:
            operator.opcodeIndex = codes[operator.opcodeIndex]
        self._take_buffers(other.graph.tensors, other.model.buffers)
        other._signature.subgraphIndex = len(self.model.subgraphs)
        self.model.subgraphs.append(other.graph)
        self.model.signatureDefs.append(other._signature)

    def states(self) -> list[dict]:
        """Name, shape, dtype and zero point of the states."""
        found = []
        for name in sorted(name for name in self.inputs if name.startswith("state_")):
            tensor = self.graph.tensors[self.inputs[name]]
            is_int8 = tensor.type == schema.TensorType.INT8
            shape, zero = list(map(int, tensor.shape)), int(tensor.quantization.zeroPoint[0]) if is_int8 else 0
            dtype = "int8" if is_int8 else "float32"
            found.append({"name": name, "shape": shape, "dtype": dtype, "zero_point": zero})
        return found

    def content(self) -> bytes:
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))

    def _groups(self) -> dict[str, set[str]]:
        """For every tensor that is moved, all that share its data."""
        groups = {}

        def join(names):
            together = set().union(names, *(groups[name] for name in names if name in groups))
            groups.update(dict.fromkeys(together, together))

        floats = self.in_float()
        for operator in self.graph.operators:
            code = self._code(operator)
            if code in _MOVES and self.name(operator.outputs[0]) not in floats:
                join([self.name(k) for k in (*operator.inputs[: _MOVES[code]], *operator.outputs)])
        for name in self.inputs.keys() & self.outputs.keys():
            join([self.name(self.inputs[name]), self.name(self.outputs[name])])
        return groups
