"""One thing that runs: a Keras model's step, compiled. An exported file's is `export.streaming.ExportedStep`.

Both have the same form, so that whatever runs one runs the other:

    state = step.initial_state()
    outputs, state = step(frame, window, state)

Outputs are numpy arrays: 'next_window' (2,), and 'boxes' (D, 4), 'scores' (D,), 'classes' (D,) and their
'count' after suppression, or 'mask' (H, W). State goes in and comes out; one that went in must not be used again.
"""

import copy
import dataclasses
import functools

import keras
from keras import ops

from patchwork_tf.models.config import StreamConfig
from patchwork_tf.models.costs import count_macs
from patchwork_tf.runtime.answers import WINDOW_OUTPUTS
from patchwork_tf.task import get_task


class KerasStep:
    """A Keras model's step, compiled where the backend can, with suppression and the merging of flips in it.

    The `stream` says which frames are processed, and whether the mirrored frame is run as a second stream; by
    default it is that of the model's own `info`. The step's `info` is of what is run.
    """

    def __init__(self, model, stream: StreamConfig | None = None):
        self.model = model
        self.config, self.grid = model.config, model.grid
        self.task = get_task(model.config.task)
        self.info = dataclasses.replace(model.info, stream=stream or model.info.stream)
        self._run = compiled(self._merged)

    def run_as(self, **info) -> "KerasStep":
        """The same, compiled once, as another system of this model: with other fields of its ModelInfo."""
        step = copy.copy(self)
        step.info = dataclasses.replace(self.info, **info)
        return step

    @property
    def policy(self) -> str:
        """How `next_window` is chosen."""
        return "learned" if self.model.follows_attention else "rule"

    def initial_state(self):
        """The memory before the first frame, of both streams with flip."""
        return self.model.initial_state(1 + self.info.stream.flip)

    def mflops(self, whole_frame: bool = False) -> float:
        """Multiply-adds / 10^6 of one call, looking through a window or at the whole frame."""
        return (1 + self.info.stream.flip) * count_macs(self.model, whole_frame) / 1e6

    def __call__(self, frame, window, state):
        """Outputs for one frame (1, H, W, 3) float32 in [-1, 1], see above, and the new state.

        The window is (row, column), or None to look at the whole frame. Of Patchwork models there are also 'need'
        and 'freshness' (M, M), 'rule_values' and 'q_values' (windows,), see `PatchworkModel.step`.
        """
        window = None if window is None else ops.convert_to_tensor([window], dtype="int32")
        outputs, state = self._run(ops.convert_to_tensor(frame), window, state)
        return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}, state

    def _merged(self, frame, window, state):
        flip = self.info.stream.flip
        if flip:
            frame = ops.concatenate([frame, frame[:, :, ::-1]])
            if window is not None:
                mirrored = [window[0, 0], self.grid.positions - 1 - window[0, 1]]
                window = ops.stack([window[0], ops.stack(mirrored)])
        outputs, state = self.model.step(frame, window, state)
        return self._answer(outputs, self.model.answer_weights(state)), state

    def _answer(self, outputs, weights):
        """Of one stream, or of both with flip."""
        answer = {key: value[0] for key, value in self.task.merged(outputs, weights, self.info.stream).items()}
        return {**answer, **about_windows(outputs)}


def about_windows(outputs) -> dict:
    """Those WINDOW_OUTPUTS that a step has, of the first item of its batch; maps of cells as (M, M)."""
    found = {key: outputs[key][0] for key in WINDOW_OUTPUTS if key in outputs}
    return found | {key: found[key][..., 0] for key in ("need", "freshness") if key in found}


# The KerasStep of a model, the same one every time: tracing takes seconds, and a test set has many videos.
step_of = functools.lru_cache(maxsize=8)(KerasStep)


def compiled(function):
    """A function of tensors as the backend compiles it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, reduce_retracing=True)  # no loop or branch needs it
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
