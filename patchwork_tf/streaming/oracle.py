"""The policy that knows the truth: it tries every window and keeps the one that mends most.

One step ahead, it is the ceiling of what choosing windows can do for the next answer.
"""

import functools

import keras
import numpy as np
from keras import ops

from patchwork_tf.data.fitting import fit_frame, letterbox
from patchwork_tf.training.answer_loss import answer_loss, answer_targets

_MAX_OBJECTS = 64  # fixed, so that the function below is traced once


def frame_truth(model, video, number: int, size, fit: str = "stretch") -> dict:
    """The truth of one frame as `answer_loss` wants it, for a batch of one.

    Args:
        model: a model of the zoo.
        video: AnnotatedVideo whose boxes, labels, masks are lists or arrays.
        number: of the frame.
        size: (h, w) of the frame.
        fit: how frames get to the model's size.
    """
    image_size = model.config.image_size
    if model.config.task == "segmentation":
        mask = fit_frame(np.asarray(video.masks[number], np.uint8)[..., None] * 255, image_size, fit)
        return {"masks": (mask.reshape(1, *image_size) > 127).astype(np.uint8)}
    alone = ~video.crowds[number] if len(video.crowds) else slice(None)
    boxes, labels = (values[number][alone][:_MAX_OBJECTS] for values in (video.boxes, video.labels))
    if fit == "letterbox":
        inner = letterbox(size, image_size)
        boxes = boxes * np.tile(inner[2:], 2) + np.tile(inner[:2], 2)
    missing = _MAX_OBJECTS - len(boxes)
    return {
        "boxes": np.pad(boxes, [(0, missing), (0, 0)])[None].astype(np.float32),
        "labels": np.pad(labels + 1, [(0, missing)])[None].astype(np.int32),
    }


@functools.lru_cache(maxsize=4)
def compiled_oracle(model):
    """A function of frame (1, H, W, 3), state of one stream and truth that returns the best window (row, column),
    the lowest-numbered of equals.
    """
    windows = np.array(model.grid.windows, np.int32)
    count = len(windows)

    def losses(frame, state, truth):
        outputs, _ = model.step(frame, ops.convert_to_tensor(windows), state)
        targets = answer_targets(model, truth)
        return answer_loss(model, outputs, {key: ops.repeat(x, count, axis=0) for key, x in targets.items()})

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        losses = tf.function(losses)
    elif keras.backend.backend() == "jax":
        import jax

        losses = jax.jit(losses)

    def choose(frame, state, truth):
        state = {name: value[:1] for name, value in state.items()}  # with flip, the stream that is not mirrored
        values = ops.convert_to_numpy(losses(ops.convert_to_tensor(frame), state, truth))
        return tuple(windows[int(np.argmin(values))].tolist())

    return choose
