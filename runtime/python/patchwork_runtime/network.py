"""An exported file in LiteRT's CompiledModel, step by step, with its state staying where it is.

network = Network("pw.tflite")
outputs = network.start(frame)                         # of a video's first frame, then
outputs = network.step(frame, outputs["next_window"])  # of every other
"""

import os

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.cpu_options import CpuOptions
from ai_edge_litert.options import Options

from . import metadata
from .errors import DataError
from .frames import sweep
from .quiet import hidden_stderr

STEP, START = "step", "whole_frame"  # signatures


class Memory:
    """What one stream remembers: every state by name, in one buffer that is input and output of a step at once.

    (No documentation of LiteRT promises that this goes; a test holds it against copies.)
    """

    def __init__(self, model: CompiledModel, zeros: dict[str, np.ndarray]):
        self._zeros = zeros
        self.buffers = {name: model.create_input_buffer_by_name(STEP, name) for name in zeros}
        self.reset()

    def reset(self):
        """As before the first frame: zero, which in int8 is the zero point."""
        for name in self._zeros:
            self.forget(name)

    def forget(self, name: str):
        """The same of one state."""
        self.buffers[name].write(self._zeros[name])

    def read(self, name: str) -> np.ndarray:
        """A copy of a state."""
        zero = self._zeros[name]
        return self.buffers[name].read(zero.size, zero.dtype).reshape(zero.shape)


class Network:
    """An exported file on the CPU.

    Args:
        path: of the file.
        threads: of inference; one is fastest for small windows.

    Attributes:
        path: likewise.
        facts: the file's metadata.
        frame: (1, H, W, 3) float32, room for one, as of the windows of a stream.
        output_names: of a step, states included.
        memory: of the stream that is run where no other is named.

    Raises:
        DataError: if it is no file of patchwork-export, or LiteRT cannot load it.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self.path = os.fspath(path)
        self.facts = metadata.read(self.path)
        # In a cache both signatures find the same packed weights; else each has its own. XNNPACK packs zero points
        # with weights in 8 bits, and these are not the same in both: it would find the wrong ones.
        cache = "" if self.facts.get("quantization") == "int8" else ":memory"
        options = Options(cpu_options=CpuOptions(num_threads=threads, xnnpack_weight_cache_path=cache))
        with hidden_stderr() as printed:
            try:
                self._model = CompiledModel.from_file(self.path, options=options)
            except (RuntimeError, ValueError) as error:
                raise DataError(f"{self.path}: LiteRT cannot load it ({error}) {printed()}") from None
        self._zeros = {
            state["name"]: np.full(state["shape"], state["zero_point"], state["dtype"])
            for state in self.facts["states"]
        }
        signatures = self._model.get_signature_list()
        self.output_names = signatures[STEP]["outputs"]
        details = self._model.get_output_tensor_details(STEP)
        self._details = {
            name: (tuple(details[name]["shape"]), details[name]["dtype"]) for name in self.output_names
        }
        self.frame = np.zeros((1, *self.facts["input"]["image_size"], 3), np.float32)
        # What is no state is shared by all streams: they take turns.
        self._buffers = {name: self._model.create_input_buffer_by_name(STEP, name) for name in ("frame", "window")}
        for name in self.output_names:
            if name not in self._zeros:
                self._buffers[name] = self._model.create_output_buffer_by_name(STEP, name)
        self._signatures = {
            name: (self._model.get_signature_index(name), signatures[name]["inputs"], signatures[name]["outputs"])
            for name in signatures
        }
        self.memory = self.new_memory()

    @property
    def starts_whole(self) -> bool:
        """Whether the file can look at a first frame as a whole."""
        return bool(self.facts["start"])

    def new_memory(self) -> Memory:
        """That of a stream before its first frame."""
        return Memory(self._model, self._zeros)

    def start(self, frame, memory: Memory | None = None) -> dict[str, np.ndarray]:
        """A first frame (1, H, W, 3), looked at as a whole. Outputs are those of `step`.

        With a file that has no signature for it the frame is swept instead, window by window.
        """
        if not self.starts_whole:
            return [self.step(frame, window, memory) for window in sweep(**self.facts["grid"])][-1]
        self.load(frame)
        self.run(START, memory)
        return self.outputs(memory)

    def step(self, frame, window, memory: Memory | None = None) -> dict[str, np.ndarray]:
        """One frame.

        Args:
            frame: (1, H, W, 3) float32 in [-1, 1].
            window: (row, column) to look through.
            memory: of the stream, changed in place.

        Returns:
            All outputs but the state, by name. Of a detector without suppression 'boxes' (A, 4) and 'scores'
            (A, classes) of all anchors, those that it keeps in its state among them.

        Raises:
            DataError: if LiteRT cannot run it.
        """
        self.load(frame, window)
        self.run(STEP, memory)
        return self.outputs(memory)

    def load(self, frame, window=(0, 0)):
        """Fills the inputs, for `run`."""
        self._buffers["frame"].write(np.ascontiguousarray(frame, np.float32))
        self._buffers["window"].write(np.asarray(window, np.int32))

    def run(self, signature: str, memory: Memory | None = None):
        """Runs a signature on the inputs last loaded; this is what benchmarks time."""
        index, inputs, outputs = self._signatures[signature]
        buffers = {**self._buffers, **(memory or self.memory).buffers}
        try:
            self._model.run_by_index(index, [buffers[k] for k in inputs], [buffers[k] for k in outputs])
        except RuntimeError as error:
            raise DataError(f"{self.path}: LiteRT cannot run it ({error})") from None

    def outputs(self, memory: Memory | None = None) -> dict[str, np.ndarray]:
        """Copies of those of the last run, of the stream of that memory."""
        outputs = {name: self.read(name) for name in self.output_names if name not in self._zeros}
        for name, parts in self.facts["predictions"].items():
            width = outputs[name].shape[-1]
            outputs[name] = np.concatenate([self.read(part, memory).reshape(-1, width) for part in parts])
        return outputs

    def read(self, name: str, memory: Memory | None = None) -> np.ndarray:
        """A copy of one output of the last run, or of a state."""
        if name in self._zeros:
            return (memory or self.memory).read(name)
        shape, dtype = self._details[name]
        return self._buffers[name].read(int(np.prod(shape)), dtype).reshape(shape)

    def states(self, memory: Memory | None = None) -> dict[str, np.ndarray]:
        """Copies of all states, by name."""
        return {name: self.read(name, memory) for name in self._zeros}
