"""The detector's answer as the exported graph computes it: decoding, memory of predictions, suppression."""

import numpy as np
import tensorflow as tf

from patchwork_tf.export.float_scope import in_float
from patchwork_tf.export.lowering import Lowering
from patchwork_tf.models.boxes import LARGEST_SIZE
from patchwork_tf.models.detector import objects_in_cells
from patchwork_tf.models.heads import SCORES, SIGMOID
from patchwork_tf.models.suppression import IOU_THRESHOLD, LEAST_SIDE, MAX_DETECTIONS, SCORE_THRESHOLD, ranked


class DetectorLowering(Lowering):
    """A detector's step.

    With suppression its outputs are 'boxes', 'scores', 'classes' and 'count', and it remembers the
    decoded box, the best score and its class of every anchor. Without, it remembers the scores of
    all classes, which are in the states then; the outputs 'boxes' and 'scores' are those of the
    low-resolution heads, or, of a single-frame model, of all anchors; and 'weights' are by what the scores
    of all anchors count when boxes compete, see `PatchworkDetector.score_weights`.
    """

    @property
    def by_hand(self):
        """Outputs of pointwise convolutions that nothing else reads: decoding goes into their weights."""
        outputs, found = self.model.plan.outputs, []
        names = {name for level in self.model.levels for name in (level.classes, level.boxes)}
        for operation in self.operations:
            made = [name for name in names if outputs[name] is operation.output]
            if made and operation.is_pointwise and operation.is_linear and not self._readers(operation.output):
                found += made
        return found

    @property
    def predictions(self):
        if self.suppression or not self.remembers:
            return {}
        return {
            part: [f"{part}_{self.model.memory_name(level)}" for level in range(self.model.local_levels)]
            + ([part] if self.model.local_levels < len(self.model.levels) else [])
            for part in ("boxes", "scores")
        }

    def _answer(self):
        self._by_hand = set(self.by_hand)
        levels = [self._level(level) for level in range(len(self.model.levels))]
        return self._together(levels[: self.model.local_levels], levels[self.model.local_levels :])

    @in_float
    def _together(self, high, low):
        # In two stages, since XNNPACK joins no more than five tensors at once.
        predicted, weights = _joined([*high, *([_joined(low)] if low else [])]), self._score_weights()
        if self.suppression:
            scores = predicted[1]  # 0 of boxes without any area
            detections = self._suppressed(*predicted, scores if weights is None else scores * weights)
            named = dict(zip(("boxes", "scores", "classes", "count"), detections, strict=True))
            return named, self._need(detections)
        shown = low and _joined(low) if self.remembers else predicted
        raw = dict(zip(("boxes", "scores"), shown, strict=False))
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
        cells, in_windows = self.windows.cells, self.model.local_levels
        fresh = tf.reshape(self.fresh, (cells, 1, cells, 1))
        weights = []
        for height, width, per_location, _ in (level.anchors.shape for level in self.model.levels[:in_windows]):
            # A product repeats the number of a cell for all of its anchors: GATHER takes ten times as long.
            ones = np.ones((cells, height // cells, cells, width // cells * per_location), np.float32)
            weights.append(tf.reshape(fresh * ones, (-1,)))
        rest = sum(level.anchors.size // 4 for level in self.model.levels[in_windows:])
        return tf.concat([*weights, tf.ones(rest)], 0) if rest else tf.concat(weights, 0)

    def _suppressed(self, boxes, scores, classes, ranks):
        """Of boxes (A, 4) those that rank first among the ones they overlap, as `suppression.suppress` has it.

        Returns boxes (D, 4), scores (D,), classes (D,) int32 and count ().
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

    def _level(self, level):
        """Predictions of a level for the full frame, as in `_per_anchor`."""
        is_remembered = self.remembers and level < self.model.local_levels
        predicted = self._predict(level, whole_map=not is_remembered)
        return self._remember(predicted, level) if is_remembered else self._per_anchor(predicted, level)

    @in_float
    def _remember(self, predicted, level):
        name, (*size, n, _) = self.model.memory_name(level), self.model.levels[level].anchors.shape
        if self.suppression:
            x = self.memory.paste(f"predictions_{name}", tf.concat(predicted, 3), size, self.at_window(size))
            # Boxes, scores and classes, by slices: SPLIT_V is slow.
            return self._per_anchor([x[..., : 4 * n], x[..., 4 * n : 5 * n], x[..., 5 * n :]], level)
        return self._per_anchor(
            [
                self.memory.paste(f"{part}_{name}", values, size, self.at_window(size))
                for part, values in zip(("boxes", "scores"), predicted, strict=True)
            ],
            level,
        )

    def _predict(self, level, whole_map):
        """Decoded boxes (1, h, w, a 4), and scores (1, h, w, a classes) or best scores, classes (1, h, w, a)."""
        names = self.model.levels[level]
        if names.classes in self._by_hand:
            classify, x = self.convolution_of(names.classes)
            logits = classify.convolve(x)
        else:
            logits = self.tensors[id(self.model.plan.outputs[names.classes])]
        corners = self._decoded(self._codes(names.boxes, level), level, whole_map)
        return _boxes(corners), *self._scored(logits, names.anchors.shape[2], corners)

    @in_float
    def _scored(self, logits, anchors, corners):
        """Scores (1, h, w, a classes) of logits, or the best scores and their classes, each (1, h, w, a).

        The best score of a box without any area is 0, as `suppression.ranked` has it.
        """
        shape = logits.shape[:3]
        logits = tf.reshape(logits, (-1, logits.shape[3] // anchors))
        scores = self._activated(logits)
        if not self.suppression:
            return [tf.reshape(scores, (*shape, -1))]
        scores, classes = (tf.reshape(x, (*shape, -1)) for x in _best_classes(scores))
        sides = corners[..., 2 * anchors :] - corners[..., : 2 * anchors]
        shorter = tf.minimum(sides[..., :anchors], sides[..., anchors:])
        # Held against as many numbers: against a single one it would take ten times as long.
        return [tf.where(shorter > np.full(shorter.shape, LEAST_SIDE, np.float32), scores, 0.0), classes]

    def _activated(self, logits):
        """`decoder.scores` in operators of TensorFlow."""
        decoder = self.model.decoder
        if decoder.activation != SCORES:
            logits = tf.sigmoid(logits) if decoder.activation == SIGMOID else tf.nn.softmax(logits)
        return logits[:, 1:] if decoder.background else logits

    def _sizes(self, level):
        """Heights, then widths (2 a,) of the anchors of one location."""
        return self.model.levels[level].anchors[0, 0, :, 2:].T.reshape(-1)

    @in_float
    def _codes(self, output, level):
        """Box codes (1, h, w, 4 a) in units of the frame: centres y, centres x, heights, widths of a anchors.

        In 8 bits, with one range for all, centres would be lost beside the logarithms of sizes. The scales of the
        codes go into the predictor's weights, and so do the anchors' sizes that centres are relative to.
        """
        n, coder = self.model.levels[level].anchors.shape[2], self.model.decoder.coder
        order = np.concatenate([np.arange(n) * coder.numbers + place for place in coder.places])
        gain = np.concatenate([self._sizes(level), np.ones(2 * n, np.float32)]) / np.repeat(
            np.float32(coder.scales), n
        )
        if output not in self._by_hand:
            return tf.gather(self.tensors[id(self.model.plan.outputs[output])], order, axis=3) * gain
        locate, x = self.convolution_of(output)
        kernel, bias = (values[..., order] * gain for values in locate.weights)
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)

    @in_float
    def _decoded(self, codes, level, whole_map):
        """Corners of a boxes, as `BoxCoder.decode`: (1, h, w, 4 a), all ymin, xmin, ymax and xmax in turn."""
        n, (height, width) = codes.shape[3] // 4, codes.shape[1:3]
        anchors = self.model.levels[level].anchors[:height, :width, :, :2].transpose(0, 1, 3, 2)
        center = codes[..., : 2 * n] + anchors.reshape(1, height, width, 2 * n)
        if not whole_map:
            shifts = np.float32(self.grid.windows) / self.grid.cells  # of windows from the first one
            center += tf.gather(np.repeat(shifts, n, axis=1), self.position)
        sizes = codes[..., 2 * n :]
        if self.model.decoder.coder.exponential:
            sizes = tf.exp(tf.minimum(sizes, LARGEST_SIZE))
        half = sizes * (self._sizes(level) / 2)
        return tf.clip_by_value(tf.concat([center - half, center + half], 3), 0.0, 1.0)

    @in_float
    def _per_anchor(self, predicted, level):
        """Maps (1, h, w, a n) as rows (h w a, n); of one number per anchor (h w a,)."""
        boxes, *rest = predicted
        rows = [tf.reshape(boxes, (-1, 4))]
        for x in rest:
            per_anchor = x.shape[3] // self.model.levels[level].anchors.shape[2]
            rows.append(tf.reshape(x, (-1, per_anchor) if per_anchor > 1 else (-1,)))
        return rows


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
