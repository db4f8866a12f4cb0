import numpy as np
import pytest

from patchwork_tf.data import clips
from patchwork_tf.data.datasets import Source
from patchwork_tf.data.moving_objects import CLASSES, MAX_OBJECTS, SPLITS, render_clip
from patchwork_tf.data.moving_objects_builder import MovingObjects, MovingObjectsConfig
from patchwork_tf.data.scenes import MIN_VISIBLE_PIXELS
from patchwork_tf.errors import DataError
from patchwork_tf.grid import Grid

SIZE = 96


@pytest.fixture(scope="module")
def many():
    return [render_clip(index, 12, SIZE, "validation") for index in range(40)]


def test_a_clip_is_a_function_of_its_arguments():
    one, again = render_clip(5, 4, SIZE), render_clip(5, 4, SIZE)
    longer = render_clip(5, 8, SIZE)
    for field in ("frames", "instances", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(one, field), getattr(again, field))
        np.testing.assert_array_equal(getattr(one, field), getattr(longer, field)[:4])
    for other in (render_clip(6, 4, SIZE), render_clip(5, 4, SIZE, "validation"), render_clip(5, 4, SIZE, seed=1)):
        assert np.mean(other.frames != one.frames) > 0.5


def test_splits_share_no_clip():
    firsts = {split: [render_clip(i, 1, 32, split).frames.tobytes() for i in range(30)] for split in SPLITS}
    everything = [frame for frames in firsts.values() for frame in frames]
    assert len(set(everything)) == len(everything)


def test_boxes_bound_the_masks_exactly(many):
    annotated = 0
    for clip in many:
        for t, k in np.argwhere(clip.labels > 0):
            rows, columns = np.nonzero(clip.instances[t] == k + 1)
            assert len(rows) >= MIN_VISIBLE_PIXELS
            tight = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(clip.boxes[t, k] * SIZE, tight, atol=1e-4)
            annotated += 1
    assert annotated > 500


def test_a_track_keeps_its_class(many):
    for clip in many:
        for k in range(MAX_OBJECTS):
            assert len(set(clip.labels[:, k]) - {0}) <= 1


def test_the_set_is_varied(many):
    """At least 8 classes; small, large and fast objects; some enter or leave, some hide others."""
    labels = np.concatenate([clip.labels for clip in many])
    assert len(set(labels[labels > 0])) == len(CLASSES) >= 8
    boxes = np.concatenate([clip.boxes for clip in many])[labels > 0]
    height = boxes[:, 2] - boxes[:, 0]
    assert np.mean(height < 0.15) > 0.1
    assert np.mean(height > 0.4) > 0.1
    steps, comings = [], 0
    for clip in many:
        there = clip.labels > 0
        centers = (clip.boxes[..., :2] + clip.boxes[..., 2:]) / 2
        both = there[1:] & there[:-1]
        steps.append(np.abs(np.diff(centers, axis=0)).max(axis=-1)[both])
        comings += np.count_nonzero(there[1:] != there[:-1])
    steps = np.concatenate(steps)
    assert np.mean(steps > 0.05) > 0.03  # crosses a cell of M=4 within 5 frames
    assert np.mean(steps < 0.01) > 0.2
    assert comings > 30


def test_windows_of_a_clip():
    grid = Grid(4, 2)
    raster = clips.clip_windows(grid, 8, "raster", seed=1, index=3)
    assert {tuple(w) for w in raster[:4]} == set(grid.raster)
    np.testing.assert_array_equal(raster[:4], raster[4:])
    random = clips.clip_windows(grid, 200, "random", seed=1, index=3)
    assert {tuple(w) for w in random} == set(grid.windows)
    np.testing.assert_array_equal(random, clips.clip_windows(grid, 200, "random", seed=1, index=3))


