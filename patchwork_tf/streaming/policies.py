"""Which window to look at: policies, all of one kind.

A policy is a function of a `View`, what may be known when the window of a frame is chosen, to
a window (row, column). Raster and random are blind. Rule and learned follow what the last step said, and so can be
deployed. Foresight and oracle try every window on the frame before they choose: they tell what there is to gain.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from keras import ops

from patchwork_tf.choices import LOOK_FIRST, POLICIES
from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.streaming.step import compiled
from patchwork_tf.task import get_task


@dataclasses.dataclass(frozen=True)
class View:
    """What there is to know when the window of a frame is chosen."""

    number: int  # of the frame, from 0
    # (1, H, W, 3) float32 in [-1, 1], at the model's size, which policies that are deployed in files do without.
    frame: np.ndarray | None = None
    size: tuple[int, int] | None = None  # (h, w) of the frame in pixels before that
    outputs: dict | None = None  # of the last step; None before the first
    state: object = None  # what is remembered
    # As the last step left them, 0 before the first:
    need: np.ndarray | None = None  # (M, M) float32, how much of the answer that matters is in each cell
    freshness: np.ndarray | None = None  # (M, M) float32, FRESHNESS_DECAY ** age; 0 where no window has been yet
    rule_values: np.ndarray | None = None  # (windows,) float32, what the rule says each window is worth


Policy = Callable[[View], tuple[int, int]]


def raster(grid: Grid) -> Policy:
    """Sweeps the frame with the fewest windows that cover it, row by row."""
    return lambda view: grid.raster[view.number % len(grid.raster)]


def random(grid: Grid, seed: int = 0) -> Policy:
    """Every window equally likely in every frame."""
    rng = np.random.default_rng(seed)

    def choose(view):
        row, column = rng.integers(0, grid.positions, 2)
        return int(row), int(column)

    return choose


def rule(grid: Grid) -> Policy:
    """The window that the rule held for worth most after the last step; at first window 0."""
    return lambda view: grid.windows[int(np.argmax(view.rule_values))]


def next_window(view: View) -> tuple[int, int]:
    """What the model or file says itself."""
    return (0, 0) if view.outputs is None else tuple(view.outputs["next_window"].tolist())


def oracle(model, truth: Callable[[int, tuple[int, int]], dict]) -> Policy:
    """Tries every window, and keeps the one after which the answer is truest: the ceiling, one step ahead.

    `truth` is a function of a frame's number and size (h, w) to `Task.frame_truth`.
    """
    trial = _trial(model)
    return lambda view: model.grid.windows[trial(view.frame, view.state, truth(view.number, view.size))]


def foresight(step) -> Policy:
    """The same by what the model itself says of the whole frame: it sees what is coming, and not where it errs."""
    trial, blank = _trial(step.model), step.initial_state()

    def choose(view):
        outputs, _ = step(view.frame, None, blank)
        return step.grid.windows[trial(view.frame, view.state, step.task.believed_truth(outputs))]

    return choose


def answer_score(model, answer, truth):
    """The score (B,) of outputs of `model.step`, stale parts included; truth as for `Task.count_cells`."""
    task = get_task(model.config.task)
    counts = [task.count_cells(model, answer, truth), task.count_map(model.map_part(answer), truth)]
    return task.score_of(ops.concatenate(counts, axis=1), truth)


@functools.lru_cache(maxsize=4)
def _trial(model):
    """A function of frame (1, H, W, 3), state and truth to the number of the best window, the lowest of equals."""
    windows = np.array(model.grid.windows, np.int32)

    @compiled
    def scores(frame, state, truth):
        outputs, _ = model.step(frame, ops.convert_to_tensor(windows), state)
        return answer_score(model, outputs, {key: ops.repeat(x, len(windows), axis=0) for key, x in truth.items()})

    def best(frame, state, truth):
        state = {name: value[:1] for name, value in state.items()}  # with flip, the stream that is not mirrored
        return int(np.argmax(ops.convert_to_numpy(scores(ops.convert_to_tensor(frame), state, truth))))

    return best


_OWN: dict[str, Callable[..., Policy]] = {}


def register_policy(name: str, make: Callable[..., Policy]):
    """Adds a policy of one's own: all commands take it by its name. Raises UsageError if that is taken.

    `make` is a function of a step, KerasStep or ExportedStep, to a policy for one stream.
    """
    if name in POLICIES or _OWN.setdefault(name, make) is not make:
        raise UsageError(f"there is a policy '{name}' already; choose another name")


def policy_names() -> list[str]:
    """Names of all policies."""
    return [*POLICIES, *_OWN]


def make_policy(name: str | Policy | None, step, seed: int = 0, truth=None) -> Policy:
    """The policy of a name, for one stream of a KerasStep or ExportedStep. UsageError if it cannot be followed.

    A name may be a policy itself. None is what the model or file chooses by itself: learned if it was trained to,
    else by the rule. The seed is of random, the truth for the oracle.
    """
    if name is None:
        return next_window
    if callable(name):
        return name
    if name in _OWN:
        policy = _OWN[name](step)
        if not callable(policy):
            raise UsageError(
                f"policy '{name}': register a function of a step that returns the policy, not the policy"
            )
        return policy
    if name in LOOK_FIRST and step.model is None:
        raise UsageError(f"{name} tries every window of a frame, which an exported file cannot")
    if name == "learned" and step.policy != "learned":
        raise UsageError("no policy was learned: the attention network is untrained; choose windows by the rule")
    if name == "oracle" and truth is None:
        raise UsageError("the oracle needs to be told the truth; it cannot run on a video without")
    makers = {
        "rule": lambda: next_window if step.policy == "rule" else rule(step.grid),
        "learned": lambda: next_window,
        "raster": lambda: raster(step.grid),
        "random": lambda: random(step.grid, seed),
        "foresight": lambda: foresight(step),
        "oracle": lambda: oracle(step.model, truth),
    }
    if name not in makers:
        raise UsageError(f"unknown policy '{name}'; there are {', '.join(policy_names())}")
    return makers[name]()
