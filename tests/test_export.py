"""The exported file against Keras, over long streams, and what it says about itself."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from conftest import fresh_model, random_frames

import patchwork_tf as pw
from patchwork_tf.errors import DataError
from patchwork_tf.export import metadata, verify
from patchwork_tf.export.__main__ import export
from patchwork_tf.export.runner import CopyingRunner, StepRunner
from patchwork_tf.export.tflite import Step

SIZE = 128


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    """(model, path) of a small Patchwork detector without suppression."""
    model = small("vid-pw-m4n2")
    path = str(tmp_path_factory.mktemp("export") / "raw.tflite")
    export(pw.get_system("vid-pw-m4n2"), model, None, path, suppression=False, verify_steps=5)
    return model, path


@pytest.mark.slow
def test_a_thousand_steps_without_drift(exported):
    """Every state tensor and raw output after 1000 random frames at random windows is still Keras'."""
    model, path = exported
    comparison = verify.compare(model, path, steps=1000)
    assert comparison.steps == 1000
    assert comparison.max_difference <= 1e-4
    assert max(comparison.differences[-200:]) <= 5 * max(comparison.differences[:200])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["davis-sf", "davis-pw-m4n1", "davis-pw-m4n2"])
def test_segmenters_agree_with_keras(name, small, tmp_path):
    model = small(name)
    path = str(tmp_path / "model.tflite")
    export(pw.get_system(name), model, None, path, verify_steps=5)
    comparison = verify.compare(model, path, steps=200)
    assert comparison.passed
    assert comparison.max_difference <= 1e-4
    mask = StepRunner(path).step(np.zeros((1, SIZE, SIZE, 3), np.float32), (0, 0))["mask"]
    assert mask.shape == (SIZE, SIZE)
    assert metadata.read(path)["labels"] == ["foreground"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vid-sf", "vid-pw-m4n1"])
def test_suppressed_detections_agree_with_keras(name, small, tmp_path):
    model = small(name)
    path = str(tmp_path / "model.tflite")
    comparison = export(pw.get_system(name), model, None, path)
    assert comparison.steps >= 50
    assert comparison.max_difference <= 1e-4
    assert comparison.detections > 100
    assert comparison.agreeing >= 0.99 * comparison.detections
    facts = metadata.read(path)
    assert facts["system"] == name
    assert facts["weights"] == "random weights"
    if name == "vid-sf":
        assert facts["states"] == []


def test_aliased_buffers_equal_copies(exported):
    """One runner's state stays in place, the other's is copied out and in. Bit for bit the same."""
    model, path = exported
    runner, copying = StepRunner(path), CopyingRunner(path)
    rng = np.random.default_rng(0)
    for frame in random_frames(rng, 20, (SIZE, SIZE)):
        window = rng.integers(0, model.grid.positions, 2, dtype=np.int32)
        found, copied = runner.step(frame[None], window), copying.step(frame[None], window)
        for name, value in runner.state().items():
            np.testing.assert_array_equal(value, copying.state()[name], err_msg=name)
        for name, value in found.items():
            np.testing.assert_array_equal(value, copied[name], err_msg=name)
    runner.reset()
    assert all(np.all(value == 0) for value in runner.state().values())


def test_signature_names_shapes_and_metadata(exported):
    model, path = exported
    runner = Interpreter(path).get_signature_runner("step")
    facts = metadata.read(path)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    names = [state["name"] for state in facts["states"]]
    assert names == sorted(names)
    assert set(inputs) == {"frame", "window", *names}
    assert set(outputs) == {"boxes", "scores", "next_window", *names}
    for state in facts["states"]:
        assert state["shape"] == list(inputs[state["name"]]["shape"])
    assert {state["name"]: tuple(state["shape"]) for state in facts["states"]} == Step(model, False).state_shapes
    assert facts["grid"] == {"cells": 4, "window": 2}
    assert facts["input"]["image_size"] == [SIZE, SIZE]
    assert len(facts["labels"]) == 10
    assert "zero before the first frame" in facts["reset"]


def test_only_built_in_operators(exported):
    _, path = exported
    interpreter = Interpreter(path)
    names = {op["op_name"] for op in interpreter._get_ops_details()}
    assert "DYNAMIC_UPDATE_SLICE" in names
    assert not any(name.startswith("Flex") or name == "CUSTOM" for name in names)


def test_next_window_is_keras_choice(exported):
    """These weights do look at the frames. Without training it is a raster: see test_attention.py."""
    model, path = exported
    runner = StepRunner(path)
    step = tf.function(model.step)
    state, window, visited = model.initial_state(1), np.zeros(2, np.int32), set()
    for frame in random_frames(np.random.default_rng(0), 30, (SIZE, SIZE)):
        visited.add(tuple(window.tolist()))
        found = runner.step(frame[None], window)["next_window"]
        outputs, state = step(frame[None], window[None], state)
        window = np.array(outputs["next_window"][0])
        np.testing.assert_array_equal(found, window)
    assert len(visited) > 1


def test_a_window_off_the_grid_is_moved_onto_it(exported):
    _, path = exported
    frame = random_frames(np.random.default_rng(0), 1, (SIZE, SIZE))
    inside, outside = StepRunner(path), StepRunner(path)
    inside.step(frame, (2, 0))
    outside.step(frame, (7, -3))
    for name, value in inside.state().items():
        np.testing.assert_array_equal(outside.state()[name], value)


def test_disagreement_is_refused(exported, small, tmp_path):
    """Another model's file: verification must see it, and nothing may be written."""
    _, path = exported
    other = fresh_model("vid-pw-m4n2", seed=9)
    comparison = verify.compare(other, path, steps=2)
    assert not comparison.passed
    with pytest.raises(DataError, match="not written"):
        verify.check(comparison, "out.tflite")


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), (b"text", "not a TFLite file")])
def test_foreign_files_are_named(tmp_path, content, message):
    path = tmp_path / "some.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        StepRunner(str(path))
