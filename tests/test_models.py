"""The networks against keras.applications, on still video, and each item of a batch alone."""

import functools
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import fresh_model, random_frames, randomise, small_model, traced_step

import patchwork_tf as pw
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.models.weights import assign_weights, get_weights, read_npz

ROOT = Path(__file__).parents[1]
TRAINED = str(ROOT / "patchwork_tf/pretrained/oid.npz")
IMAGENET = "mobilenet_v2_keras/mobilenet_v2_1.0_224_imagenet_float32.npz"
NO_WINDOW = np.zeros((1, 2), np.int32)


def keras_mobilenet(size, weights_path):
    reference = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=None)
    arrays = read_npz(weights_path)
    for layer in reference.layers:
        for variable in layer.variables:
            key = f"{layer.name}/{variable.name}"
            variable.assign(arrays.get(key, arrays.get(f"{layer.name}/depthwise_kernel")))
    return reference


def photo(path, size):
    return scaled(keras.utils.img_to_array(keras.utils.load_img(path, target_size=(size, size))))


def cat_and_cup(size):
    """Photographs, as the demo's clip shows them."""
    return scaled(cv2.resize(next(iter(Video(str(ROOT / "docs/photos.mp4")))), (size, size)))


def scaled(image):
    return (image / 127.5 - 1)[None].astype(np.float32)


@pytest.mark.slow
def test_single_frame_backbone_is_keras_mobilenet():
    """With trained weights, on photographs."""
    size = 384
    model = pw.build(pw.get_system("vid-sf").model, image_size=size)
    pw.load_backbone_weights(model, TRAINED)
    image = cat_and_cup(size)
    endpoints, _ = model.backbone.step(image, NO_WINDOW, {})
    reference = keras_mobilenet(size, TRAINED)
    outputs = [reference.get_layer(name).output for name in endpoints]
    expected = keras.Model(reference.input, outputs)(image)
    assert len(endpoints) > 50
    for name, value in zip(endpoints, expected, strict=True):
        np.testing.assert_allclose(endpoints[name], value, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_classifies_photos_like_keras(real_data):
    """The published classifier on top of our backbone names real photos as the published network does."""
    weights = real_data(IMAGENET)
    arrays = read_npz(weights)
    model = pw.build(pw.get_system("vid-sf").model, image_size=224)
    pw.load_backbone_weights(model, weights)
    with open(real_data("imagenet_photos/labels_and_top1.csv"), encoding="utf-8") as file:
        rows = [line.split(",") for line in file.read().splitlines()[1:]]
    assert len(rows) == 16
    agreeing = 0
    for row in rows:
        endpoints, _ = model.backbone.step(photo(real_data(f"imagenet_photos/{row[0]}.jpg"), 224), NO_WINDOW, {})
        pooled = np.mean(endpoints["out_relu"], axis=(1, 2))
        logits = pooled @ arrays["predictions/kernel"] + arrays["predictions/bias"]
        agreeing += int(np.argmax(logits)) == int(row[2])
    assert agreeing >= 15  # how photos were shrunk tips the tractor from thresher to tractor


@functools.lru_cache(maxsize=12)
def twins(task, grid, depth=0.35, backbone="short"):
    """A small single-frame model and a Patchwork one with its weights. Shared: leave their weights alone."""
    size = 64 if grid == "m2n1" else 128
    single = small_model(f"{task}-sf", depth=depth, image_size=size, backbone=backbone)
    return single, twin(f"{task}-pw-{grid}", single)


def twin(name, single, **overrides):
    """A system's model with the weights of the single-frame one."""
    same = {field: getattr(single.config, field) for field in ("depth", "image_size", "backbone")}
    model = fresh_model(name, **{**same, **overrides})
    assign_weights(model.variables, get_weights(single.variables), "the single-frame twin")
    return model


def converge(model, frame, sweeps):
    """The answer after that many raster sweeps over a still frame (1, H, W, 3)."""
    step = traced_step(model)
    state = model.initial_state(1)
    for _ in range(sweeps):
        before = state
        for window in model.grid.raster:
            outputs, state = step(frame, tf.constant([window], tf.int32), state)
        if all(np.array_equal(state[name], before[name]) for name in state):  # freshness too: a cycle closed
            break  # nothing will ever change again
    return outputs


# Every kind of model, every grid, every depth; the whole network once.
CASES = [
    ("vid", "m4n1", 0.5, "mobilenet_v2"),
    ("davis", "m4n2", 1.0, "short"),
    ("davis", "m2n1", 1.4, "short"),
    ("oid", "m2n1", 0.35, "short"),
]
# Cells that follow one another: 18 in the backbone, 5 in a detection head, 4 in the segmenter's.
LONGEST_PATH = {"vid": 18 + 5, "davis": 18 + 4, "oid": 18}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "grid", "depth", "backbone"), CASES)
def test_on_a_still_video_it_becomes_the_single_frame_network(task, grid, depth, backbone):
    """The whole answer, after every window was visited as often as the network is deep."""
    single, patchwork = twins(task, grid, depth, backbone)
    frame = random_frames(np.random.default_rng(0), 1, single.config.image_size)
    expected, _ = single.step(frame, NO_WINDOW, {})
    found = converge(patchwork, frame, LONGEST_PATH[task])
    for key in expected.keys() - {"next_window"}:
        scale = np.max(np.abs(expected[key]))
        assert np.max(np.abs(found[key] - expected[key])) <= 1e-4 * scale, key


