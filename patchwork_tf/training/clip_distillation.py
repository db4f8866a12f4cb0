"""Trains a Patchwork model on what its single-frame twin says of whole frames: on any video, without truth.

With the twin's weights as they are, a window's border holds features of earlier frames, and the smaller windows
are, the more the answer loses by it. Here the model learns to make of such features what the twin, its teacher,
makes of the whole frame. Clips begin with frames that are only watched, so that memories are as old as in use.
"""

import dataclasses

import keras
from keras import ops

from patchwork_tf import devices
from patchwork_tf.layers.cell import crop_window
from patchwork_tf.models.weights import assign_weights
from patchwork_tf.task import get_task
from patchwork_tf.training.clip_model import ClipTrainer, model_frame, start, traced_once
from patchwork_tf.zoo.build import build

_FEATURE_WEIGHT = 3.0


def twin_of(network, arrays: dict, source: str):
    """The single-frame twin of a Patchwork model, with weights of `source`; DataError if they do not fit."""
    twin = build(dataclasses.replace(network.config, cells=1, window_cells=1))
    assign_weights(twin.variables, arrays, source)
    return twin


class ClipDistillation(ClipTrainer):
    """`fit` takes (clip, truth), of which the truth is not looked at:

        'frames' (B, watched + T, H, W, 3) uint8;
        'windows' (B, watched + T, 2) int32, and 'follows' (B,) float32, 1 for clips that are looked at through
            the windows that the model chooses, instead of these;
        'warm' (B,) float32 perhaps, see `ClipModel`.

    Losses are the task's `imitation_losses`, and 'feature_loss': of the last feature map in the window the squared
    error, relative to the mean square of the teacher's. Batch normalisation keeps its statistics.

    Args:
        network: a Patchwork model.
        teacher: its single-frame twin.
        watched: frames at the start of each clip of which nothing is learned; no gradient flows through them.
    """

    def __init__(self, network, teacher, watched: int):
        losses = (*get_task(network.config.task).imitation, "feature_loss")
        super().__init__(network, losses, name="clip_distillation")
        teacher.trainable = False
        self.unrolled = _UnrolledPair(network, teacher, watched)
        self.built = True  # the networks' layers are

    def call(self, clip, training=None):
        """What `_UnrolledPair.call` returns. Batch normalisation keeps its statistics, also while this trains."""
        return self.unrolled(clip, training=False)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of the losses, each also kept as a metric."""
        windows, features, whole = y_pred["windows"], y_pred["features"], y_pred["taught_features"]
        values = self.task.imitation_losses(self.network, windows, y_pred["predictions"], y_pred["taught"])
        flat_windows = ops.reshape(windows, (-1, 2))
        target = crop_window(ops.reshape(whole, (-1, *whole.shape[2:])), flat_windows, self.network.grid)
        error = ops.mean((ops.reshape(features, target.shape) - target) ** 2)
        values = [*values, error / devices.mean(ops.mean(whole**2))]
        self.keep(values)
        return sum(values[:-1], start=_FEATURE_WEIGHT * values[-1]) / devices.count()


class _UnrolledPair(keras.layers.Layer):
    """A model run over the frames of clips, and its teacher over those that are learned from."""

    def __init__(self, network, teacher, watched):
        super().__init__(name="unrolled_pair")
        self.network, self.teacher, self.watched = network, teacher, watched
        self._step, self._teach = traced_once(self._step), traced_once(self._teach)
        self.built = True

    def call(self, clip, training=None):
        """Of the last T frames the 'windows' (T, B, 2), the model's 'predictions' and 'features' (T, B, h, w, C)
        in these, and 'taught' and 'taught_features', the teacher's for the full frames.
        """
        frames, windows = (ops.swapaxes(clip[key], 0, 1) for key in ("frames", "windows"))  # (T, B, ...)
        follows = clip["follows"] > 0
        _, state = start(self.network, clip)

        def look(carry, inputs):
            chosen, state = carry
            window = ops.where(follows[:, None], chosen, inputs["windows"])
            answer, chosen, state = self._step(model_frame(inputs["frames"]), window, state)
            return (ops.stop_gradient(chosen), state), {"windows": window, **answer}

        def watch(carry, inputs):
            return look(carry, inputs)[0], ops.zeros(())

        carry, inputs = (windows[0], state), {"frames": frames, "windows": windows}
        if self.watched:
            carry, _ = _over_frames(watch, carry, {key: x[: self.watched] for key, x in inputs.items()})
            carry = keras.tree.map_structure(ops.stop_gradient, carry)
        seen = {key: x[self.watched :] for key, x in inputs.items()}
        _, answers = _over_frames(look, carry, seen)
        shape = seen["frames"].shape
        taught = self._teach(ops.reshape(seen["frames"], (-1, *shape[2:])))
        return {
            **answers,
            **keras.tree.map_structure(
                lambda x: ops.stop_gradient(ops.reshape(x, (*shape[:2], *x.shape[1:]))), taught
            ),
        }

    def _step(self, frame, window, state):
        """What is learned of one frame, the window that the model would look at next, and the new state."""
        predictions, restored, state = self.network.look(frame, window, state)
        outputs, state = self.network.conclude(predictions, restored, window, state)
        features = crop_window(restored, window, self.network.grid)
        return {"predictions": predictions, "features": features}, outputs["next_window"], state

    def _teach(self, frames):
        predictions, restored, _ = self.teacher.look(model_frame(frames), None, {})
        return {"taught": predictions, "taught_features": restored}


def _over_frames(step, carry, inputs):
    """Runs step(carry, inputs) -> (carry, outputs) over the first axis of a dict; outputs are stacked."""
    if keras.backend.backend() == "jax":  # compiled once, not T times
        return ops.scan(step, carry, inputs)
    outputs = []
    for t in range(inputs["frames"].shape[0]):
        carry, output = step(carry, {key: x[t] for key, x in inputs.items()})
        outputs.append(output)
    return carry, keras.tree.map_structure(lambda *x: ops.stack(x), *outputs)
