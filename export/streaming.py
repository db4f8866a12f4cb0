"""An exported file in the place of a Keras model, for scoring and showing what ships."""

import numpy as np

from patchwork_tf.errors import UsageError
from patchwork_tf.export.runner import StepRunner
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.streaming.stream import merge_outputs


class ExportedStep:
    """What `stream` runs instead of a model's own step; see `stream`.

    Args:
        path: of the file.

    Attributes:
        path: likewise.
        facts: its metadata.

    Raises:
        DataError: if it is not an exported file.
        UsageError: if it is of a system with flip, and suppression is in the file: both streams are merged before.
    """

    def __init__(self, path: str):
        self.path = path
        first = StepRunner(path)
        self.facts = first.facts
        self.flip = self.facts["stream"]["flip"]
        if self.flip and "count" in first.output_names:
            raise UsageError(
                f"{path}: {self.facts['system']} merges two streams before suppression; export it with "
                "--nosuppression"
            )
        self._runners = [first, *([StepRunner(path)] if self.flip else [])]

    @property
    def config(self) -> ModelConfig:
        """Of the model that was exported."""
        return ModelConfig(**self.facts["model"])

    def initial_state(self):
        """Forgets everything. The state is in the runners: what stands for it is None."""
        for runner in self._runners:
            runner.reset()

    def __call__(self, frame, window, state):
        """As `compiled_step`'s function: frame (1, H, W, 3), window (row, column) -> outputs and state."""
        if window is None:
            raise UsageError("an exported file cannot look at a whole frame: leave out --warm_start")
        del state
        found = [self._runners[0].step(frame, window)]
        if self.flip:
            last = self.facts["grid"]["cells"] - self.facts["grid"]["window"]
            found.append(self._runners[1].step(frame[:, :, ::-1], (window[0], last - window[1])))
        if "count" in found[0]:
            return found[0], None
        outputs = {key: np.stack([each[key] for each in found]) for key in found[0]}
        return {
            **merge_outputs(outputs, self.facts["task"], self.flip),
            "next_window": found[0]["next_window"],
        }, None
