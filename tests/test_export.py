"""The exported file against Keras, over long streams, and what it says about itself."""

import dataclasses
import functools
import itertools
import json
import math
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.cpu_options import CpuOptions
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import Options
from conftest import random_frames
from copying import CopyingNetwork
from exports import export

import patchwork_tf as pw
from patchwork_tf import demo, evaluate
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export import __main__ as command
from patchwork_tf.export import inspect, metadata, verify
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.export.tflite import Step, convert
from patchwork_tf.grid import Grid
from patchwork_tf.models.detector import objects_in_cells
from patchwork_tf.runtime.network import Network
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.task import get_task
from patchwork_tf.zoo import checkpoints

pytestmark = pytest.mark.slow

SIZE = 128
CLIP = Path(__file__).parents[1] / "docs/photos.mp4"


@pytest.fixture(scope="module")
def export_once(small, tmp_path_factory):
    """Function of a system's name to (model, path, Exported) of a small one, exported when first asked for."""

    @functools.cache
    def export_small(name, suppression=True, verify_steps=5, **overrides):
        model = small(name, **overrides)
        path = str(tmp_path_factory.mktemp("export") / "model.tflite")
        return model, path, export(model, path, suppression, verify_steps)

    return export_small


@pytest.fixture(scope="module")
def exported(export_once):
    """(model, path) of the smallest Patchwork detector, without suppression."""
    return export_once("oid-pw-m2n1", suppression=False, image_size=64)[:2]


def test_many_steps_without_drift(exported):
    """Every raw output of random frames at random windows is Keras', so what is remembered is, too."""
    model, path = exported
    comparison = verify.compare(model, path, steps=300)
    assert comparison.steps == 300
    assert comparison.max_difference <= 1e-4
    assert max(comparison.differences[-100:]) <= 5 * max(comparison.differences[:100])


@pytest.mark.parametrize("name", ["davis-sf", "davis-pw-m4n1"])
def test_segmenters_agree_with_keras(name, export_once):
    _, path, found = export_once(name, verify_steps=20)
    assert found.comparison.steps == 20
    assert found.comparison.max_difference <= 1e-4
    mask = Network(path).step(np.zeros((1, SIZE, SIZE, 3), np.float32), (0, 0))["mask"]
    assert mask.shape == (SIZE, SIZE)
    assert metadata.read(path)["labels"] == ["foreground"]


@pytest.mark.parametrize("name", ["vid-sf", "vid-pw-m4n2", "oid-pw-m2n1"])
def test_suppressed_detections_agree_with_keras(name, export_once):
    _, path, found = export_once(name, verify_steps=20)
    comparison = found.comparison
    assert comparison.steps == 20
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
    runner, copying = Network(path), CopyingNetwork(path)
    rng = np.random.default_rng(0)
    for number, frame in enumerate(random_frames(rng, 20, (64, 64))):
        window = rng.integers(0, model.grid.positions, 2, dtype=np.int32)
        if number == 10:
            found, copied = runner.start(frame[None]), copying.start(frame[None])
        else:
            found, copied = runner.step(frame[None], window), copying.step(frame[None], window)
        for name, value in runner.states().items():
            np.testing.assert_array_equal(value, copying.states()[name], err_msg=name)
        for name, value in found.items():
            np.testing.assert_array_equal(value, copied[name], err_msg=name)
    runner.memory.reset()
    assert all(np.all(value == 0) for value in runner.states().values())


