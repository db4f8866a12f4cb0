"""Patchwork: video models for mobile CPUs that look at one window of each frame and remember the rest."""

import importlib

from patchwork_tf import quiet

quiet.import_tensorflow()

# ruff: noqa: E402
from patchwork_tf.models.weights import load_backbone_weights
from patchwork_tf.streaming.stream import stream
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.checkpoints import list_pretrained, load
from patchwork_tf.zoo.systems import System, get_system, list_systems, register

__version__ = "0.1.0"
__all__ = [
    "System",
    "build",
    "export",
    "get_system",
    "list_pretrained",
    "list_systems",
    "load",
    "load_backbone_weights",
    "register",
    "stream",
]


def __getattr__(name):
    if name == "export":  # a package that can be called, see there; it imports what only exporting needs
        return importlib.import_module("patchwork_tf.export")
    raise AttributeError(f"module 'patchwork_tf' has no attribute '{name}'")
