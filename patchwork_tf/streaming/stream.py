"""Running a model or an exported file over a video, one answer per frame."""

import dataclasses
import importlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.models.maps import video_model
from patchwork_tf.resizing import resize_frame
from patchwork_tf.runtime.frames import STARTS, as_rgb, check_size
from patchwork_tf.runtime.video import Camera
from patchwork_tf.streaming.policies import Policy, View, make_policy
from patchwork_tf.streaming.schedule import frame_mflops
from patchwork_tf.streaming.step import step_of
from patchwork_tf.task import Answer


def stream(
    model,
    frames: Iterable[np.ndarray] | str | os.PathLike | int,
    policy: str | Policy | None = None,
    *,
    seed: int = 0,
    start: str = "whole",
    truth: Callable[[int, tuple[int, int]], dict] | None = None,
) -> Iterator[Answer]:
    """Yields an answer to every frame of a video, in their order: Detections, a Mask or Maps.

    Args:
        model: a model as from `build`, `load` or `patch`, whose `info` says which frames are processed, and how
            they get to its size; or an exported file, its path or an export.streaming.ExportedStep.
        frames: (h, w, 3) uint8 RGB images of any one size; grey ones, alpha and 16 bits are converted. Or the
            path of a video file or folder of pictures; or the number of a camera, whose newest frame is taken.
        policy: chooses the window of each frame: a name of `policies.policy_names`, or a function of a
            `policies.View` to (row, column), of its own for each stream. By default what the model chooses: the
            learned policy if it has one, else the rule.
        seed: of the policy.
        start: 'whole', the first frame is looked at as a whole, at 1.1 to 1.2 times the cost of the single-frame
            network; or 'sweep', no frame costs more than a window: the first ones look through the fewest windows
            that cover the frame, row by row.
        truth: for the oracle: function of a frame's number and size (h, w) to `Task.frame_truth`.

    Raises:
        UsageError: if the model cannot follow the policy, it chooses no window, or a frame is no such image.
        DataError: if a frame has another size than those before it, no video or camera can be read, or the file
            is none of patchwork-export's.
    """
    step = _step(model)
    choose = make_policy(policy, step, seed, truth)
    if start not in STARTS:
        raise UsageError(f"start is one of {', '.join(STARTS)}, not {start}")
    if isinstance(frames, str | os.PathLike):
        frames = Video(os.fspath(frames))
    elif isinstance(frames, int):
        frames = Camera(frames)
    return _answers(step, frames, choose, start)


def _step(model):
    if isinstance(model, keras.Model):
        return step_of(video_model(model))
    if isinstance(model, str | os.PathLike):
        if not (os.path.isfile(model) or str(model).endswith(".tflite")):
            raise UsageError(
                f"{model}: no exported file; pw.load({str(model)!r}) makes a model of a name or folder"
            )
        exported = importlib.import_module("patchwork_tf.export.streaming")  # it stands above: loaded if need be
        return exported.ExportedStep(os.fspath(model))
    return model


def stream_together(steps, frames, policies, **options) -> Iterator[tuple[np.ndarray, list]]:
    """Yields every frame of a video and the answers to it of several models or files, one policy each.

    One of `steps` may be among them more than once; options are those of `stream`.
    """
    shown, *copies = itertools.tee(frames, 1 + len(steps))
    answers = [
        stream(step, copy, policy, **options) for step, copy, policy in zip(steps, copies, policies, strict=True)
    ]
    for frame, *of_frame in zip(shown, *answers, strict=True):
        yield frame, of_frame


def _answers(step, frames, choose, start):
    config, resize_mode, image_size = step.info.stream, step.info.resize_mode, step.config.image_size
    starts_whole = start == "whole" and not step.grid.is_whole_frame
    sweep = iter(step.grid.raster if start == "sweep" else ())
    costs = frame_mflops(config, step.mflops(), step.mflops(starts_whole))
    outputs, state, size = None, step.initial_state(), None
    late = deque()  # answers that are still being worked on
    for number, frame in enumerate(frames):
        frame = as_rgb(frame, f"frame {number}")
        size = size or frame.shape[:2]
        check_size(frame.shape[:2], size, f"frame {number}")
        window, whole_frame, known = None, starts_whole and number == 0, {}
        if number % config.interval == 0:
            image = model_input(frame, image_size, resize_mode)
            window = None if whole_frame else next(sweep, None)
            if not (whole_frame or window):
                view = View(number, image, frame.shape[:2], outputs, state, **_of_windows(step.grid, outputs))
                window = _on_grid(choose(view), step.grid)
            outputs, state = step(image, window, state)
            known = {key: outputs.get(key) for key in ("q_values", "freshness")}
        late.append(outputs)
        done = late.popleft() if len(late) > config.delay else None
        answer = step.task.answer(done, frame.shape[:2], image_size, resize_mode)
        yield dataclasses.replace(answer, window=window, whole_frame=whole_frame, mflops=next(costs), **known)


def _of_windows(grid, outputs) -> dict:
    """What a View says of cells and windows: 0 if there is nothing yet."""
    cells = (grid.cells, grid.cells)
    shapes = {"need": cells, "freshness": cells, "rule_values": (len(grid.windows),)}
    return {name: (outputs or {}).get(name, np.zeros(shape, np.float32)) for name, shape in shapes.items()}


def _on_grid(window, grid):
    """What a policy chose. Raises UsageError if it is no window."""
    try:
        if tuple(window) in grid.windows:
            return window
    except TypeError:
        pass
    raise UsageError(
        f"the policy chose {window}; a window is (row, column), {grid.windows[0]} to {grid.windows[-1]}"
    )


def model_input(frame: np.ndarray, image_size, resize_mode: str = "stretch") -> np.ndarray:
    """An image (h, w, 3) uint8 as models want it: (1, H, W, 3) float32 in [-1, 1]."""
    return resize_frame(frame, image_size, resize_mode)[None].astype(np.float32) / 127.5 - 1.0
