"""Keras finds our classes in saved models as soon as the package is imported, before or after Keras itself.

Keras knows classes that were defined already. Ours need TensorFlow, and `import patchwork_tf` does not wait for
that: what it knows at first are stand-ins, which load the class when a model of it is loaded.
"""

import importlib
import sys
from importlib.machinery import PathFinder

_PACKAGE = "patchwork_tf"
# Class -> where it is.
_CLASSES = {
    **dict.fromkeys(("ChannelPadding", "ChannelSlice", "DepthToSpace", "PixelSlice", "Spread"), "layers.imported"),
    **dict.fromkeys(("AlignedResizing", "CornerResizing", "NearestResizing"), "layers.imported"),
    "PatchedModel": "models.patch",
    "PatchworkDetector": "models.detector",
    "PatchworkMaps": "models.maps",
    "PatchworkSegmenter": "models.segmenter",
}


def _stand_in(name: str):
    def from_config(config):
        module = importlib.import_module(f"{_PACKAGE}.{_CLASSES[name]}")
        return getattr(module, name).from_config(config)

    return type(name, (), {"from_config": staticmethod(from_config)})


def _register():
    known = sys.modules["keras"].saving.get_custom_objects()
    for name in _CLASSES:
        known.setdefault(f"{_PACKAGE}>{name}", _stand_in(name))


class _AfterKeras:
    """Waits in `sys.meta_path` for Keras to be imported."""

    def find_spec(self, name, path=None, target=None):
        """The spec of Keras, whose loader registers our classes once it has run; None for any other module."""
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                _register()

            spec.loader.exec_module = exec_module
        return spec


def register_with_keras():
    """Registers our classes now, or when Keras is imported."""
    if hasattr(sys.modules.get("keras"), "saving"):
        _register()
    else:
        sys.meta_path.insert(0, _AfterKeras())
