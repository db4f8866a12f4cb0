"""From a config to a model with weights."""

import dataclasses

import keras
from keras import KerasTensor

from patchwork_tf.models.config import EVERY_FRAME, ModelConfig, StreamConfig
from patchwork_tf.models.detector import PatchworkDetector
from patchwork_tf.models.segmenter import PatchworkSegmenter

_MODELS = {"detection": PatchworkDetector, "segmentation": PatchworkSegmenter}


def build(config: ModelConfig, stream: StreamConfig = EVERY_FRAME, **overrides) -> keras.Model:
    """Builds a model with freshly initialised weights.

    Args:
        config: a system's `model`.
        stream: a system's `stream`, how the model is run over one; by default it sees every frame.
        **overrides: ModelConfig fields to replace, such as image_size, depth, num_classes.

    Raises:
        UsageError: if the image does not divide into the grid, or a field is out of range.
    """
    config = dataclasses.replace(config, **overrides)
    model = _MODELS[config.task](config)
    model.stream_config = stream
    frame = KerasTensor((1, *config.image_size, 3))
    window = KerasTensor((1, 2), dtype="int32")
    state = {name: KerasTensor((1, *shape)) for name, shape in model.memory_shapes().items()}
    for layer in model._flatten_layers():  # composite layers have nothing of their own to build,
        if layer._layers:  # their parts do when they are first called: here, on shapes alone
            layer.built = True
    model(frame, window, state)
    return model
