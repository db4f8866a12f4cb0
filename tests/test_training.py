"""Training: exact resume, same seed same run, learning at all."""

import csv
import dataclasses
import os
import shutil

import numpy as np
import pytest

from patchwork_tf import train
from patchwork_tf.models.weights import get_weights
from patchwork_tf.zoo import checkpoints

TINY = [
    "--image_size=64",
    "--depth=0.35",
    "--batch_size=2",
    "--clip_frames=2",
    "--log_every=1",
    "--warmup_steps=2",
]

pytestmark = pytest.mark.usefixtures("small_networks")


def run(model_dir, *flags):
    network = ["--system=small-boxes", "--plugins=small_network"]  # nothing that is tried so depends on it
    assert train.main([*network, f"--model_dir={model_dir}", *TINY, *flags]) == 0


def history(model_dir):
    with open(os.path.join(model_dir, "history.csv"), newline="") as file:
        return list(csv.DictReader(file))


RUN = ["--steps=4", "--save_every=2"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    run(folder, *RUN)
    return folder


def assert_same_run(a, b):
    for expected, found in zip(history(a), history(b), strict=True):
        assert found["step"] == expected["step"]
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    expected, found = checkpoints.read(str(a)).arrays, checkpoints.read(str(b)).arrays
    assert expected.keys() == found.keys()
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.slow
def test_resume_gives_the_losses_and_weights_of_an_unbroken_run(unbroken, tmp_path):
    """A run that was killed after step 3: its checkpoint is of step 2, its log one step ahead."""
    broken = tmp_path / "broken"
    shutil.copytree(unbroken, broken)
    os.remove(broken / "checkpoint-00000004.npz")
    lines = (broken / "history.csv").read_text().splitlines(keepends=True)
    (broken / "history.csv").write_text("".join(lines[:4]))
    run(broken, *RUN)
    assert [row["step"] for row in history(broken)] == ["1", "2", "3", "4"]
    assert_same_run(unbroken, broken)
    names = sorted(os.listdir(broken))
    assert names[:2] == ["checkpoint-00000002.npz", "checkpoint-00000004.npz"]
    assert any(name.startswith("events") for name in names)


@pytest.mark.slow
def test_same_seed_same_run(unbroken, tmp_path):
    run(tmp_path / "again", *RUN)
    assert_same_run(unbroken, tmp_path / "again")


@pytest.mark.slow
def test_training_learns_a_clip_by_heart():
    """Loss falls to a fraction on one fixed batch, through two frames of memory."""
    import keras
    import tensorflow as tf

    import patchwork_tf as pw
    from patchwork_tf.data import clips
    from patchwork_tf.data.datasets import Source
    from patchwork_tf.training.clip_model import ClipModel

    keras.utils.set_random_seed(0)
    model = pw.build("small-boxes", num_classes=10)
    settings = clips.ClipConfig("objects", num_frames=2, image_size=(64, 64))
    videos = clips.training_clips(Source(), settings)
    batch = next(iter(clips.training_batches(videos, model.grid, 4, clips.Looking(augmented=False))))
    trainer = ClipModel(model)
    trainer.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    losses = trainer.fit(data, steps_per_epoch=20, epochs=4, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_flow_through_the_memory(batch, small):
    """What is predicted in the second frame depends on what the first frame's window left behind."""
    import tensorflow as tf

    from patchwork_tf.training import tensorflow_gradients

    tensorflow_gradients.register()
    model = small("vid-pw-m2n1", image_size=64)
    step = tf.function(model.predict_window, autograph=False)
    frames = tf.random.stateless_uniform((2, batch, 64, 64, 3), [0, 0], -1, 1)
    with tf.GradientTape() as tape:
        tape.watch(frames)
        _, state = step(frames[0], np.array([[0, 0]] * batch, np.int32), model.initial_state(batch))
        predictions, _ = step(frames[1], np.array([[0, 1]] * batch, np.int32), state)
        high_resolution = tf.reduce_sum(predictions[0][0] ** 2)
    gradient = tape.gradient(high_resolution, frames).numpy()
    assert np.abs(gradient[0, :, :, :32]).max() > 0  # the first window, left half
    assert np.abs(gradient[0, :, :, 32:]).max() == 0  # was not looked at
    assert np.abs(gradient[1, :, :, :32]).max() == 0


@pytest.mark.slow
def test_fine_tuning_takes_over_classes_by_name_and_folded_statistics_stay(small, tmp_path, capsys):
    """From a detector of other classes, two of them the same, with folded batch normalisation as imported ones."""
    import keras

    from patchwork_tf.data.moving_objects import CLASSES

    model = small("small-boxes", image_size=64, depth=0.5)
    before = ["nothing like it", CLASSES[3].upper(), *"abcdef", CLASSES[0].replace(" ", "_"), "z"]
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    arrays = checkpoints.training_state(model.variables, optimizer)
    for key, value in arrays.items():
        if key.endswith("/moving_mean"):
            arrays[key] = np.zeros_like(value)
        elif key.endswith("/moving_variance"):
            arrays[key] = np.full_like(value, 0.999)
    metadata = {"system": "small-boxes", "class_names": before, "training": {}}
    checkpoints.save(
        str(tmp_path / "a"), 1, arrays, {**metadata, "model": dataclasses.asdict(model.config)}, keep=1
    )
    flags = ["--batch_size=2", "--clip_frames=1", "--warmup_steps=0"]
    start = [f"--init_checkpoint={tmp_path}/a", f"--model_dir={tmp_path}/b", "--learning_rate=1e-9", "--steps=2"]
    network = ["--plugins=small_network", "--system=small-boxes"]
    assert train.main([*network, *flags, *start]) == 0
    said = capsys.readouterr().out
    assert f"2 taken over ({CLASSES[0]}, {CLASSES[3]}), 8 start anew ({CLASSES[1]}, {CLASSES[2]}," in said
    checkpoint = checkpoints.read(str(tmp_path / "b"))
    assert checkpoint.class_names == list(CLASSES)
    for key, value in checkpoint.arrays.items():
        if key.endswith(("/moving_mean", "/moving_variance")) and not key.startswith("attention"):
            np.testing.assert_array_equal(value, arrays[key], err_msg=key)
        elif key.endswith("_classes/kernel") and not key.startswith("optimizer"):
            new, old = (kernel.reshape(*kernel.shape[:-1], -1, 11) for kernel in (value, arrays[key]))
            np.testing.assert_allclose(new[..., [0, 1, 4]], old[..., [0, 9, 2]], atol=1e-6)
            assert np.abs(new[..., 2] - old[..., 1]).max() > 0.01
    shutil.rmtree(tmp_path / "a")  # a run that has begun needs it no more
    assert train.main([*network, "--batch_size=2", *start[:3], "--steps=3"]) == 0
    assert checkpoints.read(str(tmp_path / "b")).config == checkpoint.config


@pytest.mark.slow
def test_checkpoint_round_trip(small, tmp_path):
    import keras

    model = small("small-boxes", image_size=64)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    metadata = {"system": "small-boxes", "class_names": ["a"] * 10, "training": {}}
    for step in (10, 20, 30):
        arrays = checkpoints.training_state(model.variables, optimizer)
        checkpoints.save(
            str(tmp_path), step, arrays, {**metadata, "model": dataclasses.asdict(model.config)}, keep=2
        )
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-00000020.npz", "checkpoint-00000030.npz"]
    checkpoint = checkpoints.read(str(tmp_path))
    assert (checkpoint.step, checkpoint.config) == (30, model.config)
    for key, value in get_weights(model.variables).items():
        np.testing.assert_array_equal(checkpoint.arrays[key], value)
