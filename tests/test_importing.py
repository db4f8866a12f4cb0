"""Networks out of .tflite files become Patchwork: families that phones run, real ones, and what is refused."""

import itertools
import json
import shutil
import zipfile

import cv2
import exports
import families
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import CHECKOUT, random_frames

import patchwork_tf as pw
from patchwork_tf import compare, train
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.export import import_command, importer, reader
from patchwork_tf.export.reference import FileStep
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.grid import Grid
from patchwork_tf.models.weights import assign_weights
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.zoo import checkpoints

pytestmark = pytest.mark.slow

SSD = "ssd_mobilenet_v2_oidv4/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite"
LABELS = "ssd_mobilenet_v2_oidv4/labels.txt"
RANGE = "--input_range=-1,1"


def run(path, folder, *flags):
    return import_command.main([f"--tflite={path}", f"--model_dir={folder}", *flags])


@pytest.fixture
def labels(tmp_path):
    def write(count, first=""):
        path = tmp_path / "labels.txt"
        path.write_text(first + "".join(f"thing {number}\n" for number in range(count)))
        return f"--labels={path}"

    return write


def imported(folder, system, **overrides):
    checkpoint = checkpoints.read(str(folder))
    return checkpoints.build_from(checkpoint.system_named(system), checkpoint, **overrides)


def decoded(family, frame) -> dict:
    """Boxes and scores of all anchors by a family's published definition, of its network in Keras."""
    maps, boxes, scores = {name: np.asarray(x) for name, x in family.model(frame).items()}, [], []
    for level in range(family.levels):
        codes, logits = maps[f"boxes_{level}"], maps[f"classes_{level}"]
        height, width = codes.shape[1:3]
        codes, probability = codes.reshape(-1, 4), 1 / (1 + np.exp(-logits.reshape(-1, family.columns)))
        if family.anchors is None:  # YOLOX: pixels of the frame from corners of the grid on
            stride = family.image_size / height
            corners = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
            center, size = (codes[:, :2] + corners) * stride, np.exp(codes[:, 2:]) * stride
            boxes.append(
                np.concatenate([center - size / 2, center + size / 2], 1)[:, [1, 0, 3, 2]] / family.image_size
            )
            probability *= 1 / (1 + np.exp(-maps[f"objectness_{level}"].reshape(-1, 1)))
        else:
            first = sum(len(x) for x in boxes)
            anchors = family.anchors[first : first + len(codes)]
            codes = codes / [family.options[f"{side}_scale"] for side in "yxhw"]
            center, size = codes[:, :2] * anchors[:, 2:] + anchors[:, :2], np.exp(codes[:, 2:]) * anchors[:, 2:]
            boxes.append(np.concatenate([center - size / 2, center + size / 2], 1))
        scores.append(probability[:, family.columns - family.num_classes :])
    return {"boxes": np.concatenate(boxes).clip(0, 1), "scores": np.concatenate(scores)}


