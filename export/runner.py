"""Running an exported file step by step: with its state staying where it is, or, the slow way, copied.

runner = StepRunner("model.tflite")
outputs = runner.step(frame, window)
window = outputs["next_window"]
"""

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter

from patchwork_tf.errors import DataError
from patchwork_tf.export import metadata
from patchwork_tf.export.tflite import SIGNATURE
from patchwork_tf.quiet import hidden_stderr, hush_exit

hush_exit()


class _Runner:
    """What both ways share.

    Attributes:
        facts: the file's metadata.
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
        outputs = {name: self.output(name) for name in self.output_names if name not in self.states}
        for name, parts in self.facts.get("predictions", {}).items():
            width = outputs[name].shape[-1]
            outputs[name] = np.concatenate([self.output(part).reshape(-1, width) for part in parts])
        return outputs

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all state tensors, by name in the file."""
        return {name: self.output(name) for name in self.states}


class StepRunner(_Runner):
    """An exported file in LiteRT's CompiledModel, on one CPU thread.

    Every state tensor has one buffer, which is input and output at once: nothing is copied
    between steps. (No documentation promises this; a test holds it against copies.)
    """

    def _open(self, path):
        self._model = CompiledModel.from_file(path)
        self._details = self._model.get_output_tensor_details(SIGNATURE)
        signature = self._model.get_signature_list()[SIGNATURE]
        self.output_names = signature["outputs"]
        self._buffers = {
            name: self._model.create_input_buffer_by_name(SIGNATURE, name) for name in signature["inputs"]
        }
        self._inputs = [self._buffers[name] for name in signature["inputs"]]
        for name in self.output_names:
            if name not in self.states:
                self._buffers[name] = self._model.create_output_buffer_by_name(SIGNATURE, name)
        self._outputs = [self._buffers[name] for name in self.output_names]
        self._index = self._model.get_signature_index(SIGNATURE)

    def reset(self):
        """Forgets everything: the next frame is the first of a video."""
        for name, zero in self.states.items():
            self._buffers[name].write(zero)

    def load(self, frame, window):
        """Fills the inputs: frame (1, H, W, 3) float32 in [-1, 1], window (row, column)."""
        self._buffers["frame"].write(np.ascontiguousarray(frame, np.float32))
        self._buffers["window"].write(np.asarray(window, np.int32))

    def invoke(self):
        """Runs one step on the inputs last loaded; this is what benchmarks time."""
        self._model.run_by_index(self._index, self._inputs, self._outputs)

    def output(self, name: str) -> np.ndarray:
        """One output of the last step."""
        shape = tuple(self._details[name]["shape"])
        return self._buffers[name].read(int(np.prod(shape)), self._details[name]["dtype"]).reshape(shape)


class CopyingRunner(_Runner):
    """An exported file in LiteRT's plain Interpreter, which every build of it has: all state is copied."""

    def _open(self, path):
        self._step = Interpreter(path, num_threads=1).get_signature_runner(SIGNATURE)
        self.output_names = list(self._step.get_output_details())
        self._fed = set(self._step.get_input_details())

    def reset(self):
        """Forgets everything."""
        self._found = dict(self.states)

    def load(self, frame, window):
        """Fills the inputs, as StepRunner's."""
        self._loaded = {"frame": np.ascontiguousarray(frame, np.float32), "window": np.asarray(window, np.int32)}

    def invoke(self):
        """Runs one step on the inputs last loaded."""
        states = {name: self._found[name] for name in self.states}
        inputs = {name: value for name, value in {**self._loaded, **states}.items() if name in self._fed}
        self._found = self._step(**inputs)

    def output(self, name: str) -> np.ndarray:
        """One output of the last step."""
        return self._found[name]
