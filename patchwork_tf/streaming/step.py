"""One thing that runs: a Keras model's step, compiled. An exported file's is `export.streaming.ExportedStep`.

Both have the same form, so that whatever runs one runs the other:

    state = step.initial_state()
    outputs, state = step(frame, window, state)

Outputs are numpy arrays: 'next_window' (2,), and 'boxes' (D, 4), 'scores' (D,), 'classes' (D,) and their
'count' after suppression, or 'mask' (H, W). State goes in and comes out; one that went in must not be used again.
"""

import dataclasses
import functools

import keras
import numpy as np
from keras import ops

from patchwork_tf.models.config import StreamConfig
from patchwork_tf.models.costs import count_macs
from patchwork_tf.models.suppression import every_class, suppress


class KerasStep:
    """A Keras model's step, compiled where the backend can, with suppression and the merging of flips in it.

    Args:
        model: as from `build`.
        stream: which frames are processed, and whether the mirrored frame is run as a second stream; by default
            as the model's own `info` has it.

    Attributes:
        model: likewise.
        config, grid: of the model.
        info: the ModelInfo, of what is run.
        policy: how `next_window` is chosen, 'rule' or 'learned'.
    """

    def __init__(self, model, stream: StreamConfig | None = None):
        self.model = model
        self.config, self.grid = model.config, model.grid
        self.info = dataclasses.replace(model.info, stream=stream or model.info.stream)
        self._run = compiled(self._merged)

    @property
    def policy(self) -> str:
        return "learned" if self.model.attention and self.model.attention.is_trained else "rule"

    def initial_state(self):
        """The memory before the first frame, of both streams with flip."""
        return self.model.initial_state(2 if self.info.stream.flip else 1)

    def mflops(self, whole_frame: bool = False) -> float:
        """Multiply-adds / 10^6 of one call, looking through a window or at the whole frame."""
        streams = 2 if self.info.stream.flip else 1
        return streams * count_macs(self.model, whole_frame) / 1e6

    def __call__(self, frame, window, state):
        """One frame.

        Args:
            frame: (1, H, W, 3) float32 in [-1, 1].
            window: (row, column), or None to look at the whole frame.
            state: as from `initial_state` or the last call.

        Returns:
            Outputs (see above), of Patchwork models also 'rule_values' and 'q_values' (windows,); the new state.
        """
        window = None if window is None else ops.convert_to_tensor([window], dtype="int32")
        outputs, state = self._run(ops.convert_to_tensor(frame), window, state)
        return {key: ops.convert_to_numpy(value[0]) for key, value in outputs.items()}, state

    def _merged(self, frame, window, state):
        flip = self.info.stream.flip
        if flip:
            frame = ops.concatenate([frame, frame[:, :, ::-1]])
            if window is not None:
                mirrored = [window[0, 0], self.grid.positions - 1 - window[0, 1]]
                window = ops.stack([window[0], ops.stack(mirrored)])
        outputs, state = self.model.step(frame, window, state)
        weights = None
        if self.config.task == "detection" and "freshness" in state:
            weights = self.model.score_weights(state["freshness"])
        chosen = {key: outputs[key] for key in ("next_window", "rule_values", "q_values") if key in outputs}
        return {**merged_answer(outputs, weights, flip), **chosen}, state


@functools.lru_cache(maxsize=8)  # tracing takes seconds, and a test set has many videos
def step_of(model) -> KerasStep:
    """The KerasStep of a model, the same one every time."""
    return KerasStep(model)


def merged_answer(outputs, weights, flip: bool) -> dict:
    """The answer of one stream, or of two of which the second is mirrored.

    Args:
        outputs: 'boxes' (S, A, 4) and 'scores' (S, A, classes), or 'mask' (S, H, W), of 1 or 2 streams.
        weights: (S, A), by which scores count when boxes compete; None for all 1.
        flip: whether there are two.

    Returns:
        For a batch of one: 'boxes' (1, D, 4), 'scores' (1, D), 'classes' (1, D) and 'count' (1,) after
        suppression, or 'mask' (1, H, W), the mean of both.
    """
    if "mask" in outputs:
        mask = outputs["mask"]
        return {"mask": (mask[:1] + mask[1:, :, ::-1]) / 2 if flip else mask}
    boxes, scores = outputs["boxes"], outputs["scores"]
    if flip:
        mirrored = ops.take(boxes[1], [0, 3, 2, 1], axis=-1)
        mirrored = mirrored * np.float32([1, -1, 1, -1]) + np.float32([0, 1, 0, 1])
        boxes = ops.concatenate([boxes[0], mirrored])[None]
        scores = ops.reshape(scores, (1, -1, scores.shape[-1]))
    weights = ops.ones(scores.shape[:2]) if weights is None else ops.reshape(weights, (1, -1))
    found = suppress(*every_class(boxes, scores, weights))
    return dict(zip(("boxes", "scores", "classes", "count"), found, strict=True))


def compiled(function):
    """A function of tensors as the backend compiles it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
