"""Writes into an exported file what runtime.metadata reads there: a JSON text in the TFLite metadata table."""

import dataclasses
import json

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from patchwork_tf.errors import DataError
from patchwork_tf.files import read_bytes
from patchwork_tf.models.costs import count_macs
from patchwork_tf.runtime.metadata import CHECKSUM, UNSEALED, VERSION, digest, read
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.task import get_task

__all__ = ["describe", "insert", "read", "read_tflite"]
_ENTRY = b"patchwork.json"
_RESIZED = {"stretch": "stretched", "letterbox": "letterboxed, black bars on both sides,"}


def describe(step) -> dict:
    """The facts that a host needs to run the file of a tflite.Step."""
    model, grid, info = step.model, step.model.grid, step.model.info
    return {
        "patchwork": VERSION,
        "system": info.system,
        "reference": info.reference,
        "model": dataclasses.asdict(model.config),
        "task": model.config.task,
        "weights": info.weights,
        "weights_sha256": info.weights_sha256,
        "grid": dataclasses.asdict(grid),
        "policy": KerasStep(model).policy,
        "mflops": {name: count_macs(model, name == "start") / 1e6 for name in ("step", "start")},
        "stream": dataclasses.asdict(info.stream),
        "resize_mode": info.resize_mode,
        "input": {
            "frame": f"RGB, {_RESIZED[info.resize_mode]} to the input's size, float32, value / 127.5 - 1",
            "window": "row and column of the window's top left cell, each from 0 to cells - window_cells",
            "image_size": list(model.config.image_size),
        },
        "output": {
            **get_task(model.config.task).outputs(),
            "next_window": "what to pass as window with the next frame",
            "need": "1, M, M, 1, if windows are chosen: how much of the answer that matters is in each cell",
            "rule_values": "1, windows: what the rule says windows are worth, row by row; q_values, if a policy "
            "was learned",
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
    """The file with `facts` and a checksum in its metadata table, instead of those it may have had."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(tflite_file))
    model.metadata = model.metadata or []
    entry = next((old for old in model.metadata if old.name == _ENTRY), None)
    if not entry:
        entry = schema.MetadataT()
        entry.name, entry.buffer = _ENTRY, len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    text = json.dumps({**facts, "checksum": UNSEALED.decode()})
    model.buffers[entry.buffer].data = np.frombuffer(text.encode(), np.uint8)
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    place = CHECKSUM.search(content)
    return content[: place.start(1)] + digest(content, place.span(1)) + content[place.end(1) :]


def read_tflite(path: str) -> bytes:
    """A TFLite file's bytes, ours or not. Raises DataError if it is missing, or something else."""
    content = read_bytes(path)
    if content[4:8] != b"TFL3":
        raise DataError(f"{path}: {'not a TFLite file' if content else 'empty'}")
    return content
