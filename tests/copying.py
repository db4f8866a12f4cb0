"""An exported file in LiteRT's plain Interpreter, every state copied out and in: what streams are held against."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from patchwork_tf.runtime import metadata
from patchwork_tf.runtime.network import START, STEP


class CopyingNetwork:
    """As `runtime.network.Network`, for one stream."""

    def __init__(self, path: str):
        facts = metadata.read(path)
        interpreter = Interpreter(path, num_threads=1)
        self._runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
        self._fed = set(self._runners[STEP].get_input_details())
        states, self._predictions = facts["states"], facts["predictions"]
        self._states = {x["name"]: np.full(x["shape"], x["zero_point"], x["dtype"]) for x in states}

    def start(self, frame):
        return self._run(START, {"frame": np.ascontiguousarray(frame, np.float32)})

    def step(self, frame, window):
        inputs = {"frame": np.ascontiguousarray(frame, np.float32), "window": np.asarray(window, np.int32)}
        return self._run(STEP, {k: x for k, x in {**inputs, **self._states}.items() if k in self._fed})

    def states(self):
        return self._states

    def _run(self, signature, inputs):
        found = self._runners[signature](**inputs)
        self._states = {name: found[name] for name in self._states}
        outputs = {name: x for name, x in found.items() if name not in self._states}
        for name, parts in self._predictions.items():
            outputs[name] = np.concatenate([found[part].reshape(-1, found[name].shape[-1]) for part in parts])
        return outputs
