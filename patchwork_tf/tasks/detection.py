"""Detection: boxes of objects and their classes (ImageNet VID, the paper's Table 4)."""

import numpy as np
from keras import ops

from patchwork_tf import drawing
from patchwork_tf.metrics.coco import CocoMetric
from patchwork_tf.metrics.detection import DetectionMetric
from patchwork_tf.metrics.formats import DetectionWriter
from patchwork_tf.models import boxes as box_ops
from patchwork_tf.models import losses
from patchwork_tf.models.detector import PatchworkDetector
from patchwork_tf.models.rule import cell_of
from patchwork_tf.models.suppression import best_classes, every_class, suppress
from patchwork_tf.runtime.answers import detections
from patchwork_tf.runtime.resizing import letterbox
from patchwork_tf.task import Task, register_task
from patchwork_tf.truth import BELIEVED

MAX_OBJECTS = 64  # of a frame's truth: fixed, so that what is computed with it is traced once
# How an answer is scored against objects:
_FOUND_IOU = 0.5  # from which on a box is the object's
_FALSE_IOU = 0.3  # below which it is nobody's; what lies between is mostly suppressed by a better one
_FALSE_SCORE = 0.1  # a box that is nobody's counts against an answer by what its score is above this
_FALSE_WEIGHT = 0.25


class Detection(Task):
    """Objects. Truth: 'boxes' (B, T, G, 4) as fractions, 'labels' (B, T, G) int32, 1 + class or 0 for padding."""

    name = "detection"
    truth = "objects"
    num_classes = 30  # of ImageNet VID
    losses = imitation = ("class_loss", "box_loss")
    measures = ("mAP",)
    agreement = "mAP@0.5"

    def build(self, config, info):
        return PatchworkDetector(config, info)

    def outputs(self):
        return {"boxes": "ymin, xmin, ymax, xmax as fractions of the frame; the first `count` rows are valid"}

    def merged(self, outputs, weights, stream):
        """'boxes' (1, D, 4), 'scores' (1, D), 'classes' (1, D) and 'count' (1,) after suppression.

        Outputs are 'boxes' (S, A, 4) and 'scores' (S, A, classes) of S streams; weights (S, A), by which scores
        count when boxes compete, may be None.
        """
        boxes, scores = outputs["boxes"], outputs["scores"]
        if stream.flip:
            mirrored = ops.take(boxes[1], [0, 3, 2, 1], axis=-1)
            mirrored = mirrored * np.float32([1, -1, 1, -1]) + np.float32([0, 1, 0, 1])
            boxes = ops.concatenate([boxes[0], mirrored])[None]
            scores = ops.reshape(scores, (1, -1, scores.shape[-1]))
        weights = ops.ones(scores.shape[:2]) if weights is None else ops.reshape(weights, (1, -1))
        if stream.every_class:
            kept = suppress(*every_class(boxes, scores, weights))
        else:
            kept = suppress(boxes, *best_classes(scores), weights)
        return dict(zip(("boxes", "scores", "classes", "count"), kept, strict=True))

    answer = staticmethod(detections)

    def frame_truth(self, video, number, size, image_size, resize_mode):
        alone = ~video.crowds[number] if len(video.crowds) else slice(None)
        boxes, labels = video.boxes[number][alone], video.labels[number][alone]
        if resize_mode == "letterbox":
            inner = letterbox(size, image_size)
            boxes = boxes * np.tile(inner[2:], 2) + np.tile(inner[:2], 2)
        return _objects(boxes, labels)

    def believed_truth(self, outputs):
        sure = outputs["scores"] >= BELIEVED
        return _objects(outputs["boxes"][sure], outputs["classes"][sure])

    def count_cells(self, model, answer, truth):
        """The best score of each of G objects, and the score of the worst false detection (B, cells, G + 1)."""
        cells = cell_of(model.part_centers, model.grid)
        anchors = [np.flatnonzero(cells == number) for number in range(model.grid.cells**2)]
        return _counts(answer["boxes"][:, : len(cells)], answer["scores"][:, : len(cells)], truth, anchors)

    def count_map(self, answer, truth):
        return _counts(answer["boxes"], answer["scores"], truth, [np.arange(answer["boxes"].shape[1])])

    def score_of(self, counts, truth):
        """The mean score of the objects, less false ones."""
        predicted, false = ops.max(counts[..., :-1], axis=1), ops.sum(counts[..., -1], axis=1)
        objects = ops.maximum(ops.sum(ops.cast(truth["labels"] > 0, "float32"), axis=1), 1.0)
        return (ops.sum(predicted, axis=1) - _FALSE_WEIGHT * false) / objects

    def clip_losses(self, network, clip, truth, predictions):
        """Focal loss of the classes and smooth L1 of the boxes, averaged over matched anchors."""
        windows = clip["windows"]
        logits, codes = zip(*map(_joined, predictions), strict=True)
        labels = losses.seen_labels(truth["boxes"], truth["labels"], windows, network.grid, clip.get("warm"))
        classes, targets = losses.match_anchors(network.anchors, truth["boxes"], labels)
        return losses.detection_loss(
            ops.stack(logits, axis=1),
            ops.stack(codes, axis=1),
            losses.select_windows(network, classes[..., None], windows)[..., 0],
            losses.select_windows(network, targets, windows),
            network.head_kind.sigmoid,
        )

    def imitation_losses(self, network, windows, predictions, taught):
        """Divergence of the classes and smooth L1 of the boxes, per object that the teacher sees."""
        taught = [losses.select_windows(network, values, windows) for values in _joined(taught)]
        return list(losses.detection_imitation_loss(*_joined(predictions), *taught, network.head_kind.sigmoid))

    def metric(self, class_names, coco=True):
        return _BoxMetric(class_names, coco)

    def agreement_metric(self, class_names):
        return _BoxAgreement(class_names)

    def writer(self, folder, coco_ids=None, classes=1):
        return DetectionWriter(folder, coco_ids)

    def accuracy(self, score):
        return {"mAP": score["mAP_vid"]}

    def columns(self, score):
        return {"mAP@0.5": score["mAP_50"], "mAP VID": score["mAP_vid"]}

    def draw(self, image, answer, class_names, min_score):
        """Boxes with class and score; those below `min_score` are left out."""
        for box, score, label in zip(answer.boxes, answer.scores, answer.classes, strict=True):
            if score >= min_score:
                colour = drawing.class_colour(label, len(class_names))
                drawing.draw_box(image, box, f"{class_names[label]} {score:.2f}", colour)
        return image

    def record(self, answer, class_names, min_score):
        """'boxes', 'scores' and 'classes', by name, of scores from `min_score` on."""
        shown = answer.scores >= min_score
        return {
            "boxes": answer.boxes[shown].round(5).tolist(),
            "scores": answer.scores[shown].round(5).tolist(),
            "classes": [class_names[label] for label in answer.classes[shown]],
        }


