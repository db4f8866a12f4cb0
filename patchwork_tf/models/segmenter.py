"""The Patchwork segmenter: foreground and background of the window, remembered for the full frame.

Atrous spatial pyramid pooling on the last feature map, upsampled eight times to stride 4 and
refined there beside an early feature map (DeepLabv3+). Every layer that looks at neighbours is a
cell: the dilated convolutions, whose border is as wide as their rate, and the upsampling. Or it is
a network of one's own, that tells several classes apart, perhaps.
"""

import keras
import numpy as np
from keras import layers, ops

from patchwork_tf.errors import UsageError
from patchwork_tf.layers.blocks import convolution, make_divisible, pointwise, separable
from patchwork_tf.layers.cell import crop_window, read, remember, window_corner
from patchwork_tf.layers.imported import AlignedResizing, CornerResizing
from patchwork_tf.models.backbone import STRIDE, make_backbone
from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.networks import get_network
from patchwork_tf.models.patch import AUTO
from patchwork_tf.models.patchwork_model import RESTORED, PatchworkModel, pixel_centers
from patchwork_tf.models.rule import FRESHNESS_DECAY, Rule, cell_of
from patchwork_tf.runtime.answers import FOREGROUND

ASPP_STRIDE, REFINE_STRIDE = 32, 4  # of the feature maps of the pyramid, and of the refinement
ASPP_WIDTH, EARLY_WIDTH, REFINE_WIDTH = 256, 64, 192  # times depth
ASPP_RATES = (1, 2, 3)
OUTPUTS = 2  # background, foreground
LOGITS = "mask_logits"


