"""The networks against keras.applications (I1), on still video (I2), and each item of a batch alone (I4)."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import random_frames, randomise

import patchwork_tf as pw
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.models.weights import assign_weights, get_weights, read_npz
from patchwork_tf.zoo.costs import count_macs

WEIGHTS = "mobilenet_v2_keras/mobilenet_v2_1.0_224_imagenet_float32.npz"
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
    image = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(size, size)))
    return (image / 127.5 - 1)[None].astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 384])
def test_i1_single_frame_backbone_is_keras_mobilenet(size, real_data):
    weights = real_data(WEIGHTS)
    model = pw.build(pw.get_system("vid-sf").model, image_size=size)
    pw.load_backbone_weights(model, weights)
    image = photo(real_data("imagenet_photos/beagle.jpg"), size)
    endpoints, _ = model.backbone.step(image, NO_WINDOW, {})
    reference = keras_mobilenet(size, weights)
    outputs = [reference.get_layer(name).output for name in endpoints]
    expected = keras.Model(reference.input, outputs)(image)
    assert len(endpoints) > 50
    for name, value in zip(endpoints, expected, strict=True):
        np.testing.assert_allclose(endpoints[name], value, atol=1e-4, err_msg=name)


def test_backbone_has_as_many_parameters_as_keras():
    for depth in (0.35, 0.5, 1.0, 1.4):
        model = pw.build(ModelConfig(depth=depth, image_size=96))
        reference = keras.applications.MobileNetV2(
            input_shape=(96, 96, 3), alpha=depth, include_top=False, weights=None
        )
        assert model.backbone.count_params() == reference.count_params()


@pytest.mark.slow
def test_i1_classifies_photos_like_keras(real_data):
    """The published classifier on top of our backbone names real photos as the published network does."""
    weights = real_data(WEIGHTS)
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


@pytest.mark.parametrize(
    ("name", "mflops"),
    [("vid-sf", 2014.29), ("vid-sf-d0.5", 613.24)],
)
def test_single_frame_detectors_cost_what_the_paper_counts(name, mflops):
    model = pw.build(pw.get_system(name).model)
    assert count_macs(model) / 1e6 == pytest.approx(mflops, abs=0.01)


def test_parts_cost_what_the_design_counts():
    model = pw.build(ModelConfig())
    assert count_macs(model.backbone) / 1e6 == pytest.approx(880.15, abs=0.01)
    assert sum(map(count_macs, model.heads)) / 1e6 == pytest.approx(1111.38, abs=0.01)
    assert sum(map(count_macs, model.pyramid)) / 1e6 == pytest.approx(22.76, abs=0.01)


def twin(small, name, single):
    """A system's model with the weights of the single-frame one."""
    model = small(name, depth=single.config.depth, image_size=single.config.image_size)
    assign_weights(model.variables, get_weights(single), "the single-frame twin")
    return model


def converge(model, frame, sweeps):
    """The answer after that many raster sweeps over a still frame (1, H, W, 3)."""
    step = tf.function(model.step)
    state = model.initial_state(1)
    for _ in range(sweeps):
        for window in model.grid.raster:
            outputs, state = step(frame, tf.constant([window], tf.int32), state)
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vid-pw-m4n1", "vid-pw-m4n2", "vid-pw-m2n1"])
@pytest.mark.parametrize("depth", [0.35, 1.0])
def test_i2_detector_on_a_still_photo_becomes_the_single_frame_one(name, depth, small, real_data):
    frame = photo(real_data("imagenet_photos/beagle.jpg"), 128)
    single = small("vid-sf", depth=depth)
    if depth == 1.0:
        pw.load_backbone_weights(single, real_data(WEIGHTS))
    patchwork = twin(small, name, single)
    expected, _ = single.step(frame, NO_WINDOW, {})
    depth_of_network = 25  # 18 cells of the backbone and 5 of a head follow one another
    found = converge(patchwork, frame, depth_of_network)
    for key in expected:
        scale = np.max(np.abs(expected[key]))
        assert np.max(np.abs(found[key] - expected[key])) <= 1e-4 * scale, key


def test_i2_needs_the_sweeps(small):
    """One sweep is not enough: the first windows lacked borders. So the test above can fail."""
    single = small("vid-sf")
    patchwork = twin(small, "vid-pw-m4n2", single)
    frame = random_frames(np.random.default_rng(0), 1, (128, 128))
    expected, _ = single.step(frame, NO_WINDOW, {})
    found = converge(patchwork, frame, 1)
    assert np.max(np.abs(found["scores"] - expected["scores"])) > 1e-2


@pytest.mark.parametrize("image_size", [(128, 128), (128, 256)])
def test_i4_batch_items_are_independent(small, image_size):
    model = small("vid-pw-m4n2", image_size=image_size)
    rng = np.random.default_rng(0)
    state = model.initial_state(2)
    alone = [model.initial_state(1) for _ in range(2)]
    step = tf.function(model.step)
    for _ in range(4):
        frames = random_frames(rng, 2, image_size)
        windows = rng.integers(0, model.grid.positions, (2, 2), dtype=np.int32)
        outputs, state = step(frames, windows, state)
        for item in range(2):
            part = slice(item, item + 1)
            one, alone[item] = step(frames[part], windows[part], alone[item])
            for key in one:
                np.testing.assert_allclose(one[key][0], outputs[key][item], atol=1e-5)
    assert {name: tuple(s.shape[1:]) for name, s in state.items()} == model.memory_shapes()


def test_predictions_outside_of_the_window_stay(small):
    model = small("vid-pw-m4n1")
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
    ],
)
def test_impossible_configs_say_what_is_possible(fields, message):
    with pytest.raises(UsageError, match=message):
        ModelConfig(**fields)


def test_unknown_system_names_the_known_ones():
    with pytest.raises(UsageError, match="vid-pw-m4n2"):
        pw.get_system("vid-pw-m4n3")


def test_weights_move_between_single_frame_and_patchwork(small):
    single = small("vid-sf")
    expected, found = get_weights(single), get_weights(twin(small, "vid-pw-m4n2", single))
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])


def test_weights_of_another_depth_are_refused(small):
    with pytest.raises(DataError, match="depth or number of classes differ"):
        assign_weights(small("vid-sf").variables, get_weights(small("vid-sf", depth=0.5)), "other.npz")


def test_backbone_weights_from_a_keras_file(small, tmp_path):
    reference = keras.applications.MobileNetV2(
        input_shape=(128, 128, 3), alpha=0.35, include_top=False, weights=None
    )
    randomise(reference)
    path = str(tmp_path / "backbone.keras")
    reference.save(path)
    model = small("vid-sf")
    pw.load_backbone_weights(model, path)
    image = random_frames(np.random.default_rng(0), 1, (128, 128))
    endpoints, _ = model.backbone.step(image, NO_WINDOW, {})
    np.testing.assert_allclose(endpoints["out_relu"], reference(image), atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_corrupt_weights_are_named(small, tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.npz"):
        pw.load_backbone_weights(small("vid-sf"), str(path))
