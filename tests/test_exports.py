"""The cache of exported files never gives what would not be made now."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import exports
import numpy as np
import pytest
import tensorflow as tf

from patchwork_tf.export.exporting import Exported
from patchwork_tf.export.verify import Comparison


@pytest.fixture
def made(monkeypatch, tmp_path):
    """What was really exported, in a cache of its own."""
    calls = []

    def export(model, output, suppression=True, verify_steps=50, quantization="none", calibration=None):
        calls.append(verify_steps)
        Path(output).write_text(f"file {len(calls)}")
        return Exported(Comparison([0.5] * verify_steps))

    monkeypatch.setattr(exports.exporting, "export", export)
    monkeypatch.setattr(exports, "SOURCES", (tmp_path / "sources",))
    monkeypatch.setenv("PATCHWORK_TEST_CACHE", str(tmp_path / "cache"))
    exports.made_by.cache_clear()
    write(tmp_path, "x = 1")
    yield calls
    exports.made_by.cache_clear()


def write(folder, source):
    path = folder / "sources/deep/module.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    exports.made_by.cache_clear()


def network(weight=1.0, config="small", policy="float32"):
    """What the cache asks a model for."""
    kernel = tf.Variable([weight], name="kernel")
    kernel.path = "conv/kernel"
    return SimpleNamespace(
        variables=[kernel], get_config=lambda: {"config": config}, dtype_policy=SimpleNamespace(name=policy)
    )


def test_the_second_time_the_same_is_a_copy(made, tmp_path):
    first = exports.export(network(), str(tmp_path / "a"), verify_steps=2)
    again = exports.export(network(), str(tmp_path / "b"), True, 2)
    assert made == [2]
    assert first == again == Exported(Comparison([0.5, 0.5]))
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "file 1"


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ({"weight": 2.0}, {}),
        ({"config": "large"}, {}),
        ({"policy": "mixed_bfloat16"}, {}),
        ({}, {"verify_steps": 3}),
        ({}, {"suppression": False}),
        ({}, {"quantization": "float16"}),
        ({}, {"calibration": [np.zeros((2, 2, 3), np.uint8)]}),
    ],
)
def test_another_model_or_option_is_a_miss(model, options, made, tmp_path):
    exports.export(network(), str(tmp_path / "a"))
    exports.export(network(**model), str(tmp_path / "a"), **options)
    assert len(made) == 2


def test_another_source_or_version_is_a_miss(made, tmp_path, monkeypatch):
    exports.export(network(), str(tmp_path / "a"))
    monkeypatch.setattr(exports, "version", lambda package: "99")
    exports.made_by.cache_clear()
    exports.export(network(), str(tmp_path / "a"))
    assert len(made) == 2
    for number in range(3):
        write(tmp_path, f"y = {number}")
        exports.export(network(), str(tmp_path / "a"))
    assert len(made) == 5
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_what_failed_is_not_kept(made, tmp_path, monkeypatch):
    def fail(model, output, suppression=True, verify_steps=50, quantization="none", calibration=None):
        Path(output).write_text("half")
        raise ValueError("broke off")

    with monkeypatch.context() as patch:
        patch.setattr(exports.exporting, "export", fail)
        with pytest.raises(ValueError, match="broke off"):
            exports.export(network(), str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    exports.export(network(), str(tmp_path / "a"))
    assert (tmp_path / "a").read_text() == "file 1"


def test_workers_wait_for_one_another(made, tmp_path):
    threads = [threading.Thread(target=exports.export, args=(network(), str(tmp_path / "a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_all_that_makes_a_file_is_among_the_sources():
    used = {
        Path(module.__file__)
        for name, module in list(sys.modules.items())
        if name.startswith("patchwork_tf") and ".benchmarks" not in name and getattr(module, "__file__", None)
    }
    assert len(used) > 50
    assert not [path for path in used if not any(path.is_relative_to(source) for source in exports.SOURCES)]
