"""Running a model or an exported file over a video, one answer per frame."""

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from patchwork_tf.data.fitting import fit_frame, unfit_boxes, unfit_map
from patchwork_tf.models.segmenter import FOREGROUND
from patchwork_tf.streaming.policies import View, make_policy
from patchwork_tf.streaming.schedule import frame_mflops, is_key_frame
from patchwork_tf.streaming.step import step_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a system says after a frame.

    Attributes:
        window: (row, column) looked at in this frame; None if the frame was not processed, or
            looked at as a whole.
        whole_frame: whether this frame was looked at as a whole, to start with.
        mflops: what this frame cost, multiply-adds / 10^6.
        q_values: (windows,) float32, what it is held for worth to look through each window at the next
            frame; None if the frame was not processed, there is no choice, or an exported file does not say.
    """

    window: tuple[int, int] | None = None
    whole_frame: bool = False
    mflops: float = 0.0
    q_values: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detections(Answer):
    """Objects in a frame.

    Attributes:
        boxes: (D, 4) float32, ymin, xmin, ymax, xmax as fractions of the frame, in the order in which they
            won over others: by score, which counts less the longer ago it was found.
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
    model,
    frames: Iterable[np.ndarray],
    policy: str | None = None,
    *,
    seed: int = 0,
    blind_start: bool = False,
    truth: Callable[[int, tuple[int, int]], dict] | None = None,
) -> Iterator[Detections | Segmentation]:
    """Answers every frame of a video.

    Args:
        model: a model as from `build` or `load`, whose `info` says which frames are processed, and how they get to
            its size; or an export.streaming.ExportedStep, which knows that, too.
        frames: (h, w, 3) uint8 RGB images of any size.
        policy: one of policies.POLICIES, chooses the window of each frame. By default what the model chooses: the
            learned policy if it has one, else the rule.
        seed: of the policy.
        blind_start: look at the first frame through a window, too. By default it is looked at as a whole, at
            the cost of the single-frame network.
        truth: for the oracle: function of a frame's number and size (h, w) to `truth.frame_truth`.

    Yields:
        One Detections or Segmentation per frame, in the order of the frames.

    Raises:
        UsageError: if the model cannot follow the policy.
    """
    step = step_of(model) if isinstance(model, keras.Model) else model
    choose = make_policy(policy, step, seed, truth)
    return _answers(step, frames, choose, blind_start)


def stream_together(steps, frames, policies, **options) -> Iterator[tuple[np.ndarray, list]]:
    """Answers every frame of a video by several models in turn.

    Args:
        steps: models and exported files, as for `stream`; one may be among them more than once.
        frames: likewise.
        policies: of each.
        **options: of `stream`.

    Yields:
        The frame and the answers to it.
    """
    shown, *copies = itertools.tee(frames, 1 + len(steps))
    answers = [
        stream(step, copy, policy, **options) for step, copy, policy in zip(steps, copies, policies, strict=True)
    ]
    for frame, *found in zip(shown, *answers, strict=True):
        yield frame, found


def _answers(step, frames, choose, blind_start):
    config, fit, image_size = step.info.stream, step.info.fit, step.config.image_size
    starts_whole = not (blind_start or step.grid.is_whole_frame)
    costs = frame_mflops(step, starts_whole)
    outputs, state = None, step.initial_state()
    late = deque()  # answers that are still being worked on
    for number, frame in enumerate(frames):
        window, whole_frame, values = None, starts_whole and number == 0, None
        if is_key_frame(config, number):
            image = model_input(frame, image_size, fit)
            if not whole_frame:
                window = choose(View(number, image, frame.shape[:2], outputs, state))
            outputs, state = step(image, window, state)
            values = outputs.get("q_values")
        late.append(outputs)
        done = late.popleft() if len(late) > config.delay else None
        answer = _ANSWERS[step.config.task](done, frame.shape[:2], image_size, fit)
        yield dataclasses.replace(
            answer, window=window, whole_frame=whole_frame, mflops=next(costs), q_values=values
        )


def model_input(frame: np.ndarray, image_size, fit: str = "stretch") -> np.ndarray:
    """An image (h, w, 3) uint8 as models want it: (1, H, W, 3) float32 in [-1, 1]."""
    return fit_frame(frame, image_size, fit)[None].astype(np.float32) / 127.5 - 1.0


def _detections(outputs, size, image_size, fit) -> Detections:
    """Outputs of a step as an answer; no objects if there are none yet."""
    if outputs is None:
        nothing = np.zeros(0, np.float32)
        return Detections(boxes=nothing.reshape(0, 4), scores=nothing, classes=nothing.astype(np.int32))
    boxes, scores, classes = (outputs[key][: int(outputs["count"])] for key in ("boxes", "scores", "classes"))
    return Detections(boxes=unfit_boxes(boxes, size, image_size, fit), scores=scores, classes=classes)


def _segmentation(outputs, size, image_size, fit) -> Segmentation:
    """Outputs of a step as an answer at the frame's size; undecided if there are none yet."""
    probability = np.full(image_size, FOREGROUND, np.float32) if outputs is None else outputs["mask"]
    return Segmentation(probability=probability, mask=unfit_map(probability, size, fit) > FOREGROUND)


_ANSWERS = {"detection": _detections, "segmentation": _segmentation}
