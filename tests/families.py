"""Detectors of families that phones run, after their published definitions, and .tflite files of them.

Weights are random. Their statistics of batch normalisation are those of generated frames, roughly, so that what
passes through neither dies nor grows. Of every network the structure is the published one, at any width.
"""

import dataclasses
import functools
import itertools
import math
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.layers.blocks import make_divisible

# Expansion, channels, repetitions, stride: Sandler et al., MobileNetV2, Table 2.
_MOBILENET_V2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
# The same, and the side of depthwise kernels: AutoML's efficientnet_lite_builder.py.
_EFFICIENTNET_LITE = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)
_API = {"max_detections": 10, "max_classes_per_detection": 1, "use_regular_nms": False}
_API |= {"nms_score_threshold": 1e-8, "nms_iou_threshold": 0.6}
_API |= {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}
_AUTOML = {"max_detections": 25, "max_classes_per_detection": 1, "use_regular_nms": False}
_AUTOML |= {"nms_score_threshold": -math.inf, "nms_iou_threshold": 0.5}
_AUTOML |= {"y_scale": 1.0, "x_scale": 1.0, "h_scale": 1.0, "w_scale": 1.0}


@dataclasses.dataclass(frozen=True)
class Family:
    """A detector of one of the families.

    Attributes:
        name: of the family.
        model: functional Keras model of frames (B, S, S, 3) in [-1, 1]. Its outputs are raw maps by name, from the
            finest level to the coarsest: `classes_0`, `boxes_0`, ..., `objectness_0` of YOLOX. Their channels are
            those of the first anchor of a place, then those of the next.
        image_size: S.
        num_classes: without the background.
        columns: classes that there are numbers for, with the background if it has one, which comes first.
        anchors: (A, 4) float32, ycenter, xcenter, h, w as fractions of the frame; None if boxes have none.
        options: of TFLite_Detection_PostProcess, with which its files end; None if they end without.
        box_shape: of a level's box codes in its files, before levels are joined.
        integer: type of the input of its files in 8 bits.
    """

    name: str
    model: keras.Model
    image_size: int
    num_classes: int
    columns: int
    anchors: np.ndarray | None = None
    options: dict | None = None
    box_shape: tuple[int, ...] = (1, -1, 4)
    integer: tf.DType = tf.uint8

    @property
    def levels(self) -> int:
        return sum(name.startswith("boxes_") for name in self.model.output)


def ssd_fpnlite(image_size=320, depth=0.35, width=32, num_classes=3) -> Family:
    """SSD MobileNetV2 FPNLite of the TensorFlow Object Detection API, ssd_mobilenet_v2_fpnlite_320x320_coco17.

    After configs/tf2/ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8.config, its models/
    ssd_mobilenet_v2_fpn_keras_feature_extractor.py and feature_map_generators.py, its
    convolutional_keras_box_predictor.py and export_tflite_graph_lib_tf2.py.

    Args:
        image_size, num_classes: as for Family.
        depth: multiplier of MobileNetV2's channels.
        width: channels of the pyramid and the heads, 128 as published.
    """
    keras.utils.set_random_seed(0)
    frame = _frame(image_size)
    found = _mobilenet_v2(frame, depth)
    x = _convolution(width, bias=True)(found["out_relu"])
    pyramid = [x]
    for name in ("block_12", "block_5"):  # layer_14 and layer_7
        lateral = _convolution(width, bias=True)(found[name])
        x = layers.Add()([Stacked()(x), lateral])
        x = _relu6(_separable(width)(x))
        pyramid.insert(0, x)
    for _ in (6, 7):
        pyramid.append(_relu6(_separable(width, strides=2)(pyramid[-1])))

    tower = [_separable(width) for _ in range(4)]
    of_boxes, of_classes = _boxes(_separable, 6 * 4), _classes(_separable, 6 * (1 + num_classes))
    outputs = {}
    for level, x in enumerate(pyramid):
        for layer in tower:  # its normalisation is not shared
            x = _relu6(layer(x))
        outputs[f"boxes_{level}"] = of_boxes(x)
        outputs[f"classes_{level}"] = of_classes(x)

    anchors = []
    shapes = [(4 * 2**octave, ratio) for ratio in (1.0, 2.0, 0.5) for octave in (0, 0.5)]
    for level, x in enumerate(pyramid, 3):
        stride = 2**level / image_size
        offset = 0 if image_size % 2**level else stride / 2  # as its multiscale_grid_anchor_generator.py has it
        sizes = [(stride * scale / ratio**0.5, stride * scale * ratio**0.5) for scale, ratio in shapes]
        anchors.append(_tiled(*x.shape[1:3], stride, offset, sizes))
    model = _settled(keras.Model(frame, outputs))
    return Family("ssd_fpnlite", model, image_size, num_classes, 1 + num_classes, np.concatenate(anchors), _API)


