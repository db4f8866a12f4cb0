"""Exported files that tests share on disk, between workers and runs, until something changes that makes them.

PATCHWORK_TEST_CACHE names their folder, or is `off`; else it is build/exports.
"""

import fcntl
import functools
import hashlib
import inspect
import json
import os
import pickle
import platform
import shutil
import sys
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import families
import numpy as np

from patchwork_tf.export import exporting

_CHECKOUT = Path(__file__).parents[1]
# What is below them may have a part in a file; the last two have networks of tests.
SOURCES = tuple(
    _CHECKOUT / name
    for name in ("patchwork_tf", "export", "runtime/python", "tests/small_network.py", "tests/conftest.py")
)
PACKAGES = ("ai-edge-litert", "ai-edge-quantizer", "keras", "numpy", "tensorflow")
_KEPT = 3  # states of the sources, so that going back and forth between two costs nothing


def export(model, output, *args, **options) -> exporting.Exported:
    """As `exporting.export`, and with the same result; the second time the file is a copy."""
    root = os.environ.get("PATCHWORK_TEST_CACHE") or str(_CHECKOUT / "build/exports")
    if root == "off":
        return exporting.export(model, output, *args, **options)
    call = inspect.signature(exporting.export).bind(model, output, *args, **options)
    entry = Path(root, made_by(SOURCES), _key(model, call))
    with _alone(entry):
        if not (entry / "exported").exists():
            exported = exporting.export(model, str(entry / "model.tflite"), *args, **options)
            (entry / "exported.part").write_bytes(pickle.dumps(exported))
            (entry / "exported.part").rename(entry / "exported")
        shutil.copyfile(entry / "model.tflite", output)
        return pickle.loads((entry / "exported").read_bytes())


def family(name: str, quantized: bool = False) -> str:
    """Path of the .tflite file of a detector, see `families`; it is made once."""
    root = os.environ.get("PATCHWORK_TEST_CACHE") or str(_CHECKOUT / "build/exports")
    root = tempfile.mkdtemp() if root == "off" else root
    entry = Path(root, made_by((_CHECKOUT / "tests/families.py",)), f"{name}-{'int8' if quantized else 'float'}")
    with _alone(entry):
        path = entry / "detector.tflite"
        if not path.exists():
            families.write_tflite(families.made(name), str(entry / "part"), quantized)
            (entry / "part").rename(path)
    return str(path)


@functools.cache
def made_by(sources) -> str:
    """Digest of files and folders of sources, of the packages that they use, and of this machine."""
    digest = hashlib.sha256(repr((platform.uname(), sys.version, *map(version, PACKAGES))).encode())
    for source in sources:
        for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _key(model, call) -> str:
    """Digest of a model, its weights, and how it is exported."""
    call.apply_defaults()
    options = {name: value for name, value in call.arguments.items() if name not in ("model", "output")}
    frames = options.pop("calibration")
    facts = [type(model).__name__, model.dtype_policy.name, model.get_config(), options]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for variable in model.variables:
        digest.update(variable.path.encode() + np.asarray(variable).tobytes())
    for frame in () if frames is None else frames:
        digest.update(repr(frame.shape).encode() + frame.tobytes())
    return digest.hexdigest()[:32]


@contextmanager
def _alone(entry: Path):
    """No other worker makes this entry meanwhile."""
    if not entry.parent.exists():
        _forget(entry.parents[1])
    entry.mkdir(parents=True, exist_ok=True)
    with open(entry / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget(root: Path):
    states = sorted(root.glob("*"), key=os.path.getmtime)
    for state in states[: 1 - _KEPT]:
        shutil.rmtree(state, ignore_errors=True)
