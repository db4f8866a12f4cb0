"""Real data sets in their published layouts: prepared, read, trained on."""

import itertools
import os
import shutil
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from published import HEIGHT, WIDTH, make_davis, make_vid, videos_of

from patchwork_tf import prepare
from patchwork_tf.data import clips
from patchwork_tf.data.datasets import COCO_IDS, Source, annotated_videos, builder_of
from patchwork_tf.data.davis2016 import Davis2016
from patchwork_tf.data.imagenet_vid import CLASSES, ImagenetVid, _evenly_spaced
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.task import get_task
from patchwork_tf.truth import UNKNOWN


@pytest.fixture(scope="module")
def prepared(vid, davis, tmp_path_factory):
    """TFDS folder with both, made by the command."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    assert prepare.main(["--dataset=imagenet_vid", f"--manual_dir={vid}", f"--data_dir={folder}"]) == 0
    flags = ["--dataset=imagenet_vid", "--config=frames15", f"--manual_dir={vid}", f"--data_dir={folder}"]
    assert prepare.main(flags) == 0
    assert prepare.main(["--dataset=davis2016", f"--manual_dir={davis}", f"--data_dir={folder}"]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "train[1:]", "train[50%:]+validation"])
def test_a_video_can_be_read_alone_by_its_number(split, prepared):
    source = Source("davis2016", prepared, split)
    videos, count = annotated_videos(source)
    alone = [annotated_videos(source, only=number)[0] for number in range(count)]
    assert [video.name for (video,) in alone] == [video.name for video in videos]


@pytest.mark.slow
def test_vid_is_what_its_files_say(prepared):
    videos = videos_of("imagenet_vid", prepared)
    assert sorted(videos) == ["ILSVRC2015_val_00000000", "ILSVRC2015_val_00000001"]
    video = videos["ILSVRC2015_val_00000001"]
    assert video.frame_names == [f"{t:06d}" for t in range(20)]
    expected = render_clip(1, 20, WIDTH, "train").frames[:, :HEIGHT]
    for t, frame in enumerate(video.frames):
        assert np.abs(frame.astype(int) - expected[t]).mean() < 12  # JPEG
        if t % 5 == 0:
            assert video.boxes[t].shape == (0, 4)
            continue
        # Columns t to t + 19, both included, are 20 pixels wide.
        box = [10 / HEIGHT, t / WIDTH, 30 / HEIGHT, (t + 20) / WIDTH]
        np.testing.assert_allclose(video.boxes[t], [box], atol=1e-6)
        assert video.labels[t].tolist() == [1]
    assert CLASSES[1] == "antelope"
    short = videos_of("imagenet_vid", prepared, count=1, num_frames=3)
    assert [len(video.frame_names) for video in short.values()] == [3]


@pytest.mark.slow
def test_the_training_list_is_15_frames_of_each_video(prepared):
    builder = builder_of("imagenet_vid", prepared, "frames15")
    for example in builder.as_dataset(split="train"):
        names = [int(name) for name in example["frame_names"].numpy()]
        assert names == sorted({(2 * k + 1) * 20 // 30 for k in range(15)})
    assert builder.info.splits["validation"].num_examples == 2


def test_evenly_spaced_frames_are_the_usual_list_s():
    """Of videos of all lengths, to within the one frame by which the list's authors rounded otherwise."""
    _, *lines = Path("tests/data/vid_15frames.csv").read_text().splitlines()
    assert len(lines) == 731
    same = 0
    for count, *frames in (map(int, line.split(",")) for line in lines):
        ours = [int(name) for name in _evenly_spaced([str(t) for t in range(count)])]
        assert len(ours) == len(frames)
        assert np.abs(np.subtract(ours, frames)).max() <= 1
        same += ours == frames
    assert same > 0.85 * len(lines)


