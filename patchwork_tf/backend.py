"""What Keras must be set to before it is imported, so that a wrong setting is a line and no traceback."""

import importlib.util
import json
import os

from patchwork_tf.errors import UsageError

BACKENDS = ("tensorflow", "jax")
_NEEDED = {"floatx": "float32", "image_data_format": "channels_last"}


def check_precision():
    """Raises UsageError if a model that is built now would not be in float32 and channels last."""
    import keras

    settings = {
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.config.dtype_policy().name,
    }
    for key, value in settings.items():
        needed = _NEEDED.get(key, "float32")
        if value != needed:
            raise UsageError(f"keras.config.{key}() is {value}; models are built in {needed}: set it before")


def check() -> str:
    """The backend's name, read as Keras does. Raises UsageError if Patchwork cannot run with it and keras.json."""
    path = os.path.join(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "keras.json")
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
    except (OSError, ValueError):  # Keras ignores such a file
        settings = {}
    name, where = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not name:
        name, where = settings.get("backend", BACKENDS[0]), f"{path}: backend"
    if name not in BACKENDS:
        raise UsageError(f"{where}={name}: Patchwork runs on {' and '.join(BACKENDS)}; set KERAS_BACKEND to one")
    if not importlib.util.find_spec(name):
        raise UsageError(f"{where}={name}: {name} is not installed; pip install {name}, or set KERAS_BACKEND")
    for key, needed in _NEEDED.items():
        if settings.get(key, needed) != needed:
            raise UsageError(f"{path}: {key} is {settings[key]}; Patchwork needs {needed}, change or remove it")
    return name