@pytest.mark.slow
@pytest.mark.parametrize(("task", "grid", "depth", "backbone"), CASES)
def test_batch_items_are_independent(task, grid, depth, backbone):
    compare_items(twins(task, grid, depth, backbone)[1])


@pytest.mark.slow
@pytest.mark.parametrize(("task", "grid", "depth", "backbone"), [CASES[0], CASES[2], CASES[3]])
def test_warm_start_is_the_single_frame_network_and_leaves_its_memory(task, grid, depth, backbone):
    """After looking at the whole frame, looking at any window of it changes nothing."""
    single, patchwork = twins(task, grid, depth, backbone)
    frame = random_frames(np.random.default_rng(0), 1, single.config.image_size)
    expected, _ = single.step(frame, NO_WINDOW, {})
    warm, state = patchwork.step(frame, None, patchwork.initial_state(1))
    assert {name: tuple(s.shape[1:]) for name, s in state.items()} == patchwork.memory_shapes()
    later, after = patchwork.step(frame, np.array([[1, 0]], np.int32), state)
    for key in expected.keys() - {"next_window"}:
        np.testing.assert_allclose(warm[key], expected[key], atol=1e-5)
        np.testing.assert_allclose(later[key], expected[key], atol=1e-5)
    for name in state.keys() - {"freshness"}:
        np.testing.assert_allclose(after[name], state[name], atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_with_trained_weights_on_photographs():
    frame = cat_and_cup(128)
    single = fresh_model("vid-sf", depth=1.0, backbone="mobilenet_v2")
    pw.load_backbone_weights(single, TRAINED)
    expected, _ = single.step(frame, NO_WINDOW, {})
    found = converge(twin("vid-pw-m4n2", single), frame, LONGEST_PATH["vid"])
    for key in ("boxes", "scores"):
        scale = np.max(np.abs(expected[key]))
        assert np.max(np.abs(found[key] - expected[key])) <= 1e-4 * scale, key


@pytest.mark.slow
@pytest.mark.parametrize(("task", "key"), [("vid", "scores"), ("davis", "mask")])
def test_needs_the_sweeps(task, key):
    """One sweep is not enough: the first windows lacked borders. So the tests above can fail."""
    single, patchwork = twins(task, "m4n2")
    frame = random_frames(np.random.default_rng(0), 1, (128, 128))
    expected, _ = single.step(frame, NO_WINDOW, {})
    state = patchwork.initial_state(1)
    for window in patchwork.grid.raster:
        found, state = patchwork.step(frame, np.array([window], np.int32), state)
    assert np.max(np.abs(found[key] - expected[key])) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("task", "key"), [("vid", "scores"), ("davis", "mask")])
def test_figure_11a_is_the_single_frame_network_on_the_assembled_image(task, key):
    """At every step, not only in the limit; and the default, Figure 11b, is not."""
    single, features = twins(task, "m4n2")
    pixels = twin(f"{task}-pw-m4n2", single, memory="pixels")
    assert pixels.memory_shapes() == {"pixels": (128, 128, 3), "freshness": (4, 4, 1)}
    rng = np.random.default_rng(0)
    assembled = np.zeros((1, 128, 128, 3), np.float32)
    states = [model.initial_state(1) for model in (pixels, features)]
    for frame in random_frames(rng, 3, (128, 128)):
        window = rng.integers(0, 3, (1, 2), dtype=np.int32)
        r, q = window[0] * 32
        assembled[0, r : r + 64, q : q + 64] = frame[r : r + 64, q : q + 64]
        expected, _ = single.step(assembled, NO_WINDOW, {})
        (found, states[0]), (other, states[1]) = (
            model.step(frame[None], window, state) for model, state in zip((pixels, features), states, strict=True)
        )
        np.testing.assert_allclose(found[key], expected[key], atol=1e-5)
    assert np.max(np.abs(other[key] - expected[key])) > 1e-2


