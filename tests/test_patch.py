"""Any functional Keras network on windows: still video, whole frames, batches, and refusals."""

import collections
import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import random_frames, randomise
from keras import layers, ops

import patchwork_tf as pw
from patchwork_tf import demo
from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata
from patchwork_tf.grid import Grid

SIZE = 64
CLIP = str(Path(__file__).parent.parent / "docs/photos.mp4")


def conv(filters, kernel=3, **options):
    return layers.Conv2D(filters, kernel, **{"padding": "same", "activation": "relu6", **options})


def unet(x):
    """5 x 5, dilation, max-pooling of 2 and of overlapping 3, bilinear and nearest up, skips, a transposed one."""
    a = conv(4, 5, activation="swish")(x)
    b = conv(6)(layers.MaxPooling2D(2)(a))
    c = conv(8, dilation_rate=2)(layers.MaxPooling2D(3, 2, padding="same")(b))
    up = layers.UpSampling2D(2, interpolation="bilinear")(c)
    b = layers.Concatenate()([up, b])
    b = conv(6, (1, 5))(b)
    a = layers.Concatenate()([layers.Conv2DTranspose(4, 4, 2, padding="same")(b), a, layers.UpSampling2D(2)(b)])
    return layers.Conv2D(2, 1, activation="softmax", name="classes")(a)


