"""What others add without touching ours: a system, a backbone, a task."""

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import randomise
from keras import layers

import patchwork_tf as pw
from patchwork_tf import demo, evaluate, prepare, tables
from patchwork_tf.data import datasets
from patchwork_tf.data.datasets import Source, annotated_videos, class_names
from patchwork_tf.data.schema import VideoExample, video_features
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.models.weights import assign_weights, get_weights
from patchwork_tf.tasks.segmentation import Segmentation

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def own_system():
    config = pw.ModelConfig(
        cells=2, window_cells=1, image_size=64, num_classes=10, backbone="four layers", heads="ssd"
    )
    return pw.register(pw.System("tiny", config, pw.StreamConfig(interval=2), reference="vid-sf"))


@pytest.mark.slow
def test_an_own_system_is_one_of_the_zoo(own_system, tmp_path, capsys):
    assert "tiny" in pw.list_systems()
    assert evaluate.main(["--system=tiny", "--num_videos=1", "--max_frames=3"]) == 0
    path = f"{tmp_path}/tiny.tflite"
    pw.export(pw.build("tiny"), path, verify_steps=3)
    answers = f"--output={tmp_path}/tiny.mp4"
    assert demo.main([f"--tflite={path}", "--video=moving_objects:1", "--max_frames=3", answers]) == 0
    assert tables.main(["--system=tiny"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("tiny ") == 3


def test_commands_import_plugins(tmp_path, monkeypatch, capsys):
    text = "import patchwork_tf as pw\npw.register(pw.System('plugged', pw.ModelConfig(image_size=64)))\n"
    (tmp_path / "my_systems.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert tables.main(["--plugins=my_systems", "--system=plugged"]) == 0
    assert "plugged" in capsys.readouterr().out
    assert tables.main(["--plugins=no_such_module"]) == 2
    assert "--plugins=no_such_module: No module named 'no_such_module'" in capsys.readouterr().err


def test_a_name_is_taken_once_and_references_see_whole_frames(own_system):
    with pytest.raises(ValueError, match="there is a system 'tiny' already"):
        pw.register(own_system)
    with pytest.raises(ValueError, match="vid-pw-m4n2 does not"):
        pw.register(pw.System("other", own_system.model, reference="vid-pw-m4n2"))


def three_layers(image_size, depth, last_channels):
    """Patches of 8 x 8 pixels, then two convolutions of stride 2."""
    frame = keras.Input((*image_size, 3))
    x = layers.Conv2D(int(32 * depth), 8, 8, activation="relu", name="patches")(frame)
    for name in ("middle", "last"):
        x = layers.Conv2D(int(32 * depth), 3, 2, padding="same", activation="relu", name=name)(x)
    return keras.Model(frame, x)


@pytest.mark.slow
def test_any_keras_network_is_a_backbone_and_exports(tmp_path):
    pw.register_backbone("three", three_layers, {8: "patches", 16: "middle", 32: "last"})
    small = {"backbone": "three", "image_size": 128, "depth": 0.75, "num_classes": 3}
    single, model = (pw.build(name, **small) for name in ("oid-sf", "oid-pw-m4n2"))
    randomise(single)
    assign_weights(model.variables, get_weights(single.variables), "the single-frame twin")
    frame = np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    (whole, _), (_, state) = single.step(frame, None, {}), model.step(frame, None, model.initial_state())
    found, _ = model.step(frame, np.array([[1, 2]], np.int32), state)
    for key in ("boxes", "scores"):
        np.testing.assert_allclose(found[key], whole[key], atol=1e-4)
    compared = pw.export(model, f"{tmp_path}/own.tflite", suppression=False, verify_steps=5).comparison
    assert compared.passed
    with pytest.raises(ValueError, match="no feature map of stride 4"):
        pw.build("davis-sf", backbone="three", image_size=128)


class Salience(Segmentation):
    """A task of its own: what is foreground is what stands out; all else is segmentation's."""

    name = "salience"
    measures = ("S",)

    def class_names(self, config):
        return ["salient"]

    def accuracy(self, score):
        return {"S": score["J"]["mean"]}


def test_an_own_task_is_one_file(tmp_path, capsys):
    pw.register_task(Salience())
    pw.register(pw.System("salient", pw.ModelConfig(task="salience", depth=0.35, image_size=64)))
    model = pw.build("salient")
    assert model.info.class_names == ("salient",)
    (answer,) = pw.stream(model, np.zeros((1, 64, 64, 3), np.uint8))
    assert answer.mask.shape == (64, 64)
    with pytest.raises(ValueError, match="task must be one of detection, segmentation, maps, salience, not depth"):
        pw.ModelConfig(task="depth")


@pytest.mark.slow
def test_an_own_policy_is_a_function(small):
    model, frames = small("small", image_size=64), np.zeros((3, 64, 64, 3), np.uint8)
    corner = [answer.window for answer in pw.stream(model, frames, lambda view: (1, 1))]
    assert corner == [None, (1, 1), (1, 1)]
    pw.register_policy("diagonal", lambda step: lambda view: (view.number % step.grid.positions,) * 2)
    diagonal = [answer.window for answer in pw.stream(model, frames, "diagonal")]
    assert diagonal == [None, (1, 1), (0, 0)]
    with pytest.raises(ValueError, match="there is a policy 'rule' already"):
        pw.register_policy("rule", lambda step: None)


class Squares(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = video_features(["red square", "blue square"])
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        example = VideoExample("moving", self.skip_bad)
        for t in range(3):
            frame = np.zeros((32, 32, 3), np.uint8)
            frame[8:16, 8 * t : 8 * t + 8] = (0, 0, 255)
            box = (8 / 32, 8 * t / 32, 16 / 32, (8 * t + 8) / 32)
            example.add(f"{t:06d}", lambda frame=frame, box=box: (frame, None, [{"box": box, "label": 1}]))
        yield 0, example.example


def test_an_own_data_set_is_one_entry(tmp_path):
    pw.register_dataset("squares", pw.DatasetInfo(Squares))
    source = Source("squares", str(tmp_path))
    with pytest.raises(DataError, match=f"patchwork-prepare --dataset=squares --data_dir={tmp_path}"):
        annotated_videos(source)
    assert prepare.main(["--dataset=squares", f"--data_dir={tmp_path}"]) == 0
    del datasets.DATASETS["squares"]  # what is prepared needs no entry: it says what it is
    assert class_names(source, "objects") == ["red square", "blue square"]
    (video,), count = annotated_videos(source)
    assert (count, video.labels[2].tolist()) == (1, [1])
    with pytest.raises(UsageError, match="--dataset=squares has objects, no masks"):
        class_names(source, "masks")
    with pytest.raises(DataError, match=r"no data set circles was prepared there; there is .*squares"):
        annotated_videos(Source("circles", str(tmp_path)))
