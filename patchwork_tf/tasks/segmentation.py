"""Segmentation: which pixels of a frame are foreground (DAVIS 2016, the paper's Table 5), and of which class."""

import math

import numpy as np
from keras import ops
from pycocotools import mask as coco_masks

from patchwork_tf import drawing
from patchwork_tf.errors import UsageError
from patchwork_tf.metrics.formats import MaskWriter
from patchwork_tf.metrics.metric import MeanMetric
from patchwork_tf.metrics.segmentation import SegmentationMetric, region_similarity
from patchwork_tf.models import losses
from patchwork_tf.models.segmenter import PatchworkSegmenter
from patchwork_tf.resizing import resize_frame
from patchwork_tf.runtime.answers import FOREGROUND, mask
from patchwork_tf.task import Task, register_task
from patchwork_tf.truth import UNKNOWN


class Segmentation(Task):
    """Foreground and background. Truth: 'masks' (B, T, H, W) uint8: 1 foreground, 0 background, or UNKNOWN."""

    name = "segmentation"
    truth = "masks"
    num_classes = 1
    losses = imitation = ("mask_loss",)
    measures = ("J", "F")
    agreement = "J of masks"

    def build(self, config, info):
        return PatchworkSegmenter(config, info)

    def class_names(self, config):
        return ["foreground"]

    def check(self, config):
        if config.num_classes != 1 and not config.network:
            raise UsageError(f"a segmenter tells foreground from background: 1 class, not {config.num_classes}")

    def outputs(self):
        return {
            "mask": "probability of each pixel of the frame to be foreground; 0.5 where nothing is known",
            "classes": "of a segmenter of several classes, the likeliest of each pixel: 1 and its number among "
            "the labels, 0 for background",
        }

    def merged(self, outputs, weights, stream):
        """'mask' (1, H, W), the mean of both streams, and 'classes', if there are several."""
        mask = outputs["mask"]
        if "classes" in outputs:
            if stream.flip:
                raise UsageError("classes of a mirrored frame are not merged: run it without flip")
            return {"mask": mask, "classes": outputs["classes"]}
        return {"mask": (mask[:1] + mask[1:, :, ::-1]) / 2 if stream.flip else mask}

    answer = staticmethod(mask)

    def frame_truth(self, video, number, size, image_size, resize_mode):
        mask = resize_frame(np.asarray(video.masks[number], np.uint8)[..., None] * 255, image_size, resize_mode)
        return {"masks": (mask.reshape(1, *image_size) > 127).astype(np.uint8)}

    def believed_truth(self, outputs):
        return {"masks": (outputs["mask"][None] > FOREGROUND).astype(np.uint8)}

    def count_cells(self, model, answer, truth):
        """Pixels of intersection and union (B, cells, 2)."""
        masks, grid = truth["masks"], model.grid
        decided, true = masks != UNKNOWN, masks == 1
        said = (answer["mask"] > FOREGROUND) & decided
        pixels = ops.cast(ops.stack([said & true, said | true], axis=-1), "float32")
        cell = tuple(side // grid.cells for side in masks.shape[1:])
        sums = ops.average_pool(pixels, cell, cell, data_format="channels_last") * float(math.prod(cell))
        return ops.reshape(sums, (-1, grid.cells**2, 2))

    def count_map(self, answer, truth):
        """Masks have nothing of that kind: (B, 0, 2)."""
        return ops.zeros((truth["masks"].shape[0], 0, 2))

    def score_of(self, counts, truth):
        """Intersection over union."""
        intersection, union = ops.unstack(ops.sum(counts, axis=1), 2, axis=-1)
        return ops.where(union > 0, intersection / ops.maximum(union, 1.0), 1.0)

    def clip_losses(self, network, clip, truth, predictions):
        """Cross-entropy of the window's pixels."""
        targets = losses.mask_targets(truth["masks"], network.logits_shape[:2])
        selected = losses.select_windows(network, targets, clip["windows"])
        return [losses.mask_loss(ops.stack(predictions, axis=1), selected)]

    def imitation_losses(self, network, windows, predictions, taught):
        """Mean divergence of the pixels' probabilities."""
        taught = losses.select_windows(network, taught, windows)
        return [ops.mean(losses.softmax_divergence(predictions, taught))]

    def metric(self, class_names, coco=True, counted=None):
        """`counted`: numbers of the classes that are foreground, from 1; by default all."""
        return _Masks(counted)

    def agreement_metric(self, class_names):
        return _MaskAgreement()

    def writer(self, folder, coco_ids=None, classes=1):
        return MaskWriter(folder, classes)

    def accuracy(self, score):
        return {"J": score["J"]["mean"], "F": score["F"]["mean"]}

    def columns(self, score):
        return self.accuracy(score)

    def draw(self, image, answer, class_names, min_score):
        """Foreground is tinted; classes have a colour each, and their names."""
        if len(class_names) == 1:
            return drawing.tint(image, answer.mask > 0)
        for number in np.unique(answer.mask[answer.mask > 0]):
            colour = drawing.class_colour(number - 1, len(class_names))
            image = drawing.tint(image, answer.mask == number, colour, class_names[number - 1])
        return image

    def record(self, answer, class_names, min_score):
        """'mask' as COCO's run lengths; of several classes also 'classes', those of each by its name."""
        found = {"mask": _run_lengths(answer.mask > 0)}
        if len(class_names) > 1:
            numbers = np.unique(answer.mask[answer.mask > 0]).tolist()
            found["classes"] = {class_names[number - 1]: _run_lengths(answer.mask == number) for number in numbers}
        return found


def _run_lengths(mask) -> dict:
    runs = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode()}


class _Masks(SegmentationMetric):
    """J and F of answers to videos."""

    def __init__(self, counted):
        super().__init__()
        self._counted = counted

    def add_frame(self, video, t, answer, size):
        found = answer.mask > 0 if self._counted is None else np.isin(answer.mask, self._counted)
        super().add_frame(video.name, found, video.masks[t])


class _MaskAgreement(MeanMetric):
    """Mean J of masks and a reference's."""

    def add_frame(self, answer, reference, size):
        self.records.append(region_similarity(answer.mask > 0, reference.mask > 0))


register_task(Segmentation())
