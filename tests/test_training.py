"""Training: exact resume after Ctrl-C, same seed same run, learning at all."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import types

import numpy as np
import pytest
from conftest import fresh_model, random_frames, save_fresh

from patchwork_tf import evaluate, train
from patchwork_tf.commands import train_run
from patchwork_tf.models.weights import get_weights
from patchwork_tf.training.fit import _Progress
from patchwork_tf.zoo import checkpoints

TINY = [
    "--image_size=64",
    "--depth=0.35",
    "--batch_size=2",
    "--clip_frames=2",
    "--warmup_steps=2",
]

pytestmark = pytest.mark.usefixtures("small_networks")


def run(model_dir, *flags, code=0):
    network = ["--system=small-boxes", "--plugins=small_network"]  # nothing that is tried so depends on it
    assert train.main([*network, f"--model_dir={model_dir}", *TINY, *flags]) == code


def history(model_dir):
    with open(os.path.join(model_dir, "history.csv"), newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_after_ctrl_c_a_run_ends_as_if_nothing_was(tmp_path, monkeypatch, capsys, in_a_terminal):
    """In the middle of step 3 of 4, between two rows of the log, of which a kill may leave one too many."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    flags = ["--steps=4", "--log_every=2", "--save_every=4"]
    run(whole, *flags)
    monkeypatch.setattr(_Progress, "on_train_batch_begin", interrupt_in_step_3)
    run(broken, *flags, code=130)
    said = capsys.readouterr().err
    assert "a second Ctrl-C stops at once" in said
    last = f"interrupted at step 3 of 4, saved in {broken}; the same command goes on from there"
    assert said.splitlines()[-1].endswith(last)
    with open(broken / "history.csv", "a") as file:
        file.write("4,9.0,9.0,9.0,0.1\n")
    run(broken, *flags)
    assert history(broken) == history(whole)
    assert [row["step"] for row in history(whole)] == ["2", "4"]
    expected, found = (checkpoints.read(str(folder)).arrays for folder in (whole, broken))
    assert expected.keys() == found.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
    names = [name for name in sorted(os.listdir(broken)) if not name.startswith("events")]
    assert names == [*(f"checkpoint-{step:08d}.npz" for step in (3, 4)), "history.csv", "history.png"]


