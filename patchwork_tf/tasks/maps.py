"""Whatever a network answers: its outputs as they are. No truth is known of them."""

import cv2
import numpy as np

from patchwork_tf import drawing
from patchwork_tf.errors import UsageError
from patchwork_tf.models.maps import PatchworkMaps
from patchwork_tf.runtime.answers import WINDOW_OUTPUTS, Maps, maps
from patchwork_tf.task import Task, register_task


class MapsTask(Task):
    """Outputs of a network of one's own, see `models.maps`."""

    name = "maps"
    truth = ""
    stride = 1
    num_classes = 1
    losses = imitation = measures = ()
    agreement = "correlation"

    def build(self, config, info):
        if not config.network:
            raise UsageError(
                "a network of one's own is made by pw.patch(network), or imported by patchwork-import"
            )
        return PatchworkMaps(config, info)

    def outputs(self):
        return {"maps": "the outputs of the network under their names; 0 where no window has been"}

    def merged(self, outputs, weights, stream):
        """All outputs but what is about windows."""
        del weights
        if stream.flip:
            raise UsageError("what mirrored maps mean is not known: a network of one's own is run without flip")
        return _maps_of(outputs)

    def answer(self, outputs, size, image_size, resize_mode) -> Maps:
        return maps(outputs, size, image_size, resize_mode)

    def agreement_metric(self, class_names):
        del class_names
        return _Correlation()

    def draw(self, image, answer, class_names, min_score):
        """Tinted where the first channel of the first map is above its mean."""
        del class_names, min_score
        first = next((x for x in answer.maps.values() if x.ndim == 3), None)
        if first is None:
            return image
        mask = cv2.resize((first[..., 0] > first[..., 0].mean()).astype(np.uint8), image.shape[1::-1])
        return drawing.tint(image, mask > 0)

    def record(self, answer, class_names, min_score):
        """Of every map its shape, mean and largest value."""
        del class_names, min_score
        return {
            name: {"shape": list(x.shape), "mean": float(x.mean()), "max": float(x.max())}
            for name, x in answer.maps.items()
        }

    def believed_truth(self, outputs):
        raise self._without_truth()


def _maps_of(outputs) -> dict:
    """Outputs of a step but those that are about windows."""
    return {key: x for key, x in outputs.items() if key not in WINDOW_OUTPUTS}


class _Correlation:
    """Mean correlation of maps and a reference's, over all numbers of a frame."""

    def __init__(self):
        self._found = []

    def add_frame(self, answer, reference, size):
        del size
        for name, x in reference.maps.items():
            pair = np.stack([answer.maps[name].ravel(), x.ravel()])
            if np.all(pair.std(axis=1) > 0):
                self._found.append(np.corrcoef(pair)[0, 1])

    def merge(self, other):
        self._found += other._found

    def result(self) -> float | None:
        """In [-1, 1]; None if a map had one value alone."""
        return float(np.mean(self._found)) if self._found else None


register_task(MapsTask())