def test_signature_names_shapes_and_metadata(exported):
    model, path = exported
    runner = Interpreter(path).get_signature_runner("step")
    facts = metadata.read(path)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    names = [state["name"] for state in facts["states"]]
    assert names == sorted(names)
    assert set(inputs) == {"frame", "window", *names}
    of_windows = {"next_window", "need", "rule_values", "q_values"}
    assert set(outputs) == {"boxes", "scores", "weights", *of_windows, *names}
    start = Interpreter(path).get_signature_runner("whole_frame")
    assert set(start.get_input_details()) == {"frame"}
    assert set(start.get_output_details()) == set(outputs)
    for state in facts["states"]:
        assert state["shape"] == list(inputs[state["name"]]["shape"])
    assert {state["name"]: tuple(state["shape"]) for state in facts["states"]} == Step(model, False).state_shapes
    assert facts["grid"] == {"cells": 2, "window_cells": 1}
    assert facts["input"]["image_size"] == [64, 64]
    assert len(facts["labels"]) == 10
    assert "states are zero before it" in facts["reset"]
    assert facts["start"]


@pytest.mark.parametrize("form", [{"strips_from": 1000}, {"strips_from": 1, "in_8_bits": True}])
def test_every_form_of_memory_gives_the_same_bits(form, export_once, exported, tmp_path):
    """In LiteRT: whole maps in the place of strips, or strips of all and expanded features for narrow ones."""
    model, path = exported if form["strips_from"] > 1 else export_once("davis-pw-m4n1", verify_steps=20)[:2]
    step, other = Step(model, False, **form), tmp_path / "other.tflite"
    other.write_bytes(convert(step, metadata.describe(step)))
    runners, rng = [Network(path), Network(str(other))], np.random.default_rng(3)
    sizes = [sum(value.nbytes for value in runner.states().values()) for runner in runners]
    assert sizes[0] < sizes[1]
    for frame in random_frames(rng, 24, model.config.image_size):
        window = rng.integers(0, model.grid.positions, 2, dtype=np.int32)
        expected, found = (runner.step(frame[None], window) for runner in runners)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_state_of_the_paper_s_detector_is_small():
    """Counted from the real size, 384 x 384 at depth 1: at most 9.3 MB, where the dense memory has 63 MB."""
    model = pw.build(pw.get_system("vid-pw-m4n2").model)
    sizes = [4 * math.prod(shape) for shape in Step(model).state_shapes.values()]
    assert sum(sizes) <= 9.3e6


def test_large_frames(small, tmp_path):
    model = small("davis-pw-m2n1", image_size=(384, 640))
    exported = export(model, str(tmp_path / "large.tflite"), False, 3)
    assert exported.comparison.max_difference <= 1e-4


def test_int8_of_the_shipped_detector_agrees_with_float(tmp_path):
    """It has channels with a bias and no weights, whose scale leaves no room for the bias."""
    model = checkpoints.build_from(pw.get_system("oid-sf"), checkpoints.read("oid-sf"), image_size=192)
    frames = list(itertools.islice(Video(str(CLIP)), 24))
    path = str(tmp_path / "int8.tflite")
    export(model, path, True, 1, "int8", frames[::2])
    metric = get_task("detection").agreement_metric(model.info.class_names)
    for frame, exact, rounded in zip(
        frames, pw.stream(model, frames), pw.stream(ExportedStep(path), frames), strict=True
    ):
        metric.add_frame(rounded, exact, frame.shape[:2])
    assert metric.result() > 0.9