@pytest.mark.slow
def test_parts_of_a_batch_make_its_step(folded, tmp_path, monkeypatch, capsys, in_a_terminal):
    """Two of 4 clips, stopped and resumed, and one of 8: equal losses, learning rates and weights, to rounding."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    learn_from(folded, whole)
    with monkeypatch.context() as patched:
        patched.setattr(_Progress, "on_train_batch_begin", interrupt_in_step_3)
        learn_from(folded, parts, "--accumulate=2", code=130)
    learn_from(folded, parts, "--accumulate=2")
    assert_same_run(whole, parts)
    learn_from(folded, whole, "--accumulate=2", "--steps=5", code=2)
    assert "was trained with --accumulate=1" in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def folded(tmp_path) -> str:
    """Weights of a segmenter whose batch statistics stay, so that its loss is a mean over clips."""
    path = save_fresh(tmp_path / "folded", "small")
    checkpoint = checkpoints.read(path)
    for key, value in checkpoint.arrays.items():
        if key.endswith("/moving_variance"):
            value[...] = 0.999
    checkpoints.write(path, checkpoint.arrays, checkpoint.metadata)
    return path


def learn_from(weights, model_dir, *flags, code=0):
    """Four steps of 8 clips."""
    flags = ["--plugins=small_network", "--system=small", f"--init_checkpoint={weights}", "--noaugment", *flags]
    flags += ["--batch_size=8", "--clip_frames=2", "--warmup_steps=1", "--log_every=1", f"--model_dir={model_dir}"]
    assert train.main(["--steps=4", *flags]) == code


def assert_same_run(one, other):
    expected, found = history(one), history(other)
    assert len(found) == len(expected) == 4
    for a, b in zip(expected, found, strict=True):
        assert {key: float(value) for key, value in b.items()} == pytest.approx(
            {key: float(value) for key, value in a.items()}, rel=1e-5
        )
    expected, found = (checkpoints.read(str(folder)).arrays for folder in (one, other))
    for key, value in expected.items():
        if not key.startswith(("optimizer/", "running/")):
            np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "precision", "tolerance"), [("small-boxes", "bfloat16", 0.03), ("small-sf", "float16", 0.003)]
)
def test_half_precision_is_between_layers_alone(system, precision, tolerance):
    """Two frames: memories and answers are in float32 and near what they are without, and weights as they were."""
    import keras

    from patchwork_tf.training.fit import compute_in

    model = fresh_model(system, image_size=64)
    frames = random_frames(np.random.default_rng(0), 4, (64, 64)).reshape(2, 2, 64, 64, 3)

    def look():
        state = model.initial_state(2)
        for frame, window in zip(frames, ([[0, 0]] * 2, [[0, 1]] * 2), strict=True):
            seen, _, state = model.look(frame, np.int32(window), state)
        return keras.tree.flatten((seen, state))

    expected = look()
    compute_in(model, precision)
    found = look()
    assert {str(x.dtype.name) for x in found} == {"float32"}
    differences = [
        np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-9) for a, b in zip(expected, found, strict=True)
    ]
    assert 0 < max(differences) < tolerance
    assert {variable.dtype for variable in model.variables} == {"float32"}


@pytest.mark.slow
def test_float16_scales_losses_and_its_weights_are_float32(folded, tmp_path, capsys):
    learn_from(folded, tmp_path / "run", "--precision=float16")
    arrays = checkpoints.read(str(tmp_path / "run")).arrays
    assert 2.0**15 in [float(value) for value in arrays.values() if value.shape == ()]
    assert {value.dtype for value in arrays.values()} <= {np.dtype("float32"), np.dtype("int64")}
    assert [row["step"] for row in history(tmp_path / "run")] == ["1", "2", "3", "4"]
    for flags, message in {
        "--precision=float32": "was trained with --precision=float16",
        "--accumulate=2": "bfloat16",
    }.items():
        learn_from(folded, tmp_path / "run", "--precision=float16", flags, "--steps=5", code=2)
        assert message in capsys.readouterr().err.splitlines()[-1]


def interrupt_in_step_3(progress, batch, logs=None):
    if progress.step == 2:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_scores_while_it_trains_are_those_of_patchwork_evaluate(tmp_path, capsys):
    """Of every checkpoint that is scored; the best is kept beside the last."""
    flags = ["--num_videos=2", "--max_frames=3"]
    run(tmp_path, "--steps=4", "--save_every=1", "--eval_every=2", *flags)
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    for row in rows:
        checkpoint = f"--checkpoint={tmp_path}/checkpoint-{int(row['step']):08d}.npz"
        network = ["--system=small-boxes", "--plugins=small_network", checkpoint, "--nococo", *flags]
        assert evaluate.main([*network, f"--json={tmp_path}/scores.json"]) == 0
        assert float(row["mAP"]) == json.loads((tmp_path / "scores.json").read_text())["mAP_vid"]
    best = max(rows, key=lambda row: float(row["mAP"]))
    assert checkpoints.read(str(tmp_path / "best")).step == int(best["step"])
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    clip = "--eval_video=docs/photos.mp4"
    run(tmp_path / "other", "--steps=1", "--eval_every=1", clip, code=2)
    assert "--eval_video is scored by agreement with a teacher" in capsys.readouterr().err
    teach = ["--stage=distill", f"--init_checkpoint={tmp_path}", "--burn_in=1", "--steps=1", "--eval_every=1"]
    run(tmp_path / "distilled", *teach, code=2)
    assert "needs --eval_video" in capsys.readouterr().err
    run(tmp_path / "distilled", *teach, clip, "--max_frames=3")
    assert (tmp_path / "distilled/scores.csv").read_text().startswith("step,agreement")


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (200, 20), (2600, 260), (200000, 500)])
def test_a_tenth_of_a_run_is_the_most_that_a_power_cut_costs(steps, every, monkeypatch):
    seen = []
    monkeypatch.setattr(train_run, "run", lambda flags: seen.append(flags.save_every))
    assert train.main([f"--steps={steps}"]) == 0
    assert seen == [every]


@pytest.mark.parametrize(("steps", "said"), [(50, "rises to 0.001"), (100, "rises to 0.002"), (101, "")])
def test_a_warmup_that_is_as_long_as_the_run_is_said(steps, said, capsys):
    train_run._tell_of_warmup(types.SimpleNamespace(steps=steps, warmup_steps=100, learning_rate=0.002))
    found = capsys.readouterr().out
    assert said in found
    assert bool(found) == bool(said)


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
    batch = next(iter(clips.training_batches(videos, model.grid, 4, clips.BatchConfig(augmented=False))))
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

    from patchwork_tf.training.clip_model import register_gradient

    register_gradient()
    model = small("small-boxes", image_size=64)
    step = tf.function(model.predict_window, autograph=False)
    frames = tf.random.stateless_uniform((2, batch, 64, 64, 3), [0, 0], -1, 1)
    with tf.GradientTape() as tape:
        tape.watch(frames)
        _, state = step(frames[0], np.array([[0, 1]] * batch, np.int32), model.initial_state(batch))
        predictions, _ = step(frames[1], np.array([[0, 0]] * batch, np.int32), state)  # it looks to the right
        high_resolution = tf.reduce_sum(predictions[0][0] ** 2)
    gradient = tape.gradient(high_resolution, frames).numpy()
    assert np.abs(gradient[0, :, :, 32:]).max() > 0  # the first window, right half
    assert np.abs(gradient[0, :, :, :32]).max() == 0  # was not looked at
    assert np.abs(gradient[1, :, :, 32:]).max() == 0


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
