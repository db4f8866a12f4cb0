"""Detection heads: the paper's (Figure 10), and those of the TensorFlow Object Detection API's SSD MobileNetV2.

High-resolution heads run on the window, at a feature map of the backbone. Low-resolution heads follow one another
on the map of the full frame, each half the size of the one before. A `HeadKind` says what is where.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from patchwork_tf.layers.blocks import convolution, depthwise, make_divisible, pointwise, separable
from patchwork_tf.models import boxes as box_ops
from patchwork_tf.models.mobilenet_v2 import LAST_CHANNELS
from patchwork_tf.models.rule import FRESHNESS_DECAY, Rule
from patchwork_tf.models.weights import CLASS_PREDICTOR
from patchwork_tf.truth import BACKGROUND

# Focal loss starts from "everything is background, with this doubt" (Lin et al., Section 4.1).
FOREGROUND_PRIOR = 0.01
BOX_PREDICTOR = "_boxes"  # ends the names of layers that predict boxes
_WIDTH = 128  # of the paper's heads: times depth on the window, fixed on the full map
_SSD_EXTRA_WIDTHS = (512, 256, 256, 128)


def _patchwork_head(x, width, strides, name):
    """SepConv3x3 -> width, two Conv3x3 width -> width, then what SSDLite predictors have before them."""
    entry = x = separable(x, width, strides=strides, name=f"{name}_sep")
    for number in (1, 2):
        x = convolution(x, width, name=f"{name}_conv{number}")
    return entry, *(depthwise(x, name=f"{name}_{what}_depthwise") for what in ("class", "box"))


def _ssd_head(x, width, strides, name):
    """On the window nothing but predictors; on the map a 1 x 1 and a 3 x 3 convolution of stride 2 before them."""
    if strides > 1:
        x = pointwise(x, width // 2, name=f"{name}_reduce")
        x = convolution(x, width, strides=strides, name=f"{name}_conv")
    return x, x, x


@dataclasses.dataclass(frozen=True)
class HeadKind:
    """Where a detector's heads are and what they are made of.

    `window_width`, `map_widths` and `last_channels` are functions of depth.
    """

    strides: tuple[int, ...]  # of the feature maps under the high-resolution heads
    # Of a map, width, stride and name: what the next low-resolution head takes, what predicts classes, and boxes.
    make_head: Callable
    entry: str  # end of the name of the layer that a low-resolution head begins with
    window_width: Callable[[float], int]  # of high-resolution heads
    map_widths: Callable[[float], tuple[int, ...]]  # of low-resolution heads
    last_channels: Callable[[float], int | None]  # of the backbone's last map; None for keras.applications' number
    # (height, width) as fractions of the images that weights were trained on, of the anchors at each location, per
    # level, high-resolution levels first.
    anchor_shapes: tuple[tuple[tuple[float, float], ...], ...]
    anchors_keep_shape: bool  # on images of any shape, in pixels: they are fractions of the shorter side
    rule: Rule
    sigmoid: bool  # whether each class has a probability of its own; else all, background too, sum to 1

    def high_resolution(self, config, backbone) -> dict:
        """Predictions, symbolic, of the heads on the window, on a Backbone; see `_predicted`."""
        found = {}
        for level, stride in enumerate(self.strides):
            _, *features = self.make_head(
                backbone.map_of(stride), self.window_width(config.depth), 1, f"head_{stride}"
            )
            found |= self._predicted(level, f"head_{stride}", features, config)
        return found

    def low_resolution(self, config, shape) -> keras.Model:
        """The heads on the map of the full frame, of `shape` (H, W, C): a network of their predictions."""
        restored = x = keras.Input(shape, name="restored")
        found = {}
        for number, width in enumerate(self.map_widths(config.depth)):
            x, *features = self.make_head(x, width, 2, f"pyramid_{number}")
            found |= self._predicted(len(self.strides) + number, f"pyramid_{number}", features, config)
        return keras.Model(restored, found, name="pyramid")

    def _predicted(self, level, name, features, config) -> dict:
        """Class logits (B, h, w, a (1 + classes)) and box codes (B, h, w, a 4) of a anchors each, by layer."""
        anchors, of_classes, of_boxes = len(self.anchor_shapes[level]), *features
        classes = layers.Conv2D(
            anchors * (1 + config.num_classes),
            1,
            bias_initializer=_background_prior(config.num_classes, self.sigmoid),
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=0),
            name=f"{name}{CLASS_PREDICTOR}",
        )
        boxes = layers.Conv2D(anchors * 4, 1, name=f"{name}{BOX_PREDICTOR}")
        return {classes.name: classes(of_classes), boxes.name: boxes(of_boxes)}

    @property
    def heads(self) -> list[str]:
        """Names of the heads, high-resolution levels first."""
        low = range(len(self.anchor_shapes) - len(self.strides))
        return [*(f"head_{stride}" for stride in self.strides), *(f"pyramid_{number}" for number in low)]

    def levels(self, outputs, image_size, trained_size) -> list["Level"]:
        """The levels of a network with these symbolic outputs, of images (H, W), high-resolution levels first."""
        side = np.asarray(min(trained_size) if self.anchors_keep_shape else trained_size, np.float32)
        scale = side / np.asarray(image_size, np.float32)
        found = []
        for head, shapes in zip(self.heads, self.anchor_shapes, strict=True):
            classes, boxes = f"{head}{CLASS_PREDICTOR}", f"{head}{BOX_PREDICTOR}"
            shapes = np.asarray(shapes, np.float32) * scale
            found.append(Level(classes, boxes, box_ops.level_anchors(shapes, outputs[boxes].shape[1:3])))
        return found

    @property
    def decoder(self) -> "PredictionDecoder":
        return PredictionDecoder(SIGMOID if self.sigmoid else SOFTMAX)


SIGMOID, SOFTMAX, SCORES = "sigmoid", "softmax", "scores"


@dataclasses.dataclass(frozen=True)
class PredictionDecoder:
    """How scores and boxes are made of what a network predicts of anchors."""

    activation: str  # that makes scores of it: SIGMOID or SOFTMAX; SCORES are there already
    background: bool = True  # whether it says of the background, too, first of all
    coder: box_ops.BoxCoder = box_ops.CODER

    def scores(self, logits):
        """Scores (..., classes) in [0, 1] of logits (..., classes), or 1 + classes with the background."""
        if self.activation != SCORES:
            logits = ops.sigmoid(logits) if self.activation == SIGMOID else ops.softmax(logits)
        return logits[..., 1:] if self.background else logits


@dataclasses.dataclass(frozen=True, eq=False)
class Level:
    """One feature map's predictions."""

    classes: str  # names of the network's outputs (B, h, w, a n)
    boxes: str
    anchors: np.ndarray  # (h, w, a, 4) float32, in centre form, as fractions of the frame


