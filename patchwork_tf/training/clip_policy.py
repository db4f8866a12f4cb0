"""Trains the attention network by double Q-learning on clips, which are the replay memory.

Every clip is looked at through the windows that the network, as it is now, chooses
epsilon-greedily, each item of the batch its own. The reward of a window is how right the
full-frame answer is after the frame was looked at through it. All else is frozen.

A recorded video goes on as it did whatever one looks at. So other windows can be tried on the same
frame too, and their values learned from what they would have been worth.
"""

import keras
import numpy as np
from keras import ops

from patchwork_tf.models.attention import AttentionNetwork
from patchwork_tf.training import q_learning
from patchwork_tf.training.clip_model import ClipModel
from patchwork_tf.training.composed import ComposedSimulation
from patchwork_tf.training.simulation import ExactSimulation

SIMULATIONS = {"composed": ComposedSimulation, "exact": ExactSimulation}
_MEMORY = 0.98  # of the spread of rewards, per step


class ClipPolicy(ClipModel):
    """`fit` takes (clip, truth); the clip also holds, per frame,

        'explores' (B, T) bool: whether to look at a random window;
        'random_actions' (B, T, K) int32: the first is that window, all others are tried instead of the chosen one
            (if K are all that there are, only the first matters);
        'truth': the truth once more, for rewards are part of the simulation.

    Args:
        network: a Patchwork model.
        discount: of the next frame's value.
        target_rate: by what part the target network moves towards the online one per step.
        reward: 'fall', of the answer's loss because the window was renewed; or 'remaining', minus the loss that is
            left, which also charges for all the frames in which a stale answer was left to stand.
        simulation: key of SIMULATIONS, how it is found out what windows are worth.
        dropout: part of the restored map's channels that the attention network does not see while it learns. The
            map has so many that clips are learned by heart otherwise.
        bonus: what a window is worth beside its reward if all of its cells are as stale as can be, in units of the
            rewards' spread; in proportion if they are less. A value that is too low would never be put right
            otherwise, for who does not look does not learn that there was something to see.
    """

    LOSSES = ("td_loss",)
    METRICS = ("reward", "reward_spread", "mean_q", "td_error", "exploring", "visit_entropy")

    def __init__(
        self,
        network,
        discount: float,
        target_rate: float,
        reward: str = "fall",
        simulation: str = "composed",
        dropout: float = 0.0,
        bonus: float = 0.0,
    ):
        super().__init__(network)
        self.discount = discount
        self.target_rate = target_rate
        self.bonus = bonus
        network.trainable = False
        network.attention.trainable = True
        self.target = target_network(network)
        self.target.trainable = False
        for layer in network.attention._flatten_layers():
            # A network that also says where its data come from does not keep still for batch statistics.
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        self.unrolled = SIMULATIONS[simulation](network, self.target, reward, discount > 0, dropout)
        self.spread = _RunningSpread()
        self.watched = {name: keras.metrics.Mean(name=name) for name in self.METRICS}
        self.maps = {name: _MeanMap(network.grid, name) for name in ("visits", "q_values")}

    @property
    def saved_variables(self):
        drawn = [self.unrolled.drawn.state] if self.unrolled.dropout else []
        return [*self.network.variables, *self.target.variables, *self.spread.variables, *drawn]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Huber loss of the temporal difference errors, rewards being in units of their spread."""
        grid, steps = self.network.grid, y_pred
        if training:
            self.spread.update(steps["rewards"])
        rewards = steps["rewards"] / self.spread.value + self.bonus * steps["staleness"]
        target = rewards
        if self.discount:
            target = q_learning.double_q_target(rewards, self.discount, steps["next_online"], steps["next_target"])
        error = q_learning.td_error(steps["q_values"][:, :, None], steps["tried"], target)
        loss = ops.mean(q_learning.huber(error))
        if training:
            q_learning.move_towards(self.target.variables, self.network.attention.variables, self.target_rate)
        visits = ops.mean(ops.one_hot(steps["actions"], len(grid.windows)), axis=(0, 1))
        entropy = -ops.sum(visits * ops.log(visits + 1e-9)) / np.log(len(grid.windows))
        values = {
            "reward": ops.mean(steps["rewards"]),
            "reward_spread": self.spread.value,
            "mean_q": ops.mean(steps["q_values"]),
            "td_error": ops.mean(ops.abs(error)),
            "exploring": ops.mean(ops.cast(x["explores"], "float32")),
            "visit_entropy": entropy,
        }
        self.means[0].update_state(loss)
        for name, value in values.items():
            self.watched[name].update_state(value)
        self.maps["visits"].update(visits)
        self.maps["q_values"].update(ops.mean(steps["q_values"], axis=(0, 1)))
        return loss

    def window_maps(self) -> dict[str, np.ndarray]:
        """Means since the metrics were reset, (positions, positions) by name.

        'visits', how often each window was looked at, and 'q_values', what it was held for worth.
        """
        return {name: map_.result() for name, map_ in self.maps.items()}

    def reset_metrics(self):
        super().reset_metrics()
        for map_ in self.maps.values():
            map_.reset()


class _RunningSpread(keras.layers.Layer):
    """How far the rewards of the windows tried on one frame are apart: their standard deviation, over many frames.

    What windows differ by is a hundredth of the loss, less than one optimizer step moves Q. Rewards in this unit
    are as large for every task, grid and video. If one window is tried per frame, it is their overall deviation.
    """

    def __init__(self):
        super().__init__(name="reward_spread")
        self.square = self.add_weight(shape=(), initializer="zeros", trainable=False, name="square")
        self.weight = self.add_weight(shape=(), initializer="zeros", trainable=False, name="weight")
        self.built = True

    @property
    def value(self):
        return ops.sqrt(self.square / ops.maximum(self.weight, 1e-9)) + 1e-6

    def update(self, rewards):
        """Takes note of rewards (B, T, K)."""
        axes = 2 if rewards.shape[2] > 1 else (0, 1, 2)
        square = ops.mean((rewards - ops.mean(rewards, axis=axes, keepdims=True)) ** 2)
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


def target_network(network) -> AttentionNetwork:
    """A copy of a model's attention network, with names of its own."""
    target = AttentionNetwork(network.grid, network.backbone.out_shape, name="target")
    cells = network.grid.cells
    target.q_values(ops.zeros((1, *network.backbone.out_shape)), ops.zeros((1, cells, cells, 1)))  # builds it
    for copy, original in zip(target.variables, network.attention.variables, strict=True):
        copy.assign(ops.convert_to_numpy(original))  # its own numbers: JAX would share the buffer
    return target
