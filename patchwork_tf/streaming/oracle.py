"""The policies that look before they choose: they try every window and keep the one that mends most.

The oracle goes by the truth: one step ahead, it is the ceiling of what choosing windows can do for the next
answer. Foresight goes by what the model itself says of the whole frame, for a policy can learn what the model is
going to see, but not where it is going to be wrong.
"""

import functools

import keras
import numpy as np
from keras import ops

from patchwork_tf.data.fitting import fit_frame, letterbox
from patchwork_tf.models.segmenter import FOREGROUND
from patchwork_tf.training.answer_loss import answer_loss, answer_targets

_MAX_OBJECTS = 64  # fixed, so that the function below is traced once
_BELIEVED = 0.4  # score from which on foresight takes a detection for an object


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
    boxes, labels = video.boxes[number][alone], video.labels[number][alone]
    if fit == "letterbox":
        inner = letterbox(size, image_size)
        boxes = boxes * np.tile(inner[2:], 2) + np.tile(inner[:2], 2)
    return _objects(boxes, labels)


def believed_truth(model, answer) -> dict:
    """An answer as if it were the truth, for a batch of one.

    Args:
        model: a model of the zoo.
        answer: to a whole frame, as `stream.compiled_step` has it.
    """
    if model.config.task == "segmentation":
        return {"masks": (answer["mask"][None] > FOREGROUND).astype(np.uint8)}
    sure = answer["scores"] >= _BELIEVED
    return _objects(answer["boxes"][sure], answer["classes"][sure])


def _objects(boxes, labels) -> dict:
    """Boxes (G, 4) and classes (G,) padded to a fixed number."""
    boxes, labels = boxes[:_MAX_OBJECTS], labels[:_MAX_OBJECTS]
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
