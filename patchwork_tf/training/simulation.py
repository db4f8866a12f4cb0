"""Clips looked at by a policy as it is: which windows it chooses, and what those and others are worth.

An `ExactSimulation` runs the network on every window that is tried. A `ComposedSimulation`, in a
module of its own, runs it once per frame.
"""

import keras
import numpy as np
from keras import ops

from patchwork_tf.layers.cell import window_of
from patchwork_tf.training import q_learning
from patchwork_tf.training.answer_loss import answer_loss, answer_targets
from patchwork_tf.training.clip_model import model_frame, start

# By name, functions of the answer's loss before and after the window was looked at.
REWARDS = {
    "fall": lambda before, after: before - after,
    "remaining": lambda before, after: -after,
}


class Simulation(keras.layers.Layer):
    """What all simulations share: the way through a clip.

    Args:
        network: a Patchwork model.
        target: the target network of its attention.
        reward: key of REWARDS.
        looks_ahead: whether to tell what comes after each window, too.
        dropout: in training, the part of the map's channels that attention does not see when it values windows.
    """

    def __init__(self, network, target, reward: str, looks_ahead: bool = True, dropout: float = 0.0):
        super().__init__(name="simulation")
        self.network = network
        self.target = target
        self.reward = REWARDS[reward]
        self.looks_ahead = looks_ahead
        self.dropout = dropout
        self.drawn = keras.random.SeedGenerator(0, name="map_dropout")
        self.covered = network.grid.coverage
        self.built = True

    def _begin(self, clip):
        """What is known of every frame, a dict of (B, T, ...); and the state before the first one: 'memory',
        which holds 'restored' and 'freshness', and the 'answer' that stands.
        """
        raise NotImplementedError

    def _look(self, seen, tried, state, targets):
        """Looks at one frame, `seen`, through windows (B, K), each on its own.

        Returns:
            The loss (B,) of the answer that stood; a dict of 'losses' (B, K) of the answers after each window and,
            with `looks_ahead`, 'next_online' and 'next_target' (B, K, A); and the state after the first of them.
        """
        raise NotImplementedError

    def call(self, clip, training=None):
        """Simulates clips of T frames, trying K windows at each, the chosen one first.

        Returns:
            'q_values' (B, T, A) before each frame and 'actions' (B, T), the windows chosen; 'tried' (B, T, K)
            windows, their 'staleness' (B, T, K) in [0, 1] before the frame, the 'losses' (B, T, K) of the answers
            after each and the 'rewards' (B, T, K); and if it looks ahead, the values after them, 'next_online' and
            'next_target' (B, T, K, A).
        """
        network, random_actions = self.network, clip["random_actions"]
        seen, state = keras.tree.map_structure(ops.stop_gradient, self._begin(clip))
        steps = []
        for t in range(random_actions.shape[1]):
            targets = answer_targets(network, {key: value[:, t] for key, value in clip["truth"].items()})
            restored, freshness = state["memory"]["restored"], state["memory"]["freshness"]
            if training and self.dropout:
                shape = (restored.shape[0], 1, 1, restored.shape[3])  # whole channels
                restored = keras.random.dropout(restored, self.dropout, shape, seed=self.drawn)
            values = network.attention.q_values(restored, freshness)
            action = q_learning.epsilon_greedy(
                ops.stop_gradient(values), clip["explores"][:, t], random_actions[:, t, 0]
            )
            tried = _windows_to_try(action, random_actions[:, t, 1:], len(network.grid.windows))
            staleness = ops.take_along_axis(self._staleness(freshness), tried, axis=1)
            looked = self._look({key: value[:, t] for key, value in seen.items()}, tried, state, targets)
            before, found, state = keras.tree.map_structure(ops.stop_gradient, looked)
            rewards = self.reward(before[:, None], found["losses"])
            known = {"q_values": values, "actions": action, "tried": tried, "staleness": staleness}
            steps.append({**known, "rewards": rewards, **found})
        return {key: ops.stack([step[key] for step in steps], axis=1) for key in steps[0]}

    def _staleness(self, freshness):
        """How stale windows are, (B, A): the mean of their cells, 0 if just looked at and 1 if never."""
        stale = 1 - ops.reshape(freshness, (-1, self.covered.shape[1]))
        return ops.matmul(stale, self.covered.T.astype(np.float32) / self.network.grid.window**2)


def _windows_to_try(action, others, count):
    """The window (B,) that was chosen, and the others (B, K - 1); if K are all that there are, each once."""
    if others.shape[1] + 1 < count:
        return ops.concatenate([action[:, None], others], axis=1)
    return (action[:, None] + ops.arange(count, dtype="int32")) % count


def traced_once(function):
    """What is repeated for every frame, as a function of TensorFlow's graph."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function)


class ExactSimulation(Simulation):
    """Runs the network on every window that is tried, with the borders that a stream remembers."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._try, self._step = traced_once(self._try), traced_once(self._step)

    def _begin(self, clip):
        answer, memory = start(self.network, clip)
        return {"frames": clip["frames"]}, {"answer": answer, "memory": memory}

    def _look(self, seen, tried, state, targets):
        frame = model_frame(seen["frames"])
        before = answer_loss(self.network, state["answer"], targets)
        found = self._try(frame, tried, state["memory"], targets)
        return before, found, self._step(frame, tried[:, 0], state["memory"])

    def _step(self, frame, action, memory):
        answer, memory = self.network.step(frame, window_of(action, self.network.grid), memory)
        return {"answer": answer, "memory": memory}

    def _try(self, frame, tried, memory, targets):
        network, count = self.network, tried.shape[1]
        windows = window_of(ops.reshape(tried, (-1,)), network.grid)
        outputs, after = network.step(frame, windows, memory)
        targets = {key: ops.repeat(value, count, axis=0) for key, value in targets.items()}
        found = {"losses": answer_loss(network, outputs, targets)}
        if self.looks_ahead:
            found["next_online"] = outputs["q_values"]
            found["next_target"] = self.target.q_values(after["restored"], after["freshness"])
        return {key: ops.reshape(value, (-1, count, *value.shape[1:])) for key, value in found.items()}
