"""Layers that carry memory, and the stateless blocks around them."""

from patchwork_tf.layers.cell import PatchworkCell

__all__ = ["PatchworkCell"]