def test_int8_states_are_int8_all_the_way(export_once, tmp_path):
    """Same scale in and out; nothing converted but the frame, what leaves for floating point, and what is blended
    into the pyramid's map and comes back; no drift."""
    model, path, _ = export_once("vid-pw-m2n1", suppression=False, image_size=64)
    paths = {"none": path, "int8": str(tmp_path / "int8.tflite")}
    rng = np.random.default_rng(0)
    video = (127.5 * (random_frames(rng, 32, (64, 64)) + 1)).astype(np.uint8)
    assert export(model, paths["int8"], False, 3, "int8", video).comparison.passed
    interpreter = Interpreter(paths["int8"]).get_signature_runner("step")
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    states = [key for key in inputs if key.startswith("state_") and inputs[key]["dtype"] == np.int8]
    assert len(states) >= 10
    assert all(inputs[key]["quantization"] == outputs[key]["quantization"] for key in states)
    count, _ = inspect.operators(paths["int8"])  # of the step
    assert count["QUANTIZE"] <= 2
    first = Interpreter(paths["int8"]).get_signature_runner("whole_frame").get_output_details()
    assert all(first[key]["quantization"] == inputs[key]["quantization"] for key in states)
    assert all(first[key]["dtype"] == inputs[key]["dtype"] for key in inputs if key.startswith("state_"))
    exact, rounded, copying = Network(paths["none"]), Network(paths["int8"]), CopyingNetwork(paths["int8"])
    frame = random_frames(rng, 1, (64, 64))
    found = [runner.start(frame)["scores"] for runner in (exact, rounded, copying)]
    np.testing.assert_array_equal(found[1], found[2])
    assert 0 < np.abs(found[0] - found[1]).mean() < 0.05
    differences = []
    for number, frame in enumerate(np.tile(random_frames(rng, 20, (64, 64)), (50, 1, 1, 1))):
        window = (number % 2, number // 2 % 2)
        found = [runner.step(frame[None], window)["scores"] for runner in (exact, rounded, copying)]
        np.testing.assert_array_equal(found[1], found[2])
        differences.append(np.abs(found[0] - found[1]).mean())
    assert 0 < np.mean(differences) < 0.1
    assert len(differences) == 1000
    assert np.mean(differences[-100:]) <= 1.5 * np.mean(differences[20:120])


FORCED = 0xF  # of XNNPACK's flags its defaults, and half precision also where that is emulated


def test_float16_halves_the_file_and_can_be_computed_in_half_precision(small, tmp_path, monkeypatch):
    model = small("oid-pw-m2n1", image_size=64, backbone="mobilenet_v2")
    path = str(tmp_path / "model.tflite")
    found = [export(model, path, True, 4, "float16").quantized]
    assert os.path.getsize(path) < 0.6 * 4 * model.count_params()
    # By which boxes are shifted apart in float32: random weights do not show it.
    assert inspect.operators(path)[0]["ADD_N"] == 1
    forced = functools.partial(CpuOptions, xnnpack_flags=FORCED)
    monkeypatch.setattr("patchwork_tf.runtime.network.CpuOptions", forced)
    found.append(verify.compare(model, path, 4, tolerance=verify.QUANTIZED_TOLERANCE))
    for comparison in found:
        assert comparison.agreeing >= 0.9 * comparison.detections > 0
    assert platform.machine() != "x86_64" or found[1].max_difference != found[0].max_difference


def test_a_sliver_s_need_is_finite_in_half_precision(tmp_path):
    boxes, scores = np.float32([[[0.3, 0, 0.31, 1e-3], [0.2, 0.2, 0.6, 0.6]]]), np.float32([[0.8, 0.5]])
    function = tf.function(lambda boxes, scores: objects_in_cells(boxes, scores, Grid(4, 2)))
    function = function.get_concrete_function(tf.TensorSpec(boxes.shape), tf.TensorSpec(scores.shape))
    path = tmp_path / "need.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
    model = CompiledModel.from_file(str(path), options=Options(cpu_options=CpuOptions(1, xnnpack_flags=FORCED)))
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    for buffer, value in zip(inputs, (boxes, scores), strict=True):
        buffer.write(value)
    model.run_by_index(0, inputs, outputs)
    need = outputs[0].read(16, np.float32)
    expected = keras.ops.convert_to_numpy(objects_in_cells(boxes, scores, Grid(4, 2)))
    assert 0 < np.abs(need - expected.ravel()).max() < 1e-3


def test_inspection_says_what_is_there(exported, capsys):
    _, path = exported
    assert command.main([f"--inspect={path}"]) == 0
    text = capsys.readouterr().out
    facts = metadata.read(path)
    assert all(state["name"] in text for state in facts["states"])
    assert "DYNAMIC_UPDATE_SLICE" in text
    assert '"system": "oid-pw-m2n1"' in text
    assert f"{inspect.state_bytes(facts) / 1e6:.2f} MB in all" in text
    _, partitions = inspect.operators(path)
    assert 1 <= partitions <= 6
    assert command.main(["--inspect=nothing.tflite"]) == 1


def test_an_exported_file_scores_as_its_model_does(small, small_networks, tmp_path, capsys):
    """With suppression left to the host it is the same answer; and a file says by itself what it is."""
    flags = ["--num_videos=2", "--max_frames=6", "--nococo", f"--json={tmp_path}/scores.json"]
    model = small("small", image_size=64)
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    facts = {"system": "small", "class_names": ["foreground"]}
    arrays = checkpoints.training_state(model.variables, optimizer)
    checkpoints.save(str(tmp_path), 1, arrays, {**facts, "model": dataclasses.asdict(model.config)}, keep=1)
    path = str(tmp_path / "model.tflite")
    export(pw.load(str(tmp_path)), path, verify_steps=2)
    scores = []
    for which in (["--system=small", f"--checkpoint={tmp_path}"], [f"--tflite={path}"]):
        assert evaluate.main([*which, *flags]) == 0
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    for key in ("J", "F"):
        assert scores[1][key]["mean"] == pytest.approx(scores[0][key]["mean"], abs=1e-3)
    assert scores[1]["cell_visits"] == scores[0]["cell_visits"]
    assert scores[1]["mflops_max"] == scores[0]["mflops_max"]
    video = ["--video=moving_objects:1", "--max_frames=3", f"--output={tmp_path}/shown.gif"]
    assert demo.main([f"--tflite={path}", *video]) == 0
    assert evaluate.main([f"--tflite={path}", "--policy=oracle"]) == 2
    assert "oracle tries every window of a frame, which an exported file cannot" in capsys.readouterr().err
    assert demo.main([f"--tflite={path}", "--policy=foresight", *video]) == 2
    assert "foresight tries every window of a frame, which an exported file cannot" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vid-pw-m4n2, learned", "oid-pw-m4n2", "davis-pw-m4n1"])
def test_model_and_file_say_the_same_of_a_real_video(name, export_once, tmp_path, clip):
    """Detections after suppression, masks, windows, and what policies are told; of shipped weights but one."""
    if name.endswith("learned"):
        model, path, _ = export_once(name.split(",")[0], verify_steps=20)
    else:
        model, path = pw.load(name), str(tmp_path / "model.tflite")
        export(model, path, verify_steps=2)
    step, policies = ExportedStep(path), ([], [])
    assert step.policy == KerasStep(model).policy == ("learned" if name.endswith("learned") else "rule")

    def noted(views):
        def choose(view):
            views.append(view)
            return tuple(int(place) for place in view.outputs["next_window"])

        return choose

    frames = list(itertools.islice(Video(clip), 25 if model.config.depth == 1.0 else 75))
    streams = (pw.stream(run, frames, noted(views)) for run, views in zip((model, step), policies, strict=True))
    windows, agreeing, tied = [], [], []
    for said, found in zip(*streams, strict=True):
        assert said.window == found.window
        windows.append(said.window)
        tied.append(False)
        if model.config.task == "segmentation":
            np.testing.assert_allclose(said.probability, found.probability, atol=1e-4)
        else:
            agreeing += _agreeing(said, found)
            tied[-1] = not all(_agreeing(said, found))
        if not tied[-1]:
            np.testing.assert_allclose(said.q_values, found.q_values, atol=1e-4)
    assert len(windows) == len(frames)
    assert len(set(windows)) > 3
    assert np.mean(agreeing or True) >= 0.999  # where two score the same, rounding decides which is kept
    for is_tied, of_model, of_file in zip(tied[:-1], *policies, strict=True):  # as the frame before left it
        for key, shape in {"need": (4, 4), "freshness": (4, 4), "rule_values": (len(model.grid.windows),)}.items():
            assert getattr(of_model, key).shape == shape
            if key == "freshness" or not is_tied:
                np.testing.assert_allclose(getattr(of_model, key), getattr(of_file, key), atol=1e-4)


def _agreeing(said, found) -> list[bool]:
    """Of detections that are said, which ones are found."""
    rows, others = (np.column_stack([x.boxes, x.scores, x.classes]) for x in (said, found))
    assert len(rows) == len(others)
    return [bool(np.abs(others - row).max(axis=1).min() <= 1e-4) for row in rows]


@pytest.mark.parametrize("suppression", [True, False])
def test_two_streams_over_one_file_do_not_disturb_each_other(suppression, export_once, exported):
    path = export_once("oid-pw-m2n1", verify_steps=20)[1] if suppression else exported[1]
    videos = [render_clip(index, 12, 64).frames for index in range(2)]
    alone = [list(pw.stream(ExportedStep(path), frames)) for frames in videos]
    step = ExportedStep(path)
    together = list(zip(*(pw.stream(step, frames) for frames in videos), strict=True))
    for answers, expected in zip(together, zip(*alone, strict=True), strict=True):
        for a, b in zip(answers, expected, strict=True):
            assert a.window == b.window
            np.testing.assert_array_equal(a.boxes, b.boxes)
            np.testing.assert_array_equal(a.scores, b.scores)


def test_both_signatures_share_their_weights(exported):
    """The file has the network's weights once, though two graphs use them."""
    model, path = exported
    weights = sum(math.prod(v.shape) for v in model.variables if "moving_" not in v.path and "gamma" not in v.path)
    assert os.path.getsize(path) < 1.25 * 4 * weights


def test_random_weights_of_any_size(small_networks, tmp_path):
    path = f"{tmp_path}/model.tflite"
    size = ["--image_size=128", "--depth=0.35", "--verify_steps=2"]
    assert command.main(["--system=small", *size, f"--output={path}"]) == 0
    facts = metadata.read(path)
    assert facts["model"]["depth"] == 0.35
    assert facts["input"]["image_size"] == [128, 128]
    assert facts["weights"] == "random weights"


def test_only_built_in_operators(exported):
    _, path = exported
    interpreter = Interpreter(path)
    names = {op["op_name"] for op in interpreter._get_ops_details()}
    assert "DYNAMIC_UPDATE_SLICE" in names
    assert not any(name.startswith("Flex") or name == "CUSTOM" for name in names)


def test_a_window_off_the_grid_is_moved_onto_it(exported):
    _, path = exported
    frame = random_frames(np.random.default_rng(0), 1, (64, 64))
    inside, outside = Network(path), Network(path)
    inside.step(frame, (1, 0))
    outside.step(frame, (7, -3))
    for name, value in inside.states().items():
        np.testing.assert_array_equal(outside.states()[name], value)


def test_disagreement_is_refused(exported, small):
    """Another model's file: verification must see it, and nothing may be written."""
    _, path = exported
    other = small("oid-pw-m2n1", seed=9, image_size=64)
    comparison = verify.compare(other, path, steps=2)
    assert not comparison.passed
    with pytest.raises(DataError, match="not written"):
        verify.check(comparison, "out.tflite")


def test_a_step_that_another_thread_is_at_cannot_be_entered(exported, monkeypatch):
    """The thread that was first goes on as if nothing had been."""
    _, path = exported
    frames = render_clip(0, 4, 64).frames
    expected = list(pw.stream(path, frames))
    step, found, refused = ExportedStep(path), [], []

    def enter(frame, window, memory, look=step._look):
        with ThreadPoolExecutor(1) as other:
            refused.append(other.submit(step, frame, window, step.initial_state()).exception())
        return look(frame, window, memory)

    monkeypatch.setattr(step, "_look", enter)
    found = list(pw.stream(step, frames))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
    assert len(refused) == 4
    assert all("make one for each thread" in str(error) and isinstance(error, UsageError) for error in refused)
