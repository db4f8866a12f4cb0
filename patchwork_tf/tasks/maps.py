"""Whatever a network answers: its outputs as they are. No truth is known of them."""

import cv2
import numpy as np

from patchwork_tf import drawing
from patchwork_tf.errors import UsageError
from patchwork_tf.metrics.metric import MeanMetric
from patchwork_tf.models.maps import PatchworkMaps
from patchwork_tf.runtime.answers import WINDOW_OUTPUTS, maps
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
        if stream.flip:
            raise UsageError("what mirrored maps mean is not known: a network of one's own is run without flip")
        return {key: x for key, x in outputs.items() if key not in WINDOW_OUTPUTS}

    answer = staticmethod(maps)

    def agreement_metric(self, class_names):
        return _Correlation()

    def draw(self, image, answer, class_names, min_score):
        """Tinted where the first channel of the first map is above its mean."""
        first = next((x for x in answer.maps.values() if x.ndim == 3), None)
        if first is None:
            return image
        mask = cv2.resize((first[..., 0] > first[..., 0].mean()).astype(np.uint8), image.shape[1::-1])
        return drawing.tint(image, mask > 0)

    def record(self, answer, class_names, min_score):
        """Of every map its shape, mean and largest value."""
        return {
            name: {"shape": list(x.shape), "mean": float(x.mean()), "max": float(x.max())}
            for name, x in answer.maps.items()
        }

    def believed_truth(self, outputs):
        raise self._without_truth()


class _Correlation(MeanMetric):
    """Mean correlation of maps and a reference's, over all numbers of a frame; None of one value alone."""

    def add_frame(self, answer, reference, size):
        for name, x in reference.maps.items():
            pair = np.stack([answer.maps[name].ravel(), x.ravel()])
            if np.all(pair.std(axis=1) > 0):
                self.records.append(np.corrcoef(pair)[0, 1])


register_task(MapsTask())
