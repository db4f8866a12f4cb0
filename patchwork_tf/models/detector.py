"""The Patchwork detector (paper, Figure 10): SSD heads on the window and on the restored map, see `heads`.

High-resolution heads see only the window and predict what lies in it; their predictions
overwrite that part of a full-frame prediction memory. Low-resolution heads see a feature
pyramid on a full map that a cell restores from memory, and are fresh in every frame. The
answer for a frame is the whole memory, stale outside of the window, and the fresh ones.
"""

import keras
import numpy as np
from keras import ops

from patchwork_tf.grid import Grid
from patchwork_tf.layers.cell import read, remember, window_corner
from patchwork_tf.models import boxes as box_ops
from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.heads import HEAD_KINDS, per_anchor
from patchwork_tf.models.patchwork_model import PatchworkModel
from patchwork_tf.models.rule import cell_of
from patchwork_tf.models.suppression import best_classes, suppress

# Score from which on a detection is held for an object, when windows are chosen.
NEEDED_SCORE = 0.1
LEAST_AREA = 1e-4  # of the frame: what is divided by it stays within the range of half precision


@keras.saving.register_keras_serializable("patchwork_tf")
class PatchworkDetector(PatchworkModel):
    """SSD detector that looks at one window per frame.

    Outputs of `step`: 'boxes' (B, A, 4) float32, corner boxes as fractions of the frame, and
    'scores' (B, A, classes) in [0, 1]; both 0 where no window has been yet. They are suppressed by whoever runs
    the step, see `suppression.suppress` and `score_weights`.

    Attributes:
        head_kind: the HeadKind.
        heads: DetectionHeads on the window.
        pyramid: those on the restored map.
        level_anchors: (h, w, a, 4) float32 per level, high-resolution levels first.
        anchors: all of them (A, 4) in centre form, row by row.
    """

    def __init__(self, config: ModelConfig, info: ModelInfo):
        kind = HEAD_KINDS[config.heads]
        super().__init__(config, info, "patchwork_detector", kind.last_channels(config.depth))
        self.head_kind, self.rule = kind, kind.rule
        self.heads = kind.high_resolution(config, self.feature_grid, self.backbone)
        self.pyramid = kind.low_resolution(config, self.backbone.out_shape)
        self.level_anchors = [
            kind.anchors(level, head.out_shape[:2], config.network_size, config.size_of_training)
            for level, head in enumerate(self.heads + self.pyramid)
        ]
        self.anchors = np.concatenate([a.reshape(-1, 4) for a in self.level_anchors])

    @property
    def full_map_parts(self) -> list:
        return [*self.pyramid, *super().full_map_parts]

    def head_memory_shapes(self):
        shapes = {}
        for head in self.heads:
            shapes |= head.memory_shapes()
        for head, stride in zip(self.heads, self.head_kind.strides, strict=True):
            height, width, _ = head.out_shape
            shapes[f"boxes_{stride}"] = (height, width, head.anchors_per_location * 4)
            shapes[f"scores_{stride}"] = (height, width, head.anchors_per_location * self.config.num_classes)
        return shapes

    def _predict(self, endpoints, restored, window, state):
        """One pair per level, high-resolution levels first: class logits (B, h w a, 1 + classes) and box
        codes (B, h w a, 4), where (h, w) is the window's size on the high-resolution levels and the
        whole map on the others; and the new state.
        """
        predictions = []
        for head, stride in zip(self.heads, self.head_kind.strides, strict=True):
            prediction, _, state = head.step(endpoints[self.backbone.endpoint(stride)], window, state)
            predictions.append(prediction)
        return predictions + self._predict_on_map(restored), state

    def _predict_on_map(self, restored):
        """Class logits and box codes of each low-resolution level."""
        predictions, x = [], restored
        for head in self.pyramid:
            prediction, x, _ = head.step(x, None, {})
            predictions.append(prediction)
        return predictions

    def _answer(self, predictions, window, state):
        levels = []
        for level, (logits, codes) in enumerate(predictions):
            scores = self.head_kind.scores(logits)
            boxes = box_ops.decode(codes, self._anchors_at(level, window))
            if level < len(self.heads) and not self.feature_grid.is_whole_frame:
                boxes, scores, state = self._remember(level, boxes, scores, window, state)
            levels.append((boxes, scores))
        boxes, scores = (ops.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
        return {"boxes": boxes, "scores": scores}, state

    def score_weights(self, freshness):
        """What the scores of anchors (B, A) count for when boxes compete: less per frame since they were found.

        Args:
            freshness: (B, M, M, 1) float32, of the cells. Low-resolution heads are fresh in every frame.
        """
        freshness = ops.reshape(freshness, (-1, self.grid.cells**2))
        local = ops.take(freshness, cell_of(self.part_centers, self.grid), axis=1)
        return ops.pad(local, ((0, 0), (0, len(self.anchors) - local.shape[1])), constant_values=1.0)

    def answer_weights(self, state):
        return self.score_weights(state["freshness"]) if "freshness" in state else None

    def blank_answer(self, batch_size):
        anchors = len(self.anchors)
        scores = ops.zeros((batch_size, anchors, self.config.num_classes))
        return {"boxes": ops.zeros((batch_size, anchors, 4)), "scores": scores}

    def map_part(self, answer):
        return {key: answer[key][:, len(self.part_centers) :] for key in ("boxes", "scores")}

    def need(self, answer, freshness):
        """Scores of the objects, each spread over the cells that its box is in; all of it counts its score."""
        boxes, scores, _, _ = suppress(
            answer["boxes"], *best_classes(answer["scores"]), self.score_weights(freshness)
        )
        return objects_in_cells(boxes, scores, self.grid, self.rule.squares_scores)

    @property
    def part_centers(self):
        count = sum(anchors.size // 4 for anchors in self.level_anchors[: len(self.heads)])
        return self.anchors[:count, :2]

    def map_answer(self, restored):
        levels = []
        for level, (logits, codes) in enumerate(self._predict_on_map(restored), start=len(self.heads)):
            levels.append((box_ops.decode(codes, self._anchors_at(level, None)), self.head_kind.scores(logits)))
        boxes, scores = (ops.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
        return {"boxes": boxes, "scores": scores}

    def select_window(self, values, window):
        """Keeps of full-frame values those that one step predicts freshly.

        Args:
            values: (B, A, C), one row per anchor of the full frame.
            window: (B, 2) int32.

        Returns:
            (B, a, C), the rows in the order of `predict_window`, levels concatenated.
        """
        if self.feature_grid.is_whole_frame:
            return values
        kept, first = [], 0
        for level, anchors in enumerate(self.level_anchors):
            height, width, per_location, _ = anchors.shape
            count = height * width * per_location
            rows = values[:, first : first + count]
            first += count
            if level < len(self.heads):
                maps = ops.reshape(rows, (-1, height, width, per_location * values.shape[-1]))
                corner = window_corner(window, self.grid, (height, width))
                rows = per_anchor(read(maps, corner, self._window_size(level)), per_location)
            kept.append(rows)
        return ops.concatenate(kept, axis=1)

    def _anchors_at(self, level, window):
        """Anchors (B or 1, h w a, 4) under the predictions of one level."""
        anchors = self.level_anchors[level]
        if level >= len(self.heads) or self.feature_grid.is_whole_frame or window is None:
            return anchors.reshape(1, -1, 4)
        height, width = self._window_size(level)
        first = anchors[:height, :width].reshape(1, -1, 4)
        shift = ops.cast(window, "float32") / self.grid.cells  # (B, 2)
        return first + ops.pad(shift, [(0, 0), (0, 2)])[:, None]

    def _remember(self, level, boxes, scores, window, state):
        """Writes a window's predictions to the prediction memory, and returns the whole of it."""
        stride = self.head_kind.strides[level]
        height, width = self.heads[level].out_shape[:2] if window is None else self._window_size(level)
        answers = []
        for key, values in ((f"boxes_{stride}", boxes), (f"scores_{stride}", scores)):
            memory = state[key]
            values = ops.reshape(values, (-1, height, width, memory.shape[-1]))
            memory = remember(memory, values, window, self.grid)
            state = {**state, key: memory}
            answers.append(per_anchor(memory, self.heads[level].anchors_per_location))
        return *answers, state

    def _window_size(self, level):
        height, width, _ = self.heads[level].out_shape
        return height * self.grid.window // self.grid.cells, width * self.grid.window // self.grid.cells


def objects_in_cells(boxes, scores, grid: Grid, squares: bool = False):
    """How much of the objects is in each cell: (B, M, M, 1) float32.

    Args:
        boxes: (B, D, 4) float32, corners as fractions of the frame.
        scores: (B, D) float32; those below NEEDED_SCORE count nothing, objects smaller than LEAST_AREA less.
        squares: whether objects count the squares of their scores.
    """
    edges = np.linspace(0, 1, grid.cells + 1, dtype=np.float32)[:, None]

    def parts(low, high):
        """The length (B, M, D) of spans low (B, D) to high (B, D) in each row or column of cells."""
        return ops.relu(ops.minimum(high[:, None], edges[1:]) - ops.maximum(low[:, None], edges[:-1]))

    ymin, xmin, ymax, xmax = ops.unstack(boxes, 4, axis=-1)
    area = ops.maximum((ymax - ymin) * (xmax - xmin), LEAST_AREA)
    weight = ops.where(scores >= NEEDED_SCORE, scores * scores if squares else scores, 0.0) / area
    rows, columns = parts(ymin, ymax) * weight[:, None], parts(xmin, xmax)
    return ops.matmul(rows, ops.transpose(columns, (0, 2, 1)))[..., None]
