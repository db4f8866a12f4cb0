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
from patchwork_tf.models.backbone import STRIDE, make_backbone
from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.heads import HEAD_KINDS, described_decoder, described_levels, per_anchor
from patchwork_tf.models.networks import get_network
from patchwork_tf.models.patch import AUTO
from patchwork_tf.models.patchwork_model import RESTORED, PatchworkModel
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
        head_kind: the HeadKind; None of a network that was imported.
        pyramid: the network of the low-resolution heads, of the restored map; likewise.
        levels: heads.Level, those of windows first.
        decoder: heads.PredictionDecoder.
        anchors: all of them (A, 4) in centre form, row by row.
    """

    def __init__(self, config: ModelConfig, info: ModelInfo):
        if config.network:
            self._init_described(config, info)
        else:
            self._init_heads(config, info)
        # Of a level either both are of windows, or neither is.
        local = [level for level in self.levels if self._is_local(level)]
        self.levels = local + [level for level in self.levels if level not in local]
        self.local_levels = len(local)
        self.anchors = np.concatenate([level.anchors.reshape(-1, 4) for level in self.levels])

    def _init_heads(self, config, info):
        kind = HEAD_KINDS[config.heads]
        backbone = make_backbone(
            config.backbone, config.network_size, config.depth, kind.last_channels(config.depth)
        )
        restored = backbone.map_of(STRIDE)
        high, pyramid = kind.high_resolution(config, backbone), kind.low_resolution(config, restored.shape[1:])
        network = keras.Model(
            backbone.network.inputs, {**high, **pyramid(restored), RESTORED: restored}, name="detector"
        )
        super().__init__(config, info, backbone, network, on_map=(f"pyramid_0{kind.entry}",), kept=tuple(high))
        self.head_kind, self.rule, self.pyramid, self.decoder = kind, kind.rule, pyramid, kind.decoder
        self.levels = kind.levels(network.output, config.network_size, config.size_of_training)

    def _init_described(self, config, info):
        source = get_network(config.network)
        network = source.build(config.network_size)
        super().__init__(config, info, None, network, AUTO, kept=tuple(network.output))
        self.head_kind, self.rule, self.pyramid = None, HEAD_KINDS["ssd"].rule, None
        self.decoder = described_decoder(source.answer)
        self.levels = described_levels(source.answer, network.output, config.network_size)

    def _is_local(self, level) -> bool:
        """Whether a level is predicted in the window alone."""
        if self.head_kind and self.feature_grid.is_whole_frame:
            return level.boxes.startswith("head_")
        return {level.classes, level.boxes} <= self.plan.on_window

    def memory_name(self, level: int) -> str:
        """What the memory of a level of windows is called after: its stride, and the level if others have it."""
        strides = [
            self.config.network_size[0] // each.anchors.shape[0] for each in self.levels[: self.local_levels]
        ]
        return f"{strides[level]}" if strides.count(strides[level]) == 1 else f"{strides[level]}_{level}"

    def head_memory_shapes(self):
        shapes = {}
        for number, level in enumerate(self.levels[: self.local_levels]):
            height, width, count, _ = level.anchors.shape
            shapes[f"boxes_{self.memory_name(number)}"] = (height, width, count * 4)
            shapes[f"scores_{self.memory_name(number)}"] = (height, width, count * self.config.num_classes)
        return shapes

    def _predictions(self, outputs):
        """One pair per level, high-resolution levels first: class logits (B, h w a, 1 + classes) and box
        codes (B, h w a, 4), where (h, w) is the window's size on the high-resolution levels and the
        whole map on the others.
        """
        predictions = []
        for level in self.levels:
            if level.classes in outputs:
                pair = (outputs[level.classes], outputs[level.boxes])
                predictions.append(tuple(per_anchor(x, level.anchors.shape[2]) for x in pair))
        return predictions

    def _answer(self, predictions, window, state):
        levels = []
        for level, pair in enumerate(predictions):
            boxes, scores = self._read(level, *pair, window)
            if level < self.local_levels and not self.feature_grid.is_whole_frame:
                boxes, scores, state = self._remember(level, boxes, scores, window, state)
            levels.append((boxes, scores))
        return _joined(levels), state

    def score_weights(self, freshness):
        """What the scores of anchors (B, A) count for when boxes compete: less per frame since they were found.

        Low-resolution heads are fresh in every frame; of others `freshness` (B, M, M, 1) of the cells says it.
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
        count = sum(level.anchors.size // 4 for level in self.levels[: self.local_levels])
        return self.anchors[:count, :2]

    @property
    def answer_cells(self):
        return dict.fromkeys(("boxes", "scores"), cell_of(self.part_centers, self.grid))

    def map_answer(self, restored):
        predictions = self._predictions(self.pyramid(restored))
        levels = [self._read(level, *pair) for level, pair in enumerate(predictions, start=self.local_levels)]
        return _joined(levels)

    def _read(self, level, logits, codes, window=None):
        """Boxes and scores of what is predicted of a level."""
        boxes = self.decoder.coder.decode(codes, self._anchors_at(level, window))
        return boxes, self.decoder.scores(logits)

    def select_window(self, values, window):
        """Keeps of values (B, A, C) of all anchors those that a step predicts freshly, in its order: (B, a, C)."""
        if self.feature_grid.is_whole_frame:
            return values
        kept, first = [], 0
        for level in range(len(self.levels)):
            height, width, per_location, _ = self.levels[level].anchors.shape
            count = height * width * per_location
            rows = values[:, first : first + count]
            first += count
            if level < self.local_levels:
                maps = ops.reshape(rows, (-1, height, width, per_location * values.shape[-1]))
                corner = window_corner(window, self.grid, (height, width))
                size = self.grid.window_size((height, width))
                rows = per_anchor(read(maps, corner, size), per_location)
            kept.append(rows)
        return ops.concatenate(kept, axis=1)

    def _anchors_at(self, level, window):
        """Anchors (B or 1, h w a, 4) under the predictions of one level."""
        anchors = self.levels[level].anchors
        if level >= self.local_levels or self.feature_grid.is_whole_frame or window is None:
            return anchors.reshape(1, -1, 4)
        height, width = self.grid.window_size(anchors.shape)
        first = anchors[:height, :width].reshape(1, -1, 4)
        shift = ops.cast(window, "float32") / self.grid.cells  # (B, 2)
        return first + ops.pad(shift, [(0, 0), (0, 2)])[:, None]

    def _remember(self, level, boxes, scores, window, state):
        """Writes a window's predictions to the prediction memory, and returns the whole of it."""
        name = self.memory_name(level)
        shape = self.levels[level].anchors.shape
        height, width = shape[:2] if window is None else self.grid.window_size(shape)
        answers = []
        for key, values in ((f"boxes_{name}", boxes), (f"scores_{name}", scores)):
            memory = state[key]
            values = ops.reshape(values, (-1, height, width, memory.shape[-1]))
            memory = remember(memory, values, window, self.grid)
            state = {**state, key: memory}
            answers.append(per_anchor(memory, shape[2]))
        return *answers, state


def _joined(levels) -> dict:
    boxes, scores = (ops.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
    return {"boxes": boxes, "scores": scores}


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
