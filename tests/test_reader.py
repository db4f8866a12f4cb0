"""Networks out of .tflite files: what LiteRT says of them, and what Patchwork makes of them."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import random_frames
from keras import layers, ops
from tensorflow.lite.tools import flatbuffer_utils

import patchwork_tf as pw
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export import reader

pytestmark = pytest.mark.slow

SIZE = 64


def conv(filters, kernel=3, **options):
    return layers.Conv2D(filters, kernel, **{"padding": "same", **options})


class BestChannel(layers.Layer):
    def call(self, x):
        return tf.argmax(x, -1)


class FirstResizing(layers.Layer):
    """As TensorFlow 1 has it."""

    def call(self, x):
        size = [4 * side for side in x.shape[1:3]]
        return tf.compat.v1.image.resize_bilinear(x, size, align_corners=False, half_pixel_centers=False)


class Spread(layers.Layer):
    def call(self, x):
        return tf.nn.depth_to_space(x, 2)


def everything(x):
    """What phones' networks are made of, and tails that are cut off."""
    fine = layers.Activation("hard_silu")(conv(8, 5, strides=2)(x))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(fine)
    gate = conv(8, 1, activation="sigmoid")(conv(4, 1, activation="relu")(gate))
    fine = layers.Multiply()([fine, gate])
    x = layers.ZeroPadding2D(1)(fine)
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, 2)(x))
    x = layers.PReLU(shared_axes=[1, 2])(conv(8, 3, dilation_rate=2)(x))
    x = layers.Add()([x, layers.MaxPooling2D(2)(fine)])
    x = layers.Concatenate()(
        [x, ops.pad(layers.AveragePooling2D(3, 1, "same")(x), ((0, 0), (0, 0), (0, 0), (0, 4)))]
    )
    x = layers.UpSampling2D(2, interpolation="bilinear")(conv(8, 1)(x)) + fine * 0.5
    heat = layers.Conv2DTranspose(3, 2, 2, padding="same", name="heat")(x)
    spread = Spread()(conv(8, 1)(conv(4)(FirstResizing()(conv(4, 1, strides=4)(x)))))
    return [BestChannel()(heat), layers.Reshape((-1, 2))(spread)]


def network(make, size=SIZE, seed=0):
    keras.utils.set_random_seed(seed)
    frame = keras.Input((size, size, 3), batch_size=1)
    return keras.Model(frame, make(frame))


