"""What a Keras user types first: `model(frame)`, `predict`, `save`, `load_model`; and settings that we refuse."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import random_frames, small_model

import patchwork_tf as pw
from patchwork_tf import registry
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.layers import PatchworkCell

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


LOAD = """
import patchwork_tf, keras
model = keras.saving.load_model("model.keras")
print(model.info.system, type(model).__module__)
"""


@pytest.mark.slow
def test_importing_the_package_is_enough_to_load_a_saved_model(tmp_path):
    """In a fresh process; there before Keras is imported, here after it."""
    model = small_model("davis-pw-m2n1", image_size=64)
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
