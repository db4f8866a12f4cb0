"""Trains the attention network by double Q-learning on clips, which are the replay memory.

It starts from the rule, to which the network adds nothing at first; or, with `policy_prior="none"` of the model,
from nothing, as the paper words it. Windows are chosen epsilon-greedily, of each item of the batch its own. Their
reward is by how much the score of the full-frame answer rises: overlap of masks, or objects found. All else is
frozen. A recorded video goes on as it did whatever one looks at. So all windows are tried on every frame, and
their values learned.
"""

import keras
import numpy as np
from keras import ops

from patchwork_tf.models.attention import AttentionNetwork
from patchwork_tf.training import q_learning
from patchwork_tf.training.simulation import Simulation

_MEMORY = 0.98  # of the spreads of rewards and values, per step


class ClipPolicy(keras.Model):
    """`fit` takes (clip, truth), of which the truth is not looked at:

        'frames' (B, T, H, W, 3) uint8, 'warm' (B,) float32 perhaps, see `ClipModel`;
        'explores' (B, T) bool: whether to look at a random window;
        'random_actions' (B, T) int32: that window;
        'truth': of all frames, for rewards are part of the simulation.

    Args:
        network: a Patchwork model.
        discount: of the next frame's value.
        target_rate: by what part the target network moves towards the online one per step.
        dropout: part of the restored map's channels that the attention network does not see while it learns. The
            map has so many that clips are learned by heart otherwise.
        simulation: class of what tries windows.
    """

    loss_names = ("td_loss",)
    METRICS = ("reward", "reward_spread", "mean_q", "td_error", "exploring", "visit_entropy", "rule_reward")

    def __init__(
        self, network, discount: float, target_rate: float = 0.01, dropout: float = 0.0, simulation=Simulation
    ):
        super().__init__(name="clip_policy")
        self.network = network
        self.discount = discount
        self.target_rate = target_rate
        network.trainable = False
        network.attention.trainable = True
        self.target = AttentionNetwork(network.grid, network.map_shape, name="target")
        for copy, original in zip(self.target.variables, network.attention.variables, strict=True):
            copy.assign(ops.convert_to_numpy(original))  # its own numbers: JAX would share the buffer
        self.target.trainable = False
        for layer in network.attention._flatten_layers():
            # A network that also says where its data come from does not keep still for batch statistics.
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        self.simulation = simulation(network, self.target, discount > 0, dropout)
        self.spreads = {name: _RunningSpread(name) for name in ("rewards", "rule_values")}
        self.means = {name: keras.metrics.Mean(name=name) for name in (*self.loss_names, *self.METRICS)}
        self.maps = {name: _MeanMap(network.grid, name) for name in ("visits", "q_values")}
        self.built = True  # the network's layers are

    @property
    def saved_variables(self):
        """All that a checkpoint must hold, the optimizer aside."""
        drawn = [self.simulation.drawn.state] if self.simulation.dropout else []
        spreads = [variable for spread in self.spreads.values() for variable in spread.variables]
        return [*self.network.variables, *self.target.variables, *spreads, *drawn]

    def call(self, clip, training=None):
        """What `Simulation.call` returns."""
        return self.simulation(clip, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Huber loss of the temporal difference errors.

        Rewards are scaled to be as far apart as the rule's values are, so that these need not be unlearned, and
        errors are counted in that unit.
        """
        if training:
            for name, spread in self.spreads.items():
                spread.update(y_pred[name])
        unit = self.spreads["rule_values"].value
        target = y_pred["rewards"] / self.spreads["rewards"].value
        values = y_pred["q_values"] / unit
        if self.discount:
            following = (y_pred[name] / unit for name in ("next_online", "next_target"))
            target = q_learning.double_q_target(target, self.discount, *following)
        else:  # nothing comes after: only what windows differ by matters
            target, values = (q - ops.mean(q, axis=-1, keepdims=True) for q in (target, values))
        error = target - values
        loss = ops.mean(q_learning.huber(error))
        if training:
            q_learning.move_towards(self.target.variables, self.network.attention.variables, self.target_rate)
        self._watch(x, y_pred, error, loss)
        return loss

    def _watch(self, clip, steps, error, loss):
        windows = len(self.network.grid.windows)
        visits = ops.mean(ops.one_hot(steps["actions"], windows), axis=(0, 1))
        values = {
            "td_loss": loss,
            "reward": ops.mean(_captured(steps["rewards"], steps["q_values"])),
            "rule_reward": ops.mean(_captured(steps["rewards"], steps["rule_values"])),
            "reward_spread": self.spreads["rewards"].value,
            "mean_q": ops.mean(steps["q_values"]),
            "td_error": ops.mean(ops.abs(error)),
            "exploring": ops.mean(ops.cast(clip["explores"], "float32")),
            "visit_entropy": -ops.sum(visits * ops.log(visits + 1e-9)) / np.log(windows),
        }
        for name, value in values.items():
            self.means[name].update_state(value)
        self.maps["visits"].update(visits)
        self.maps["q_values"].update(ops.mean(steps["q_values"], axis=(0, 1)))

    def window_maps(self) -> dict[str, np.ndarray]:
        """How often each window was looked at, and what it was held for worth, since metrics were reset."""
        return {name: map_.result() for name, map_ in self.maps.items()}

    def reset_metrics(self):
        super().reset_metrics()
        for map_ in self.maps.values():
            map_.reset()


def _captured(rewards, values):
    """Rewards (B, T) of the windows that are best by values (B, T, A), less those of a random window."""
    best = ops.one_hot(ops.argmax(values, axis=-1), rewards.shape[-1])
    return ops.sum(best * rewards, axis=-1) - ops.mean(rewards, axis=-1)


class _RunningSpread(keras.layers.Layer):
    """How far numbers of the windows of one frame are apart: their standard deviation, over many frames."""

    def __init__(self, name):
        super().__init__(name=f"spread_of_{name}")
        self.square = self.add_weight(shape=(), initializer="zeros", trainable=False, name="square")
        self.weight = self.add_weight(shape=(), initializer="zeros", trainable=False, name="weight")
        self.built = True

    @property
    def value(self):
        return ops.sqrt(self.square / ops.maximum(self.weight, 1e-9)) + 1e-6

    def update(self, numbers):
        """Takes note of numbers (B, T, A)."""
        square = ops.mean((numbers - ops.mean(numbers, axis=2, keepdims=True)) ** 2)
        self.square.assign(_MEMORY * self.square + (1 - _MEMORY) * square)
        self.weight.assign(_MEMORY * self.weight + (1 - _MEMORY))


class _MeanMap(keras.layers.Layer):
    """A mean over batches of one number per window. A layer, so that every backend keeps track of its state."""

    def __init__(self, grid, name):
        super().__init__(name=name)
        self.side = grid.positions
        self.sum = self.add_weight(shape=(len(grid.windows),), initializer="zeros", trainable=False, name="sum")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.built = True

    def update(self, values):
        self.sum.assign_add(values)
        self.count.assign_add(1.0)

    def result(self) -> np.ndarray:
        total, count = ops.convert_to_numpy(self.sum), float(ops.convert_to_numpy(self.count))
        return (total / max(count, 1.0)).reshape(self.side, self.side)

    def reset(self):
        self.sum.assign(ops.zeros(self.sum.shape))
        self.count.assign(0.0)
