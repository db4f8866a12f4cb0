"""Running a system over a video, one answer per frame."""

import dataclasses
import functools
from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import keras
import numpy as np
import tensorflow as tf

from patchwork_tf.models.suppression import suppress
from patchwork_tf.streaming.policies import POLICIES
from patchwork_tf.zoo.systems import System


@dataclasses.dataclass(frozen=True)
class Detections:
    """The answer for one frame.

    Attributes:
        boxes: (D, 4) float32, ymin, xmin, ymax, xmax as fractions of the frame, best score first.
        scores: (D,) float32.
        classes: (D,) int32, from 0.
        window: (row, column) looked at in this frame, None if the frame was not processed.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    window: tuple[int, int] | None = None


NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


def stream(
    system: System, model, frames: Iterable[np.ndarray], policy: str = "raster", seed: int = 0
) -> Iterator[Detections]:
    """Answers every frame of a video.

    Args:
        system: the system, whose `stream` says which frames are processed and how.
        model: its model, from `build(system.model, ...)`.
        frames: (H, W, 3) uint8 RGB images of any size; they are stretched to the model's.
        policy: key of POLICIES, chooses the window of each frame.
        seed: of the policy.

    Yields:
        One Detections per frame, in the order of the frames.
    """
    config = system.stream
    windows = POLICIES[policy](model.grid, seed)
    run = compiled_step(model, config.flip)
    state = model.initial_state(batch_size=2 if config.flip else 1)
    late = deque([NOTHING] * config.delay)  # answers that are still being worked on
    answer = NOTHING
    for t, frame in enumerate(frames):
        window = None
        if t % config.interval == 0:
            window = next(windows)
            boxes, scores, classes, count, state = run(model_input(frame, model), window, state)
            n = int(count)
            answer = Detections(np.array(boxes[:n]), np.array(scores[:n]), np.array(classes[:n]))
        late.append(answer)
        yield dataclasses.replace(late.popleft(), window=window)


def model_input(frame: np.ndarray, model) -> np.ndarray:
    """An image (h, w, 3) uint8 as the model wants it: (1, H, W, 3) float32 in [-1, 1].

    The image is stretched, not letterboxed: boxes stay fractions of the whole frame, and no
    window is spent on black bars.
    """
    height, width = model.config.image_size
    if frame.shape[:2] != (height, width):
        shrinks = frame.shape[0] > height or frame.shape[1] > width
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return frame[None].astype(np.float32) / 127.5 - 1.0


@functools.lru_cache(maxsize=8)  # tracing takes seconds, and a test set has many videos
def compiled_step(model, flip: bool = False):
    """One frame to suppressed detections, compiled where the backend can.

    Returns:
        A function of frame (1, H, W, 3), window (row, column) and state that returns boxes (D, 4),
        scores (D,), classes (D,), their count, and the new state. With `flip` the state
        has two items, the second for the mirrored frame.
    """

    def step(frame, window, state):
        if flip:
            frame = keras.ops.concatenate([frame, frame[:, :, ::-1]])
            mirrored = [window[0, 0], model.grid.positions - 1 - window[0, 1]]
            window = keras.ops.stack([window[0], keras.ops.stack(mirrored)])
        return model.step(frame, window, state)

    if keras.backend.backend() == "tensorflow":
        step = tf.function(step, reduce_retracing=True)
    elif keras.backend.backend() == "jax":
        import jax

        step = jax.jit(step)
    suppress_compiled = tf.function(suppress)

    def run(frame, window, state):
        window = keras.ops.convert_to_tensor([window], dtype="int32")
        outputs, state = step(keras.ops.convert_to_tensor(frame), window, state)
        boxes, scores = (keras.ops.convert_to_numpy(outputs[key]) for key in ("boxes", "scores"))
        if flip:
            boxes[1] = boxes[1][:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 1, 0, 1]
        flat_boxes, flat_scores = boxes.reshape(-1, 4), scores.reshape(-1, scores.shape[-1])
        return *(np.array(x) for x in suppress_compiled(flat_boxes, flat_scores)), state

    return run
