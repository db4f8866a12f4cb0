"""Running a system over a video, one answer per frame."""

import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from patchwork_tf.data.fitting import fit_frame, unfit_boxes, unfit_map
from patchwork_tf.errors import UsageError
from patchwork_tf.models.segmenter import FOREGROUND
from patchwork_tf.models.suppression import suppress
from patchwork_tf.streaming.oracle import believed_truth, compiled_oracle
from patchwork_tf.streaming.policies import LOOK_FIRST, POLICIES
from patchwork_tf.streaming.schedule import frame_mflops, is_key_frame
from patchwork_tf.zoo.systems import System


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a system says after a frame.

    Attributes:
        window: (row, column) looked at in this frame; None if the frame was not processed, or
            looked at as a whole.
        whole_frame: whether this frame was a warm start.
        mflops: what this frame cost, multiply-adds / 10^6.
        q_values: (windows,) float32, what the attention network expects of looking through each window
            at the next frame; None if the frame was not processed, or there is no choice.
    """

    window: tuple[int, int] | None = None
    whole_frame: bool = False
    mflops: float = 0.0
    q_values: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detections(Answer):
    """Objects in a frame.

    Attributes:
        boxes: (D, 4) float32, ymin, xmin, ymax, xmax as fractions of the frame, best score first.
        scores: (D,) float32.
        classes: (D,) int32, from 0.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(Answer):
    """The foreground of a frame.

    Attributes:
        probability: (H, W) float32 at the model's image size, of each pixel to be foreground.
        mask: (h, w) bool at the frame's own size, True where it is.
    """

    probability: np.ndarray
    mask: np.ndarray


def stream(
    system: System,
    model,
    frames: Iterable[np.ndarray],
    policy: str = "raster",
    seed: int = 0,
    warm_start: bool = False,
    fit: str = "stretch",
    truth: Callable[[int, tuple[int, int]], dict] | None = None,
    exported=None,
) -> Iterator[Detections | Segmentation]:
    """Answers every frame of a video.

    Args:
        system: the system, whose `stream` says which frames are processed and how.
        model: its model, from `build(system.model, ...)`.
        frames: (h, w, 3) uint8 RGB images of any size.
        policy: key of POLICIES, chooses the window of each frame.
        seed: of the policy.
        warm_start: look at the whole first frame, at the cost of the single-frame network, instead
            of starting blind.
        fit: how frames get to the model's size, see `fitting.FITS`.
        truth: for the oracle: function of a frame's number and size (h, w) to `oracle.frame_truth`.
        exported: an export.streaming.ExportedStep to run in place of the model's own step.

    Yields:
        One Detections or Segmentation per frame, in the order of the frames.
    """
    _check_policy(policy, truth, exported)
    config = system.stream
    warm_start = warm_start and not model.grid.is_whole_frame
    windows = POLICIES[policy](model.grid, seed)
    window = next(windows)
    costs = frame_mflops(config, model, warm_start)
    if exported:
        run, blank = exported, exported.initial_state()
    else:
        run, blank = compiled_step(model, config.flip), model.initial_state(batch_size=2 if config.flip else 1)
    state = blank
    late = deque()  # answers that are still being worked on
    for number, frame in enumerate(frames):
        looked_at, whole_frame, values = None, warm_start and number == 0, None
        if is_key_frame(config, number):
            image = model_input(frame, model, fit)
            if policy in LOOK_FIRST and not whole_frame:
                if policy == "oracle":
                    known = truth(number, frame.shape[:2])
                else:
                    known = believed_truth(model, run(image, None, blank)[0])
                window = compiled_oracle(model)(image, state, known)
            looked_at = None if whole_frame else window
            outputs, state = run(image, looked_at, state)
            window = windows.send(tuple(outputs["next_window"].tolist()))
            values = outputs.get("q_values")
        late.append(outputs)
        done = late.popleft() if len(late) > config.delay else None
        answer = _ANSWERS[model.config.task](done, frame.shape[:2], model.config.image_size, fit)
        yield dataclasses.replace(
            answer, window=looked_at, whole_frame=whole_frame, mflops=next(costs), q_values=values
        )


def _check_policy(policy, truth, exported):
    if policy == "oracle" and truth is None:
        raise UsageError("the oracle needs to be told the truth; it cannot run on a video without")
    if policy in LOOK_FIRST and exported:
        raise UsageError(f"{policy} tries every window of a frame, which an exported file cannot")