def test_batches_from_clip_k_on_are_those_of_an_unbroken_run():
    def batches(start):
        settings = clips.ClipConfig("objects", num_frames=3, image_size=(64, 64), start=start)
        videos = clips.training_clips(Source(), settings)
        return iter(clips.training_batches(videos, Grid(2, 1), 2))

    unbroken, resumed = batches(0), batches(4)
    next(unbroken), next(unbroken)
    for expected, found in zip(next(unbroken), next(resumed), strict=True):
        for key in expected:
            np.testing.assert_array_equal(expected[key], found[key])


def test_augmentation_moves_boxes_with_the_pixels():
    """A bright square on black: wherever augmentation takes it, its box is there in every frame."""
    import tensorflow as tf

    from patchwork_tf.data.augmentation import augment

    frames = np.zeros((3, 64, 64, 3), np.uint8)
    boxes = np.zeros((3, 2, 4), np.float32)
    for t in range(3):
        frames[t, 20 + 4 * t : 36 + 4 * t, 24:44] = 255
        boxes[t, 0] = np.array([20 + 4 * t, 24, 36 + 4 * t, 44]) / 64
    labels = np.array([[3, 0]] * 3, np.int32)
    clip = {"frames": tf.constant(frames), "boxes": tf.constant(boxes), "labels": tf.constant(labels)}
    moved = 0
    for number in range(12):
        result = augment(clip, seed=[number, 0])
        for t in range(3):
            grey = result["frames"][t].numpy().mean(axis=-1)
            rows, columns = np.nonzero(grey > (grey.max() + grey.min()) / 2)
            assert result["labels"][t, 0] == 3
            tight = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(result["boxes"][t, 0].numpy() * 64, tight, atol=1.5)
        moved += bool(np.abs(result["boxes"][0, 0] - boxes[0, 0]).max() > 0.05)
    assert moved >= 6


def test_tfds_builder_holds_the_same_clips(tmp_path):
    config = MovingObjectsConfig(
        name="tiny", image_size=128, clip_frames=4, clips={"train": 3, "validation": 2, "test": 1}
    )
    builder = MovingObjects(config=config, data_dir=str(tmp_path))
    builder.download_and_prepare()
    assert builder.info.splits["train"].num_examples == 3
    names = set()
    for example in builder.as_dataset(split="train").as_numpy_iterator():
        name = example["video"].decode()
        clip = render_clip(int(name.removeprefix("train-")), 4, 128, "train")
        np.testing.assert_array_equal(example["frames"], clip.frames)
        np.testing.assert_array_equal(example["masks"][..., 0], clip.instances)
        objects = example["objects"]
        for t in range(4):
            (there,) = np.nonzero(clip.labels[t])
            here = objects["frame"] == t
            np.testing.assert_array_equal(objects["box"][here], clip.boxes[t, there])
            np.testing.assert_array_equal(objects["label"][here] + 1, clip.labels[t, there])
            np.testing.assert_array_equal(objects["track_id"][here], clip.track_ids[there])
        names.add(name)
    assert names == {"train-00000", "train-00001", "train-00002"}


@pytest.mark.slow
def test_batches_from_prepared_clips_resume_too(tmp_path, monkeypatch):
    monkeypatch.setattr(MovingObjects.BUILDER_CONFIGS[0], "clips", {"train": 3, "validation": 1, "test": 1})
    MovingObjects(config="128", data_dir=str(tmp_path)).download_and_prepare()

    def batches(start):
        settings = clips.ClipConfig("objects", num_frames=2, image_size=(64, 64), start=start)
        videos = clips.training_clips(Source(data_dir=str(tmp_path)), settings)
        return iter(clips.training_batches(videos, Grid(2, 1), 2))

    unbroken, resumed = batches(0), batches(2)
    next(unbroken)
    for expected, found in zip(next(unbroken), next(resumed), strict=True):
        for key in expected:
            np.testing.assert_array_equal(expected[key], found[key])


def test_unprepared_folder_says_how_to_prepare_it(tmp_path):
    settings = clips.ClipConfig("objects", num_frames=2, image_size=(128, 128))
    with pytest.raises(DataError, match="prepare --dataset=moving_objects"):
        clips.training_clips(Source(data_dir=str(tmp_path)), settings)