def ssdlite(image_size=300, depth=0.35, num_classes=3) -> Family:
    """SSDLite MobileNetV2 of the TensorFlow Object Detection API, ssdlite_mobilenet_v2_coco.

    After samples/configs/ssdlite_mobilenet_v2_coco.config, ssd_mobilenet_v2_feature_extractor.py,
    feature_map_generators.py and multiple_grid_anchor_generator.py; Sandler et al., MobileNetV2, 6.2.

    Args:
        image_size, num_classes: as for Family.
        depth: multiplier of all channels.
    """
    keras.utils.set_random_seed(0)
    frame = _frame(image_size)
    found = _mobilenet_v2(frame, depth)
    maps = [found["block_13_expand_relu"], found["out_relu"]]
    for channels in (512, 256, 256, 128):
        x = _block(maps[-1], max(16, int(channels / 2 * depth)))
        maps.append(_block(_depthwise(x, strides=2), max(16, int(channels * depth))))

    outputs, anchors = {}, []
    scales = [0.2 + (0.95 - 0.2) * level / 5 for level in range(6)] + [1.0]
    for level, (x, scale, following) in enumerate(zip(maps, scales[:-1], scales[1:], strict=True)):
        shapes = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)] + [((scale * following) ** 0.5, 1.0)]
        shapes = shapes if level else [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        outputs[f"boxes_{level}"] = _boxes(_convolution, 4 * len(shapes))(_depthwise(x))
        of_classes = _classes(_convolution, (1 + num_classes) * len(shapes))
        outputs[f"classes_{level}"] = of_classes(_depthwise(x))
        sizes = [(side / ratio**0.5, side * ratio**0.5) for side, ratio in shapes]
        anchors.append(_tiled(*x.shape[1:3], 1 / x.shape[1], 0.5 / x.shape[1], sizes))
    model = _settled(keras.Model(frame, outputs))
    anchors = np.concatenate(anchors)
    return Family("ssdlite", model, image_size, num_classes, 1 + num_classes, anchors, _API, (1, -1, 1, 4))


def efficientdet_lite0(image_size=320, depth=0.35, width=32, repeats=1, num_classes=3) -> Family:
    """EfficientDet-Lite0 of AutoML and of TensorFlow Lite Model Maker.

    After efficientdet_keras.py, fpn_configs.py, postprocess.py, anchors.py and efficientnet_lite_builder.py of
    google/automl, with Model Maker's settings.

    Args:
        image_size, num_classes: as for Family.
        depth: multiplier of the backbone's channels, 1 as published.
        width: channels of the pyramid and the heads, 64 as published.
        repeats: cells of the pyramid, 3 as published.
    """
    keras.utils.set_random_seed(0)
    frame = _frame(image_size)
    feats = _efficientnet_lite(frame, depth)
    for _ in (6, 7):
        rows, columns = (-(-side // 2) for side in feats[-1].shape[1:3])
        feats.append(_resampled(feats[-1], width, rows, columns))
    for _ in range(repeats):
        feats = _bifpn_cell(feats, width)

    outputs = {}
    for name, make, count in (("classes", _classes, 9 * num_classes), ("boxes", _boxes, 9 * 4)):
        tower, last = [_separable(width, bias=True) for _ in range(3)], make(_separable, count)
        for level, x in enumerate(feats):
            for layer in tower:
                x = _relu6(layer(x))
            outputs[f"{name}_{level}"] = last(x)

    anchors = []
    for x in feats:
        stride = 1 / x.shape[1]  # 107 pixels of 320 where a map has 3 places
        sides = [3.0 * stride * 2 ** (octave / 3) for octave in range(3)]
        sizes = [(side / ratio**0.5, side * ratio**0.5) for side in sides for ratio in (1.0, 2.0, 0.5)]
        anchors.append(_tiled(*x.shape[1:3], stride, stride / 2, sizes))
    model = _settled(keras.Model(frame, outputs))
    anchors = np.concatenate(anchors)
    return Family("efficientdet_lite0", model, image_size, num_classes, num_classes, anchors, _AUTOML)


def yolox_nano(image_size=320, depth=0.33, width=0.125, num_classes=3) -> Family:
    """YOLOX-Nano of Megvii, as converters from ONNX write it, not decoded.

    After exps/default/yolox_nano.py, yolox/models/network_blocks.py, darknet.py, yolo_pafpn.py and yolo_head.py.

    Args:
        image_size, num_classes: as for Family.
        depth: multiplier of repetitions.
        width: multiplier of channels, 0.25 as published.
    """
    keras.utils.set_random_seed(0)
    frame = _frame(image_size)
    base, repeats = int(64 * width), max(round(3 * depth), 1)
    corners = [frame[:, top::2, left::2] for left in (0, 1) for top in (0, 1)]
    x = _silu_block(layers.Concatenate()(corners), base, 3)
    maps = []
    for channels, count in ((2, repeats), (4, 3 * repeats), (8, 3 * repeats), (16, repeats)):
        x = _silu_separable(x, base * channels, strides=2)
        if channels == 16:
            x = _pooled_pyramid(x, base * channels)
        x = _csp(x, base * channels, count, shortcut=channels < 16)
        maps.append(x)
    _, *maps = maps

    inner, lateral = maps[2], []
    for x in (maps[1], maps[0]):
        lateral.append(_silu_block(inner, x.shape[3]))
        inner = layers.Concatenate()([Resized(*x.shape[1:3])(lateral[-1]), x])
        inner = _csp(inner, x.shape[3], repeats, shortcut=False)
    pyramid = [inner]
    for x in reversed(lateral):
        down = _silu_separable(pyramid[-1], pyramid[-1].shape[3], strides=2)
        joined = layers.Concatenate()([down, x])
        pyramid.append(_csp(joined, joined.shape[3], repeats, shortcut=False))

    outputs, channels = {}, int(256 * width)
    for level, x in enumerate(pyramid):
        x = _silu_block(x, channels)
        of_classes, of_boxes = (
            _silu_separable(_silu_separable(x, channels), channels) for _ in ("classes", "boxes")
        )
        outputs[f"classes_{level}"] = _classes(_convolution, num_classes)(of_classes)
        outputs[f"boxes_{level}"] = _boxes(_convolution, 4)(of_boxes)
        outputs[f"objectness_{level}"] = _classes(_convolution, 1)(of_boxes)
    model = _settled(keras.Model(frame, outputs))
    return Family("yolox_nano", model, image_size, num_classes, num_classes, integer=tf.int8)


FAMILIES = {make.__name__: make for make in (ssd_fpnlite, ssdlite, efficientdet_lite0, yolox_nano)}


@functools.lru_cache(maxsize=1)
def made(name) -> Family:
    """The family of a name, once."""
    return FAMILIES[name]()


def write_tflite(family: Family, path, quantized=False):
    """Writes a family's .tflite file as users have it: with its tail, and with what its publishers convert with.

    Args:
        family: of one of the functions above.
        path: of the file.
        quantized: whether weights and activations are in 8 bits, the input, too.
    """
    size = family.image_size
    module = tf.Module()
    module.weights = [variable.value for variable in family.model.variables]
    module.detector = tf.function(
        lambda frame: _tail(family, family.model(frame, training=False)),
        input_signature=[tf.TensorSpec((1, size, size, 3), name="input")],
        autograph=False,
    )
    quick = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.detector.get_concrete_function(), options=quick)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.allow_custom_ops = family.options is not None
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([frame[None]] for frame in _frames(size, 8))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = family.integer
            if family.options is None:
                converter.inference_output_type = family.integer
            else:  # the operator is not in 8 bits
                converter.target_spec.supported_ops.append(tf.lite.OpsSet.TFLITE_BUILTINS)
        Path(path).write_bytes(converter.convert())


# Tails


def _tail(family, maps):
    levels = range(family.levels)
    if family.options is None:
        return {"output": _yolox_tail(family, maps)}
    boxes = tf.concat([tf.reshape(maps[f"boxes_{level}"], family.box_shape) for level in levels], 1)
    classes = [tf.reshape(maps[f"classes_{level}"], (1, -1, family.columns)) for level in levels]
    if boxes.shape.rank == 4:
        boxes = tf.squeeze(boxes, 2)
    scores = tf.sigmoid(tf.concat(classes, 1))
    found = _postprocess(family)(boxes, scores, tf.constant(family.anchors))
    return {f"output_{place}": x for place, x in enumerate(found[::-1])}


def _yolox_tail(family, maps):
    joined = []
    for level in range(family.levels):
        boxes, objectness, classes = (maps[f"{name}_{level}"] for name in ("boxes", "objectness", "classes"))
        x = tf.concat([boxes, tf.sigmoid(objectness), tf.sigmoid(classes)], -1)
        joined.append(tf.reshape(x, (1, -1, x.shape[3])))
    return tf.concat(joined, 1)


def _postprocess(family):
    """The custom operator: a function that says that it implements it. What it returns are other tensors there."""
    options = []
    for key, value in (family.options | {"num_classes": family.num_classes}).items():
        kind, text = {bool: ("b", str(value).lower()), int: ("i", value), float: ("f", f"{value:f}")}[type(value)]
        options.append(f'attr {{ key: "{key}" value {{ {kind}: {text} }} }}')

    @tf.function(experimental_implements=" ".join(['name: "TFLite_Detection_PostProcess"', *options]))
    def operator(boxes, scores, anchors):
        return tuple(tf.constant(0.0) for _ in ("boxes", "classes", "scores", "count"))

    return operator


def _tiled(rows, columns, stride, offset, sizes):
    """Anchors of a level's places, those of a place next to each other; all as fractions of the frame."""
    centres = [offset + stride * np.arange(count) for count in (rows, columns)]
    found = [(y, x, h, w) for y, x, (h, w) in itertools.product(*centres, sizes)]
    return np.array(found, np.float32)


# Backbones


def _frame(image_size):
    return keras.Input((image_size, image_size, 3), name="input")


def _mobilenet_v2(x, depth) -> dict:
    """Its maps by the names of keras.applications, but with SAME padding, as the API has it. No minimum depth."""
    found, block = {}, 0
    x = _block(x, make_divisible(32 * depth), 3, strides=2)
    for expansion, channels, repetitions, stride in _MOBILENET_V2:
        for repetition in range(repetitions):
            x, inner = _bottleneck(x, expansion, channels * depth, 3, 1 if repetition else stride)
            found |= {f"block_{block}": x, f"block_{block}_expand_relu": inner}
            block += 1
    return found | {"out_relu": _block(x, make_divisible(1280 * min(depth, 1)))}


def _efficientnet_lite(x, depth) -> list:
    """Its last maps of strides 8, 16 and 32; the stem keeps its width."""
    found = {}
    x = _block(x, 32, 3, strides=2)
    for expansion, channels, repetitions, stride, side in _EFFICIENTNET_LITE:
        for repetition in range(repetitions):
            x, _ = _bottleneck(x, expansion, channels * depth, side, 1 if repetition else stride)
        found[x.shape[1]] = x
    return list(found.values())[-3:]


def _bottleneck(x, expansion, channels, side, strides):
    """An inverted residual; returns what it expanded to, too."""
    inner = _block(x, expansion * x.shape[3]) if expansion > 1 else x
    y = _normalised(_convolution(make_divisible(channels))(_depthwise(inner, side, strides)))
    return (layers.Add()([y, x]) if strides == 1 and x.shape[3] == y.shape[3] else y), inner


# EfficientDet


def _bifpn_cell(feats, width):
    """From the coarsest level down to the finest, and back; each sum has resampled maps of its own."""
    down = [feats[-1]]
    for x in reversed(feats[:-1]):
        down.insert(0, _fused([x, down[0]], x, width))
    found = down[:1]
    for level in range(1, len(feats)):
        between = [down[level]] if level < len(feats) - 1 else []
        found.append(_fused([feats[level], *between, found[-1]], feats[level], width))
    return found


def _fused(nodes, like, width):
    x, *others = (_resampled(node, width, *like.shape[1:3]) for node in nodes)
    for other in others:
        x = layers.Add()([x, other])
    return _normalised(_separable(width, bias=True)(layers.ReLU(6.0)(x)))


def _resampled(x, width, rows, columns):
    if x.shape[3] != width:
        x = _normalised(_convolution(width, bias=True)(x))
    if x.shape[1] > rows:
        strides = [(side - 1) // new + 1 for side, new in zip(x.shape[1:3], (rows, columns), strict=True)]
        return layers.MaxPooling2D([stride + 1 for stride in strides], strides, "same")(x)
    return Resized(rows, columns)(x) if x.shape[1] < rows else x


# YOLOX


def _silu_block(x, channels, side=1):
    return _silu(_convolution(channels, side)(x))


def _silu_separable(x, channels, strides=1):
    """Its DWConv. PyTorch pads both sides, which SAME does not where strides are 2."""
    if strides == 2:
        x = layers.ZeroPadding2D(1)(x)
    x = _depthwise_convolution(3, strides, "same" if strides == 1 else "valid")(x)
    return _silu_block(_silu(x), channels)


def _csp(x, channels, count, shortcut):
    one, other = (_silu_block(x, channels // 2) for _ in range(2))
    for _ in range(count):
        y = _silu_separable(_silu_block(one, channels // 2), channels // 2)
        one = layers.Add()([y, one]) if shortcut else y
    return _silu_block(layers.Concatenate()([one, other]), channels)


def _pooled_pyramid(x, channels):
    x = _silu_block(x, x.shape[3] // 2)
    pooled = [layers.MaxPooling2D(side, 1, "same")(x) for side in (5, 9, 13)]
    return _silu_block(layers.Concatenate()([x, *pooled]), channels)


# Layers


class Stacked(layers.Layer):
    """Twice the size, by nearest neighbours: the API's ops.nearest_neighbor_upsampling."""

    def call(self, x):
        _, height, width, channels = x.shape
        x = tf.reshape(tf.stack([x] * 2, 3), (-1, height, 2 * width, channels))
        return tf.reshape(tf.stack([x] * 2, 2), (-1, 2 * height, 2 * width, channels))

    def compute_output_shape(self, shape):
        return shape[0], 2 * shape[1], 2 * shape[2], shape[3]


class Resized(layers.Layer):
    """Another size, by nearest neighbours: one operator, of which UpSampling2D makes several."""

    def __init__(self, height, width, **options):
        super().__init__(**options)
        self.height, self.width = height, width

    def call(self, x):
        return tf.compat.v1.image.resize_nearest_neighbor(x, (self.height, self.width))

    def compute_output_shape(self, shape):
        return shape[0], self.height, self.width, shape[3]


def _convolution(filters, side=1, strides=1, bias=False, gain=2.0):
    init = keras.initializers.VarianceScaling(gain, "fan_in", "untruncated_normal")
    return layers.Conv2D(
        filters, side, strides, "same", use_bias=bias, kernel_initializer=init, bias_initializer=_bias()
    )


def _depthwise_convolution(side=3, strides=1, padding="same"):
    return layers.DepthwiseConv2D(side, strides, padding, use_bias=False, depthwise_initializer=_smoothing(side))


def _separable(filters, strides=1, bias=False, gain=2.0):
    return layers.SeparableConv2D(
        filters,
        3,
        strides,
        "same",
        use_bias=bias,
        depthwise_initializer=_smoothing(3),
        pointwise_initializer=keras.initializers.VarianceScaling(gain, "fan_in", "untruncated_normal"),
        bias_initializer=_bias(),
    )


def _bias():
    return keras.initializers.RandomNormal(0, 0.3)


def _smoothing(side):
    """Of depthwise kernels: means, with as much that is random. Random alone, little but noise comes out."""
    return keras.initializers.RandomNormal(1 / side**2, 1 / side**2)


def _boxes(make, count):
    """The last convolution of box codes, which are tame."""
    return make(count, bias=True, gain=0.5)


def _classes(make, count):
    return make(count, bias=True, gain=4.0)


def _normalised(x, mean=0.0):
    return layers.BatchNormalization(
        epsilon=1e-3,
        beta_initializer=keras.initializers.RandomNormal(mean, 0.3),
        gamma_initializer=keras.initializers.RandomUniform(0.6, 1.2),
    )(x)


def _relu6(x):
    """Normalised, and the activation.

    What goes into activations is positive for the most part. Of means of zero, every one of them makes errors of 8
    bits larger by half, and a deep network has nothing else in the end, as no trained one has.
    """
    return layers.ReLU(6.0)(_normalised(x, 1.0))


def _silu(x):
    return layers.Activation("silu")(_normalised(x, 1.0))


def _block(x, filters, side=1, strides=1):
    return _relu6(_convolution(filters, side, strides)(x))


def _depthwise(x, side=3, strides=1):
    return _relu6(_depthwise_convolution(side, strides)(x))


# What is random


def _frames(size, count):
    """(count, S, S, 3) float32 in [-1, 1], each of another generated clip."""
    clips = (render_clip(index, 1, size, "train") for index in range(count))
    return np.concatenate([clip.frames for clip in clips]).astype(np.float32) / 127.5 - 1


def _settled(model, seed=0):
    """Gives normalisations and the last biases values as after training, by what generated frames make of them.

    They are roughly the statistics of the frames. Of most places a class is unlikely.
    """
    rng = np.random.default_rng(seed)
    frames = _frames(model.input.shape[1], 8)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0  # what it sees now is what it keeps
    model(frames, training=True)
    for layer in norms:
        layer.momentum = 0.99
        variance = np.asarray(layer.moving_variance)
        noise = rng.normal(0, 0.1, variance.shape) * np.sqrt(variance)
        layer.moving_mean.assign(np.asarray(layer.moving_mean) + noise)
        layer.moving_variance.assign(variance * rng.uniform(0.8, 1.25, variance.shape))
    means = {name: np.mean(x, (0, 1, 2)) for name, x in model(frames, training=False).items()}
    for kind, mean in (("boxes", 0.0), ("classes", -4.0), ("objectness", -4.0)):
        shared = {}
        for name, x in model.output.items():
            if name.startswith(kind):
                shared.setdefault(x._keras_history.operation, []).append(means[name])
        for layer, seen in shared.items():
            bias = rng.normal(mean, 0.3, layer.bias.shape) - np.mean(seen, 0)
            layer.bias.assign(np.asarray(layer.bias) + bias)
    return model
