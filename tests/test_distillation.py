"""Distilling from the single-frame twin: losses, clips of videos without truth, and the command."""

import csv
import dataclasses
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import save_fresh
from keras import ops
from PIL import Image

import patchwork_tf as pw
from patchwork_tf import train
from patchwork_tf.data import clips, videos
from patchwork_tf.data.datasets import Source
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError
from patchwork_tf.models.weights import get_weights
from patchwork_tf.training.clip_distillation import ClipDistillation, twin_of
from patchwork_tf.zoo import checkpoints

PHOTOS = "docs/photos.mp4"
TINY = ["--plugins=small_network", "--batch_size=2", "--clip_frames=2", "--burn_in=2", "--log_every=1", "--seed=3"]


pytestmark = pytest.mark.usefixtures("small_networks")


def pair(system, seed=0):
    """A Patchwork model and its single-frame twin, of equal weights."""
    keras.utils.set_random_seed(seed)
    student = pw.build(system)
    return student, twin_of(student, get_weights(student.variables), "test")


def clip_of(frames, grid, follows):
    count, time = frames.shape[:2]
    windows = np.stack([clips.clip_windows(grid, time, "random", index=index) for index in range(count)])
    return {"frames": frames, "windows": windows, "warm": np.ones(count), "follows": np.full(count, follows)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One video file, and one folder of frames of another size."""
    folder = tmp_path_factory.mktemp("videos")
    shutil.copy(PHOTOS, folder / "photos.mp4")
    os.makedirs(folder / "below" / "frames")
    for number, frame in zip(range(9), Video(PHOTOS), strict=False):
        Image.fromarray(frame[:200]).save(folder / "below" / "frames" / f"{number}.png")
    (folder / "notes.txt").write_text("not a video")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("system", "follows"), [("small", 0.0), ("small-boxes", 1.0)])
def test_on_a_still_video_there_is_nothing_to_learn(system, follows):
    """After one whole frame the twins say the same of it, window for window."""
    student, twin = pair(system)
    still = np.random.default_rng(1).integers(0, 256, (2, 1, *student.config.image_size, 3), np.uint8)
    clip = clip_of(still.repeat(4, axis=1), student.grid, follows)
    trainer = ClipDistillation(student, twin, watched=2)
    trainer.compute_loss(clip, None, trainer(clip))
    assert all(float(mean.result()) < 1e-5 for mean in trainer.means)
    moving = np.random.default_rng(2).integers(0, 256, (2, 4, *student.config.image_size, 3), np.uint8)
    trainer.reset_metrics()
    loss = trainer.compute_loss(None, None, trainer({**clip, "frames": moving}))
    assert float(loss) > 1e-3


def test_clips_follow_the_windows_that_the_model_chooses():
    student, twin = pair("small-boxes", seed=1)
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 64, 64, 3), np.uint8)
    trainer = ClipDistillation(student, twin, watched=1)
    clip = clip_of(frames, student.grid, 1.0)
    found = ops.convert_to_numpy(trainer(clip)["windows"])[:, 0]
    _, state = student.step(frames[:, 0] / np.float32(127.5) - 1, None, student.initial_state(1))
    window, expected = clip["windows"][:, 0], []
    for t in range(4):
        expected.append(ops.convert_to_numpy(window)[0])
        outputs, state = student.step(frames[:, t] / np.float32(127.5) - 1, window, state)
        window = outputs["next_window"]
    assert found.tolist() == np.array(expected[1:]).tolist()
    given = ops.convert_to_numpy(trainer({**clip, "follows": np.zeros(1)})["windows"])[:, 0]
    assert given.tolist() == clip["windows"][0, 1:].tolist()


def test_videos_give_the_frames_that_are_asked_for(folder):
    """Out of a file with frames that depend on later ones, and out of a folder, from anywhere."""
    found = videos.Videos(str(folder))
    assert [os.path.basename(path) for path in found.paths] == ["frames", "photos.mp4"]
    every = np.stack(list(Video(PHOTOS)))
    for numbers in ([0, 1, 2], [5, 9, 13], [40, 41], [len(every) - 1]):
        np.testing.assert_array_equal(found.read(1, lambda count, numbers=numbers: numbers), every[numbers])
    np.testing.assert_array_equal(found.read(1, lambda count: [count - 1]), every[-1:])
    np.testing.assert_array_equal(found.read(2, lambda count: [count - 1]), every[8:9, :200])


def test_clips_of_videos_start_anywhere_and_are_shared(folder):
    source = Source("video", str(folder))
    settings = {"truth": "nothing", "num_frames": 3, "image_size": (64, 64)}

    def first(count, **more):
        found = clips.training_clips(source, clips.ClipConfig(**settings, **more)).take(count)
        return [(int(clip["index"]), clip["frames"].numpy()) for clip in found]

    unbroken = first(6)
    assert [index for index, _ in unbroken] == list(range(6))
    assert len({frames.tobytes() for _, frames in unbroken}) > 3
    for later, expected in zip(first(2, start=4), unbroken[4:], strict=True):
        np.testing.assert_array_equal(later[1], expected[1])
    for share, expected in zip(first(3, shard=(1, 2)), unbroken[1::2], strict=True):
        np.testing.assert_array_equal(share[1], expected[1])


def test_photos_join_the_videos(folder, tmp_path, capsys):
    """Some clips are parts of a large photo, at most the reduced photo's pixels; a broken one is left out."""
    photos = tmp_path / "photos"
    os.makedirs(photos)
    Image.new("RGB", (2000, 1000), (255, 0, 0)).save(photos / "red.png")
    (photos / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        videos.Videos(str(folder), photos=str(photos)).read_photo(0, 64)
    source = Source("video", str(folder), skip_bad=True, photos=str(photos))
    config = clips.ClipConfig("nothing", num_frames=3, image_size=(64, 64))
    found = [clip["frames"].numpy() for clip in clips.training_clips(source, config).take(30)]
    red = [(frames == (255, 0, 0)).all() for frames in found]
    assert 4 <= sum(red) <= 14  # of 30, three of ten expected
    later = clips.training_clips(source, dataclasses.replace(config, start=25)).take(5)
    for clip, expected in zip(later, found[25:], strict=True):
        np.testing.assert_array_equal(clip["frames"], expected)
    assert videos.open_videos(str(folder), True, str(photos)).read_photo(0, 100).shape == (50, 100, 3)
    assert capsys.readouterr().out.count("broken.jpg") == 1
    os.symlink(photos, photos / "round")
    assert len(videos.find_photos(str(photos))) == 2
    with pytest.raises(DataError, match="no photos in this folder"):
        videos.Videos(str(folder), photos=str(tmp_path / "nowhere"))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Weights of a small detector and of a small segmenter, as checkpoints."""
    return {system: save_fresh(tmp_path_factory.mktemp(system), system) for system in ("small-boxes", "small")}


def distill(teacher, folder, model_dir, *flags, system="small-boxes"):
    where = [f"--data_dir={folder}", "--dataset=video", f"--init_checkpoint={teacher}", f"--model_dir={model_dir}"]
    return train.main(["--stage=distill", f"--system={system}", *TINY, *where, *flags])


def history(model_dir):
    with open(os.path.join(model_dir, "history.csv"), newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_the_command_learns_and_resumes_exactly(teachers, folder, tmp_path):
    """Weights of checkpoints are running means: 99 parts of the last step's and one of this step's own."""
    teacher = teachers["small"]
    flags = ["--steps=40", "--save_every=39", "--learning_rate=5e-3", "--warmup_steps=1", "--noaugment"]
    assert distill(teacher, folder, tmp_path / "a", *flags, system="small") == 0
    unbroken, losses = checkpoints.read(str(tmp_path / "a")), history(tmp_path / "a")
    before = checkpoints.read(str(tmp_path / "a/checkpoint-00000039.npz")).arrays
    kernel = next(key for key in before if key.endswith("kernel") and not key.startswith("optimizer"))
    of_optimizer = [value for key, value in unbroken.arrays.items() if key.startswith("optimizer")]
    means = [0.99 * before[kernel] + 0.01 * v for v in of_optimizer if v.shape == before[kernel].shape]
    assert any(np.allclose(unbroken.arrays[kernel], mean, atol=1e-7) for mean in means)
    assert np.abs(unbroken.arrays[kernel] - before[kernel]).max() > 1e-6
    assert unbroken.class_names == checkpoints.read(teacher).class_names
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    os.remove(tmp_path / "b" / "checkpoint-00000040.npz")
    assert distill(teacher, folder, tmp_path / "b", *flags, system="small") == 0
    assert history(tmp_path / "b") == pytest.approx(losses, rel=1e-5)
    for key, value in checkpoints.read(str(tmp_path / "b")).arrays.items():
        np.testing.assert_allclose(value, unbroken.arrays[key], rtol=1e-3, atol=1e-5, err_msg=key)


def test_broken_videos_are_named_or_left_out(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "videos")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"nothing like it" * 99)
    with pytest.raises(DataError, match=r"broken\.mp4: not a readable video"):
        videos.Videos(str(tmp_path / "videos"))
    found = videos.Videos(str(tmp_path / "videos"), skip_bad=True)
    assert [os.path.basename(path) for path in found.paths] == ["frames", "photos.mp4"]
    assert "skipped: " in capsys.readouterr().out


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A file that opens, but of which the middle third is lost."""
    folder, whole = tmp_path_factory.mktemp("damaged"), Path(PHOTOS).read_bytes()
    third = len(whole) // 3
    (folder / "damaged.mp4").write_bytes(whole[:third] + bytes(third) + whole[2 * third :])
    return folder


def test_videos_that_turn_out_to_be_broken_are_left_out(folder, damaged, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "videos")
    shutil.copy(damaged / "damaged.mp4", tmp_path / "videos")
    found = videos.Videos(str(tmp_path / "videos"), skip_bad=True)
    assert [os.path.basename(path) for path in found.paths] == ["frames", "damaged.mp4", "photos.mp4"]
    every = np.stack(list(Video(PHOTOS)))
    for _ in range(2):
        frames = found.read(1, lambda count: [count // 2])
        np.testing.assert_array_equal(frames[0], every[len(every) // 2])
    assert capsys.readouterr().out.count("damaged.mp4: cannot be decoded") == 1


@pytest.mark.slow
def test_the_command_names_a_video_that_turns_out_to_be_broken(teachers, damaged, tmp_path, capsys):
    assert distill(teachers["small-boxes"], damaged, tmp_path, "--steps=4", "--stride=60") == 1
    assert "damaged.mp4: cannot be decoded" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--system=vid-sf", "--init_checkpoint=vid-sf"], "vid-sf has no windows"),
        (["--system=small-boxes"], "needs --init_checkpoint"),
        (["--system=small-boxes", "--init_checkpoint=davis-sf", "--dataset=video"], "its task is segmentation"),
        (["--system=oid-pw-m4n2", "--init_checkpoint=vid-sf", "--dataset=video"], "its heads is patchwork"),
        (["--system=oid-pw-m4n2", "--init_checkpoint=oid-sf", "--dataset=video"], "--data_dir is required"),
        (
            ["--system=oid-pw-m4n2", "--init_checkpoint=oid-sf", "--dataset=video", "--data_dir=tests/nothing"],
            "no videos in this folder",
        ),
        (["--system=small-boxes", "--init_checkpoint=oid-sf", "--photos=docs"], "goes with --dataset=video"),
        (["--system=small-boxes", "--stage=supervised", "--dataset=video", "--data_dir=docs"], "no truth at all"),
    ],
)
def test_wrong_use(flags, message, tmp_path, capsys):
    assert train.main(["--stage=distill", "--plugins=small_network", *flags, f"--model_dir={tmp_path}/run"]) in (
        1,
        2,
    )
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert not os.path.exists(tmp_path / "run")
