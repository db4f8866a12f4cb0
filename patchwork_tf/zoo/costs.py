"""What a model costs, counted from its layers after it was built."""

import math

import keras


def count_macs(layer) -> int:
    """Multiply-adds of one step at batch size 1: all convolutions and dense layers in a model or layer.

    The paper's FLOPs (Tables 4 and 5), before division by 10^6.
    """
    return sum(_macs(part) for part in layer._flatten_layers())


def _macs(layer) -> int:
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        _, height, width, _ = layer.compute_output_shape(layer.get_build_config()["input_shape"])
        return height * width * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    return 0