def _decoder(x, early, depth):
    """Logits at REFINE_STRIDE, of symbolic maps at ASPP_STRIDE and REFINE_STRIDE."""
    width, early_width, refined = (make_divisible(w * depth) for w in (ASPP_WIDTH, EARLY_WIDTH, REFINE_WIDTH))
    branches = [pointwise(x, width, name="aspp_rate_0")]
    branches += [convolution(x, width, dilation_rate=rate, name=f"aspp_rate_{rate}") for rate in ASPP_RATES]
    x = pointwise(layers.Concatenate(name="aspp")(branches), width, name="aspp_join")
    x = layers.UpSampling2D(ASPP_STRIDE // REFINE_STRIDE, interpolation="bilinear", name="upsample")(x)
    x = layers.Concatenate(name="refine")([x, pointwise(early, early_width, name="early")])
    for number in (1, 2):
        x = separable(x, refined, name=f"refine_{number}")
    return layers.Conv2D(OUTPUTS, 1, name=LOGITS)(x)


@keras.saving.register_keras_serializable("patchwork_tf")
class PatchworkSegmenter(PatchworkModel):
    """Segments foreground from background, looking at one window per frame.

    Outputs of `step`: 'mask' (B, H, W) float32, the probability in [0, 1] of each pixel of the
    frame to be foreground, and 1/2 where no window has been yet; if it tells several classes apart, 'classes'
    (B, H, W) int32, the likeliest of each pixel, 0 for background. Of Patchwork models also 'undecided'
    (B, M, M, 1), see there, and perhaps 'surprise', how much the mask changed at the last look.
    """

    # Of windows of one cell. Tuned on train[:26] of DAVIS 2016, masks put together of what a single-frame network
    # says of whole frames: J 58.3, a raster 46.8.
    rule = Rule(background=0.02, neighbours=1.0)

    corners = False  # whether logits are at the corners of their blocks of pixels, else in their midst

    def __init__(self, config: ModelConfig, info: ModelInfo):
        # Segmenting is local (supplement, Section A): nothing but attention is on the map.
        if config.network:
            backbone, described = None, get_network(config.network)
            network, self.corners = described.build(config.network_size), described.answer["corners"]
            network = keras.Model(network.inputs, {LOGITS: network.output[LOGITS]}, name="segmenter")
        else:
            backbone = make_backbone(config.backbone, config.network_size, config.depth, None)
            logits = _decoder(backbone.map_of(ASPP_STRIDE), backbone.map_of(REFINE_STRIDE), config.depth)
            network = keras.Model(
                backbone.network.inputs, {LOGITS: logits, RESTORED: backbone.map_of(STRIDE)}, name="segmenter"
            )
        super().__init__(config, info, backbone, network, AUTO if config.network else (), kept=(LOGITS,))
        self.logits_shape = self.plan.outputs[LOGITS].shape[1:]
        if self.follows_surprise:
            self.rule = _SURPRISE_RULE
        classes = max(1, self.logits_shape[-1] - 1)
        if config.network and config.num_classes != classes:
            raise UsageError(f"{config.network} tells {classes} classes apart, not {config.num_classes}")

    @property
    def tells_classes(self) -> bool:
        """Whether it tells several classes apart."""
        return self.logits_shape[-1] > OUTPUTS

    @property
    def is_remembered(self) -> bool:
        """Whether logits are of windows, and remembered."""
        return LOGITS in self.plan.on_window

    @property
    def follows_surprise(self) -> bool:
        """Whether windows also go where masks change: if of one cell, it is too long ago that they did."""
        return self.is_remembered and self.grid.window_cells > 1

    def head_memory_shapes(self):
        height, width, channels = self.logits_shape
        shapes = {"logits": (height, width, channels + self.tells_classes)} if self.is_remembered else {}
        return shapes | ({"surprise": (self.grid.cells, self.grid.cells, 1)} if self.follows_surprise else {})

    def _predictions(self, outputs):
        """Logits (B, h, w, C) in the window: of background and classes, or of foreground alone."""
        return outputs[LOGITS]

    def _answer(self, predictions, window, state):
        logits = with_margin(predictions) if self.tells_classes else predictions
        before = state.get("logits")
        if before is not None:
            logits = remember(before, logits, window, self.grid)
            state = {**state, "logits": logits}
        outputs = {} if self.grid.is_whole_frame else {"undecided": self.undecided(self._margin(logits))}
        if self.tells_classes:
            outputs["classes"] = ops.cast(ops.argmax(self._enlarged(logits[..., 1:]), axis=-1), "int32")
        mask = self._probability(logits)
        if self.follows_surprise:
            change = ops.abs(mask - (mask if window is None else self._probability(before)))[..., None]
            change = self.mean_of_cells(crop_window(change, window, self.grid))
            outputs["surprise"] = remember(state["surprise"], change, window, self.grid)
            state = {**state, "surprise": outputs["surprise"]}
        return {**outputs, "mask": mask}, state

    def _margin(self, logits):
        """Of what is remembered."""
        return logits[..., :1] if self.tells_classes else margin_of(logits)

    def _probability(self, logits):
        return ops.sigmoid(self._enlarged(self._margin(logits))[..., 0])

    def mean_of_cells(self, x):
        """Means (B, m, n, 1) of so many cells of the image as x (B, h, w, 1) shows."""
        cell = tuple(side // self.grid.cells for side in self.config.image_size)
        return ops.average_pool(x, cell, cell, data_format="channels_last")

    def _enlarged(self, x):
        """Logits at the image's size. With `corners` each is where the upper left pixel of its block is."""
        size = self.config.image_size
        if self.corners and size != x.shape[1:3]:
            factors = [side // own for side, own in zip(size, x.shape[1:3], strict=True)]
            is_block = [side == own * k for side, own, k in zip(size, x.shape[1:3], factors, strict=True)]
            return CornerResizing(*factors).call(x) if all(is_block) else AlignedResizing(*size).call(x)
        return ops.image.resize(x, self.config.image_size, interpolation="bilinear", data_format="channels_last")

    def undecided(self, margin):
        """How undecided cells are, (B, m, n, 1): 4 p (1 - p), p the mean probability of foreground there.

        Where an object's edge goes through a cell it is as undecided as where nobody knows. The margin
        (B, h, w, 1) is of the full frame or of some cells of it.
        """
        cell = tuple(side // self.grid.cells for side in self.logits_shape[:2])
        p = ops.average_pool(ops.sigmoid(margin), cell, cell, data_format="channels_last")
        return 4 * p * (1 - p)

    def blank_answer(self, batch_size):
        cells = self.grid.cells
        mask = ops.full((batch_size, *self.config.image_size), FOREGROUND)
        answer = {"mask": mask, "undecided": ops.ones((batch_size, cells, cells, 1))}
        if self.follows_surprise:
            answer["surprise"] = ops.zeros((batch_size, cells, cells, 1))
        if self.tells_classes:
            answer["classes"] = ops.zeros((batch_size, *self.config.image_size), "int32")
        return answer

    def need(self, answer, freshness):
        """How undecided the remembered mask is, and how much it changed when it was last looked at."""
        if not self.follows_surprise:
            return answer["undecided"]
        return surprising(answer["undecided"], answer["surprise"])

    @property
    def part_centers(self):
        return pixel_centers(self.config.image_size)

    @property
    def answer_cells(self):
        cells = self.grid.cells
        of_pixels = cell_of(self.part_centers, self.grid).reshape(self.config.image_size)
        of_cells = np.arange(cells**2).reshape(cells, cells)
        more = {"classes": of_pixels} if self.tells_classes else {}
        more |= {"surprise": of_cells} if self.follows_surprise else {}
        return {"mask": of_pixels, "undecided": of_cells, **more}

    def select_window(self, values, window):
        """Keeps of values (B, H, W, C), at the logits' size, those (B, h, w, C) that a step predicts freshly."""
        if not self.is_remembered:
            return values
        corner = window_corner(window, self.grid, self.logits_shape)
        return read(values, corner, self.grid.window_size(self.logits_shape))


# Of windows of more cells: of fourteen, what agrees best with whole frames, by DeepLabV3 on every third sequence
# of DAVIS 2016's train and six of val. results/README.md has what it gives of this and other networks.
_SURPRISE_RULE = Rule(background=0.05, neighbours=0.5, just_seen=FRESHNESS_DECAY)


def surprising(undecided, surprise):
    """`need` of how undecided cells are and of how much they changed, (B, M, M, 1) each."""
    return 0.5 * undecided + 2.0 * surprise


def margin_of(logits):
    """By how much foreground, whatever its class, is likelier than background, as a logit (B, h, w, 1).

    Logits (B, h, w, C) are of foreground alone, C = 1; or of the background and C - 1 classes.
    """
    if logits.shape[-1] == 1:
        return logits
    foreground = logits[..., 1:]
    if logits.shape[-1] > OUTPUTS:
        # In operators that every runtime has, which ops.logsumexp is not.
        largest = ops.max(foreground, axis=-1, keepdims=True)
        foreground = largest + ops.log(ops.sum(ops.exp(foreground - largest), axis=-1, keepdims=True))
    return foreground - logits[..., :1]


def with_margin(logits):
    """Their margin, then logits (B, h, w, C) of background and classes: what is not known is 0 in both."""
    return ops.concatenate([margin_of(logits), logits], axis=-1)
