"""The detector's heads as the exported graph computes them (paper, Figure 10)."""

import numpy as np
import tensorflow as tf

from patchwork_tf.export.lowering import (
    RESTORED_BORDER,
    Lowering,
    constant,
    in_float,
    output_of_zeros,
    predictor,
)
from patchwork_tf.layers.blocks import Pointwise
from patchwork_tf.models import boxes as box_ops
from patchwork_tf.models.backbone import STRIDE
from patchwork_tf.models.boxes import CODE_SCALES
from patchwork_tf.models.detector import objects_in_cells
from patchwork_tf.models.suppression import IOU_THRESHOLD, LEAST_SIDE, MAX_DETECTIONS, SCORE_THRESHOLD, ranked


class DetectorLowering(Lowering):
    """A detector's step.

    With suppression its outputs are 'boxes', 'scores', 'classes' and 'count', and it remembers the
    decoded box, the best score and its class of every anchor. Without, it remembers the scores of
    all classes, which are in the states then; the outputs 'boxes' and 'scores' are those of the
    low-resolution heads, or, of a single-frame model, of all anchors; and 'weights' are by what the scores
    of all anchors count when boxes compete, see `PatchworkDetector.score_weights`.
    """

    def __init__(self, model, memory, **options):
        super().__init__(model, memory, **options)
        self.kind = model.head_kind
        self.wanted_contexts = tuple(
            model.backbone.endpoint(stride)
            for stride, head in zip(self.kind.strides, model.heads, strict=True)
            if head.entry
        )

    @property
    def wants_restored(self):
        return not isinstance(self.model.pyramid[0].entry[0], Pointwise) or super().wants_restored

    @property
    def predictions(self):
        if self.suppression or not self.remembers:
            return {}
        return {
            part: [*(f"{part}_{stride}" for stride in self.kind.strides), part] for part in ("boxes", "scores")
        }

    def _answer(self):
        levels = [self._high_resolution(level) for level in range(len(self.model.heads))]
        return self._together(levels, self._low_resolution(len(levels)))

    @in_float
    def _together(self, high, low):
        # In two stages, since XNNPACK joins no more than five tensors at once.
        predicted, weights = _joined([*high, _joined(low)]), self._score_weights()
        if self.suppression:
            scores = predicted[1]  # 0 of boxes without any area
            detections = self._suppressed(*predicted, scores if weights is None else scores * weights)
            return dict(zip(("boxes", "scores", "classes", "count"), detections, strict=True)), self._need(
                detections
            )
        raw = dict(zip(("boxes", "scores"), _joined(low) if self.remembers else predicted, strict=True))
        if self.fresh is None:
            return raw, None
        boxes, (scores, classes) = predicted[0], _best_classes(predicted[1])
        detections = self._suppressed(boxes, scores, classes, ranked(boxes, scores, weights))
        return {**raw, "weights": weights}, self._need(detections)

    def _need(self, detections):
        """`model.need` of detections; None if there is no window to choose."""
        boxes, scores, *_ = detections
        if self.fresh is None:
            return None
        return objects_in_cells(boxes[None], scores[None], self.windows, self.model.rule.squares_scores)

    def _score_weights(self):
        """`model.score_weights` (A,); None if all are 1."""
        if self.fresh is None:
            return None
        cells, in_windows = self.windows.cells, len(self.model.heads)
        fresh = tf.reshape(self.fresh, (cells, 1, cells, 1))
        weights = []
        for height, width, per_location, _ in (a.shape for a in self.model.level_anchors[:in_windows]):
            # A product repeats the number of a cell for all of its anchors: GATHER takes ten times as long.
            ones = np.ones((cells, height // cells, cells, width // cells * per_location), np.float32)
            weights.append(tf.reshape(fresh * ones, (-1,)))
        rest = sum(anchors.size // 4 for anchors in self.model.level_anchors[in_windows:])
        return tf.concat([*weights, tf.ones(rest)], 0)

    def _suppressed(self, boxes, scores, classes, ranks):
        """Of boxes (A, 4) those that rank first among the ones they overlap, as `suppression.suppress` has it.

        Args:
            boxes: (A, 4).
            scores, classes, ranks: (A,) float32.

        Returns:
            boxes (D, 4), scores (D,), classes (D,) int32, count ().
        """
        # Boxes of different classes, shifted apart, never overlap: one call serves all classes. A product is how
        # to give one number to four in a fifth of the time. ADD_N, which XNNPACK leaves to LiteRT, adds in float32
        # also where XNNPACK computes in half precision: far from 0 its steps would be 3 % of the frame.
        shifts = tf.matmul(classes[:, None], np.full((1, 4), 2, np.float32))
        kept, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=tf.add_n([boxes, shifts]),
            scores=ranks,
            max_output_size=MAX_DETECTIONS,
            iou_threshold=IOU_THRESHOLD,
            score_threshold=SCORE_THRESHOLD,
            pad_to_max_output_size=True,
        )
        valid = tf.range(MAX_DETECTIONS) < count
        return (
            tf.where(valid[:, None], tf.gather(boxes, kept), 0.0),
            tf.where(valid, tf.gather(scores, kept), 0.0),
            tf.where(valid, tf.cast(tf.gather(classes, kept), tf.int32), 0),
            count,
        )

    def _high_resolution(self, level):
        """Predictions of a level for the full frame, as in `_per_anchor`."""
        stride, head = self.kind.strides[level], self.model.heads[level]
        name = self.model.backbone.endpoint(stride)
        x = self.maps[name]
        for block in head.entry:
            x = self.block(x, block, self.contexts.get(name))
        predicted = self._predict(head, x, level)
        return self._remember(predicted, stride, head) if self.remembers else _per_anchor(predicted, head)

    @in_float
    def _remember(self, predicted, stride, head):
        size = head.out_shape[:2]
        if self.suppression:
            x = self.memory.paste(f"predictions_{stride}", tf.concat(predicted, 3), size, self.at_window(size))
            n = head.anchors_per_location
            # Boxes, scores and classes, by slices: SPLIT_V is slow.
            return _per_anchor([x[..., : 4 * n], x[..., 4 * n : 5 * n], x[..., 5 * n :]], head)
        return _per_anchor(
            [
                self.memory.paste(f"{part}_{stride}", values, size, self.at_window(size))
                for part, values in zip(("boxes", "scores"), predicted, strict=True)
            ],
            head,
        )

    def _low_resolution(self, first_level):
        """Predictions of the levels on the restored map."""
        predicted, x = [], self.map_of(STRIDE)
        for number, head in enumerate(self.model.pyramid):
            if number == 0 and self.remembers:
                x = self._renewed_entry(head)
            else:
                for block in head.entry:
                    x = self.block(x, block, whole_map=True)
            predicted.append(_per_anchor(self._predict(head, x, first_level + number, whole_map=True), head))
        return predicted

    def _renewed_entry(self, head):
        """The first blocks on the restored map, for the full frame: only what a window changes is computed.

        What comes before the convolution of stride 2 has no neighbours, and is computed on the window alone.
        """
        *before, last = head.entry
        frame_size, blank = (
            self.model.backbone.out_shape[:2],
            output_of_zeros(head.entry, self.model.backbone.out_shape),
        )
        if not before:
            context = self.restored
        else:
            x = self.map_of(STRIDE)
            for block in before:
                x = self.block(x, block)
            context = self._with_blanks(before, x)
        part = self._strided_part(context, frame_size)
        return self.renewed(
            "pyramid", self.block(part, last, context=part), head.out_shape[:2], self._first_output, blank
        )

    def _with_blanks(self, blocks, x):
        """Features x of the window with a RESTORED_BORDER: what is remembered, and zeros outside of the frame.

        Where no window has been, they are what `blocks` make of zeros: their difference from that is remembered.
        """
        frame_size = self.model.backbone.out_shape[:2]
        before, after = RESTORED_BORDER
        blank = output_of_zeros(blocks, self.model.backbone.out_shape)[:1, :1]
        context = self.memory.surround("pyramid_input", x - blank, frame_size, before, after)
        frame_mask = np.pad(np.ones(frame_size, np.float32), (before, after))
        height, width = context.shape[1:3]
        corners = [self.at_window(frame_size)(*window) for window in self.windows.windows]
        insides = np.stack([frame_mask[y : y + height, x : x + width] for y, x in corners])[..., None]
        return context + tf.gather(insides, self.position)[None] * blank

    def _strided_part(self, context, frame_size):
        """What the outputs that changed of a convolution of stride 2 look at; `context` has a RESTORED_BORDER."""
        corner, before = self.at_window(frame_size), RESTORED_BORDER[0]

        def at(row, column):
            starts = self._first_output(row, column)
            return tuple(
                2 * start - side % 2 - (pixel - before)
                for start, side, pixel in zip(starts, frame_size, corner(row, column), strict=True)
            )

        # A window of w pixels changes no more outputs than this.
        counts = [side // 2 + 1 + side % 2 for side in self.window_size(frame_size)]
        size = (1, *(2 * count + 1 for count in counts), context.shape[3])
        # A slice that depends on the window cuts the delegate's graph in two. To take both that there can be, and
        # one of them by arithmetic, keeps it whole, and costs up to 2 % of a step.
        return tf.slice(context, self.memory.place("pyramid_part", at), size)

    def _first_output(self, row, column):
        """First output of the pyramid's first layer that a window changes; -1 is just outside of the map.

        Output i looks at the pixels 2 i to 2 i + 2; of maps with an odd side at one before: SAME padding.
        """
        frame_size = self.model.backbone.out_shape[:2]
        corner = self.at_window(frame_size)(row, column)
        return tuple((pixel - 1 + side % 2) // 2 for pixel, side in zip(corner, frame_size, strict=True))

    def _predict(self, head, x, level, whole_map=False):
        """Decoded boxes (1, h, w, a 4), and scores (1, h, w, a classes) or best scores, classes (1, h, w, a)."""
        for block in head.trunk:
            x = self.block(x, block, whole_map=whole_map)
        of_classes = of_boxes = x
        if head.class_block:
            context = None
            if self.remembers and not whole_map:  # both look at the same features
                cell = head.class_block.cell
                context = self.memory.surround(cell.key, x, cell.frame_shape[:2], *cell.border.rows)
            of_classes = self.block(x, head.class_block, context, whole_map)
            of_boxes = self.block(x, head.box_block, context, whole_map)
        logits, codes = predictor(of_classes, head.classes), self._codes(head, of_boxes, level)
        corners = self._decoded(codes, level, whole_map or not self.remembers)
        return _boxes(corners), *self._scored(logits, head.anchors_per_location, corners)

    @in_float
    def _scored(self, logits, anchors, corners):
        """Scores (1, h, w, a classes) of logits, or the best scores and their classes, each (1, h, w, a).

        The best score of a box without any area is 0, as `suppression.ranked` has it.
        """
        shape = logits.shape[:3]
        logits = tf.reshape(logits, (-1, logits.shape[3] // anchors))
        scores = (tf.sigmoid(logits) if self.kind.sigmoid else tf.nn.softmax(logits))[:, 1:]
        if not self.suppression:
            return [tf.reshape(scores, (*shape, -1))]
        scores, classes = (tf.reshape(x, (*shape, -1)) for x in _best_classes(scores))
        sides = corners[..., 2 * anchors :] - corners[..., : 2 * anchors]
        shorter = tf.minimum(sides[..., :anchors], sides[..., anchors:])
        # Held against as many numbers: against a single one it would take ten times as long.
        return [tf.where(shorter > np.full(shorter.shape, LEAST_SIDE, np.float32), scores, 0.0), classes]

    def _sizes(self, level):
        """Heights, then widths (2 a,) of the anchors of one location."""
        return self.model.level_anchors[level][0, 0, :, 2:].T.reshape(-1)

    @in_float
    def _codes(self, head, x, level):
        """Box codes (1, h, w, 4 a) in units of the frame: centres y, centres x, heights, widths of a anchors.

        In 8 bits, with one range for all, centres would be lost beside the logarithms of sizes.

        The scales of the codes go into the predictor's weights, and so do the anchors' sizes that centres are
        relative to.
        """
        n = head.anchors_per_location
        order = np.arange(4 * n).reshape(n, 4).T.reshape(-1)
        gain = np.concatenate([self._sizes(level), np.ones(2 * n, np.float32)]) / np.repeat(
            np.float32(CODE_SCALES), n
        )
        kernel, bias = (constant(v)[..., order] * gain for v in (head.boxes.kernel, head.boxes.bias))
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)

    @in_float
    def _decoded(self, codes, level, whole_map):
        """Corners of a boxes, as `boxes.decode` has it: (1, h, w, 4 a), all ymin, xmin, ymax and xmax in turn."""
        n, (height, width) = codes.shape[3] // 4, codes.shape[1:3]
        anchors = self.model.level_anchors[level][:height, :width, :, :2].transpose(0, 1, 3, 2)
        center = codes[..., : 2 * n] + anchors.reshape(1, height, width, 2 * n)
        if not whole_map:
            center += self._shift(n)
        largest = box_ops.MAX_SIZE_CODE / CODE_SCALES[2]
        half = tf.exp(tf.minimum(codes[..., 2 * n :], largest)) * (self._sizes(level) / 2)
        return tf.clip_by_value(tf.concat([center - half, center + half], 3), 0.0, 1.0)

    def _shift(self, anchors):
        """How far (2 a,) a window's anchors are from those of the first window."""
        shifts = np.float32(self.grid.windows) / self.grid.cells
        return tf.gather(np.repeat(shifts, anchors, axis=1), self.position)


@in_float
def _boxes(corners):
    """Boxes (1, h, w, a 4) of `_decoded` corners."""
    _, height, width, numbers = corners.shape
    corners = tf.transpose(tf.reshape(corners, (height * width, 4, numbers // 4)), (0, 2, 1))
    return tf.reshape(corners, (1, height, width, numbers))


def _best_classes(scores):
    """Best score (A,) and its class (A,), both float32, of scores (A, classes)."""
    return tf.reduce_max(scores, 1), tf.cast(tf.argmax(scores, 1, tf.int32), tf.float32)


def _joined(levels):
    """Predictions per anchor of several levels as those of one."""
    return [tf.concat(parts, 0) if len(parts) > 1 else parts[0] for parts in zip(*levels, strict=True)]


@in_float
def _per_anchor(predicted, head):
    """Maps (1, h, w, a n) as rows (h w a, n); of one number per anchor (h w a,)."""
    boxes, *rest = predicted
    rows = [tf.reshape(boxes, (-1, 4))]
    for x in rest:
        per_anchor = x.shape[3] // head.anchors_per_location
        rows.append(tf.reshape(x, (-1, per_anchor) if per_anchor > 1 else (-1,)))
    return rows
