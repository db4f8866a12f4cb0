"""From a config, or a system's name, to a model with weights."""

import dataclasses

from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.patchwork_model import PatchworkModel
from patchwork_tf.task import get_task
from patchwork_tf.zoo.systems import System, get_system


def build(model: System | ModelConfig | str, **overrides) -> PatchworkModel:
    """Builds a model with freshly initialised weights.

    Args:
        model: a system or its name, which says how the model is run over a stream, too; or a ModelConfig, of a
            model that is run on every frame.
        **overrides: ModelConfig fields to replace, such as image_size, depth, num_classes.

    Raises:
        UsageError: if there is no such system, the image does not divide into the grid, or a field is out of
            range.
    """
    if isinstance(model, ModelConfig):
        config, info = model, ModelInfo()
    else:
        system = get_system(model) if isinstance(model, str) else model
        config, info = system.model, ModelInfo(system.name, system.stream, system.reference)
    config = dataclasses.replace(config, **overrides)
    return get_task(config.task).build(config, info)