def squeeze_and_excite(x):
    """ZeroPadding2D before VALID, 7 x 7, means in both forms, arithmetic, norms, separable, averages."""
    padded = layers.ZeroPadding2D(((3, 3), (3, 3)))(layers.Rescaling(0.5)(x))
    whole = layers.GlobalMaxPooling2D(keepdims=True, name="max_of_all")(padded)  # on the map, as the test has it
    x = layers.BatchNormalization()(layers.Conv2D(6, 7, 2)(padded))
    x = layers.Multiply()([x, layers.Conv2D(6, 1)(whole)])
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(layers.PReLU(shared_axes=[1, 2])(x)))
    s = layers.Dense(6, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = x * layers.Reshape((1, 1, 6))(s) + 0.5
    x = layers.SeparableConv2D(8, 5, padding="same", activation="tanh")(x)
    s = layers.Conv2D(8, 1, activation="hard_sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.LayerNormalization()(layers.Multiply()([x, s]))
    x = layers.AveragePooling2D(3, 1, padding="same")(x)
    return layers.Activation("relu")(layers.DepthwiseConv2D((3, 5), padding="same")(x))


def spatial_pyramid(x):
    """Max-pooling of 5, 9 and 13 (SPP), and a mean that is enlarged again (DeepLab's image pooling)."""
    x = conv(6, strides=4)(x)
    pooled = [layers.MaxPooling2D(size, 1, padding="same")(x - 1.0) for size in (5, 9, 13)]
    mean = layers.Conv2D(3, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    mean = layers.Resizing(SIZE // 4, SIZE // 4, interpolation="bilinear")(mean)
    x = layers.Conv2D(4, 1)(layers.Concatenate()([x, *pooled, mean]))
    return layers.Resizing(SIZE, SIZE, interpolation="bilinear")(x)


def feature_pyramid(x):
    """BiFPN's nodes: levels that do not divide into cells are on the map, and come down to windows again."""
    p3 = conv(6, strides=4)(x)
    p4 = conv(6, strides=4)(p3)
    p5 = conv(6, strides=2, name="p5")(p4)
    p4 = conv(6)(layers.Add()([p4, layers.UpSampling2D(2)(p5)]))
    out3 = conv(6)(layers.Add()([p3, layers.UpSampling2D(4)(p4)]))
    down = layers.MaxPooling2D(3, 4, padding="same")(out3)
    out4 = layers.Average()([p4, down])
    out5 = conv(6, name="out5")(layers.Add()([p5, conv(6, strides=2, name="down5")(out4)]))
    shared = conv(3, name="shared")
    return {"level3": shared(out3), "level4": shared(out4), "level5": shared(out5)}


def nested(x):
    """A model in a model, twice, and a sequential one; a vector at the end."""
    inner = keras.Input((SIZE // 2, SIZE // 2, 4))
    block = keras.Model(inner, layers.Add()([conv(4)(inner), inner]), name="block")
    x = block(block(conv(4, strides=2)(x)))
    x = keras.Sequential([conv(4, strides=2), layers.BatchNormalization()], name="chain")(x)
    return layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D()(x))


NETWORKS = {
    "unet": (unet, {}),
    "squeeze_and_excite": (squeeze_and_excite, {"on_map": "max_of_all"}),
    "spatial_pyramid": (spatial_pyramid, {}),
    "feature_pyramid": (feature_pyramid, {"on_map": ("p5", "down5", "out5")}),
    "nested": (nested, {}),
}


@pytest.fixture(scope="module")
def networks():
    """Each network with random weights."""
    found = {}
    for name, (make, options) in NETWORKS.items():
        keras.utils.set_random_seed(0)
        frame = keras.Input((SIZE, SIZE, 3))
        network = keras.Model(frame, make(frame), name=name)
        randomise(network)
        found[name] = network, options
    return found


def by_name(network, outputs):
    if isinstance(outputs, dict):
        return {name: np.array(value) for name, value in outputs.items()}
    return {network.output_names[0]: np.array(outputs)}


def difference(found, expected):
    """The largest of all outputs, each relative to the largest number in it."""
    assert found.keys() == expected.keys()
    return max(np.abs(np.array(found[key]) - value).max() / np.abs(value).max() for key, value in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cells", "window"),
    [*((name, 4, 2) for name in NETWORKS), ("unet", 4, 1), ("squeeze_and_excite", 4, 1)],
)
def test_on_a_still_video_it_becomes_the_network(networks, name, cells, window):
    network, options = networks[name]
    model = pw.patch(network, cells, window, **options)
    frame = random_frames(np.random.default_rng(1), 1, (SIZE, SIZE))
    expected = by_name(network, network(frame))
    assert difference(model(frame), expected) <= 1e-5
    whole, state = model.step(frame, None, {})
    assert difference(whole, expected) <= 1e-5
    step = tf.function(model.step, autograph=False)
    still, _ = step(frame, tf.constant([[1, 0]]), state)
    assert difference(still, expected) <= 1e-5  # whatever window comes next
    state, errors = model.initial_state(), []
    for _ in range(16):
        for position in Grid(cells, window).raster:
            found, state = step(frame, tf.constant([position]), state)
        errors.append(difference(found, expected))
        if errors[-1] <= 1e-5:
            break
    assert errors[0] > 1e-3  # there was something to converge
    assert errors[-1] <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "squeeze_and_excite", "feature_pyramid"])
def test_batch_items_are_independent_and_windows_may_be_tried(networks, name):
    network, options = networks[name]
    model = pw.patch(network, **options)
    rng = np.random.default_rng(2)
    frames = random_frames(rng, 2, (SIZE, SIZE))
    _, state = model.step(frames, None, {})
    windows = np.array([[0, 1], [2, 2], [1, 0], [1, 2]], np.int32)  # two of each stream
    found, after = model.step(frames[::-1], windows, state)
    for number, window in enumerate(windows):
        stream = slice(number // 2, number // 2 + 1)
        alone, after_alone = model.step(
            frames[::-1][stream], window[None], {key: value[stream] for key, value in state.items()}
        )
        for mine, others in ((alone, found), (after_alone, after)):
            for key, value in mine.items():
                np.testing.assert_allclose(others[key][number], value[0], atol=1e-4, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "window"), [*((name, 2) for name in NETWORKS), ("squeeze_and_excite", 1), ("squeeze_and_excite", 4)]
)
def test_its_file_answers_as_it_does(networks, name, window, tmp_path):
    network, options = networks[name]
    model, path = pw.patch(network, 4, window, **options), str(tmp_path / "own.tflite")
    comparison = pw.export(model, path, verify_steps=12).comparison
    assert comparison.max_difference <= 1e-5
    frames = [np.full((50, 70, 3), value, np.uint8) for value in (0, 90, 180)]
    for mine, exported in zip(pw.stream(model, frames), pw.stream(path, frames), strict=True):
        assert mine.window == exported.window
        assert difference(exported.maps, mine.maps) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "squeeze_and_excite"])
def test_its_file_in_8_bits(networks, name, tmp_path):
    """And what is remembered of its answer; a state that layers on the map look at, too, is in float32."""
    network, options = networks[name]
    model, path = pw.patch(network, 4, 2, **options), str(tmp_path / "own.tflite")
    with pytest.raises(UsageError, match="calibration is for int8"):
        pw.export(model, path, calibration=CLIP)
    pw.export(model, path, verify_steps=5, quantization="int8", calibration=CLIP)
    states = {state["name"]: state["dtype"] for state in metadata.read(path)["states"]}
    answer = f"{network.output_names[0]}_map"
    assert [kind for name, kind in states.items() if name.endswith(answer)] == ["int8"]
    assert {kind for name, kind in states.items() if name.endswith("rescaling_map")} <= {"float32"}
    frames = list(itertools.islice(Video(CLIP), 20))
    for mine, exported in zip(pw.stream(model, frames, "raster"), pw.stream(path, frames, "raster"), strict=True):
        assert difference(exported.maps, mine.maps) < 0.03


@pytest.mark.slow
def test_windows_follow_what_changes(tmp_path):
    """One cell flickers, the others are still: it is looked at more than twice as often as any of them."""
    frame = keras.Input((SIZE, SIZE, 3))
    model = pw.patch(keras.Model(frame, conv(1, activation="sigmoid", name="mask")(frame)), 4, 1)
    rng, path = np.random.default_rng(0), str(tmp_path / "own.tflite")
    frames = np.repeat(rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8), 100, axis=0)
    frames[:, 48:, :16] = rng.integers(0, 256, (100, 16, 16, 3))
    pw.export(model, path, verify_steps=5)
    for one in (model, path):
        visits = collections.Counter(answer.window for answer in pw.stream(one, frames))
        (often, count), (_, next_most), *_ = visits.most_common()
        assert often == (3, 0)
        assert count > 2 * next_most
        assert len(visits) == 1 + 16  # none is forgotten; the first frame has no window