def converted(model, path, kind="float32"):
    """A .tflite file of a model."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        frames = random_frames(np.random.default_rng(0), 8, model.input.shape[1:3])
        converter.representative_dataset = lambda: ([frame[None]] for frame in frames)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    path.write_bytes(converter.convert())
    return str(path)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_what_is_read_answers_as_the_file_does(kind, tmp_path):
    path = converted(network(everything), tmp_path / "network.tflite", kind)
    given = None if kind == "int8" else (-1, 1)
    source = reader.read(path, input_range=given)
    assert set(source.cut) >= {"ARG_MAX", "RESHAPE"}
    assert source.in_8_bits == (kind == "int8")
    for difference, correlation in reader.prove(source, path).values():
        assert difference < (0.2 if kind == "int8" else 1e-5)
        assert correlation > 0.99
    read = pw.read_tflite(path, input_range=given)
    assert sorted(x.shape[1:] for x in read.output.values()) == [(SIZE, SIZE, 2), (SIZE, SIZE, 3)]
    larger = pw.read_tflite(path, 2 * SIZE, given)
    assert sorted(x.shape[1:] for x in larger.output.values()) == [(2 * SIZE, 2 * SIZE, k) for k in (2, 3)]
    for one, other in zip(read.get_weights(), larger.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_becomes_patchwork_and_a_file_again(tmp_path):
    read = pw.read_tflite(converted(network(everything), tmp_path / "a.tflite"), input_range=(-1, 1))
    model, path = pw.patch(read, 4, 2), str(tmp_path / "pw.tflite")
    frame = random_frames(np.random.default_rng(0), 1, (SIZE, SIZE))
    expected, state = read(frame), model.initial_state()
    for window in list(model.grid.raster) * 12:
        outputs, state = model.step(frame, np.array([window], np.int32), state)
    for name, x in expected.items():
        np.testing.assert_allclose(outputs[name], x, atol=1e-4 * float(np.abs(x).max()))
    assert pw.export(model, path, verify_steps=5).comparison.max_difference < 1e-4
    model.save(tmp_path / "pw.keras")
    again = pw.load(str(tmp_path / "pw.keras"))
    np.testing.assert_allclose(again(frame)[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("wrong", [0.1, np.nan])
def test_what_answers_otherwise_is_refused(wrong, tmp_path):
    path = converted(network(everything), tmp_path / "a.tflite")
    source = reader.read(path, input_range=(-1, 1))
    source.network.set_weights([weights + wrong for weights in source.network.get_weights()])
    with pytest.raises(DataError, match=r"what was read answers otherwise than LiteRT: .* is off by"):
        reader.prove(source, path)


def test_white_and_black_are_what_the_file_says(tmp_path):
    path = converted(network(lambda x: layers.Activation("relu")(conv(4)(x))), tmp_path / "a.tflite")
    for given in ((0, 1), (0, 255)):
        reader.prove(reader.read(path, input_range=given), path)
    with pytest.raises(UsageError, match=r"say what it has for black and white: -1,1 or 0,1 or 0,255"):
        pw.read_tflite(path)


def test_outputs_whose_names_are_the_same_are_told_apart(tmp_path):
    path = converted(network(everything), tmp_path / "a.tflite")
    model = flatbuffer_utils.read_model(path)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"same/name"
    flatbuffer_utils.write_model(model, path)
    source = reader.read(path, input_range=(-1, 1))
    assert list(source.outputs) == ["same_name", "same_name_2"]
    reader.prove(source, path)
    for size in (0, (64, 64, 3)):
        with pytest.raises(UsageError, match=r"image_size is a side in pixels, or \(H, W\), not"):
            reader.read(path, size, (-1, 1))


BAD = {
    "another operator": (lambda x: ops.cumsum(conv(4)(x), axis=1), r"operator \d+, CUMSUM \(.*\), is not read"),
    "a shuffle": (
        lambda x: conv(4)(ops.reshape(ops.transpose(ops.reshape(x, (1, 32, 2, 64, 3)), (0, 2, 1, 3, 4)), x.shape)),
        r"TRANSPOSE \(.*\), is not read",
    ),
    "two axes": (lambda x: layers.Concatenate(1)([conv(4)(x), conv(4)(x)]), "joins maps along axis 1"),
    "no map": (lambda x: layers.Flatten()(x), "it has no map among its answers"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_named(case, tmp_path):
    make, message = BAD[case]
    path = converted(network(make), tmp_path / "bad.tflite")
    with pytest.raises(DataError, match=message):
        pw.read_tflite(path, input_range=(-1, 1))


def test_files_that_are_none_are_refused(tmp_path):
    content = Path(converted(network(everything), tmp_path / "a.tflite")).read_bytes()
    (tmp_path / "text.tflite").write_text("nothing like it")
    for name, message in (("nothing.tflite", "No such file"), ("text.tflite", "not a TFLite file")):
        with pytest.raises(DataError, match=message):
            pw.read_tflite(str(tmp_path / name), input_range=(-1, 1))
    rng, refused = np.random.default_rng(0), 0
    for _ in range(20):  # of the table at the end, where shapes and numbers of tensors are
        damaged = bytearray(content)
        for place in rng.integers(len(content) - 4000, len(content), 4):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "damaged.tflite").write_bytes(damaged)
        try:
            reader.read(str(tmp_path / "damaged.tflite"), input_range=(-1, 1))
        except DataError:
            refused += 1
    assert refused > 3
