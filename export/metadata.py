"""What an exported file says about itself: a JSON text in the TFLite metadata table."""

import dataclasses
import json

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from patchwork_tf.errors import DataError
from patchwork_tf.models.costs import count_macs
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.task import get_task

_ENTRY = b"patchwork.json"
VERSION = 4
_FITS = {"stretch": "stretched", "letterbox": "letterboxed, black bars on both sides,"}


def describe(step) -> dict:
    """The facts a host needs to run a file.

    Args:
        step: tflite.Step of what is exported.
    """
    model, grid, info = step.model, step.model.grid, step.model.info
    return {
        "patchwork": VERSION,
        "system": info.system,
        "reference": info.reference,
        "model": dataclasses.asdict(model.config),
        "task": model.config.task,
        "weights": info.weights,
        "weights_sha256": info.weights_sha256,
        "grid": {"cells": grid.cells, "window": grid.window},
        "policy": KerasStep(model).policy,
        "mflops": {name: count_macs(model, name == "start") / 1e6 for name in ("step", "start")},
        "stream": dataclasses.asdict(info.stream),
        "fit": info.fit,
        "input": {
            "frame": f"RGB, {_FITS[info.fit]} to the input's size, float32, value / 127.5 - 1",
            "window": "row and column of the window's top left cell, each from 0 to cells - window",
            "image_size": list(model.config.image_size),
        },
        "output": {
            **get_task(model.config.task).outputs(),
            "next_window": "what to pass as window with the next frame",
        },
        "labels": list(info.class_names),
        "states": [
            {"name": name, "shape": list(shape), "dtype": "float32", "zero_point": 0}
            for name, shape in step.state_shapes.items()
        ],
        # Of a detector without suppression: what to put together, one row per anchor, for all boxes and scores.
        "predictions": step.predictions,
        "start": bool(step.state_shapes),
        "reset": "run the signature 'whole_frame', if there is one, on a first frame; else states are zero "
        "before it, which in int8 is their zero_point. Then feed every state output back as input",
    }


def insert(tflite_file: bytes, facts: dict) -> bytes:
    """The file with `facts` in its metadata table, instead of those it may have had."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(tflite_file))
    model.buffers.append(schema.BufferT(np.frombuffer(json.dumps(facts).encode(), np.uint8)))
    entry = schema.MetadataT()
    entry.name = _ENTRY
    entry.buffer = len(model.buffers) - 1
    model.metadata = [*(old for old in model.metadata or [] if old.name != _ENTRY), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def read(path: str) -> dict:
    """The facts in a file.

    Raises:
        DataError: if it is missing, no TFLite file, or was not exported by Patchwork.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if content[4:8] != b"TFL3":
        raise DataError(f"{path}: not a TFLite file")
    model = schema.Model.GetRootAs(content, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == _ENTRY:
            return _checked(json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()), path)
    raise DataError(f"{path}: no Patchwork metadata in it; was it exported by patchwork-export?")


def _checked(facts, path):
    if (version := facts.get("patchwork")) != VERSION:
        raise DataError(f"{path}: its metadata has version {version}, we read {VERSION}: export it anew")
    return facts
