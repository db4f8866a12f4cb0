"""Simulates what a stream remembers without running the network on windows: it is run once per frame.

Each cell of a memory, and of the answer, is what the network says of the whole frame in which
the cell was last looked at. The one thing that a stream has and this has not are stale borders of
windows, which cost it less than 0.1 % of accuracy (supplement, Section B). So all windows can be
tried on every frame, each of which would cost a run of the network.
"""

import numpy as np
from keras import ops

from patchwork_tf.grid import Grid
from patchwork_tf.models.attention import FRESHNESS_DECAY
from patchwork_tf.models.patchwork_model import pixel_centers
from patchwork_tf.training.answer_loss import blank_answer, part_losses
from patchwork_tf.training.clip_model import model_frame
from patchwork_tf.training.simulation import Simulation, traced_once


class ComposedSimulation(Simulation):
    """Puts memories and answers together from whole frames.

    An answer's parts, pixels or anchors, are in a row here. Those that windows renew come first; what the
    detector sees on the map of the full frame comes after them, and is fresh in every frame.
    """

    def __init__(self, network, *args, **kwargs):
        super().__init__(network, *args, **kwargs)
        grid = network.grid
        self.cell_of_part = _cell_of(network.part_centers, grid)
        self.cell_of_pixel = _cell_of(pixel_centers(network.backbone.out_shape), grid)  # of the restored map
        self._whole_frames, self._look = traced_once(self._whole_frames), traced_once(self._look)

    def _begin(self, clip):
        batch, time = clip["frames"].shape[:2]
        frames = ops.reshape(clip["frames"], (batch * time, *clip["frames"].shape[2:]))
        seen = {key: ops.reshape(x, (batch, time, *x.shape[1:])) for key, x in self._whole_frames(frames).items()}
        warm = clip["warm"] if "warm" in clip else ops.zeros((batch,))
        blank = _in_a_row(blank_answer(self.network, batch))
        blank["restored"] = ops.zeros_like(seen["restored"][:, 0])
        known = {key: _where(warm > 0, seen[key][:, 0], x) for key, x in blank.items()}
        cells = self.network.grid.cells
        freshness = ops.tile(warm[:, None, None, None], (1, cells, cells, 1))
        return seen, {"memory": {"restored": known.pop("restored"), "freshness": freshness}, "answer": known}

    def _whole_frames(self, frames):
        """What the network says of whole frames (B T, H, W, 3): the answer, and the 'restored' map."""
        state = self.network.initial_state(frames.shape[0])
        outputs, state = self.network.step(model_frame(frames), None, state)
        answer = {key: outputs[key] for key in blank_answer(self.network, 1)}
        return {**_in_a_row(answer), "restored": state["restored"]}

    def _look(self, seen, tried, state, targets):
        network, count = self.network, tried.shape[1]
        inside = ops.take(ops.convert_to_tensor(self.covered), tried, axis=0)  # (B, K, cells)
        memories = self._renewed_memory(seen["restored"], state["memory"], inside)
        of_map = network.map_answer(memories["restored"])
        before = part_losses(network, state["answer"], targets)
        found = {"losses": self._losses_after(before, seen, of_map, inside, targets)}
        if self.looks_ahead:
            for name, attention in (("next_online", network.attention), ("next_target", self.target)):
                values = attention.q_values(**memories)
                found[name] = ops.reshape(values, (-1, count, values.shape[-1]))
        after = {
            "memory": {key: x[::count] for key, x in memories.items()},
            "answer": self._renewed_answer(seen, state["answer"], of_map, inside),
        }
        return ops.sum(before, axis=1), found, after

    def _renewed_memory(self, restored, memory, inside):
        """Memories (B K, ...), one for each window: the cells `inside` (B, K, cells) hold what is in the frame."""
        height, width, channels = restored.shape[1:]
        fresh, stale = (ops.reshape(x, (-1, 1, height * width, channels)) for x in (restored, memory["restored"]))
        maps = _where(ops.take(inside, self.cell_of_pixel, axis=2), fresh, stale)
        faded = ops.reshape(FRESHNESS_DECAY * memory["freshness"], (-1, 1, inside.shape[2]))
        freshness = ops.where(inside, 1.0, faded)
        return {
            "restored": ops.reshape(maps, (-1, height, width, channels)),
            "freshness": ops.reshape(freshness, (-1, *memory["freshness"].shape[1:])),
        }

    def _losses_after(self, before, seen, of_map, inside, targets):
        """The losses (B, K) of the answers after each window, given those (B, P) of the parts that stood."""
        local, count = len(self.cell_of_part), inside.shape[1]
        places = ops.one_hot(self.cell_of_part, inside.shape[2])  # (P, cells)
        parts = {key: seen[key][:, :local] for key in seen.keys() - {"restored"}}
        fresh = part_losses(self.network, parts, {key: x[:, :local] for key, x in targets.items()})
        fresh, stale = ops.matmul(fresh, places), ops.matmul(before[:, :local], places)  # (B, cells)
        losses = ops.sum(ops.where(inside, fresh[:, None], stale[:, None]), axis=2)
        if not of_map:
            return losses
        rest = {key: ops.repeat(x[:, local:], count, axis=0) for key, x in targets.items()}
        return losses + ops.reshape(ops.sum(part_losses(self.network, of_map, rest), axis=1), losses.shape)

    def _renewed_answer(self, seen, answer, of_map, inside):
        """The answer after the first window."""
        local, count = len(self.cell_of_part), inside.shape[1]
        renewed = ops.take(inside[:, 0], self.cell_of_part, axis=1)
        after = {key: _where(renewed, seen[key][:, :local], x[:, :local]) for key, x in answer.items()}
        return {key: ops.concatenate([after[key], x[::count]], axis=1) for key, x in of_map.items()} or after


def _where(condition, x, y):
    """ops.where with a condition that lacks the last axes."""
    return ops.where(
        ops.reshape(condition, (*condition.shape, *[1] * (len(x.shape) - len(condition.shape)))), x, y
    )


def _in_a_row(answer):
    """An answer whose pixels, if it is a mask, are in a row (B, P)."""
    return {key: ops.reshape(x, (x.shape[0], -1)) if key == "mask" else x for key, x in answer.items()}


def _cell_of(centers, grid: Grid):
    """Numbers (P,) of the cells that points (P, 2), fractions of the frame, are in."""
    rows, columns = (centers * grid.cells).astype(np.int32).T
    return rows * grid.cells + columns