def _joined(levels):
    """Logits and codes (..., A, n) of all levels together."""
    return [ops.concatenate(parts, axis=-2) for parts in zip(*levels, strict=True)]


def _objects(boxes, labels) -> dict:
    """Boxes (G, 4) and classes (G,) padded to a fixed number."""
    boxes, labels = boxes[:MAX_OBJECTS], labels[:MAX_OBJECTS]
    missing = MAX_OBJECTS - len(boxes)
    return {
        "boxes": np.pad(boxes, [(0, missing), (0, 0)])[None].astype(np.float32),
        "labels": np.pad(labels + 1, [(0, missing)])[None].astype(np.int32),
    }


def _counts(boxes, scores, truth, rows):
    """Counts (B, rows, G + 1) of boxes (B, A, 4) and scores (B, A, classes), each row being of some anchors."""
    labels = truth["labels"]
    overlap = box_ops.iou(boxes, truth["boxes"]) * ops.cast(labels > 0, "float32")[:, None]  # (B, A, G)
    wanted = ops.one_hot(ops.maximum(labels - 1, 0), scores.shape[-1])  # (B, G, classes)
    of_object = ops.matmul(scores, ops.transpose(wanted, (0, 2, 1)))  # (B, A, G)
    predicted = ops.where(overlap >= _FOUND_IOU, of_object, 0.0)
    best = ops.max(scores, axis=-1)
    false = ops.where(ops.max(overlap, axis=-1) < _FALSE_IOU, ops.relu(best - _FALSE_SCORE), 0.0)
    counts = ops.concatenate([predicted, false[..., None]], axis=-1)  # (B, A, G + 1)
    return ops.stack([ops.max(ops.take(counts, anchors, axis=1), axis=1) for anchors in rows], axis=1)


class _BoxMetric:
    """The devkit's and, if wanted, COCO's numbers of answers to videos."""

    def __init__(self, class_names, coco):
        self._devkit = DetectionMetric(class_names)
        self._coco = CocoMetric(class_names) if coco else None

    def add_frame(self, video, t, answer, size):
        scale = np.array(2 * size, np.float32)
        predicted = (answer.boxes * scale, answer.scores, answer.classes)
        boxes, labels = video.boxes[t] * scale, video.labels[t]
        crowds = video.crowds[t] if len(video.crowds) else np.zeros(len(labels), bool)
        self._devkit.add_frame(*predicted, boxes[~crowds], labels[~crowds])
        if self._coco:
            self._coco.add_frame(*predicted, boxes, labels, crowds, video.areas[t] if len(video.areas) else None)

    def merge(self, other):
        self._devkit.merge(other._devkit)
        if self._coco:
            self._coco.merge(other._coco)

    def result(self) -> dict:
        return self._devkit.result() | ({"coco": self._coco.result()} if self._coco else {})


class _BoxAgreement(DetectionMetric):
    """Average precision at IoU 0.5, all classes in one ranking; a reference's sure detections are the truth."""

    def add_frame(self, answer, reference, size):
        scale = np.array(2 * size, np.float32)
        sure = reference.scores >= BELIEVED
        boxes, true_boxes = answer.boxes * scale, reference.boxes[sure] * scale
        super().add_frame(boxes, answer.scores, answer.classes, true_boxes, reference.classes[sure])

    def result(self) -> float | None:
        """In [0, 1]; None if the reference found nothing."""
        return self.pooled_precision()


register_task(Detection())
