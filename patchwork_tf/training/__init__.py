"""Training from Python: clips of videos, and Keras models that `fit` trains on them (docs/your_data.md)."""

import importlib

# Name -> where it is; loaded when first asked for.
_WHERE = {
    "BatchConfig": "data.clips",
    "ClipConfig": "data.clips",
    "ClipDistillation": "training.clip_distillation",
    "ClipModel": "training.clip_model",
    "ClipPolicy": "training.clip_policy",
    "Exploration": "data.clips",
    "Source": "data.datasets",
    "make_optimizer": "training.fit",
    "training_batches": "data.clips",
    "training_clips": "data.clips",
    "twin_of": "training.clip_distillation",
}
__all__ = [*_WHERE]


def __getattr__(name):
    if name in _WHERE:
        return getattr(importlib.import_module(f"patchwork_tf.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'patchwork_tf.training' has no attribute '{name}'")
