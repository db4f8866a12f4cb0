"""An exported file in the place of a Keras model, for scoring and showing what ships."""

import dataclasses
import threading

import numpy as np
from keras import ops

from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.models.config import ModelConfig, ModelInfo, StreamConfig
from patchwork_tf.runtime.answers import WINDOW_OUTPUTS
from patchwork_tf.runtime.network import Memory, Network
from patchwork_tf.streaming.step import about_windows
from patchwork_tf.task import get_task


class ExportedStep:
    """An exported file that is run like a `streaming.step.KerasStep`: state goes in and comes out.

    The state that goes in is changed in place, and is the one that comes out. Several streams may take turns;
    every thread needs a step of its own.

    It has the file's path and metadata, `facts`, and config, info, grid, task and policy of the model that was
    exported, which is not in it: `model` is None.

    Raises:
        DataError: if it is not an exported file.
        UsageError: if it is of a system with flip, and suppression is in the file: both streams are merged before.
    """

    model = None

    def __init__(self, path: str):
        self.path = path
        self._in_use = threading.Lock()
        self._network = Network(path)
        self.facts = self._network.facts
        self.config = ModelConfig(**self.facts["model"])
        self.task = get_task(self.config.task)
        self.info = ModelInfo(
            self.facts["system"],
            StreamConfig(**self.facts["stream"]),
            self.facts["reference"],
            tuple(self.facts["labels"]),
            self.facts["resize_mode"],
            self.facts["weights"],
            self.facts.get("weights_sha256"),  # files of earlier versions do not say
        )
        self.grid = Grid(**self.facts["grid"])
        self.policy = self.facts["policy"]
        if self.info.stream.flip and "count" in self._network.output_names:
            raise UsageError(
                f"{path}: {self.facts['system']} merges two streams before suppression; export it with "
                "--nosuppression"
            )

    def consider_every_class(self):
        """Lets every class of every anchor enter suppression. Raises UsageError if suppression is in the file."""
        if "count" in self._network.output_names:
            raise UsageError(
                f"{self.path}: --every_class needs the scores of all classes; export it with --nosuppression"
            )
        self.info = dataclasses.replace(self.info, stream=dataclasses.replace(self.info.stream, every_class=True))

    def initial_state(self) -> list[Memory]:
        """The memory before the first frame: of one stream, or with flip of two."""
        return [self._network.new_memory() for _ in range(1 + self.info.stream.flip)]

    def mflops(self, whole_frame: bool = False) -> float:
        """Multiply-adds / 10^6 of one call, looking through a window or at the whole frame."""
        return (1 + self.info.stream.flip) * self.facts["mflops"]["start" if whole_frame else "step"]

    def __call__(self, frame, window, state):
        """One frame, as `KerasStep`'s. Raises UsageError if another thread is at one."""
        if not self._in_use.acquire(blocking=False):
            raise UsageError(f"{self.path}: two threads run one ExportedStep; make one for each thread")
        try:
            return self._answer(frame, window, state)
        finally:
            self._in_use.release()

    def _answer(self, frame, window, state):
        streams = [self._look(frame, window, state[0])]
        chosen = self._about_windows(streams[0], state[0])
        if self.info.stream.flip:
            mirrored = window and (window[0], self.grid.positions - 1 - window[1])
            streams.append(self._look(frame[:, :, ::-1], mirrored, state[1]))
        answers = [{key: x for key, x in outputs.items() if key not in WINDOW_OUTPUTS} for outputs in streams]
        if "count" in answers[0]:
            return {**answers[0], **chosen}, state
        outputs = {key: np.stack([each[key] for each in answers]) for key in answers[0]}
        answer = self.task.merged(outputs, outputs.get("weights"), self.info.stream)
        answer = {key: ops.convert_to_numpy(value[0]) for key, value in answer.items()}
        return {**answer, **chosen}, state

    def _about_windows(self, outputs, memory) -> dict:
        """Those WINDOW_OUTPUTS that the file has. What it did not learn to correct is as the rule has it."""
        chosen = {**outputs, "next_window": outputs["next_window"][None]}
        if "rule_values" in outputs:
            (name,) = (state["name"] for state in self.facts["states"] if state["name"].endswith("_freshness"))
            chosen |= {"freshness": memory.read(name)}
            chosen.setdefault("q_values", outputs["rule_values"])
        return about_windows(chosen)

    def _look(self, frame, window, memory):
        network = self._network
        return network.start(frame, memory) if window is None else network.step(frame, window, memory)
