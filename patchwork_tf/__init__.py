"""Patchwork: video models for mobile CPUs that look at one window of each frame and remember the rest."""

from patchwork_tf import quiet

quiet.import_tensorflow()

# ruff: noqa: E402
from patchwork_tf.models.build import build
from patchwork_tf.models.weights import load_backbone_weights
from patchwork_tf.streaming.stream import stream
from patchwork_tf.zoo.systems import get_system, list_systems

__version__ = "0.1.0"
__all__ = ["build", "get_system", "list_systems", "load_backbone_weights", "stream"]