def test_its_files_are_shown_and_measured_as_others_are(networks, tmp_path, capsys):
    network, _ = networks["nested"]
    paths = [str(tmp_path / f"{name}.tflite") for name in ("sf", "pw")]
    for path, (cells, window) in zip(paths, ((1, 1), (4, 1)), strict=True):
        pw.export(pw.patch(network, cells, window), path, verify_steps=2)
    files = f"--tflite={','.join(paths)}"
    assert demo.main([files, "--video=moving_objects:1", "--max_frames=3", f"--json={tmp_path}/answers.json"]) == 0
    assert "pw-m4n1" in capsys.readouterr().out
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers["pw-m4n1"][0]["logits"]["shape"] == [5]
    assert benchmark.main([files, "--steps=5", f"--html={tmp_path}/report.html"]) == 0
    assert "ratios to sf" in capsys.readouterr().out


def test_it_is_a_keras_model(networks, tmp_path):
    network, options = networks["squeeze_and_excite"]
    model = pw.patch(network, 4, 1, **options)
    frames = random_frames(np.random.default_rng(3), 3, (SIZE, SIZE))
    assert {variable.path for variable in model.variables} == {variable.path for variable in network.variables}
    assert model.count_params() == network.count_params()
    lines = []
    model.summary(print_fn=lines.append)
    assert any("separable_conv2d" in line for line in lines)
    (name,) = model.predict(frames, batch_size=2, verbose=0)
    np.testing.assert_allclose(model.predict(frames, batch_size=2, verbose=0)[name], network(frames), atol=1e-5)
    model.save(tmp_path / "patched.keras")
    loaded = keras.saving.load_model(tmp_path / "patched.keras")
    state, window = model.initial_state(3), np.array([[0, 3], [1, 1], [2, 0]], np.int32)
    (expected, _), (found, _) = model.step(frames, window, state), loaded.step(frames, window, state)
    np.testing.assert_array_equal(found[name], expected[name])
    outputs, after = loaded({"frame": tf.constant(frames), "window": tf.constant(window), **state})
    np.testing.assert_array_equal(outputs[name], expected[name])
    assert after.keys() == state.keys()


def test_it_trains_through_the_memory(networks):
    network, _ = networks["unet"]
    model = pw.patch(network)
    frames = tf.constant(random_frames(np.random.default_rng(4), 2, (SIZE, SIZE)))
    with tf.GradientTape() as tape:
        state = model.initial_state(2)
        for windows in ([[0, 0], [1, 2]], [[2, 1], [0, 1]]):
            inputs = {"frame": frames, "window": tf.constant(windows), **state}
            outputs, state = model(inputs, training=True)
        loss = tf.reduce_mean(outputs["classes"] ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None and np.all(np.isfinite(gradient)) for gradient in gradients)


