"""Runs exported Patchwork files over video, with numpy and LiteRT alone.

from patchwork_runtime import Model

stream = Model("pw.tflite").stream()
for frame in frames:  # (h, w, 3) uint8 RGB
    answer = stream.push(frame)
"""

import importlib

# Names by module; LiteRT is loaded when the first that needs it is used.
_WHERE = {
    **dict.fromkeys(("Answer", "Detections", "Maps", "Mask"), "answers"),
    **dict.fromkeys(("DataError", "UsageError"), "errors"),
    **dict.fromkeys(("Model", "Stream"), "stream"),
}
__all__ = [*_WHERE]


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