@pytest.mark.slow
def test_the_usual_training_list_is_followed(vid, tmp_path):
    root = shutil.copytree(vid, tmp_path / "vid")
    name = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000001"
    (root / "ImageSets/VID/VID_train_15frames.txt").write_text(f"{name} 1 3 20\n{name} 1 11 20\n")
    flags = ["--dataset=imagenet_vid", "--config=frames15", f"--manual_dir={root}", f"--data_dir={tmp_path}"]
    assert prepare.main(flags) == 0
    (example,) = builder_of("imagenet_vid", str(tmp_path), "frames15").as_dataset(split="train")
    assert [name.decode() for name in example["frame_names"].numpy()] == ["000003", "000011"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", [2016, 2017])
def test_davis_of_both_releases(layout, tmp_path):
    root = make_davis(tmp_path / "davis", layout=layout)
    assert prepare.main(["--dataset=davis2016", f"--manual_dir={root}", f"--data_dir={tmp_path}"]) == 0
    videos = videos_of("davis2016", str(tmp_path), "train")
    assert list(videos) == ["bear", "bus"]
    for number, video in enumerate(videos.values()):
        truth = render_clip(number, 5, WIDTH, "train").instances[:, :HEIGHT] > 0
        for mask, expected in zip(video.masks, truth, strict=True):
            assert mask.dtype == bool
            np.testing.assert_array_equal(mask, expected)


def config(task, **fields):
    return clips.ClipConfig(**{"truth": get_task(task).truth, "num_frames": 3, "image_size": (64, 64), **fields})


def first(dataset, folder, settings, count=4, split="train"):
    return list(clips.training_clips(Source(dataset, folder, split), settings).take(count))


@pytest.mark.slow
def test_clips_of_vid_follow_the_object(prepared):
    """The object moves one pixel per frame: frames that are `stride` apart move it by the stride."""
    for clip in first("imagenet_vid", prepared, config("detection", stride=3), count=6):
        assert clip["frames"].shape == (3, 64, 64, 3)
        assert clip["labels"].shape == (3, 32)
        left = [float(b[0, 1]) * WIDTH for b, label in zip(clip["boxes"], clip["labels"], strict=True) if label[0]]
        labels = {int(label) for label in clip["labels"].numpy().ravel()}
        assert labels <= {0, 1, 2}
        assert np.count_nonzero(clip["labels"]) == len(left)
        for a, b in itertools.pairwise(left):
            assert b - a == pytest.approx(3, abs=1e-3) or b - a == pytest.approx(6, abs=1e-3)


@pytest.mark.slow
def test_clips_resume_anywhere_and_shards_share_them(prepared):
    whole = first("davis2016", prepared, config("segmentation"), count=8)
    later = first("davis2016", prepared, config("segmentation", start=3), count=5)
    (second,) = first("davis2016", prepared, config("segmentation", num_frames=5), count=1, split="train[1:]")
    (_, expected) = first("davis2016", prepared, config("segmentation", num_frames=5), count=2)
    np.testing.assert_array_equal(second["frames"], expected["frames"])  # five frames: all of the second sequence
    odd = first("davis2016", prepared, config("segmentation", shard=(1, 2)), count=3)
    for expected, found in [*zip(whole[3:], later, strict=True), *zip(whole[1:6:2], odd, strict=True)]:
        assert int(found["index"]) == int(expected["index"])
        np.testing.assert_array_equal(found["frames"], expected["frames"])
        np.testing.assert_array_equal(found["masks"], expected["masks"])


@pytest.mark.slow
def test_masks_without_foreground_are_unknown(tmp_path):
    root = make_davis(tmp_path / "davis")
    path = f"{root}/Annotations/480p/bear/00002.png"
    PIL.Image.new("L", (WIDTH, HEIGHT)).save(path)
    assert prepare.main(["--dataset=davis2016", f"--manual_dir={root}", f"--data_dir={tmp_path}"]) == 0
    (clip,) = first("davis2016", str(tmp_path), config("segmentation", num_frames=5), count=1)
    unknown = (clip["masks"].numpy() == UNKNOWN).all(axis=(1, 2))
    assert unknown.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("length", "stride", "expected"), [(20, 4, {0, 4, 8}), (7, 4, {0, 3, 6}), (2, 4, None)])
def test_frame_numbers(length, stride, expected):
    for index in range(10):
        found = clips.frame_numbers(tf.constant(length), config("detection", stride=stride), index).numpy()
        assert found.min() >= 0
        assert found.max() < length
        if expected:
            assert set((found - found[0]).tolist()) == expected
    starts = {int(clips.frame_numbers(tf.constant(50), config("detection"), i)[0]) for i in range(50)}
    assert len(starts) > 20


@pytest.mark.slow
def test_letterbox_keeps_boxes_on_their_pixels(tmp_path):
    """A white object on black, in a wide frame: its box is where it is, stretched or letterboxed."""
    from patchwork_tf.resizing import resize_boxes, resize_frame, resize_images
    from patchwork_tf.runtime.resizing import letterbox, restore_boxes, restore_map

    image = np.zeros((40, 80, 3), np.uint8)
    image[8:24, 20:60] = 255
    box = np.array([[8 / 40, 20 / 80, 24 / 40, 60 / 80]], np.float32)
    for resize_mode in ("stretch", "letterbox"):
        fitted = resize_images(tf.constant(image[None]), (64, 64), resize_mode).numpy()[0]
        np.testing.assert_array_equal(fitted > 127, resize_frame(image, (64, 64), resize_mode) > 127)
        moved = resize_boxes(tf.constant(box), tf.constant([40.0, 80.0]), (64, 64), resize_mode).numpy()
        rows, columns = np.nonzero(fitted[..., 0] > 127)
        seen = np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]]) / 64
        np.testing.assert_allclose(moved, seen, atol=1.01 / 64)
        np.testing.assert_allclose(restore_boxes(moved, (40, 80), (64, 64), resize_mode), box, atol=1e-5)
        back = restore_map((fitted[..., 0] / 255).astype(np.float32), (40, 80), resize_mode) > 0.5
        assert (back != (image[..., 0] > 0)).mean() < 0.02
    np.testing.assert_allclose(letterbox((40, 80), (64, 64)), [0.25, 0, 0.5, 1])


