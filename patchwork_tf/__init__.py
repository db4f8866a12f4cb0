"""Patchwork: video models for mobile CPUs that look at one window of each frame and remember the rest."""

import importlib
import os

from patchwork_tf import backend, registry

__version__ = "0.1.0"

# TensorFlow's own setting for log messages, if any, stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
registry.register_with_keras()

# Name -> where it is. Loaded when first asked for: a command's --help need not wait for TensorFlow.
_WHERE = {
    "Border": "layers.rules",
    "POINTWISE": "layers.rules",
    "ModelConfig": "models.config",
    "StreamConfig": "models.config",
    "System": "zoo.systems",
    "Task": "task",
    "build": "zoo.build",
    "get_system": "zoo.systems",
    "list_pretrained": "zoo.checkpoints",
    "list_systems": "zoo.systems",
    "load": "zoo.checkpoints",
    "load_backbone_weights": "models.weights",
    "patch": "models.patch",
    "read_tflite": "export.reader",
    "register": "zoo.systems",
    "register_layer_rule": "layers.rules",
    "DatasetInfo": "data.datasets",
    "register_backbone": "models.backbone",
    "register_dataset": "data.datasets",
    "register_policy": "streaming.policies",
    "register_task": "task",
    "stream": "streaming.stream",
}
__all__ = [*_WHERE, "export"]


def __getattr__(name):
    if name == "export":  # a package that can be called, see there
        return importlib.import_module("patchwork_tf.export")
    if name in _WHERE:
        backend.check()
        value = getattr(importlib.import_module(f"patchwork_tf.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'patchwork_tf' has no attribute '{name}'")


def __dir__():
    return sorted({*globals(), *__all__})
