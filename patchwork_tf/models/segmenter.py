"""The Patchwork segmenter: foreground and background of the window, remembered for the full frame.

Atrous spatial pyramid pooling on the last feature map, upsampled eight times to stride 4 and
refined there beside an early feature map (DeepLabv3+). Every layer that looks at neighbours is a
cell: the dilated convolutions, whose border is as wide as their rate, and the upsampling.
"""

import keras
from keras import layers, ops

from patchwork_tf.layers.blocks import ConvCell, Pointwise, SepConvCell, make_divisible
from patchwork_tf.layers.cell import PatchworkCell, read, remember, window_corner
from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.patchwork_model import PatchworkModel, pixel_centers
from patchwork_tf.models.rule import Rule
from patchwork_tf.truth import FOREGROUND

ASPP_STRIDE, REFINE_STRIDE = 32, 4  # of the feature maps of the pyramid, and of the refinement
ASPP_WIDTH, EARLY_WIDTH, REFINE_WIDTH = 256, 64, 192  # times depth
ASPP_RATES = (1, 2, 3)
OUTPUTS = 2  # background, foreground


@keras.saving.register_keras_serializable("patchwork_tf")
class PatchworkSegmenter(PatchworkModel):
    """Segments foreground from background, looking at one window per frame.

    Outputs of `step`: 'mask' (B, H, W) float32, the probability in [0, 1] of each pixel of the
    frame to be foreground; 1/2 where no window has been yet. Of Patchwork models also 'undecided'
    (B, M, M, 1), see there.
    """

    # Tuned on train[:26] of DAVIS 2016, masks put together of what a single-frame network says of whole frames.
    # One pair for N = 1 and 2: J 58.3 and 71.5; the best for each by itself 58.4 and 71.8; a raster 46.8 and 65.1.
    rule = Rule(background=0.02, neighbours=1.0)

    def __init__(self, config: ModelConfig, info: ModelInfo):
        super().__init__(config, info, "patchwork_segmenter")
        grid = self.feature_grid
        channels = self.backbone.endpoint_channels[self.backbone.endpoint(ASPP_STRIDE)]
        height, width = config.network_size
        low = (height // ASPP_STRIDE, width // ASPP_STRIDE)
        high = (height // REFINE_STRIDE, width // REFINE_STRIDE)
        aspp, early, refine = (
            make_divisible(width * config.depth) for width in (ASPP_WIDTH, EARLY_WIDTH, REFINE_WIDTH)
        )
        self.aspp_pointwise = Pointwise(aspp, name="aspp_rate_0")
        self.aspp_dilated = [
            ConvCell(
                layers.Conv2D,
                grid,
                (*low, channels),
                filters=aspp,
                dilation_rate=rate,
                name=f"aspp_rate_{rate}",
            )
            for rate in ASPP_RATES
        ]
        self.aspp_join = Pointwise(aspp, name="aspp_join")
        enlarge = layers.UpSampling2D(ASPP_STRIDE // REFINE_STRIDE, interpolation="bilinear", name="upsample")
        self.upsample = PatchworkCell(enlarge, grid, (*low, aspp))
        self.early = Pointwise(early, name="early")
        self.refine = [
            SepConvCell(refine, grid, (*high, aspp + early), name="refine_1"),
            SepConvCell(refine, grid, (*high, refine), name="refine_2"),
        ]
        self.classify = layers.Conv2D(OUTPUTS, 1, name="mask_logits")
        self.logits_shape = (*high, OUTPUTS)

    def head_memory_shapes(self):
        shapes = {}
        for part in (*self.aspp_dilated, self.upsample, *self.refine):
            shapes |= part.memory_shapes()
        return {**shapes, "logits": self.logits_shape}

    def _predict(self, endpoints, restored, window, state):
        """Logits (B, h, w, 2) of background and foreground at stride 4 in the window, and the new state."""
        del restored  # segmenting is local (supplement, Section A)
        x = endpoints[self.backbone.endpoint(ASPP_STRIDE)]
        branches = [self.aspp_pointwise(x)]
        for part in self.aspp_dilated:
            branch, state = part.step(x, window, state)
            branches.append(branch)
        x = self.aspp_join(ops.concatenate(branches, axis=-1))
        x, state = self.upsample.step(x, window, state)
        x = ops.concatenate([x, self.early(endpoints[self.backbone.endpoint(REFINE_STRIDE)])], axis=-1)
        for part in self.refine:
            x, state = part.step(x, window, state)
        return self.classify(x), state

    def _answer(self, predictions, window, state):
        logits = predictions
        if "logits" in state:
            logits = remember(state["logits"], logits, window, self.grid)
            state = {**state, "logits": logits}
        margin = logits[..., 1:] - logits[..., :1]
        outputs = {} if self.grid.is_whole_frame else {"undecided": self.undecided(margin)}
        margin = ops.image.resize(
            margin, self.config.image_size, interpolation="bilinear", data_format="channels_last"
        )
        return {**outputs, "mask": ops.sigmoid(margin[..., 0])}, state

    def undecided(self, margin):
        """How undecided cells are: 4 p (1 - p), p being the mean probability of foreground in each.

        Where an object's edge goes through a cell it is as undecided as where nobody knows.

        Args:
            margin: (B, h, w, 1) float32 between the logits at stride 4, of the full frame or of some cells of it.

        Returns:
            (B, M, M, 1) in [0, 1], or of as many cells as there are.
        """
        cell = tuple(side // self.grid.cells for side in self.logits_shape[:2])
        p = ops.average_pool(ops.sigmoid(margin), cell, cell, data_format="channels_last")
        return 4 * p * (1 - p)

    def blank_answer(self, batch_size):
        cells = self.grid.cells
        mask = ops.full((batch_size, *self.config.image_size), FOREGROUND)
        return {"mask": mask, "undecided": ops.ones((batch_size, cells, cells, 1))}

    def need(self, answer, freshness):
        """How undecided the remembered mask is."""
        del freshness
        return answer["undecided"]

    @property
    def part_centers(self):
        return pixel_centers(self.config.image_size)

    def select_window(self, values, window):
        """Keeps of full-frame values (B, H / 4, W / 4, C) those (B, h, w, C) that one step predicts freshly."""
        if self.feature_grid.is_whole_frame:
            return values
        size = [side * self.grid.window // self.grid.cells for side in self.logits_shape[:2]]
        return read(values, window_corner(window, self.grid, self.logits_shape), size)