def model_input(frame: np.ndarray, model, fit: str = "stretch") -> np.ndarray:
    """An image (h, w, 3) uint8 as the model wants it: (1, H, W, 3) float32 in [-1, 1]."""
    return fit_frame(frame, model.config.image_size, fit)[None].astype(np.float32) / 127.5 - 1.0


def _detections(outputs, size, image_size, fit) -> Detections:
    """Outputs of `compiled_step` as an answer; no objects if there are none yet."""
    if outputs is None:
        nothing = np.zeros(0, np.float32)
        return Detections(boxes=nothing.reshape(0, 4), scores=nothing, classes=nothing.astype(np.int32))
    boxes, scores, classes = (outputs[key][: int(outputs["count"])] for key in ("boxes", "scores", "classes"))
    return Detections(boxes=unfit_boxes(boxes, size, image_size, fit), scores=scores, classes=classes)


def _segmentation(outputs, size, image_size, fit) -> Segmentation:
    """Outputs of `compiled_step` as an answer at the frame's size; undecided if there are none yet."""
    probability = np.full(image_size, FOREGROUND, np.float32) if outputs is None else outputs["mask"]
    return Segmentation(probability=probability, mask=unfit_map(probability, size, fit) > FOREGROUND)


_ANSWERS = {"detection": _detections, "segmentation": _segmentation}


@functools.lru_cache(maxsize=8)  # tracing takes seconds, and a test set has many videos
def compiled_step(model, flip: bool = False):
    """One frame to the answer's arrays, compiled where the backend can.

    Returns:
        A function of frame (1, H, W, 3), window (row, column) or None for all of the frame, and state
        that returns numpy outputs and the new state: 'next_window' (2,), and 'boxes' (D, 4), 'scores'
        (D,), 'classes' (D,) and their 'count', or 'mask' (H, W). With `flip` the state has
        two items, the second for the mirrored frame, and both are merged: before suppression,
        or as the mean of both masks.
    """

    def step(frame, window, state):
        if flip:
            frame = keras.ops.concatenate([frame, frame[:, :, ::-1]])
            if window is not None:
                mirrored = [window[0, 0], model.grid.positions - 1 - window[0, 1]]
                window = keras.ops.stack([window[0], keras.ops.stack(mirrored)])
        return model.step(frame, window, state)

    if keras.backend.backend() == "tensorflow":
        step = tf.function(step, reduce_retracing=True)
    elif keras.backend.backend() == "jax":
        import jax

        step = jax.jit(step)

    def run(frame, window, state):
        window = None if window is None else keras.ops.convert_to_tensor([window], dtype="int32")
        outputs, state = step(keras.ops.convert_to_tensor(frame), window, state)
        outputs = {key: keras.ops.convert_to_numpy(value) for key, value in outputs.items()}
        answer = {**merge_outputs(outputs, model.config.task, flip), "next_window": outputs["next_window"][0]}
        if "q_values" in outputs:
            answer["q_values"] = outputs["q_values"][0]
        return answer, state

    return run


_suppress = tf.function(suppress)


def merge_outputs(outputs, task: str, flip: bool) -> dict:
    """The answer of one stream, or of two of which the second is mirrored.

    Args:
        outputs: of `model.step`, numpy, (1 or 2, ...) by name.
        task: 'detection' or 'segmentation'.
        flip: whether there are two.

    Returns:
        'boxes' (D, 4), 'scores' (D,), 'classes' (D,) and their 'count' after suppression, or 'mask' (H, W).
    """
    return {"detection": _merge_detections, "segmentation": _merge_masks}[task](outputs, flip)


def _merge_detections(outputs, flip) -> dict:
    boxes, scores = outputs["boxes"], outputs["scores"]
    if flip:
        boxes = np.stack([boxes[0], boxes[1][:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 1, 0, 1]])
    boxes, scores = boxes.reshape(-1, 4).astype(np.float32), scores.reshape(-1, scores.shape[-1])
    kept = (np.array(x) for x in _suppress(boxes, scores))
    return dict(zip(("boxes", "scores", "classes", "count"), kept, strict=True))


def _merge_masks(outputs, flip) -> dict:
    mask = outputs["mask"]
    return {"mask": (mask[0] + mask[1][:, ::-1]) / 2 if flip else mask[0]}
