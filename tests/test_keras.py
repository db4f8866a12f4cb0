"""What a Keras user types first, as the table of docs/use.md has it; and settings that we refuse."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import random_frames, save_fresh, small_model
from exports import export

import patchwork_tf as pw
from patchwork_tf import registry
from patchwork_tf.data import video
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.layers.cell import PatchworkCell
from patchwork_tf.streaming import stream as streams

SYSTEMS = ("vid-sf", "vid-pw-m2n1", "davis-pw-m2n1")


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_model_called_with_frames_answers_each_as_a_whole(name):
    model = small_model(name, image_size=64)
    frames = random_frames(np.random.default_rng(0), 3, (64, 64))
    found, predicted = model(frames), model.predict(frames, batch_size=2, verbose=0)
    for number in range(3):
        expected, _ = model.step(frames[number : number + 1], None, model.initial_state(1))
        for key, value in expected.items():
            np.testing.assert_allclose(found[key][number], value[0], atol=1e-5, err_msg=key)
            np.testing.assert_allclose(predicted[key][number], value[0], atol=1e-5, err_msg=key)
    with pytest.raises(UsageError, match=r"frames are \(batch, 64, 64, 3\), not \(1, 32, 64, 3\)"):
        model(frames[:1, :32])


# A line of the table -> whether what comes of it is what the table says; or the error.
TYPED = {
    'pw.load("oid-pw-m4n2")': lambda made: made.info.class_names[3] == "Person",
    'pw.load("runs/mine")': lambda made: made.info.system == "oid-pw-m2n1",
    'pw.load("runs/mine", "oid-pw-m4n1")': lambda made: (
        made.grid == Grid(4, 1) and made.info.class_names == ("a", "b")
    ),
    'pw.load("mine.keras")': lambda made: made.info.system == "oid-pw-m2n1",
    'pw.load("pw.tflite")': r"pw\.stream\('pw\.tflite', frames\).*pw\.read_tflite",
    'pw.build("vid-pw-m4n2", depth=0.35)': lambda made: made.config.depth == 0.35,
    'pw.stream(model, "clip.mp4")': lambda made: (
        [answer.window is None for answer in made] == [True, False, False]
    ),
    "pw.stream(model, 0)": lambda made: len([*made]) == 2,
    "pw.stream(model, frames)": lambda made: len([*made]) == 2,
    'pw.stream("pw.tflite", "clip.mp4")': lambda made: len([*made]) == 3,
    "model(frames)": lambda made: made["boxes"].shape[0] == 2,
    "model.predict(frames)": lambda made: made["boxes"].shape[0] == 2,
    "model.step(frame, window, state)": lambda made: made[1].keys() == made[1].keys() and "boxes" in made[0],
    'model.save("mine.keras")': lambda made: made is None,
    'keras.saving.load_model("mine.keras")': lambda made: made.info.system == "oid-pw-m2n1",
    "model.summary()": lambda made: made is None,
    'model.get_layer("Conv1")': lambda made: made.name == "Conv1",
    "model.fit(...)": "ClipModel",
}


def typed():
    text = (Path(__file__).parents[1] / "docs/use.md").read_text()
    (table,) = re.findall(r"^\| you type \|.*\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [code for line in table.splitlines() for code in re.findall("`(.*?)`", line.split(" | ")[0])]


@pytest.fixture(scope="module")
def typist(tmp_path_factory):
    """A folder with what the table names, and the names that its code has."""
    folder = tmp_path_factory.mktemp("typed")
    small = {"image_size": 128, "depth": 0.35, "backbone": "short"}
    save_fresh(folder / "runs/mine", "oid-pw-m2n1", ["a", "b"], num_classes=2, **small)
    model = pw.load(str(folder / "runs/mine"))
    model.save(folder / "mine.keras")
    export(model, str(folder / "pw.tflite"), True, 1)
    frames = np.random.default_rng(0).integers(0, 255, (3, 128, 128, 3)).astype(np.uint8)
    video.write_video(str(folder / "clip.mp4"), frames, 1 / 25)
    return folder, model, frames[:2]


@pytest.mark.slow
@pytest.mark.parametrize("code", typed())
def test_the_table_of_what_one_types(code, typist, monkeypatch):
    folder, model, frames = typist
    monkeypatch.chdir(folder)
    monkeypatch.setattr(streams, "Camera", lambda number: iter(frames))
    if code.startswith(("model(", "model.predict")):
        frames = frames / np.float32(127.5) - 1
    names = {"pw": pw, "keras": keras, "model": model, "frames": frames, "state": model.initial_state(1)}
    names |= {"frame": frames[:1] / np.float32(127.5) - 1, "window": np.zeros((1, 2), np.int32)}
    if isinstance(TYPED[code], str):
        with pytest.raises(UsageError, match=TYPED[code]):
            eval(code, names)
    else:
        assert TYPED[code](eval(code, names))


LOAD = """
import patchwork_tf, keras
model = keras.saving.load_model("model.keras")
print(model.info.system, type(model).__module__)
"""


@pytest.mark.slow
def test_importing_the_package_is_enough_to_load_a_saved_model(tmp_path):
    """In a fresh process; there before Keras is imported, here after it."""
    model = small_model("davis-pw-m2n1", image_size=64, backbone="mobilenet_v2")
    path = str(tmp_path / "model.keras")
    model.save(path)
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "davis-pw-m2n1 patchwork_tf.models.segmenter\n", done.stderr
    frames = random_frames(np.random.default_rng(0), 1, (64, 64))
    np.testing.assert_array_equal(pw.load(path)(frames)["mask"], model(frames)["mask"])
    known = keras.saving.get_custom_objects()
    del known["patchwork_tf>PatchworkSegmenter"]
    registry.register_with_keras()
    assert keras.saving.load_model(path).info == model.info


def test_other_keras_files_are_refused(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"PK")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "dense.keras")
    for name, why in (("none", "no such file"), ("broken", "not a readable"), ("dense", "Sequential, no model")):
        with pytest.raises(DataError, match=why):
            pw.load(str(tmp_path / f"{name}.keras"))


@pytest.fixture
def setting(request):
    """Sets one of keras.config for a test."""
    name, value = request.param
    before = getattr(keras.config, name)()
    getattr(keras.config, f"set_{name}")(value)
    yield request.param
    getattr(keras.config, f"set_{name}")(before)


@pytest.mark.parametrize(
    "setting",
    [
        ("dtype_policy", "mixed_bfloat16"),
        ("dtype_policy", "mixed_float16"),
        ("dtype_policy", "float64"),
        ("floatx", "float64"),
        ("image_data_format", "channels_first"),
    ],
    indirect=True,
)
def test_other_precisions_and_layouts_are_refused_when_a_model_is_built(setting):
    name, value = setting
    for make in (
        lambda: pw.build("vid-sf", image_size=64, depth=0.35),
        lambda: PatchworkCell(keras.layers.Conv2D(2, 3, padding="same"), Grid(2, 1), (8, 8, 3)),
    ):
        with pytest.raises(
            UsageError, match=rf"keras\.config\.{name}\(\) is {value}; models are built in \w+32|last"
        ):
            make()
