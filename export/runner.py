"""Running an exported file step by step, its state staying where it is."""

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel

from patchwork_tf.errors import DataError
from patchwork_tf.export import metadata
from patchwork_tf.export.tflite import SIGNATURE
from patchwork_tf.quiet import hidden_stderr


class StepRunner:
    """An exported file in LiteRT, on one CPU thread.

    Every state tensor has one buffer, which is input and output at once: nothing is copied
    between steps. (No documentation promises this; a test holds it against copies.)

    Attributes:
        facts: the file's metadata.
    """

    def __init__(self, path: str):
        self.facts = metadata.read(path)
        with hidden_stderr() as printed:
            try:
                self._model = CompiledModel.from_file(path)
            except RuntimeError as error:
                raise DataError(f"{path}: LiteRT cannot load it ({error}) {printed()}") from None
        self._state_names = [state["name"] for state in self.facts["states"]]
        self._inputs = {
            name: self._model.create_input_buffer_by_name(SIGNATURE, name)
            for name in ("frame", "window", *self._state_names)
        }
        self._details = self._model.get_output_tensor_details(SIGNATURE)
        self._outputs = {
            name: self._inputs[name]
            if name in self._inputs
            else self._model.create_output_buffer_by_name(SIGNATURE, name)
            for name in self._details
        }
        self._shapes = {state["name"]: tuple(state["shape"]) for state in self.facts["states"]}
        self.reset()

    def reset(self):
        """Forgets everything: the next frame is the first of a video."""
        for name, shape in self._shapes.items():
            self._inputs[name].write(np.zeros(shape, np.float32))

    def load(self, frame, window):
        """Fills the inputs: frame (1, H, W, 3) float32 in [-1, 1], window (row, column)."""
        self._inputs["frame"].write(np.ascontiguousarray(frame, np.float32))
        self._inputs["window"].write(np.asarray(window, np.int32))

    def invoke(self):
        """Runs one step on the inputs last loaded; this is what benchmarks time."""
        self._model.run_by_name(SIGNATURE, self._inputs, self._outputs)

    def output(self, name: str) -> np.ndarray:
        """One output of the last step."""
        details = self._details[name]
        shape = tuple(details["shape"])
        return self._outputs[name].read(int(np.prod(shape)), details["dtype"]).reshape(shape)

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all state tensors (1, H, W, C), by name in the file."""
        return {
            name: self._inputs[name].read(int(np.prod(shape)), np.float32).reshape(shape)
            for name, shape in self._shapes.items()
        }

    def step(self, frame, window) -> dict[str, np.ndarray]:
        """One frame: all outputs but the state, by name."""
        self.load(frame, window)
        self.invoke()
        return {name: self.output(name) for name in self._details if name not in self._shapes}
