"""What is true of a frame, or what a model believes of it, in the form in which answers are scored."""

import numpy as np

from patchwork_tf.data.fitting import fit_frame, letterbox
from patchwork_tf.models.segmenter import FOREGROUND

_MAX_OBJECTS = 64  # fixed, so that what is computed with it is traced once
_BELIEVED = 0.4  # score from which on a detection is taken for an object


def frame_truth(config, video, number: int, size, fit: str = "stretch") -> dict:
    """The truth of one frame as `answer_score` wants it, for a batch of one.

    Args:
        config: ModelConfig of the model whose answers are scored.
        video: AnnotatedVideo whose boxes, labels, masks are lists or arrays.
        number: of the frame.
        size: (h, w) of the frame.
        fit: how frames get to the model's size.
    """
    if config.task == "segmentation":
        mask = fit_frame(np.asarray(video.masks[number], np.uint8)[..., None] * 255, config.image_size, fit)
        return {"masks": (mask.reshape(1, *config.image_size) > 127).astype(np.uint8)}
    alone = ~video.crowds[number] if len(video.crowds) else slice(None)
    boxes, labels = video.boxes[number][alone], video.labels[number][alone]
    if fit == "letterbox":
        inner = letterbox(size, config.image_size)
        boxes = boxes * np.tile(inner[2:], 2) + np.tile(inner[:2], 2)
    return _objects(boxes, labels)


def believed_truth(outputs) -> dict:
    """What a step said of a whole frame, as if it were the truth, for a batch of one.

    Args:
        outputs: of a `KerasStep`.
    """
    if "mask" in outputs:
        return {"masks": (outputs["mask"][None] > FOREGROUND).astype(np.uint8)}
    sure = outputs["scores"] >= _BELIEVED
    return _objects(outputs["boxes"][sure], outputs["classes"][sure])


def _objects(boxes, labels) -> dict:
    """Boxes (G, 4) and classes (G,) padded to a fixed number."""
    boxes, labels = boxes[:_MAX_OBJECTS], labels[:_MAX_OBJECTS]
    missing = _MAX_OBJECTS - len(boxes)
    return {
        "boxes": np.pad(boxes, [(0, missing), (0, 0)])[None].astype(np.float32),
        "labels": np.pad(labels + 1, [(0, missing)])[None].astype(np.int32),
    }
