"""Fixtures that several test files share."""

import dataclasses
import functools
import gc
import importlib
import os
import signal
import socket
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker for every core
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as patchwork_tf does; JAX, which Keras imports, sets another

import keras
import numpy as np
import pytest
import tensorflow as tf
from bench import Bench
from emulated_device import EmulatedDevice

import patchwork_tf as pw
from patchwork_tf import task
from patchwork_tf.data import datasets
from patchwork_tf.models import backbone
from patchwork_tf.models.mobilenet_v2 import mobilenet_v2
from patchwork_tf.models.weights import get_weights
from patchwork_tf.streaming import policies
from patchwork_tf.zoo import checkpoints, systems

CHECKOUT = Path(__file__).parents[1]

pytest_plugins = ["needs", "adb_clients", "arm64", "native_runner", "published"]


# MobileNetV2 with a third of its blocks: every kind of layer, every stride, one residual connection.
backbone.register_backbone(
    "short",
    functools.partial(
        mobilenet_v2, bottlenecks=((1, 16, 1, 1), (6, 24, 1, 2), (6, 32, 2, 2), (6, 64, 1, 2), (6, 160, 1, 2))
    ),
    {4: "block_2_expand_relu", 8: "block_4_expand_relu", 16: "block_5_expand_relu", 32: "out_relu"},
)


def small_model(name, seed=0, **overrides):
    """A system's model, small unless overridden, with weights as if trained. Shared: leave its weights alone.

    What depends on the whole network says backbone="mobilenet_v2".
    """
    # Systems that run the same model share it, and what is compiled of it.
    model = pw.get_system(name).model
    same = next(other for other in pw.list_systems() if pw.get_system(other).model == model)
    return _shared(same, _small_config(name, overrides), seed)


def fresh_model(name, seed=0, **overrides):
    """The same, to do with as one likes."""
    return _build(name, _small_config(name, overrides), seed)


def _small_config(name, overrides):
    model = pw.get_system(name).model
    fields = {"image_size": 128, "depth": 0.35}
    if model.task == "detection":
        fields["num_classes"] = 10
    if model.backbone == "mobilenet_v2":
        fields["backbone"] = "short"
    return dataclasses.replace(model, **{**fields, **overrides})


def _build(name, config, seed):
    keras.utils.set_random_seed(seed)
    model = pw.build(name, **{field.name: getattr(config, field.name) for field in dataclasses.fields(config)})
    randomise(model, seed)
    return model


_shared = functools.lru_cache(maxsize=16)(_build)


def save_fresh(folder, system, class_names=None, seed=5, **overrides) -> str:
    """Saves weights to start from, of a system as it is but for overrides; returns their path."""
    keras.utils.set_random_seed(seed)
    model = pw.build(system, **overrides)
    class_names = class_names or [f"thing {number}" for number in range(model.config.num_classes)]
    metadata = {"system": system, "class_names": list(class_names), "training": {}}
    return checkpoints.save_weights(str(folder), model.config, get_weights(model.variables), metadata)


@functools.lru_cache(maxsize=8)
def traced_step(model):
    """A shared model's step as one function of TensorFlow. Tracing takes seconds, as ten plain steps do."""
    return tf.function(model.step, autograph=False)


# What takes longest starts first, lest one worker be busy with it when the other is done.
_LONGEST_FILES = (
    "test_export",
    "test_distribution",
    "test_distillation",
    "test_models",
    "test_q_learning",
    "test_pretrained",
    "test_training",
    "test_commands",
    "test_web",
    "test_library",
    "test_importing",
    "test_stream",
    "test_zoo",
)


def pytest_sessionstart():
    """What was imported stays: looking through it for garbage again and again takes a twentieth of the time."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def pytest_collection_modifyitems(items):
    """Long files first. With --dist=loadfile a file stays on one worker, which shares its fixtures and models."""
    places = {name: place for place, name in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    items[:] = [item for item in items if item.name != "test_session"]  # TensorFlow's, which is no test


@pytest.fixture(scope="session")
def small():
    return small_model


@pytest.fixture
def eagerly():
    """Without compiling, which takes longer than a few steps of a small network."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def own_entries():
    """What a module registers is gone after it; the zoo's own tasks, loaded when first asked for, are not."""
    for name in task._MODULES:
        task.get_task(name)
    registries = (systems._BY_NAME, task._TASKS, backbone._MAKERS, policies._OWN, datasets.DATASETS)
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.fixture(scope="module")
def small_networks(own_entries):
    """The systems of small_network.py are the zoo's for a module."""
    importlib.import_module("small_network")
    yield
    del sys.modules["small_network"]


@pytest.fixture(scope="session")
def on_tensorflow():
    """The environment of processes that find --plugins."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests")}


@pytest.fixture(scope="session")
def on_jax(on_tensorflow, tmp_path_factory):
    """The environment of processes on JAX, which compile quickly rather than well, and for one another."""
    return {
        **on_tensorflow,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }


@pytest.fixture(scope="session")
def free_port():
    """Function to a port that nobody listens on."""

    def find() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return listener.getsockname()[1]

    return find


def randomise(model, seed=0):
    """Gives batch norms and biases values as after training: fresh ones would hide mistakes."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.split("/")[-1]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif "_classes/" in variable.path or "mask_logits/" in variable.path:
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif "attention_value/" in variable.path or "_boxes/" in variable.path:
            # Sizes of boxes are exponentials: tame, or they magnify rounding errors.
            variable.assign(rng.normal(0, 0.03, variable.shape))


def untrain_attention(model):
    """Takes back what a model's attention network adds to the rule."""
    for variable in model.attention.value.variables:
        variable.assign(np.zeros(variable.shape))


def random_frames(rng, count, image_size):
    """(count, H, W, 3) float32 in [-1, 1], noise that is coarse and fine."""
    height, width = image_size
    coarse = rng.uniform(-1, 1, (count, height // 16, width // 16, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return (0.7 * coarse + 0.3 * rng.uniform(-1, 1, (count, height, width, 3))).astype(np.float32)


@pytest.fixture
def phone(adb, tmp_path):
    """An emulated device, to be found by its name."""
    with EmulatedDevice(tmp_path / "phone") as phone:
        yield phone
        adb.run("disconnect")


@pytest.fixture
def bench(adb, tmp_path):
    """A benchmark as a user starts it."""
    return Bench(adb, tmp_path)


@pytest.fixture
def in_a_terminal():
    """Signals as a program in a terminal has them: tests may run in the background, or under nohup."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