@pytest.mark.slow
def test_a_quarter_of_the_pixels_is_the_network_on_half_the_side(small):
    quarter = small("vid-sf-r0.25", image_size=128)
    half = twin("vid-sf", quarter, image_size=64)
    frame = random_frames(np.random.default_rng(0), 1, (64, 64))
    doubled = frame.repeat(2, axis=1).repeat(2, axis=2)
    expected, _ = half.step(frame, NO_WINDOW, {})
    found, _ = quarter.step(doubled, NO_WINDOW, {})
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vid-pw-m4n2", "davis-pw-m4n2"])
def test_on_frames_that_are_not_square(name, small):
    compare_items(small(name, image_size=(128, 256)))


def compare_items(model):
    """A batch of two against each item alone, at random windows and from random memory; and shapes."""
    rng = np.random.default_rng(0)
    shapes = model.memory_shapes().items()
    state = {name: rng.uniform(0, 1, (2, *shape)).astype(np.float32) for name, shape in shapes}
    frames = random_frames(rng, 2, model.config.image_size)
    windows = rng.integers(0, model.grid.positions, (2, 2), dtype=np.int32)
    outputs, after = model.step(frames, windows, state)
    assert {name: tuple(value.shape[1:]) for name, value in after.items()} == model.memory_shapes()
    for item in range(2):
        part = slice(item, item + 1)
        before = {name: value[part] for name, value in state.items()}
        alone, after_it = model.step(frames[part], windows[part], before)
        for key in alone:
            np.testing.assert_allclose(alone[key][0], outputs[key][item], atol=1e-4, err_msg=key)
        for key in after:
            np.testing.assert_allclose(after_it[key][0], after[key][item], atol=1e-3, err_msg=key)


@pytest.mark.slow
def test_predictions_outside_of_the_window_stay():
    _, model = twins(*CASES[0])
    rng = np.random.default_rng(0)
    frames = random_frames(rng, 2, (128, 128))
    _, state = model.step(frames[:1], np.array([[1, 2]], np.int32), model.initial_state(1))
    _, later = model.step(frames[1:], np.array([[3, 0]], np.int32), state)
    first = np.s_[:, 4:8, 8:12]  # cell (1, 2) on the 16 x 16 map of stride 8
    np.testing.assert_array_equal(np.array(later["scores_8"])[first], np.array(state["scores_8"])[first])
    assert np.all(np.array(state["scores_8"])[first] > 0)
    np.testing.assert_array_equal(np.array(later["scores_8"])[:, :4], 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 100, "cells": 4}, "must be multiples of 128, for example 128x128"),
        ({"image_size": (128, 96), "cells": 4}, "128x128"),
        ({"depth": -1.0}, "depth must be positive"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"task": "segmentation", "num_classes": 3}, "1 class, not 3"),
        ({"task": "tracking"}, "task must be one of detection, segmentation"),
        ({"memory": "none"}, "memory must be one of features, pixels"),
        ({"resolution": 0.0}, "resolution"),
        ({"resolution": 0.25, "image_size": 96}, "multiples of 64"),
    ],
)
def test_impossible_configs_say_what_is_possible(fields, message):
    with pytest.raises(UsageError, match=message):
        ModelConfig(**fields)


def test_unknown_system_names_the_known_ones():
    with pytest.raises(UsageError, match="vid-pw-m4n2"):
        pw.get_system("vid-pw-m4")


@pytest.mark.slow
def test_weights_move_between_single_frame_and_patchwork():
    expected, found = (get_weights(model.variables) for model in twins("vid", "m4n2"))
    extra = found.keys() - expected.keys()
    assert all(key.startswith("attention_") for key in extra)
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.slow
def test_weights_of_another_depth_are_refused():
    one, other = (twins(*case)[0].variables for case in CASES[1:3])
    with pytest.raises(DataError, match="depth or number of classes differ"):
        assign_weights(one, get_weights(other), "other.npz")


@pytest.mark.slow
@pytest.mark.parametrize(("task", "depth"), [("vid", 0.35), ("davis", 1.4)])
def test_every_endpoint_is_keras_at_another_depth(task, depth, tmp_path):
    """With random weights, by way of a .keras file."""
    reference = keras.applications.MobileNetV2(
        input_shape=(128, 128, 3), alpha=depth, include_top=False, weights=None
    )
    randomise(reference)
    path = str(tmp_path / "backbone.keras")
    reference.save(path)
    model = fresh_model(f"{task}-sf", depth=depth, backbone="mobilenet_v2")
    pw.load_backbone_weights(model, path)
    image = random_frames(np.random.default_rng(0), 1, (128, 128))
    endpoints, _ = model.backbone.step(image, NO_WINDOW, {})
    assert len(endpoints) > 100
    assert model.backbone.network.count_params() == reference.count_params()
    expected = keras.Model(reference.input, [reference.get_layer(name).output for name in endpoints])(image)
    for name, value in zip(endpoints, expected, strict=True):
        np.testing.assert_allclose(endpoints[name], value, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_corrupt_weights_are_named(small, tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.npz"):
        pw.load_backbone_weights(small("davis-sf"), str(path))