def test_coco_s_stills_become_clips(monkeypatch, tmp_path):
    """Examples with the keys and types that TFDS' builder of COCO promises."""
    rng = np.random.default_rng(0)
    objects = {"bbox": [[0.1, 0.2, 0.6, 0.7], [0, 0, 1, 1]], "label": [3, 79], "is_crowd": [False, True]}

    def examples():
        for size in ((50, 80), (90, 60), (64, 64)):
            yield {
                "image": rng.integers(0, 255, (*size, 3), dtype=np.uint8),
                "objects": {key: np.array(value) for key, value in objects.items()},
            }

    features = builder_of("coco", str(tmp_path)).info.features
    spec = {"image": features["image"], "objects": {key: features["objects"][key] for key in objects}}
    signature = {
        "image": tf.TensorSpec(spec["image"].shape, spec["image"].dtype),
        "objects": {k: tf.TensorSpec((None, *f.shape), f.dtype) for k, f in spec["objects"].items()},
    }
    fake = types.SimpleNamespace(
        info=types.SimpleNamespace(splits={"train": types.SimpleNamespace(num_examples=3)}, features=features),
        as_dataset=lambda split, **options: tf.data.Dataset.from_generator(examples, output_signature=signature),
    )
    monkeypatch.setattr(clips, "open_prepared", lambda *where: fake)
    for clip in first("coco", str(tmp_path), config("detection"), count=4):
        assert clip["frames"].shape == (3, 64, 64, 3)
        assert clip["boxes"].shape == (3, 64, 4)
        assert np.all((clip["boxes"].numpy() >= 0) & (clip["boxes"].numpy() <= 1))
        assert set(clip["labels"].numpy().ravel()) <= {0, 4}  # crowds are left out
    assert builder_of("coco", str(tmp_path)).info.features["objects"]["label"].num_classes == len(COCO_IDS)
    assert COCO_IDS[-1] == 90


def test_moving_crops_move_boxes_with_the_pixels():
    image = np.zeros((60, 90, 3), np.uint8)
    image[20:40, 30:60] = 255
    truth = {
        "boxes": tf.constant([[20 / 60, 30 / 90, 40 / 60, 60 / 90], [0.0, 0, 0, 0]]),
        "labels": tf.constant([4, 0]),
    }
    starts = set()
    for index in range(5):
        clip = clips._still_clip(index, tf.constant(image), truth, config("detection", num_frames=4))
        assert clip["labels"].numpy().tolist() == [[4, 0]] * 4
        for frame, boxes in zip(clip["frames"].numpy(), clip["boxes"].numpy(), strict=True):
            rows, columns = np.nonzero(frame[..., 0] > 127)
            seen = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]) / 64
            np.testing.assert_allclose(boxes[0], seen, atol=2.5 / 64)
        starts.add(tuple(clip["boxes"].numpy()[0, 0]))
    assert len(starts) == 5


class _BuilderTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS' own harness: it prepares from fake data, reads, and compares with what was promised."""

    OVERLAPPING_SPLITS = ()
    SKIP_CHECKSUMS = True
    SKIP_TF1_GRAPH_MODE = True

    @classmethod
    def setUpClass(cls):
        cls.folder = tfds.testing.make_tmp_dir()
        cls.dummy_data = cls.MAKE(os.path.join(cls.folder, "fake"))
        cls.EXAMPLE_DIR = cls.dummy_data
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        tfds.testing.rm_tmp_dir(cls.folder)


@pytest.mark.slow
class TestDavis2016(_BuilderTest):
    DATASET_CLASS = Davis2016
    SPLITS = {"train": 2, "validation": 1}  # noqa: RUF012
    MAKE = staticmethod(make_davis)


@pytest.mark.slow
class TestImagenetVid(_BuilderTest):
    DATASET_CLASS = ImagenetVid
    SPLITS = {"train": 2, "validation": 2}  # noqa: RUF012
    MAKE = staticmethod(make_vid)


del _BuilderTest
