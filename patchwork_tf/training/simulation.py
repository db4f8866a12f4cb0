"""Clips looked at by a policy as it is: which windows it chooses, and what those and all others are worth.

The network is not run on windows, but once per frame. Each cell of a memory, and of the answer, is what the
network says of the whole frame in which the cell was last looked at. The one thing that a stream has and this has
not are stale borders of windows, which cost it less than 0.1 % of accuracy (supplement, Section B). So all windows
can be tried on every frame, each of which would cost a run of the network.
"""

import keras
from keras import ops

from patchwork_tf.models.patchwork_model import pixel_centers
from patchwork_tf.models.rule import FRESHNESS_DECAY, cell_of
from patchwork_tf.task import get_task
from patchwork_tf.training import q_learning
from patchwork_tf.training.clip_model import model_frame, traced_once, where


class Simulation(keras.layers.Layer):
    """Runs a policy over clips.

    Args:
        network: a Patchwork model; target: the target network of its attention.
        looks_ahead: whether to tell what windows are worth after each window, too.
        dropout: in training, the part of the map's channels that attention does not see when it values windows.
    """

    def __init__(self, network, target, looks_ahead: bool = True, dropout: float = 0.0):
        super().__init__(name="simulation")
        self.network = network
        self.target = target
        self.looks_ahead = looks_ahead
        self.dropout = dropout
        self.drawn = keras.random.SeedGenerator(0, name="map_dropout")
        self.covered = network.grid.coverage
        self.cell_of_pixel = cell_of(pixel_centers(network.map_shape), network.grid)  # of the restored map
        self._whole_frames, self._look = traced_once(self._whole_frames), traced_once(self._look)
        self.built = True

    def call(self, clip, training=None):
        """Simulates clips of T frames, trying all windows at each.

        'q_values' and 'rule_values' (B, T, A) are those before each frame, 'actions' (B, T) the windows chosen,
        'rewards' (B, T, A) by how much each window raises the answer's score. If it looks ahead 'next_online' and
        'next_target' (B, T, A, A) are the values after each window.
        """
        whole, state = keras.tree.map_structure(ops.stop_gradient, self._begin(clip))
        steps = []
        for t in range(clip["explores"].shape[1]):
            truth = {key: value[:, t] for key, value in clip["truth"].items()}
            values = self._values(self.network.attention, state, training and self.dropout)
            action = q_learning.epsilon_greedy(
                ops.stop_gradient(values["q_values"]), clip["explores"][:, t], clip["random_actions"][:, t]
            )
            looked = self._look({key: value[:, t] for key, value in whole.items()}, action, state, truth)
            tried, state = keras.tree.map_structure(ops.stop_gradient, looked)
            steps.append({**values, "actions": action, **tried})
        return {key: ops.stack([step[key] for step in steps], axis=1) for key in steps[0]}

    def _values(self, attention, state, dropout=0.0) -> dict:
        """What windows are worth, as `PatchworkModel.window_values` says it, by some attention network."""
        restored = state["restored"]
        if dropout:
            shape = (restored.shape[0], 1, 1, restored.shape[3])  # whole channels
            restored = keras.random.dropout(restored, dropout, shape, seed=self.drawn)
        values = self.network.window_values(state["answer"], restored, state["freshness"], attention)
        return {name: values[name] for name in ("rule_values", "q_values")}

    def _begin(self, clip):
        """What the network says of every frame, a dict of (B, T, ...); and the state before the first one."""
        network, (batch, time) = self.network, clip["frames"].shape[:2]
        frames = ops.reshape(clip["frames"], (batch * time, *clip["frames"].shape[2:]))
        whole = {key: ops.reshape(x, (batch, time, *x.shape[1:])) for key, x in self._whole_frames(frames).items()}
        warm = clip["warm"] if "warm" in clip else ops.zeros((batch,))
        blank = {**network.blank_answer(batch), "restored": ops.zeros_like(whole["restored"][:, 0])}
        remembered = {key: where(warm > 0, whole[key][:, 0], x) for key, x in blank.items()}
        cells = network.grid.cells
        freshness = ops.tile(warm[:, None, None, None], (1, cells, cells, 1))
        return whole, {"restored": remembered.pop("restored"), "freshness": freshness, "answer": remembered}

    def _whole_frames(self, frames):
        """What the network says of whole frames (B T, H, W, 3): the answer, and the 'restored' map."""
        network = self.network
        predictions, restored, state = network.look(
            model_frame(frames), None, network.initial_state(frames.shape[0])
        )
        outputs, _ = network.conclude(predictions, restored, None, state)
        return {**{key: outputs[key] for key in network.blank_answer(1)}, "restored": restored}

    def _look(self, whole, action, state, truth):
        """Tries all windows on one frame, `whole`, each on its own.

        Returns what `call` says of them, and the state after the one (B,) that was chosen.
        """
        network, task, count = self.network, get_task(self.network.config.task), len(self.covered)
        every = ops.tile(ops.convert_to_tensor(self.covered)[None], (action.shape[0], 1, 1))  # (B, A, cells)
        after = self._after(whole, every, state)
        fresh, stale = (task.count_cells(network, x, truth)[:, None] for x in (whole, state["answer"]))
        counts = ops.where(every[..., None], fresh, stale)
        counts = ops.reshape(counts, (-1, *counts.shape[2:]))
        truths = {key: ops.repeat(x, count, axis=0) for key, x in truth.items()}
        of_map = task.count_map(network.map_answer(after["restored"]), truths)
        scores = task.score_of(ops.concatenate([counts, of_map], axis=1), truths)
        of_map = task.count_map(network.map_answer(state["restored"]), truth)
        before = task.score_of(ops.concatenate([stale[:, 0], of_map], axis=1), truth)
        tried = {"rewards": ops.reshape(scores, (-1, count)) - before[:, None]}
        if self.looks_ahead:
            for name, attention in (("next_online", network.attention), ("next_target", self.target)):
                values = self._values(attention, after)["q_values"]
                tried[name] = ops.reshape(values, (-1, count, count))
        chosen = ops.arange(action.shape[0], dtype="int32") * count + action
        return tried, keras.tree.map_structure(lambda x: ops.take(x, chosen, axis=0), after)

    def _after(self, whole, covered, state):
        """States (B A, ...) after each window: the cells `covered` (B, A, cells) hold what is in the frame."""
        network, remembered = self.network, state["answer"]
        height, width, _ = whole["restored"].shape[1:]
        by_pixel = ops.reshape(ops.take(covered, self.cell_of_pixel, axis=2), (*covered.shape[:2], height, width))
        restored = _renewed(by_pixel, whole["restored"], state["restored"])
        answer = {}
        for key, stale in remembered.items():
            by_part = ops.take(covered, network.answer_cells[key], axis=2)
            parts = by_part.shape[2]
            answer[key] = _renewed(by_part, whole[key][:, :parts], stale[:, :parts])
        for key, x in network.map_answer(restored).items():
            answer[key] = ops.concatenate([answer[key], x], axis=1)
        by_cell = ops.reshape(covered, (*covered.shape[:2], *state["freshness"].shape[1:3]))
        fresh = ops.ones_like(state["freshness"])
        freshness = _renewed(by_cell, fresh, FRESHNESS_DECAY * state["freshness"])
        return {"restored": restored, "freshness": freshness, "answer": answer}


def _renewed(covered, fresh, stale):
    """(B A, ...): of maps (B, ...) the fresh one where a window (B, A, ...) is, and else the stale one."""
    x = where(covered, fresh[:, None], stale[:, None])
    return ops.reshape(x, (-1, *x.shape[2:]))
