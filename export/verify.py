"""Holding an exported file against its Keras model over a stream of random frames and windows."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from patchwork_tf.errors import DataError
from patchwork_tf.metrics.detection import pairwise_iou
from patchwork_tf.models.suppression import IOU_THRESHOLD, best_classes, suppress
from patchwork_tf.runtime.answers import WINDOW_OUTPUTS
from patchwork_tf.runtime.network import Network

TOLERANCE = 1e-4  # relative to the largest value of a tensor, or absolute below 1
# Of networks of one's own: some that were trained on pictures make much of rounding when they see noise.
OWN_TOLERANCE = 2e-3
QUANTIZED_TOLERANCE = 0.05  # within which a quantized file's detections count as the same
# Suppression decides by thresholds: a rounding error may tip a pair of boxes that lies on one.
MIN_AGREEING = 0.99
_TIE = 1e-6
_TRACED_FROM = 12  # steps: of fewer, tracing takes longer than it saves


@dataclasses.dataclass
class Comparison:
    """What `compare` found."""

    # Per step the largest |TFLite - Keras| of any raw output, as in TOLERANCE; with suppression in the graph, of
    # boxes and scores of the detections that agree.
    differences: list[float] = dataclasses.field(default_factory=list)
    detections: int = 0  # that Keras found in all steps in which no two scores are the same
    agreeing: int = 0  # of them that TFLite found, same class, box and score within the tolerance
    # Steps after which TFLite chose a next window that Keras holds for worse, all detections being the same.
    other_windows: int = 0
    tied: int = 0  # detections that TFLite found in the other steps, where chance decides which boxes are kept
    tied_agreeing: int = 0  # of them that Keras has before suppression, and no better one of their class overlaps
    suppressed: bool = False  # whether there are only detections to compare
    tolerance: float = TOLERANCE  # of the differences

    @property
    def steps(self) -> int:
        return len(self.differences)

    @property
    def max_difference(self) -> float:
        return max(self.differences, default=0.0)

    @property
    def passed(self) -> bool:
        close = self.max_difference <= self.tolerance and self.other_windows == 0
        of_tied = self.tied_agreeing >= MIN_AGREEING * self.tied
        return close and self.agreeing >= MIN_AGREEING * self.detections and of_tied

    def __str__(self):
        agreeing = f", {self.agreeing} of {self.detections} detections agree" if self.detections else ""
        if self.suppressed and not self.detections + self.tied:
            agreeing = ": NOTHING WAS COMPARED, no detections (--nosuppression compares raw predictions)"
        if self.tied:
            agreeing += f", and of {self.tied} where scores tie {self.tied_agreeing} are boxes of Keras"
        windows = f", {self.other_windows} other next windows" if self.other_windows else ""
        return f"{self.steps} random steps: max difference {self.max_difference:.1e}{agreeing}{windows}"


def compare(model, path: str, steps=50, seed=0, tolerance=TOLERANCE, progress=None) -> Comparison:
    """Runs a Keras model and its exported file side by side, on frames of noise at several scales.

    What the file remembers has another form than what Keras does, so it is the answers that are
    held against each other: sooner or later every pixel that is remembered plays a part in one. The first half of
    the steps, at random windows, starts blind, the second with a look at the whole frame.

    The tolerance is of detections that count as the same, and of windows that count as as good. `progress` is
    called after every step.
    """
    runner = Network(path)
    rng = np.random.default_rng(seed)
    step = _traced(model) if steps >= _TRACED_FROM else model.step
    state = model.initial_state(1)
    result = Comparison(tolerance=OWN_TOLERANCE if model.config.network else TOLERANCE)
    for number in range(steps):
        frame = random_frame(rng, model.config.image_size)
        if number == steps // 2 and runner.starts_whole:
            outputs, state = step(tf.constant(frame), None, state)
            exported = runner.start(frame)
        else:
            window = rng.integers(0, model.grid.positions, 2, dtype=np.int32)
            outputs, state = step(tf.constant(frame), tf.constant(window[None]), state)
            exported = runner.step(frame, window)
        _judge(result, model, state, outputs, exported, tolerance)
        if progress:
            progress()
    return result


def _judge(result: Comparison, model, state, outputs, exported, tolerance):
    """Takes note of one step: what Keras and the file put out."""
    raw = outputs.keys() & exported.keys() - set(WINDOW_OUTPUTS)
    tipped = False
    if "scores" in outputs:
        expected = _detections(outputs["boxes"], outputs["scores"], model.answer_weights(state))
        count = int(expected["count"])
        # In the parts that nobody has seen yet many scores are the same: who wins then is chance.
        tipped = bool(np.any(np.abs(np.diff(expected["scores"][:count])) < _TIE))
        if "count" in exported:
            raw, result.suppressed = (), True
            agreeing = _agreeing(expected, exported, tolerance)
            if tipped:
                result.tied += int(exported["count"])
                result.tied_agreeing += _possible(outputs, exported, tolerance)
            else:
                result.detections += count
                result.agreeing += len(agreeing)
            tipped |= len(agreeing) < max(count, int(exported["count"]))
            result.differences.append(max(agreeing, default=0.0))
    if raw:
        result.differences.append(max(_difference(outputs[key][0], exported[key]) for key in raw))
    # Windows are chosen by detections: where these tipped, so may those.
    if not tipped and not _same_choice(outputs, exported["next_window"], model.grid, tolerance):
        result.other_windows += 1


def check(comparison: Comparison, path: str):
    """Raises DataError unless a comparison passed."""
    if not comparison.passed:
        raise DataError(f"{path}: not written, TFLite and Keras disagree ({comparison})")


def _detections(boxes, scores, weights) -> dict[str, np.ndarray]:
    """What suppression makes of boxes (1, A, 4) and scores (1, A, classes)."""
    kept = _suppress(tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores), weights)
    return {key: x[0].numpy() for key, x in zip(("boxes", "scores", "classes", "count"), kept, strict=True)}


@functools.lru_cache(maxsize=2)  # quantized files are held against the model a second time
def _traced(model):
    return tf.function(model.step, autograph=False)


@tf.function(autograph=False)
def _suppress(boxes, scores, weights):
    return suppress(boxes, *best_classes(scores), weights)


def random_frame(rng, image_size) -> np.ndarray:
    """Noise (1, H, W, 3) float32 in [-1, 1], fine and coarse."""
    fine = rng.uniform(-1, 1, (*image_size, 3))
    coarse = np.kron(rng.uniform(-1, 1, (*(-(-side // 16) for side in image_size), 3)), np.ones((16, 16, 1)))
    return (0.3 * fine + 0.7 * coarse[: image_size[0], : image_size[1]])[None].astype(np.float32)


def _difference(expected, exported) -> float:
    """As in TOLERANCE; of numbers of classes the part of pixels that have another."""
    expected = np.asarray(expected)
    if np.issubdtype(expected.dtype, np.integer):
        return float(np.mean(expected != exported))
    difference = float(np.max(np.abs(expected - exported)) / max(1.0, np.max(np.abs(expected))))
    return difference if np.isfinite(difference) else np.inf  # NaN would lose every comparison


def _same_choice(outputs, next_window, grid, tolerance) -> bool:
    """Whether a chosen window is the one that Keras chose, or, but for rounding, as good."""
    if "q_values" not in outputs:
        return bool(np.all(next_window == outputs["next_window"][0]))
    q_values = np.asarray(outputs["q_values"][0])
    row, column = next_window
    return q_values.max() - q_values[row * grid.positions + column] <= tolerance * max(1.0, np.abs(q_values).max())


def _possible(outputs, exported, tolerance) -> int:
    """How many exported detections are boxes that `outputs` has before suppression, and apart from better ones."""
    scores, classes = (np.asarray(x[0]) for x in best_classes(outputs["scores"]))
    boxes = {"boxes": np.asarray(outputs["boxes"][0]), "scores": scores, "classes": classes, "count": len(scores)}
    found, labels = (exported[key][: int(exported["count"])] for key in ("boxes", "classes"))
    rivals = (pairwise_iou(found, found) > IOU_THRESHOLD + tolerance) & (labels[:, None] == labels)
    return len(_agreeing(exported, boxes, tolerance)) - int(np.tril(rivals, -1).any(axis=1).sum())


def _agreeing(expected, exported, tolerance) -> list[float]:
    """How far those expected detections that have a counterpart within `tolerance` are from it."""
    total = int(exported["count"])
    rows = np.concatenate([exported["boxes"], exported["scores"][:, None]], axis=1)[:total]
    agreeing = []
    for k in range(int(expected["count"])):
        same = rows[exported["classes"][:total] == expected["classes"][k]]
        distance = np.abs(same - [*expected["boxes"][k], expected["scores"][k]]).max(axis=1).min(initial=np.inf)
        if distance <= tolerance:
            agreeing.append(float(distance))
    return agreeing
