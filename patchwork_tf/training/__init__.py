"""Training from Python: clips of videos, and Keras models that `fit` trains on them (docs/your_data.md)."""

import importlib

# By module what is in it; loaded when first asked for.
_NAMES = {
    "data.clips": ("BatchConfig", "ClipConfig", "Exploration", "training_batches", "training_clips"),
    "data.datasets": ("Source",),
    "training.clip_distillation": ("ClipDistillation", "twin_of"),
    "training.clip_model": ("ClipModel",),
    "training.clip_policy": ("ClipPolicy",),
    "training.fit": ("make_optimizer",),
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names}
__all__ = [*_WHERE]


def __getattr__(name):
    if name in _WHERE:
        return getattr(importlib.import_module(f"patchwork_tf.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'patchwork_tf.training' has no attribute '{name}'")