def described_levels(answer: dict, outputs, image_size) -> list[Level]:
    """The levels of an imported network; the anchors have the same pixels on frames of any size.

    Args:
        answer: `Network.answer`: 'levels', each with 'classes' and 'boxes', names of outputs, 'shapes', height and
            width in pixels of the anchors at each place, 'offset', see `boxes.level_anchors`, and 'stride', how
            many pixels they are apart, where that is no part of the frame.
        outputs: symbolic, by name.
        image_size: (H, W) of the frames.
    """
    found = []
    for level in answer["levels"]:
        shapes = np.asarray(level["shapes"], np.float32) / np.asarray(image_size, np.float32)
        anchors = box_ops.level_anchors(shapes, outputs[level["boxes"]].shape[1:3], level["offset"])
        if level["stride"]:
            anchors[..., :2] *= level["stride"] * np.array(anchors.shape[:2], np.float32) / np.float32(image_size)
        found.append(Level(level["classes"], level["boxes"], anchors))
    return found


def described_decoder(answer: dict) -> PredictionDecoder:
    """Of an imported network: 'activation', 'background' and 'coder' of `answer`."""
    coder = {key: tuple(x) if isinstance(x, list) else x for key, x in answer["coder"].items()}
    return PredictionDecoder(answer["activation"], answer["background"], box_ops.BoxCoder(**coder))


def per_anchor(x, anchors):
    """(B, h, w, anchors n) -> (B, h w anchors, n)."""
    _, height, width, channels = x.shape
    return ops.reshape(x, (-1, height * width * anchors, channels // anchors))


def _background_prior(num_classes, sigmoid):
    """Initializer of class biases (anchors (1 + classes),): an anchor is foreground with FOREGROUND_PRIOR."""

    def initial(shape, dtype=None):
        odds = np.log((1 - FOREGROUND_PRIOR) / FOREGROUND_PRIOR)
        bias = np.zeros((shape[0] // (1 + num_classes), 1 + num_classes), np.float32)
        if sigmoid:
            bias[:, BACKGROUND + 1 :] = -odds
        else:
            bias[:, BACKGROUND] = np.log(num_classes) + odds
        return ops.convert_to_tensor(bias.reshape(-1), dtype=dtype)

    return initial


HEAD_KINDS = {
    # Figure 10.
    "patchwork": HeadKind(
        strides=(8, 16, 32),
        make_head=_patchwork_head,
        entry="_sep_depthwise",
        window_width=lambda depth: make_divisible(_WIDTH * depth),
        map_widths=lambda depth: (_WIDTH,) * 4,
        last_channels=lambda depth: None,
        anchor_shapes=box_ops.PATCHWORK_ANCHORS,
        anchors_keep_shape=False,
        # Tuned on real motion: F1 of a detector that never errs, on true boxes of every fourth of 92 VID videos
        # (120 frames of each). One pair for N = 1 and 2: 0.892 and 0.977; the best for each by itself 0.894 and
        # 0.980; a raster 0.759 and 0.934; skipping frames at the same cost 0.785 and 0.949.
        rule=Rule(background=0.2, neighbours=0.25),
        sigmoid=False,
    ),
    # ssd_mobilenet_v2 of the Object Detection API: feature_map_generators.py, multiscale layers of depth_fn, and
    # convolutional_box_predictor with kernel_size 1.
    "ssd": HeadKind(
        strides=(16, 32),
        make_head=_ssd_head,
        entry="_reduce",
        window_width=lambda depth: 0,
        map_widths=lambda depth: tuple(max(16, int(width * depth)) for width in _SSD_EXTRA_WIDTHS),
        last_channels=lambda depth: make_divisible(LAST_CHANNELS * depth),
        anchor_shapes=box_ops.SSD_ANCHORS,
        anchors_keep_shape=True,
        # Tuned on the first 48 frames of every other DAVIS training sequence with the shipped weights, one for
        # N = 1 and 2. Agreement there and on the other sequences: N = 2 82.0 and 84.0, N = 1 29.3 and 47.4; with
        # scores as they are, a background of 0.05 and no neighbours 71.4, 81.6, 26.2 and 44.2; skipping frames at
        # the same cost 60.2, 57.7, 17.8 and 20.5.
        rule=Rule(background=0.02, neighbours=0.25, just_seen=FRESHNESS_DECAY, squares_scores=True),
        sigmoid=True,
    ),
}
