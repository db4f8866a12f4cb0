"""Patchwork: video models for mobile CPUs that look at one window of each frame and remember the rest."""

import importlib
import os

from patchwork_tf import backend, registry

__version__ = "0.1.0"

# TensorFlow's own setting for log messages, if any, stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
registry.register_with_keras()

# By module what is in it. Loaded when first asked for: a command's --help need not wait for TensorFlow.
_NAMES = {
    "data.datasets": ("DatasetInfo", "register_dataset"),
    "export.reader": ("read_tflite",),
    "layers.rules": ("Border", "POINTWISE", "register_layer_rule"),
    "models.backbone": ("register_backbone",),
    "models.config": ("ModelConfig", "StreamConfig"),
    "models.patch": ("patch",),
    "models.weights": ("load_backbone_weights",),
    "streaming.policies": ("register_policy",),
    "streaming.stream": ("stream",),
    "task": ("Task", "register_task"),
    "zoo.build": ("build",),
    "zoo.checkpoints": ("list_pretrained", "load"),
    "zoo.systems": ("System", "get_system", "list_systems", "register"),
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names}
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
