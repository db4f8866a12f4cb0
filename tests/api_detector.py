"""An SSD MobileNetV2 as the Object Detection API exports it, written down without any of our layers."""

import tempfile

import numpy as np
import tensorflow as tf

from patchwork_tf.layers.blocks import make_divisible
from patchwork_tf.models.heads import HEAD_KINDS

# t, c, n, s: Sandler et al., MobileNetV2, Table 2.
_ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def api_detector(depth, classes, size, seed=0, postprocess=False, float16=False, scale=10.0, kernel=1) -> bytes:
    """A .tflite file with random weights.

    Args:
        depth: multiplier. classes: foreground classes. size: side of the input in pixels.
        seed: of the weights.
        postprocess: whether the post-processing operator is in it, else there are raw outputs.
        float16: whether weights have 16 bits.
        scale: of box centres in the operator's options.
        kernel: of the predictors.
    """
    write = _Writer(seed)

    @tf.function(input_signature=[tf.TensorSpec((1, size, size, 3))])
    def detector(frame):
        boxes, logits, anchors = [], [], []
        for level, x in enumerate(_maps(write, frame, depth)):
            count = 6 if level else 3
            boxes.append(tf.reshape(write.convolution(x, 4 * count, kernel, relu=False, gain=0.3), (1, -1, 1, 4)))
            of_classes = write.convolution(x, (1 + classes) * count, kernel, relu=False)
            logits.append(tf.reshape(of_classes, (1, -1, 1 + classes)))
            anchors.append(
                HEAD_KINDS["ssd"].anchors(level, x.shape[1:3], (size, size), (size, size)).reshape(-1, 4)
            )
        boxes, logits = tf.squeeze(tf.concat(boxes, 1), 2), tf.concat(logits, 1)
        if not postprocess:
            return {"box_encodings": boxes, "class_predictions": logits}
        found = _postprocess(classes, scale)(boxes, tf.sigmoid(logits), tf.constant(np.concatenate(anchors)))
        return dict(zip(("boxes", "classes", "scores", "count"), found, strict=True))

    return _converted(detector, float16)


class _Writer:
    """Convolutions with random weights."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def convolution(self, x, filters, side=1, stride=1, relu=True, gain=1.0):
        shape = (side, side, x.shape[3], filters)
        kernel = self.rng.normal(0, gain * np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)
        x = tf.nn.conv2d(x, kernel, stride, "SAME")
        x = tf.nn.bias_add(x, self.rng.normal(0, 0.1, filters).astype(np.float32))
        return tf.nn.relu6(x) if relu else x

    def depthwise(self, x, stride):
        kernel = self.rng.normal(0, 0.4, (3, 3, x.shape[3], 1)).astype(np.float32)
        x = tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), "SAME")
        return tf.nn.relu6(tf.nn.bias_add(x, self.rng.normal(0, 0.1, x.shape[3]).astype(np.float32)))


def _maps(write, x, depth):
    """The feature maps under the predictors."""
    x = write.convolution(x, make_divisible(32 * depth), 3, 2)
    block = 0
    for t, c, n, s in _ROWS:
        for repetition in range(n):
            y = write.convolution(x, t * x.shape[3]) if t > 1 else x
            if block == 13:
                yield y
            y = write.depthwise(y, s if repetition == 0 else 1)
            y = write.convolution(y, make_divisible(c * depth), relu=False)
            x = x + y if repetition else y
            block += 1
    x = write.convolution(x, make_divisible(1280 * depth))
    yield x
    for width in (512, 256, 256, 128):
        x = write.convolution(x, max(16, int(width / 2 * depth)))
        x = write.convolution(x, max(16, int(width * depth)), 3, 2)
        yield x


def _converted(detector, float16) -> bytes:
    module = tf.Module()
    module.detector = detector
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=detector.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.allow_custom_ops = True
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def _postprocess(classes, scale):
    """The API's way to have the operator in a file: a function that says that it implements it."""
    numbers = {"max_detections": 10, "max_classes_per_detection": 1, "detections_per_class": 100}
    options = [f'attr {{ key: "{key}" value {{ i: {value} }} }}' for key, value in numbers.items()]
    options.append(f'attr {{ key: "num_classes" value {{ i: {classes} }} }}')
    options.append('attr { key: "use_regular_nms" value { b: false } }')
    factors = {"y_scale": scale, "x_scale": scale, "h_scale": 5.0, "w_scale": 5.0}
    factors |= {"nms_score_threshold": 0.0, "nms_iou_threshold": 0.6}
    options += [f'attr {{ key: "{key}" value {{ f: {value} }} }}' for key, value in factors.items()]

    @tf.function(experimental_implements=" ".join(['name: "TFLite_Detection_PostProcess"', *options]))
    def operator(boxes, scores, anchors):
        return tf.zeros((1, 10, 4)), tf.zeros((1, 10)), tf.zeros((1, 10)), tf.zeros((1,))

    return operator
