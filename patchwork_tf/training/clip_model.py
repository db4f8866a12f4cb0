"""A model unrolled over clips, in the form that `keras.Model.fit` trains.

Each step is judged by what it freshly predicts, against the truth of that frame. Stale
predictions are not, for no weight could have known the future when they were made.
"""

import contextlib

import keras
from keras import ops

from patchwork_tf import devices
from patchwork_tf.task import get_task


class ClipTrainer(keras.Model):
    """What trains the answers of a `network` on clips; each of its losses is also kept as a metric."""

    def __init__(self, network, loss_names, name: str):
        super().__init__(name=name)
        self.network, self.task = network, get_task(network.config.task)
        self.loss_names = loss_names
        self.means = [keras.metrics.Mean(name=name) for name in self.loss_names]
        if network.attention:
            network.attention.trainable = False  # no loss of the task reaches it

    @property
    def saved_variables(self):
        """All that a checkpoint must hold, the optimizer and a teacher aside."""
        return self.network.variables

    def window_maps(self) -> dict:
        """Numbers per window to show as pictures, (positions, positions) by name."""
        return {}

    def keep(self, values):
        """Takes the losses into their metrics."""
        for mean, value in zip(self.means, values, strict=True):
            mean.update_state(value)


class ClipModel(ClipTrainer):
    """Trains a model on every frame of clips, gradients flowing through its memory.

    `fit` takes (clip, truth):
        clip: 'frames' (B, T, H, W, 3) uint8 and 'windows' (B, T, 2) int32, B and T static; and maybe
            'warm' (B,) float32, 1 for clips that start with their whole first frame in memory, else 0.
        truth: of the frames, as the model's task has it.

    With `statistics_stay` batch normalisation keeps its mean and variance, as it must where these are folded into
    its scale and shift, see `weights.are_folded`.
    """

    def __init__(self, network, statistics_stay: bool = False):
        super().__init__(network, get_task(network.config.task).losses, name="clip_model")
        self.statistics_stay = statistics_stay
        self.unrolled = _Unrolled(network)
        self.built = True  # the network's layers are

    def call(self, clip, training=None):
        """Returns the fresh predictions of every frame, a list over T."""
        # JAX's `fit` does not enter this model through __call__, which tells nested layers that they train.
        return self.unrolled(clip, training=training and not self.statistics_stay)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of the task's losses, each also kept as a metric."""
        values = self.task.clip_losses(self.network, x, y, y_pred)
        self.keep(values)
        return sum(values[1:], start=values[0]) / devices.count()  # Keras sums the devices' gradients


def start(network, clip):
    """Answer and state that clips start from, having seen their whole first frame if they are 'warm'."""
    frames = clip["frames"]
    state = network.initial_state(frames.shape[0])
    answer = network.blank_answer(frames.shape[0])
    if "warm" not in clip:
        return answer, state
    outputs, warm_state = network.step(model_frame(frames[:, 0]), None, state)
    warm = clip["warm"] > 0
    answer = {key: where(warm, outputs[key], value) for key, value in answer.items()}
    return answer, {key: where(warm, warm_state[key], value) for key, value in state.items()}


def where(condition, x, y):
    """ops.where with a condition that lacks the last axes."""
    missing = [1] * (len(x.shape) - len(condition.shape))
    return ops.where(ops.reshape(condition, (*condition.shape, *missing)), x, y)


def model_frame(frame):
    """Pixels (B, H, W, 3) uint8 as models take them, float32 in [-1, 1]."""
    return ops.cast(frame, "float32") / 127.5 - 1.0


def traced_once(function):
    """What is repeated for every frame: one function of TensorFlow's graph, traced once and not T times."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    register_gradient()
    if devices.count() > 1:  # they meet in no function in a function
        return function
    return tf.function(function, autograph=False)


def register_gradient():
    """Makes known the one gradient that TensorFlow lacks for training through the memory.

    It is that of a dynamic update slice: `keras.ops.slice_update`, which a cell uses for single streams.
    """
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    def gradient(op, gradient):
        """Zero where the memory was overwritten for the memory, that very part for the update."""
        _, update, start = op.inputs
        hole = xla.dynamic_update_slice(gradient, tf.zeros_like(update), start)
        return hole, tf.slice(gradient, start, tf.shape(update, out_type=start.dtype)), None

    with contextlib.suppress(KeyError):  # it is known already
        tf.RegisterGradient("XlaDynamicUpdateSlice")(gradient)


class _Unrolled(keras.layers.Layer):
    """A model run over the frames of clips."""

    def __init__(self, network):
        super().__init__(name="unrolled")
        self.network = network
        self.built = True
        self._step = traced_once(self._step)

    def _step(self, training, frame, window, state):
        """Layers read `training` from Keras' call context; here it only keys the trace."""
        return self.network.predict_window(frame, window, state)

    def call(self, clip, training=None):
        frames, windows = clip["frames"], clip["windows"]
        _, state = start(self.network, clip)
        predictions = []
        for t in range(frames.shape[1]):
            prediction, state = self._step(bool(training), model_frame(frames[:, t]), windows[:, t], state)
            predictions.append(prediction)
        return predictions
