"""Layers that networks out of .tflite files have and Keras has not, and what they need on windows."""

import keras
import numpy as np
from keras import layers, ops

from patchwork_tf.layers import rules


@keras.saving.register_keras_serializable("patchwork_tf")
class DepthToSpace(layers.Layer):
    """Spreads channels over blocks of pixels: (B, h, w, block block C) -> (B, h block, w block, C)."""

    def __init__(self, block: int, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def call(self, x):
        _, height, width, channels = x.shape
        block, rest = self.block, channels // self.block**2
        x = ops.transpose(ops.reshape(x, (-1, height, width, block, block, rest)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height * block, width * block, rest))

    def get_config(self):
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable("patchwork_tf")
class ChannelPadding(layers.Layer):
    """Channels of zeros, `before` and `after` those that there are."""

    def __init__(self, before: int, after: int, **kwargs):
        super().__init__(**kwargs)
        self.before, self.after = before, after

    def call(self, x):
        # A PAD of channels crashes TensorFlow's graph optimizer beside others.
        nothing = ops.zeros_like(x[..., :1])
        zeros = [ops.repeat(nothing, count, axis=-1) for count in (self.before, self.after)]
        return ops.concatenate([zeros[0], x, zeros[1]], axis=-1)

    def get_config(self):
        return {**super().get_config(), "before": self.before, "after": self.after}


@keras.saving.register_keras_serializable("patchwork_tf")
class AlignedResizing(layers.Layer):
    """Bilinear resizing in which the corners of both maps are the centres of their outermost pixels."""

    def __init__(self, height: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width = height, width

    def call(self, x):
        x = ops.einsum("oi,biwc->bowc", _parts(x.shape[1], self.height), x)
        return ops.einsum("oi,bhic->bhoc", _parts(x.shape[2], self.width), x)

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}


def _parts(size: int, wanted: int) -> np.ndarray:
    """What each of `size` pixels counts in each of the `wanted` ones, (wanted, size) float32."""
    places = np.linspace(0, size - 1, wanted)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size))).astype(np.float32)


def _refused(layer, shape):
    raise rules.Refused(
        f"it resizes {shape[0]}x{shape[1]} to {layer.height}x{layer.width} with aligned corners, by no whole "
        "factor; read the network at a size that has one, such as 512 for 513"
    )


rules.register_layer_rule(DepthToSpace, rules.POINTWISE)
rules.register_layer_rule(ChannelPadding, rules.POINTWISE)
rules.register_layer_rule(AlignedResizing, _refused)
