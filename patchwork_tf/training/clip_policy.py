"""Trains the attention network by double Q-learning on clips, which are the replay memory.

Every clip is looked at through the windows that the network, as it is now, chooses
epsilon-greedily, each item of the batch its own. The reward of a window is how much the loss of
the full-frame answer falls because the frame was looked at through it. All else is frozen.
"""

import keras
import numpy as np
from keras import ops

from patchwork_tf.layers.cell import window_of
from patchwork_tf.models.attention import AttentionNetwork
from patchwork_tf.training import q_learning
from patchwork_tf.training.answer_loss import answer_loss, blank_answer
from patchwork_tf.training.clip_model import ClipModel


class ClipPolicy(ClipModel):
    """`fit` takes (clip, truth); the clip also holds, per frame,

        'explores' (B, T) bool and 'random_actions' (B, T) int32: whether to look at a random window, and at which;
        'truth': the truth once more, for rewards are part of the simulation.

    Args:
        network: a Patchwork model.
        discount: of the next frame's value.
        target_rate: by what part the target network moves towards the online one per step.
    """

    LOSSES = ("td_loss",)
    METRICS = ("reward", "mean_q", "td_error", "exploring", "visit_entropy")

    def __init__(self, network, discount: float, target_rate: float):
        super().__init__(network)
        self.discount = discount
        self.target_rate = target_rate
        network.trainable = False
        network.attention.trainable = True
        self.target = target_network(network)
        self.target.trainable = False
        for layer in network.attention._flatten_layers():
            # A network that also says where its data come from does not keep still for batch statistics.
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        self.unrolled = _Simulation(network, self.target)
        self.watched = {name: keras.metrics.Mean(name=name) for name in self.METRICS}

    @property
    def saved_variables(self):
        return [*self.network.variables, *self.target.variables]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Huber loss of the temporal difference errors."""
        grid, steps = self.network.grid, y_pred
        target = q_learning.double_q_target(
            steps["rewards"], self.discount, steps["next_online"], steps["next_target"]
        )
        error = q_learning.td_error(steps["q_values"], steps["actions"], target)
        loss = ops.mean(q_learning.huber(error))
        if training:
            q_learning.move_towards(self.target.variables, self.network.attention.variables, self.target_rate)
        visits = ops.mean(ops.one_hot(steps["actions"], len(grid.windows)), axis=(0, 1))
        entropy = -ops.sum(visits * ops.log(visits + 1e-9)) / np.log(len(grid.windows))
        values = {
            "reward": ops.mean(steps["rewards"]),
            "mean_q": ops.mean(steps["q_values"]),
            "td_error": ops.mean(ops.abs(error)),
            "exploring": ops.mean(ops.cast(x["explores"], "float32")),
            "visit_entropy": entropy,
        }
        self.means[0].update_state(loss)
        for name, value in values.items():
            self.watched[name].update_state(value)
        return loss


def target_network(network) -> AttentionNetwork:
    """A copy of a model's attention network, with names of its own."""
    target = AttentionNetwork(network.grid, network.backbone.out_shape, name="target")
    cells = network.grid.cells
    target.q_values(ops.zeros((1, *network.backbone.out_shape)), ops.zeros((1, cells, cells, 1)))  # builds it
    for copy, original in zip(target.variables, network.attention.variables, strict=True):
        copy.assign(original)
    return target


class _Simulation(keras.layers.Layer):
    """Clips looked at by the policy as it is, and the values of what it saw."""

    def __init__(self, network, target):
        super().__init__(name="simulation")
        self.network = network
        self.target = target
        self.built = True
        self._step = self._compiled()

    def _compiled(self):
        def step(frame, window, state, truth):
            outputs, state = self.network.step(frame, window, state)
            return outputs, state, answer_loss(self.network, outputs, truth)

        if keras.backend.backend() != "tensorflow":
            return step
        import tensorflow as tf

        return tf.function(step)

    def call(self, clip, training=None):
        """Returns, for every frame, 'q_values' (B, T, A) before it, 'actions' (B, T), 'rewards' (B, T), and
        'next_online', 'next_target' (B, T, A), the values after it.
        """
        del training  # nothing here behaves otherwise in training
        network, frames = self.network, clip["frames"]
        batch, time = frames.shape[:2]
        state = network.initial_state(batch)
        outputs = blank_answer(network, batch)
        values = network.attention.q_values(state["restored"], state["freshness"])
        online, target, actions, rewards = [values], [], [], []
        for t in range(time):
            truth = {key: value[:, t] for key, value in clip["truth"].items()}
            action = q_learning.epsilon_greedy(
                ops.stop_gradient(online[-1]), clip["explores"][:, t], clip["random_actions"][:, t]
            )
            before = answer_loss(network, outputs, truth)
            frame = ops.cast(frames[:, t], "float32") / 127.5 - 1.0
            outputs, state, after = self._step(frame, window_of(action, network.grid), state, truth)
            actions.append(action)
            rewards.append(ops.stop_gradient(before - after))
            seen = ops.stop_gradient(state["restored"]), state["freshness"]
            online.append(network.attention.q_values(*seen))
            target.append(ops.stop_gradient(self.target.q_values(*seen)))
        return {
            "q_values": ops.stack(online[:-1], axis=1),
            "actions": ops.stack(actions, axis=1),
            "rewards": ops.stack(rewards, axis=1),
            "next_online": ops.stop_gradient(ops.stack(online[1:], axis=1)),
            "next_target": ops.stack(target, axis=1),
        }