def test_whole_frames_have_no_memory(networks):
    network, _ = networks["nested"]
    model = pw.patch(network, 1, 1)
    frame = random_frames(np.random.default_rng(5), 1, (SIZE, SIZE))
    assert model.initial_state() == {}
    found, state = model.step(frame, None, {})
    assert state == {}
    assert difference(found, by_name(network, network(frame))) == 0


class Blur(layers.Layer):
    """A layer of one's own that looks one pixel far."""

    def call(self, x):
        return ops.depthwise_conv(x, ops.ones((3, 3, x.shape[-1], 1)) / 9, padding="same")


class Shifted(layers.Layer):
    """Of two inputs: the first, and what is one pixel to the left in the second."""

    def call(self, one, other):
        return one + ops.pad(other, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]


class SoftMaximum(layers.Layer):
    """Of 3 x 3 pixels, of which those beyond the frame have a number."""

    def __init__(self, beyond=-np.inf, **options):
        super().__init__(**options)
        self.beyond = beyond

    def call(self, x):
        wide = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=max(self.beyond, -1e4))
        height, width = x.shape[1:3]
        parts = [wide[:, row : row + height, column : column + width] for row in range(3) for column in range(3)]
        return ops.logsumexp(ops.stack(parts), axis=0)


class Erosion(layers.Layer):
    """The least of 3 x 3 pixels, of those in the frame."""

    def call(self, x):
        return -ops.max_pool(-x, 3, 1, "same")


class Gain(layers.Dense):
    """Of a class that has a rule, and something else."""


def test_a_rule_of_one_s_own():
    frame = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(frame, Blur(name="blur")(layers.ReLU()(frame)))
    with pytest.raises(UsageError, match=r"blur \(Blur\) cannot run on windows: there is no rule for it; pw\.reg"):
        pw.patch(network)
    for wrong in (pw.POINTWISE, pw.Border(rows=(1, 1)), pw.Border((0, 1), (1, 1))):
        pw.register_layer_rule(Blur, wrong)
        with pytest.raises(
            UsageError, match=r"blur \(Blur\): by its rule a window's answer is not the whole map's"
        ):
            pw.patch(network)
    pw.register_layer_rule(Blur, "pointwise")
    with pytest.raises(UsageError, match=r"the rule of Blur gives 'pointwise'; a rule is pw\.POINTWISE"):
        pw.patch(network)
    two = keras.Model(frame, Shifted()(layers.ReLU()(frame), frame))
    pw.register_layer_rule(Shifted, pw.POINTWISE)
    with pytest.raises(UsageError, match="by its rule a window's answer is not the whole map's"):
        pw.patch(two)
    pw.register_layer_rule(Shifted, pw.Border(columns=(1, 0)))
    with pytest.raises(UsageError, match="a Border is of layers with one input"):
        pw.patch(two)
    with pytest.raises(UsageError, match="takes pairs of whole pixels"):
        pw.Border(2, 0)
    with pytest.raises(UsageError, match="one pixel wide"):
        pw.Border((2, 2), (2, 2), fill="edge")
    with pytest.raises(UsageError, match=r"Border\(fill=\.\.\.\) takes a number or 'edge', not 'zero'"):
        pw.Border((1, 1), (1, 1), fill="zero")
    with pytest.raises(UsageError, match="rules are of classes"):
        pw.register_layer_rule(Blur(), pw.POINTWISE)
    pw.register_layer_rule(Blur, pw.Border((1, 1), (1, 1)))
    model = pw.patch(network)
    image = random_frames(np.random.default_rng(6), 1, (SIZE, SIZE))
    _, state = model.step(image, None, {})
    found, _ = model.step(image, np.array([[1, 1]], np.int32), state)
    np.testing.assert_allclose(found["blur"], network(image), atol=1e-6)


