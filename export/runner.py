"""Running an exported file step by step: with its state staying where it is, or, the slow way, copied.

runner = StepRunner("model.tflite")
outputs = runner.start(frame)                           # of a video's first frame, or
outputs = runner.step(frame, outputs["next_window"])    # of every other
"""

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.cpu_options import CpuOptions
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import Options

from patchwork_tf.errors import DataError
from patchwork_tf.export import metadata
from patchwork_tf.export.tflite import SIGNATURE, START
from patchwork_tf.grid import Grid
from patchwork_tf.quiet import hidden_stderr


class _Runner:
    """What both ways share.

    Attributes:
        facts: the file's metadata.
        states: what every state is before the first frame, by name.
    """

    def __init__(self, path: str):
        self.facts = metadata.read(path)
        # What every state is before the first frame: zero, which in int8 is its zero point.
        self.states = {
            state["name"]: np.full(state["shape"], state["zero_point"], state["dtype"])
            for state in self.facts["states"]
        }
        with hidden_stderr() as printed:
            try:
                self._open(path)
            except (RuntimeError, ValueError) as error:
                raise DataError(f"{path}: LiteRT cannot load it ({error}) {printed()}") from None
        self.reset()

    def start(self, frame) -> dict[str, np.ndarray]:
        """A first frame (1, H, W, 3), looked at as a whole. Outputs are those of `step`.

        With a file that has no signature for it the frame is swept instead, window by window.
        """
        if not self.facts["start"]:
            return [self.step(frame, window) for window in Grid(**self.facts["grid"]).raster][-1]
        self.load_start(frame)
        self.invoke_start()
        return self._outputs_by_name()

    def step(self, frame, window) -> dict[str, np.ndarray]:
        """One frame.

        Args:
            frame: (1, H, W, 3) float32 in [-1, 1].
            window: (row, column) to look through.

        Returns:
            All outputs but the state, by name. Of a detector without suppression 'boxes' (A, 4) and 'scores'
            (A, classes) of all anchors, those that it keeps in its state among them.
        """
        self.load(frame, window)
        self.invoke()
        return self._outputs_by_name()

    def _outputs_by_name(self):
        outputs = {name: self.output(name) for name in self.output_names if name not in self.states}
        for name, parts in self.facts["predictions"].items():
            width = outputs[name].shape[-1]
            outputs[name] = np.concatenate([self.output(part).reshape(-1, width) for part in parts])
        return outputs

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all state tensors, by name in the file."""
        return {name: self.output(name) for name in self.states}

    def freshness(self) -> np.ndarray:
        """That of the cells (1, M, M, 1) after the last step; of files whose windows are chosen."""
        return self.output(next(name for name in self.states if name.endswith("_freshness")))


class StepRunner(_Runner):
    """An exported file in LiteRT's CompiledModel, on one CPU thread.

    Every state tensor has one buffer, which is input and output at once: nothing is copied
    between steps. (No documentation promises this; a test holds it against copies.)
    """

    def _open(self, path):
        # In a cache both signatures find the same packed weights; else each has its own. XNNPACK packs zero points
        # with weights in 8 bits, and these are not the same in both: it would find the wrong ones.
        cache = "" if self.facts.get("quantization") == "int8" else ":memory"
        options = CpuOptions(num_threads=1, xnnpack_weight_cache_path=cache)
        self._model = CompiledModel.from_file(path, options=Options(cpu_options=options))
        self._details = self._model.get_output_tensor_details(SIGNATURE)
        signatures = self._model.get_signature_list()
        self.output_names = signatures[SIGNATURE]["outputs"]
        self._buffers = {
            name: self._model.create_input_buffer_by_name(SIGNATURE, name) for name in ("frame", "window")
        }
        for name in self.output_names:
            if name not in self.states:
                self._buffers[name] = self._model.create_output_buffer_by_name(SIGNATURE, name)
        # Of each signature its number, and the names of its inputs and outputs in the runtime's order.
        self._signatures = {
            name: (self._model.get_signature_index(name), signatures[name]["inputs"], signatures[name]["outputs"])
            for name in signatures
        }

    def new_memory(self) -> dict:
        """Buffers of one stream's states by name, at what they are before the first frame."""
        memory = {name: self._model.create_input_buffer_by_name(SIGNATURE, name) for name in self.states}
        for name, zero in self.states.items():
            memory[name].write(zero)
        return memory

    def use(self, memory: dict):
        """Goes on with what a stream remembers, as from `new_memory`: steps change it in place."""
        buffers = {**self._buffers, **memory}
        self._memory = memory
        self._calls = {
            name: (index, [buffers[k] for k in inputs], [buffers[k] for k in outputs])
            for name, (index, inputs, outputs) in self._signatures.items()
        }

    def reset(self):
        """Forgets everything: the next frame is the first of a video."""
        self.use(self.new_memory())

    def load_start(self, frame):
        """Fills the input of a first frame (1, H, W, 3), looked at as a whole."""
        self._buffers["frame"].write(np.ascontiguousarray(frame, np.float32))

    def load(self, frame, window):
        """Fills the inputs: frame (1, H, W, 3) float32 in [-1, 1], window (row, column)."""
        self.load_start(frame)
        self._buffers["window"].write(np.asarray(window, np.int32))

    def invoke_start(self):
        """Runs a first frame, last loaded."""
        self._model.run_by_index(*self._calls[START])

    def invoke(self):
        """Runs one step on the inputs last loaded; this is what benchmarks time."""
        self._model.run_by_index(*self._calls[SIGNATURE])

    def output(self, name: str) -> np.ndarray:
        """One output of the last step."""
        shape = tuple(self._details[name]["shape"])
        buffer = self._memory[name] if name in self._memory else self._buffers[name]
        return buffer.read(int(np.prod(shape)), self._details[name]["dtype"]).reshape(shape)


class CopyingRunner(_Runner):
    """An exported file in LiteRT's plain Interpreter, which every build of it has: all state is copied."""

    def _open(self, path):
        interpreter = Interpreter(path, num_threads=1)
        self._runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
        self.output_names = list(self._runners[SIGNATURE].get_output_details())
        self._fed = set(self._runners[SIGNATURE].get_input_details())

    def reset(self):
        """Forgets everything."""
        self._found = dict(self.states)

    def load_start(self, frame):
        """Fills the input of a first frame, as StepRunner's."""
        self._loaded = {"frame": np.ascontiguousarray(frame, np.float32)}

    def load(self, frame, window):
        """Fills the inputs, as StepRunner's."""
        self._loaded = {"frame": np.ascontiguousarray(frame, np.float32), "window": np.asarray(window, np.int32)}

    def invoke_start(self):
        """Runs a first frame, last loaded."""
        self._found = self._runners[START](**self._loaded)

    def invoke(self):
        """Runs one step on the inputs last loaded."""
        states = {name: self._found[name] for name in self.states}
        inputs = {name: value for name, value in {**self._loaded, **states}.items() if name in self._fed}
        self._found = self._runners[SIGNATURE](**inputs)

    def output(self, name: str) -> np.ndarray:
        """One output of the last step."""
        return self._found[name]