@pytest.mark.parametrize("name", families.FAMILIES)
def test_detectors_that_phones_run(name, tmp_path, labels, capsys):
    """Boxes are those that the published definition gives, at the file's size; windows of it come to the same."""
    path, family = exports.family(name), families.made(name)
    flags = [labels(family.num_classes, "???\n"), RANGE]
    size = f"--image_size={family.image_size}"  # padded as there
    assert run(path, tmp_path / "same", *flags, size) == 0
    assert f"{family.num_classes} classes" in capsys.readouterr().out
    single = imported(tmp_path / "same", "sf")
    frame = random_frames(np.random.default_rng(0), 1, (448, 448))[:, : family.image_size, : family.image_size]
    outputs, expected = single(frame), decoded(family, frame)
    np.testing.assert_allclose(outputs["scores"][0], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(outputs["boxes"][0], expected["boxes"], atol=1e-3)
    folder = tmp_path / "same"
    if single.config.image_size != importer.default_size(single.config.image_size):
        folder = tmp_path / "run"
        assert run(path, folder, *flags) == 0
    model = imported(folder, "pw-m4n2")
    assert len(model.levels) > model.local_levels > 0
    if name == "ssd_fpnlite":  # of its kind the most is in it: levels on windows and on the map, which meet
        path = str(tmp_path / "pw.tflite")
        assert exports.export(model, path, suppression=False, verify_steps=4).comparison.passed
    frame = random_frames(np.random.default_rng(1), 1, model.config.image_size)
    warm, state = model.step(frame, None, model.initial_state())
    looked, _ = model.step(frame, np.array([[1, 2]], np.int32), state)
    np.testing.assert_allclose(looked["scores"], warm["scores"], atol=1e-4)


def test_a_detector_in_8_bits(tmp_path, labels):
    """What LiteRT says of a frame in 8 bits, and what our network does in float."""
    path = exports.family("ssd_fpnlite", quantized=True)
    assert run(path, tmp_path / "run", labels(3), RANGE) == 0
    file = FileStep(path, checkpoints.read(str(tmp_path / "run")))
    ours = KerasStep(imported(tmp_path / "run", "sf"))
    assert file.config.image_size == ours.config.image_size
    frame = random_frames(np.random.default_rng(1), 1, file.config.image_size)
    (theirs, _), (found, _) = file(frame, None, {}), ours(frame, None, {})
    np.testing.assert_allclose(theirs["scores"][:5], found["scores"][:5], atol=0.1)


# Task, classes, size, and what the input has for black and white, if it is not in 8 bits.
ZOO = {
    "deeplabv3_mnv2_pascal_quant": ("segmentation", 20, (512, 512), None),
    "deeplabv3_mnv2_dm05_pascal_quant": ("segmentation", 20, (512, 512), None),
    "movenet_single_pose_lightning_ptq": ("maps", 1, (192, 192), None),
    "selfie_segmentation": ("segmentation", 1, (256, 256), (0, 1)),
    "face_detection_short_range": ("detection", 1, (128, 128), (-1, 1)),
    "palm_detection_full": ("detection", 1, (192, 192), (0, 1)),
    "pose_detection": ("detection", 1, (256, 256), (-1, 1)),
    "pose_landmark_full": ("maps", 1, (256, 256), (0, 1)),
}


@pytest.mark.parametrize("name", ZOO)
def test_networks_that_people_run(name, real_data, tmp_path):
    """They are read right, on pictures; what they answer is guessed; a step comes to the whole frame's answer."""
    path, (task, classes, size, given) = real_data(f"tflite_zoo/{name}.tflite"), ZOO[name]
    source = reader.read(path, input_range=given)
    clip = list(itertools.islice(Video(str(CHECKOUT / "docs/photos.mp4")), 0, 120, 60))
    found = reader.prove(source, path, clip)
    assert source.in_8_bits or max(difference for difference, _ in found.values()) < 1e-3
    if name == "deeplabv3_mnv2_pascal_quant":
        frame = cv2.resize(clip[0], (513, 513))[None] / np.float32(127.5) - 1
        ours, theirs = source.network(frame), source.answers(frame)
        assert [np.mean(np.argmax(ours[key], -1) == np.argmax(theirs[key], -1)) > 0.97 for key in theirs] == [True]
    flags = [f"--input_range={given[0]},{given[1]}"] if given else []
    flags += [f"--labels={CHECKOUT}/results/voc_labels.txt"] if classes == 20 else []
    assert run(path, tmp_path / "run", *flags) == 0
    model = imported(tmp_path / "run", "pw-m4n2")
    assert (model.config.task, model.config.num_classes, model.config.image_size) == (task, classes, size)
    assert any(step.remembers for step in model.plan.steps)
    frame = random_frames(np.random.default_rng(0), 1, size)
    warm, state = model.step(frame, None, model.initial_state())
    looked, _ = model.step(frame, np.array([[1, 2]], np.int32), state)
    for key in warm.keys() & {"mask", "boxes", "scores", *model.plan.outputs}:
        np.testing.assert_allclose(looked[key], warm[key], atol=2e-3 * max(1, np.abs(warm[key]).max()))


def test_the_real_detector_and_its_file_agree(real_data, tmp_path, capsys):
    """At the file's own size; and the command that says what it costs on a video."""
    path = real_data(SSD)
    assert run(path, tmp_path / "run", f"--labels={real_data(LABELS)}", RANGE) == 0
    said = capsys.readouterr().out
    assert "23 classes, 1917 anchors as ssd_anchor_generator has them" in said
    assert "pw-m4n2   384x384" in said  # where more of it is on windows
    checkpoint = checkpoints.read(str(tmp_path / "run"))
    file = FileStep(path, checkpoint)
    assert run(path, tmp_path / "same", f"--labels={real_data(LABELS)}", RANGE, "--image_size=300") == 0
    ours = KerasStep(imported(tmp_path / "same", "sf"))
    frame = cv2.cvtColor(cv2.imread(str(CHECKOUT / "tests/data/photographs.png")), cv2.COLOR_BGR2RGB)
    frame = (frame / 127.5 - 1)[None].astype(np.float32)
    (theirs, _), (found, _) = file(frame, None, {}), ours(frame, None, {})
    assert int(theirs["count"]) == int(found["count"]) > 0
    np.testing.assert_allclose(found["scores"], theirs["scores"], atol=1e-3)
    flags = [f"--tflite={path}", f"--checkpoint={tmp_path}/run", "--system=pw-m4n2", "--types=none"]
    flags += [f"--video={CHECKOUT}/docs/photos.mp4", "--max_frames=12"]
    output = tmp_path / "a.json"
    assert compare.main([*flags, f"--json={output}"]) == 0
    result = json.loads(output.read_text())
    rows = {row["title"]: row for row in result["rows"]}
    assert result["reference"] in path
    assert rows[result["reference"]]["image_size"] == [300, 300]
    assert rows[result["reference"]]["agreement"] == 1
    assert all(0.3 < rows[title]["agreement"] <= 1 for title in ("every frame", "pw-m4n2"))
    other = tmp_path / "other.tflite"
    other.write_bytes(b"x" + (tmp_path / "a.json").read_bytes())
    assert compare.main([f"--tflite={other}", *flags[1:]]) == 2
    assert "was not imported from" in capsys.readouterr().err


def test_an_8_bit_segmenter_goes_in_and_an_8_bit_patchwork_comes_out(real_data, tmp_path):
    """Held against the float file on the clip of the demo."""
    path = real_data("tflite_zoo/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    assert run(path, tmp_path / "run", f"--labels={CHECKOUT}/results/voc_labels.txt", "--image_size=192") == 0
    model = imported(tmp_path / "run", "pw-m4n2")
    frames = list(itertools.islice(Video(str(CHECKOUT / "docs/photos.mp4")), 16))
    files = {kind: str(tmp_path / f"{kind}.tflite") for kind in ("none", "int8")}
    for kind, file in files.items():
        exports.export(model, file, verify_steps=4, quantization=kind)
    masks = [[answer.mask for answer in pw.stream(ExportedStep(file), frames)] for file in files.values()]
    same = np.mean([np.mean(a == b) for a, b in zip(*masks, strict=True)])
    assert same > 0.95


def test_the_shipped_segmenter_is_what_the_importer_makes(real_data, tmp_path):
    path = real_data("tflite_zoo/deeplabv3_mnv2_pascal_quant.tflite")
    assert run(path, tmp_path / "run", f"--labels={CHECKOUT}/results/voc_labels.txt") == 0
    made, shipped = checkpoints.read(str(tmp_path / "run")), checkpoints.read("voc-sf")
    assert made.class_names == shipped.class_names
    assert made.arrays.keys() == shipped.arrays.keys()
    for key, array in made.arrays.items():
        np.testing.assert_allclose(shipped.arrays[key], array, rtol=1e-3, atol=1e-6)
    assert made.metadata["network"]["graph"] == shipped.metadata["network"]["graph"]


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


def network(make, path, size=64):
    """A .tflite file of a small network."""
    keras.utils.set_random_seed(0)
    frame = keras.Input((size, size, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu")(frame)
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras.Model(frame, make(x))).convert())
    return path


class Probabilities(keras.layers.Layer):
    def call(self, x):
        return tf.nn.softmax(x)


def pair(x, boxes=4, classes=3):
    """Maps of boxes and of classes, in rows."""
    maps = [keras.layers.Conv2D(channels, 1)(x) for channels in (2 * boxes, 2 * classes)]
    return [keras.layers.Reshape((-1, n))(y) for y, n in zip(maps, (boxes, classes), strict=True)]


def test_labels_in_the_file_and_wrong_ones(tmp_path, labels, capsys):
    path = network(lambda x: Probabilities()(keras.layers.Conv2D(4, 1)(x)), tmp_path / "masks.tflite")
    assert run(path, tmp_path / "run", RANGE) == 1
    assert "no labels are packed into it" in capsys.readouterr().err
    assert run(path, tmp_path / "run", labels(7), RANGE) == 1
    assert "7 labels, 'thing 0' to 'thing 6', but the network has 3 classes" in capsys.readouterr().err
    (tmp_path / "labels.txt").write_text("\n")
    assert run(path, tmp_path / "run", f"--labels={tmp_path}/labels.txt", RANGE) == 1
    assert "there are no labels in it" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    packed = tmp_path / "packed.tflite"
    shutil.copy(path, packed)
    with zipfile.ZipFile(packed, "a") as file:  # as TFLite's metadata writer does
        file.writestr("labelmap.txt", "background\na\nb\nc\n")
    assert run(packed, tmp_path / "run", RANGE, "--image_size=128") == 0
    model = pw.load(str(tmp_path / "run"))
    assert model.info.class_names == ("a", "b", "c")
    assert model.config.image_size == (128, 128)
    with pytest.raises(UsageError, match="is padded for frames of 128x128; for 129x129 import it again"):
        imported(tmp_path / "run", "sf", image_size=(129, 129))
    assert "imported from packed.tflite, SHA-256" in model.info.weights
    assert run(packed, tmp_path / "run", RANGE) == 1
    assert "there are checkpoints in it already" in capsys.readouterr().err


def test_a_segmenter_of_classes_is_saved_streamed_and_drawn(tmp_path, labels):
    path = network(
        lambda x: Probabilities()(keras.layers.Conv2D(4, 3, padding="same")(x)), tmp_path / "masks.tflite"
    )
    assert run(path, tmp_path / "run", labels(3), RANGE, "--resize_mode=letterbox") == 0
    model = pw.load(str(tmp_path / "run"), "pw-m4n2")
    assert model.info.resize_mode == "letterbox"
    assert FileStep(str(path), checkpoints.read(str(tmp_path / "run"))).info.resize_mode == "letterbox"
    frames = (random_frames(np.random.default_rng(0), 3, (64, 64)) * 127.5 + 127.5).astype(np.uint8)
    found = list(pw.stream(model, frames))
    model.save(tmp_path / "pw.keras")
    again = list(pw.stream(pw.load(str(tmp_path / "pw.keras")), frames))
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    assert found[0].mask.max() <= 3
    task = KerasStep(model).task
    record = task.record(found[0], model.info.class_names, 0)
    assert set(record["classes"]) <= set(model.info.class_names)
    assert task.draw(frames[0], found[0], model.info.class_names, 0).shape == frames[0].shape


def anchors_file(path, rows):
    np.savetxt(path, rows, delimiter=",")
    return f"--anchors={path}"


def test_anchors_of_a_file(tmp_path, labels, capsys):
    """On a grid, whose pixels they keep on larger frames."""
    path = network(pair, tmp_path / "boxes.tflite")
    places = np.stack(np.meshgrid(*2 * [(np.arange(32) + 0.5) / 32], indexing="ij"), -1)
    rows = np.concatenate([np.repeat(places[:, :, None], 2, 2), np.full((32, 32, 2, 2), 0.25)], -1).reshape(-1, 4)
    assert run(path, tmp_path / "run", labels(3), RANGE, "--task=detection") == 2
    assert "its anchors are not in the file: --anchors=ssd, mediapipe, yolox or a file" in capsys.readouterr().err
    given = anchors_file(tmp_path / "anchors.csv", rows)
    assert run(path, tmp_path / "run", labels(3), RANGE, "--task=detection", given) == 0
    larger = imported(tmp_path / "run", "pw-m4n2", image_size=(128, 128))
    np.testing.assert_allclose(larger.anchors[0], [0.5 / 64, 0.5 / 64, 0.125, 0.125], atol=1e-6)
    crooked = rows + np.linspace(0, 0.1, len(rows))[:, None]
    given = anchors_file(tmp_path / "anchors.csv", crooked)
    assert run(path, tmp_path / "run2", labels(3), RANGE, "--task=detection", given) == 1
    assert "not the same at every pixel" in capsys.readouterr().err
    given = anchors_file(tmp_path / "anchors.csv", rows[:7])
    assert run(path, tmp_path / "run2", labels(3), RANGE, "--task=detection", given) == 1
    assert "there are 7 anchors, but its maps have 2048" in capsys.readouterr().err
    assert not (tmp_path / "run2").exists()


def test_what_is_not_known_is_refused_in_one_line(tmp_path, labels, capsys):
    two = network(lambda x: [keras.layers.Conv2D(2, 1)(x), keras.layers.Conv2D(3, 1)(x)], tmp_path / "two.tflite")
    (tmp_path / "text.tflite").write_text("no flatbuffer at all")
    cases = [
        (tmp_path / "text.tflite", (RANGE,), 1, "not a TFLite file"),
        (tmp_path / "none.tflite", (RANGE,), 1, "No such file"),
        (two, (), 2, "its input is float32; say what it has for black and white"),
        (two, ("--input_range=3",), 2, "two numbers, such as -1,1"),
        (two, (RANGE, "--task=segmentation"), 2, "of which it is not known which are masks"),
        (two, (RANGE, "--task=detection"), 2, "rows of 3 and of 2 numbers: which are boxes is not known"),
        (two, (RANGE, "--anchors=ssd"), 2, "--anchors are of detectors; it is taken for maps"),
    ]
    for path, flags, code, words in cases:
        assert run(path, tmp_path / "run", *flags) == code
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("patchwork-import")]
        assert words in line
        assert not (tmp_path / "run").exists()
    assert import_command.main(["--model_dir=x"]) == 2
    assert train.main(["--system=voc-pw-m4n2", f"--model_dir={tmp_path}/run"]) == 2
    assert "networks that were imported keep the weights of their file" in capsys.readouterr().err


def test_systems_are_named_by_how_they_are_run(tmp_path):
    path = network(lambda x: keras.layers.Conv2D(2, 1)(x), tmp_path / "maps.tflite")
    importer.import_tflite(str(path), str(tmp_path / "run"), input_range=(-1, 1), task="maps")
    checkpoint = checkpoints.read(str(tmp_path / "run"))
    late = checkpoint.system_named("sf-int3-delay2")
    assert (late.stream.interval, late.stream.delay, late.reference) == (3, 2, "sf")
    assert checkpoint.system_named("pw-m2n1").model.grid == Grid(2, 1)
    with pytest.raises(UsageError, match="unknown system 'pw'; those of sf end in"):
        checkpoint.system_named("pw")
    with pytest.raises(UsageError, match=r"pw-m4n2 of which network\?"):
        pw.get_system("pw-m4n2")
    assert pw.get_system("vid-sf-int3").stream.interval == 3


def test_sizes_are_the_nearest_that_cells_divide():
    assert importer.default_size((300, 300)) == (320, 320)
    assert importer.default_size((513, 513)) == (512, 512)
    assert importer.default_size((224, 160)) == (256, 192)