def test_a_wrong_number_beyond_the_frame_is_seen_on_either_side():
    frame = keras.Input((64, 64, 3))
    network = keras.Model(frame, Erosion()(conv(1)(frame)))
    pw.register_layer_rule(Erosion, pw.Border((1, 1), (1, 1)))
    where = r"at \(0, \d+\) of the window \(0, 0\) of \(32, 32\) pixels"
    with pytest.raises(UsageError, match=f"not the whole map's: numbers of about 30 differ by .* {where}"):
        pw.patch(network, cells=4, window=2)
    pw.register_layer_rule(Erosion, pw.Border((1, 1), (1, 1), run=lambda layer: layer))
    with pytest.raises(UsageError, match=r"its rule cannot run on a window: .* positional argument"):
        pw.patch(network, cells=4, window=2)
    pw.register_layer_rule(Erosion, pw.Border((1, 1), (1, 1), fill=float("inf")))
    pw.patch(network, cells=4, window=2)


@pytest.mark.parametrize("beyond", [-np.inf, 2.0])
def test_what_is_beyond_the_frame_is_the_rule_s(beyond, tmp_path):
    """In Keras, in files, and where a rule has another number."""
    frame = keras.Input((32, 32, 3))
    network = keras.Model(frame, SoftMaximum(beyond, name="soft")(conv(4)(frame)))
    for rule, words in (
        (pw.Border((1, 1), (1, 1), fill=-10.0), r"not the whole map's: numbers of about -?\d+ differ by"),
        (
            pw.Border((1, 1), (1, 1), fill=beyond, run=lambda layer, x: layer(x)),
            r"\(18, 18\) pixels, not \(16, 16\)",
        ),
    ):
        pw.register_layer_rule(SoftMaximum, rule)
        with pytest.raises(UsageError, match=words):
            pw.patch(network, cells=4, window=2)
    pw.register_layer_rule(SoftMaximum, pw.Border((1, 1), (1, 1), fill=beyond))
    model = pw.patch(network, cells=4, window=2)
    assert pw.export(model, str(tmp_path / "soft.tflite"), verify_steps=6).comparison.max_difference < 1e-5
    image = random_frames(np.random.default_rng(6), 1, (32, 32))
    _, state = model.step(image, None, {})
    for window in ((0, 0), (2, 2)):
        found, state = model.step(image, np.array([window], np.int32), state)
        np.testing.assert_allclose(found["soft"], network(image), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda x: layers.Lambda(lambda y: y[:, ::-1])(x), {}, "Lambda.*no rule.*on_map='lambda"),
        (lambda x: Gain(3)(x), {}, "Gain.*there is no rule"),
        (lambda x: layers.Flatten(name="flat")(x), {}, "flat .*looks at the whole map; on_map='flat'"),
        (lambda x: layers.GroupNormalization(3)(x), {}, "looks at the whole map"),
        (lambda x: conv(3, padding="valid")(x), {}, "makes 62 pixels of 64.*'same', or a ZeroPadding2D"),
        (lambda x: layers.ReLU()(layers.ZeroPadding2D(1)(x)), {}, "ZeroPadding2D goes before convolutions"),
        (lambda x: layers.BatchNormalization(axis=1)(x), {}, "axis is 1, not that of the channels"),
        (lambda x: layers.PReLU()(x), {}, "shared_axes"),
        (lambda x: x + np.ones((SIZE, SIZE, 3), np.float32), {}, "a map that is not made of the frame"),
        (lambda x: layers.UpSampling2D(2, interpolation="bicubic")(x), {}, "not by 'bicubic'"),
        (lambda x: layers.Resizing(100, 100)(x), {}, "64x64 to 100x100"),
        (
            lambda x: conv(3, strides=32)(x),
            {},
            "map of 2x2 pixels does not divide into 4 x 4 cells, frames of 128x128",
        ),
        (lambda x: conv(3)(x), {"on_map": "nothing"}, "there is no layer 'nothing'"),
        (lambda x: conv(3)(x), {"cells": 2, "window": 3}, "N must be between 1 and M"),
    ],
)
def test_what_cannot_run_on_windows_is_refused_in_one_line(make, options, words):
    frame = keras.Input((SIZE, SIZE, 3))
    with pytest.raises(UsageError, match=words) as error:
        pw.patch(keras.Model(frame, make(frame)), **options)
    assert "\n" not in str(error.value)


def test_what_is_no_network_of_one_frame_is_refused():
    with pytest.raises(UsageError, match="no functional Keras model"):
        pw.patch(Blur())
    free = keras.Input((None, None, 3))
    with pytest.raises(UsageError, match="fixed size"):
        pw.patch(keras.Model(free, conv(3)(free)))
