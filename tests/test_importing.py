"""Detectors of the Object Detection API become ours: a real one, and kinds that are taken or refused."""

import shutil
import zipfile

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from api_detector import api_detector

import patchwork_tf as pw
from patchwork_tf.export import importing, ssd
from patchwork_tf.models.weights import assign_weights
from patchwork_tf.zoo import checkpoints

REAL = "ssd_mobilenet_v2_oidv4/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite"
LABELS = "ssd_mobilenet_v2_oidv4/labels.txt"


def run(path, folder, *flags):
    return importing.main([f"--tflite={path}", f"--model_dir={folder}", *flags])


@pytest.fixture
def labels(tmp_path):
    def write(count, first=""):
        path = tmp_path / "labels.txt"
        path.write_text(first + "".join(f"thing {number}\n" for number in range(count)))
        return f"--labels={path}"

    return write


@pytest.mark.slow
def test_raw_outputs_are_the_source_files_on_real_photos(real_data):
    """At the source's own size. Its weights have 16 bits and ours are the same numbers: only sums differ."""
    source = ssd.read(real_data(REAL))
    assert (source.image_size, source.depth, source.num_classes) == ((300, 300), 1.0, 23)
    model = pw.build("oid-sf", image_size=300)
    assign_weights(model.variables, source.arrays, source.path)
    predict = tf.function(model.predict_window)
    with open(real_data("imagenet_photos/labels_and_top1.csv"), encoding="utf-8") as file:
        names = [line.split(",")[0] for line in file.read().splitlines()[1:]]
    assert len(names) == 16
    for name in names:
        photo = cv2.cvtColor(cv2.imread(real_data(f"imagenet_photos/{name}.jpg")), cv2.COLOR_BGR2RGB)
        frame = (cv2.resize(photo, (300, 300)) / 127.5 - 1)[None].astype(np.float32)
        levels, _ = predict(frame, None, {})
        for ours, theirs in zip(zip(*levels, strict=True), source.raw_outputs(frame), strict=True):
            np.testing.assert_allclose(np.concatenate(ours, 1)[0], theirs, atol=5e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_raw_outputs_are_those_recorded_of_the_source_file():
    """On photographs; tests/data/README.md says how they were recorded."""
    model = pw.build("oid-sf", image_size=300)
    assign_weights(model.variables, checkpoints.read("oid-sf").arrays, "the shipped weights")
    frame = cv2.cvtColor(cv2.imread("tests/data/photographs.png"), cv2.COLOR_BGR2RGB)
    levels, _ = model.predict_window((frame / 127.5 - 1)[None].astype(np.float32), None, {})
    recorded = np.load("tests/data/oid_raw_outputs.npz")
    for ours, name in zip(zip(*levels, strict=True), ("logits", "codes"), strict=True):
        ours, theirs = np.concatenate(ours, 1)[0, ::5], recorded[name]
        np.testing.assert_allclose(ours, theirs, atol=5e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_the_shipped_weights_are_what_the_importer_makes(real_data, tmp_path):
    assert run(real_data(REAL), tmp_path / "run", f"--labels={real_data(LABELS)}") == 0
    made, shipped = checkpoints.read(str(tmp_path / "run")), checkpoints.read("oid-sf")
    assert made.config == shipped.config
    assert made.metadata | {"model": None} == shipped.metadata | {"model": None}
    assert made.arrays.keys() == shipped.arrays.keys()
    for key, array in made.arrays.items():
        np.testing.assert_array_equal(array, shipped.arrays[key])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "classes", "size", "options"),
    [
        (0.35, 5, 128, {}),
        (1.4, 3, 96, {"postprocess": True}),  # with the background four classes: as many as numbers of a box
        (0.5, 90, 160, {"postprocess": True, "float16": True}),
    ],
)
def test_every_depth_class_number_and_size(depth, classes, size, options, tmp_path, labels, capsys):
    path = tmp_path / "detector.tflite"
    path.write_bytes(api_detector(depth, classes, size, **options))
    assert run(path, tmp_path / "run", labels(classes, "???\n")) == 0
    assert f"depth {depth:g}, {classes} classes" in capsys.readouterr().out
    model = pw.load(str(tmp_path / "run"))
    assert model.config.depth == depth
    assert model.info.class_names == tuple(f"thing {number}" for number in range(classes))
    assert model.config.image_size == (-(-size // 128) * 128,) * 2
    assert "imported from detector.tflite, SHA-256" in model.info.weights


@pytest.mark.slow
def test_labels_in_the_file_and_wrong_ones(tmp_path, labels, capsys):
    path = tmp_path / "detector.tflite"
    path.write_bytes(api_detector(0.35, 3, 96))
    assert run(path, tmp_path / "run") == 1
    assert "no labels are packed into it" in capsys.readouterr().err
    assert run(path, tmp_path / "run", labels(7)) == 1
    assert "7 labels, but the detector has 3 classes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    packed = tmp_path / "packed.tflite"
    shutil.copy(path, packed)
    with zipfile.ZipFile(packed, "a") as file:  # as TFLite's metadata writer does
        file.writestr("labelmap.txt", "a\nb\nc\n")
    assert run(packed, tmp_path / "run", "--image_size=128") == 0
    assert pw.load(str(tmp_path / "run")).info.class_names == ("a", "b", "c")
    assert run(packed, tmp_path / "run") == 1
    assert "there are checkpoints in it already" in capsys.readouterr().err


def quantized(size=96) -> bytes:
    model = keras.Sequential([keras.Input((size, size, 3)), keras.layers.Conv2D(8, 3)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    converter.representative_dataset = lambda: ([rng.random((1, size, size, 3), np.float32)] for _ in range(4))
    return converter.convert()


def classifier() -> bytes:
    model = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, include_top=False)
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


REFUSED = {
    "text": (lambda: b"no flatbuffer at all", "not a TFLite file"),
    "int8": (quantized, "quantized to 8 bits"),
    "no predictors": (classifier, "not an SSD MobileNetV2"),
    "3 x 3 predictors": (lambda: api_detector(0.35, 2, 96, kernel=3), "two 1 x 1 predictors"),
    "other box coder": (lambda: api_detector(0.35, 2, 96, postprocess=True, scale=4.0), "scaled by (4.0, 4.0"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_it_is_not_is_refused_in_one_line(case, tmp_path, labels, capsys):
    make, words = REFUSED[case]
    path = tmp_path / "model.tflite"
    path.write_bytes(make())
    assert run(path, tmp_path / "run", labels(2)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("patchwork-import")]
    assert words in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_network_that_gives_other_outputs_is_not_written(tmp_path, labels, capsys, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_bytes(api_detector(0.35, 2, 96))
    read = ssd.read

    def misread(path):
        source = read(path)
        source.arrays["Conv1/kernel"] = source.arrays["Conv1/kernel"][::-1].copy()
        return source

    monkeypatch.setattr(ssd, "read", misread)
    assert run(path, tmp_path / "run", labels(2)) == 1
    assert "gives other raw outputs" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(tmp_path / "none.tflite", tmp_path / "run") == 1
    assert importing.main(["--model_dir=x"]) == 2


@pytest.mark.slow
def test_an_imported_detector_becomes_patchwork_in_keras_and_in_an_exported_file(tmp_path, labels):
    path = tmp_path / "detector.tflite"
    path.write_bytes(api_detector(0.35, 4, 128))
    assert run(path, tmp_path / "run", labels(4)) == 0
    model = checkpoints.build_from(pw.get_system("oid-pw-m4n2"), checkpoints.read(str(tmp_path / "run")))
    assert model.grid.cells == 4
    assert len(list(pw.stream(model, np.zeros((3, 90, 120, 3), np.uint8)))) == 3
    comparison = pw.export(model, str(tmp_path / "pw.tflite"), suppression=False, verify_steps=100).comparison
    assert comparison.steps == 100
    assert comparison.max_difference <= 1e-4
    assert comparison.passed
