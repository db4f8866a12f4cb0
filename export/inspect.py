"""What is in an exported file: sizes, states, operators, and into how many parts a delegate cuts it."""

import collections
import json
import math
import os

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from patchwork_tf.errors import DataError
from patchwork_tf.export import metadata
from patchwork_tf.export.tflite import SIGNATURE
from patchwork_tf.runtime.quiet import hidden_stderr

_DELEGATE = "DELEGATE"  # what LiteRT calls each part of the graph that XNNPACK has taken over


def state_bytes(facts: dict) -> int:
    """Bytes of all state tensors, from a file's metadata."""
    return sum(_bytes(state["shape"], state["dtype"]) for state in facts["states"])


def operators(path: str) -> tuple[collections.Counter, int]:
    """How often each operator is in a file, and into how many partitions XNNPACK takes it."""
    with hidden_stderr():
        try:
            plain = Interpreter(
                path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
            delegated = Interpreter(path, num_threads=1)
            delegated.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{path}: LiteRT cannot load it ({error})") from None
    return _count(plain), _count(delegated)[_DELEGATE]


def summary(path: str) -> str:
    """One line: sizes, states, partitions."""
    facts = metadata.read(path)
    count, partitions = operators(path)
    return (
        f"{path}: {os.path.getsize(path) / 1e6:.1f} MB, {len(facts['states'])} state tensors of "
        f"{state_bytes(facts) / 1e6:.2f} MB in all, {count.total()} operators, {partitions} partitions"
    )


def report(path: str) -> str:
    """All there is to say about an exported file, as text. Raises DataError if it is none of ours."""
    facts = metadata.read(path)
    count, _ = operators(path)
    lines = [summary(path), "", f"signature '{SIGNATURE}'", *_signature(path), "", "operators"]
    lines += [f"  {number:>5}  {name}" for name, number in count.most_common()]
    shown = {key: value for key, value in facts.items() if key != "states"}
    lines += ["", "metadata", *(f"  {line}" for line in json.dumps(shown, indent=1).splitlines())]
    return "\n".join(lines)


def _signature(path) -> list[str]:
    with hidden_stderr():
        runner = Interpreter(path).get_signature_runner(SIGNATURE)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    lines = []
    for name in sorted(inputs.keys() | outputs.keys()):
        tensor = inputs.get(name) or outputs[name]
        shape, dtype = tensor["shape"].tolist(), np.dtype(tensor["dtype"]).name
        way = "in, out" if name in inputs and name in outputs else "in" if name in inputs else "out"
        scale, zero_point = tensor["quantization"]
        scaled = f"  scale {scale:.6f}, zero point {zero_point}" if scale else ""
        size = f"{_bytes(shape, dtype):>10,} bytes"
        lines.append(f"  {way:<8}{name:<40} {dtype:<9}{shape!s:<22}{size}{scaled}")
    return lines


def _count(interpreter) -> collections.Counter:
    return collections.Counter(operator["op_name"] for operator in interpreter._get_ops_details())


def _bytes(shape, dtype) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
