"""Real data sets in their published layouts: prepared, read, trained on, scored; and what bad files are told."""

import importlib.util
import itertools
import os
import shutil
import types

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from patchwork_tf.data import clips, prepare
from patchwork_tf.data.datasets import COCO_CLASSES, COCO_IDS, DatasetInfo, annotated_videos, builder_of
from patchwork_tf.data.davis2016 import Davis2016
from patchwork_tf.data.imagenet_vid import CLASSES, WORDNET_IDS, ImagenetVid, _evenly_spaced
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.models.segmenter import UNKNOWN

HEIGHT, WIDTH = 48, 64


def write_xml(path, objects, size=(HEIGHT, WIDTH)):
    """objects: (wnid, track, xmin, ymin, xmax, ymax)."""
    things = "".join(
        f"<object><trackid>{track}</trackid><name>{name}</name><bndbox><xmax>{x2}</xmax><xmin>{x1}</xmin>"
        f"<ymax>{y2}</ymax><ymin>{y1}</ymin></bndbox><occluded>1</occluded><generated>0</generated></object>"
        for name, track, x1, y1, x2, y2 in objects
    )
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(
            f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{things}</annotation>"
        )


def write_frame(path, image):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    cv2.imwrite(path, image[..., ::-1])


def make_vid(root, videos=2, frames=20):
    """A folder like ILSVRC2015's, of generated frames with one object of known motion."""
    for split, part in (("train", "ILSVRC2015_VID_train_0000/"), ("val", "")):
        for video in range(videos):
            name = f"{split}/{part}ILSVRC2015_{split}_{video:08d}"
            clip = render_clip(video, frames, WIDTH, "train").frames[:, :HEIGHT]
            for t in range(frames):
                write_frame(f"{root}/Data/VID/{name}/{t:06d}.JPEG", clip[t])
                things = [(WORDNET_IDS[video], 7, t, 10, t + 19, 29)] if t % 5 else []
                write_xml(f"{root}/Annotations/VID/{name}/{t:06d}.xml", things)
    os.makedirs(f"{root}/ImageSets/VID")
    return str(root)


def make_davis(root, frames=5, layout=2016):
    """A folder like DAVIS', of generated frames; 2017's with palette masks of several objects."""
    lists = {}
    for split, sequences in (("train", ["bear", "bus"]), ("val", ["cow"])):
        for number, sequence in enumerate(sequences):
            clip = render_clip(number, frames, WIDTH, "train")
            for t in range(frames):
                write_frame(f"{root}/JPEGImages/480p/{sequence}/{t:05d}.jpg", clip.frames[t, :HEIGHT])
                mask = PIL.Image.fromarray(clip.instances[t, :HEIGHT], mode="L")
                if layout == 2017:
                    mask = PIL.Image.fromarray(clip.instances[t, :HEIGHT], mode="P")
                    mask.putpalette([value % 256 for value in range(0, 7 * 768, 7)])
                else:
                    mask = mask.point(lambda value: 255 * (value > 0))
                path = f"{root}/Annotations/480p/{sequence}/{t:05d}.png"
                os.makedirs(os.path.dirname(path), exist_ok=True)
                mask.save(path)
                lines = lists.setdefault(split, [])
                if layout == 2017 and t == 0:
                    lines.append(sequence)
                elif layout == 2016:
                    image = f"/JPEGImages/480p/{sequence}/{t:05d}.jpg"
                    lines.append(f"{image} /Annotations/480p/{sequence}/{t:05d}.png")
    folder = f"{root}/ImageSets/{'480p' if layout == 2016 else '2016'}"
    os.makedirs(folder)
    for split, lines in lists.items():
        with open(f"{folder}/{split}.txt", "w") as file:
            file.write("\n".join(lines) + "\n")
    return str(root)


@pytest.fixture(scope="module")
def vid(tmp_path_factory):
    pytest.importorskip("apache_beam", reason="Beam is an extra: pip install patchwork-tf[beam]")
    return make_vid(tmp_path_factory.mktemp("vid"))


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return make_davis(tmp_path_factory.mktemp("davis"))


@pytest.fixture(scope="module")
def prepared(vid, davis, tmp_path_factory):
    """TFDS folder with both, made by the command."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    assert prepare.main(["--dataset=imagenet_vid", f"--manual_dir={vid}", f"--data_dir={folder}"]) == 0
    flags = ["--dataset=imagenet_vid", "--config=frames15", f"--manual_dir={vid}", f"--data_dir={folder}"]
    assert prepare.main(flags) == 0
    assert prepare.main(["--dataset=davis2016", f"--manual_dir={davis}", f"--data_dir={folder}"]) == 0
    return folder


def videos_of(dataset, folder, split="validation", **options):
    settings = {"count": None, "num_frames": None, "size": 64, **options}
    found, count = annotated_videos(dataset, folder, split, **settings)
    found = list(found)
    assert len(found) == count
    return {video.name: video for video in found}


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


def test_evenly_spaced_frames_are_the_usual_list_s(real_data):
    """Of 3862 videos, all to within the one frame by which the list's authors rounded otherwise."""
    import collections
    import gzip

    listed = collections.defaultdict(list)
    with gzip.open(real_data("vid_lists/VID_train_15frames.txt.gz"), "rt") as file:
        for line in file:
            video, _, frame, count = line.split()
            listed[video, int(count)].append(int(frame))
    assert len(listed) == 3862
    same = 0
    for (_, count), frames in listed.items():
        ours = [int(name) for name in _evenly_spaced([str(t) for t in range(count)])]
        assert len(ours) == len(frames)
        assert np.abs(np.subtract(ours, frames)).max() <= 1
        same += ours == frames
    assert same > 0.85 * len(listed)


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
    return clips.ClipConfig(**{"task": task, "num_frames": 3, "image_size": (64, 64), **fields})


def first(dataset, folder, settings, count=4, split="train"):
    return list(clips.training_clips(dataset, folder, split, settings).take(count))


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
    from patchwork_tf.data.fitting import fit_boxes, fit_frame, fit_images, letterbox, unfit_boxes, unfit_map

    image = np.zeros((40, 80, 3), np.uint8)
    image[8:24, 20:60] = 255
    box = np.array([[8 / 40, 20 / 80, 24 / 40, 60 / 80]], np.float32)
    for fit in ("stretch", "letterbox"):
        fitted = fit_images(tf.constant(image[None]), (64, 64), fit).numpy()[0]
        np.testing.assert_array_equal(fitted > 127, fit_frame(image, (64, 64), fit) > 127)
        moved = fit_boxes(tf.constant(box), tf.constant([40.0, 80.0]), (64, 64), fit).numpy()
        rows, columns = np.nonzero(fitted[..., 0] > 127)
        seen = np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]]) / 64
        np.testing.assert_allclose(moved, seen, atol=1.01 / 64)
        np.testing.assert_allclose(unfit_boxes(moved, (40, 80), (64, 64), fit), box, atol=1e-5)
        back = unfit_map((fitted[..., 0] / 255).astype(np.float32), (40, 80), fit) > 0.5
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
        info=types.SimpleNamespace(splits={"train": types.SimpleNamespace(num_examples=3)}),
        as_dataset=lambda split, **options: tf.data.Dataset.from_generator(examples, output_signature=signature),
    )
    monkeypatch.setattr(clips, "open_prepared", lambda *where: fake)
    for clip in first("coco", str(tmp_path), config("detection"), count=4):
        assert clip["frames"].shape == (3, 64, 64, 3)
        assert clip["boxes"].shape == (3, 64, 4)
        assert np.all((clip["boxes"].numpy() >= 0) & (clip["boxes"].numpy() <= 1))
        assert set(clip["labels"].numpy().ravel()) <= {0, 4}  # crowds are left out
    assert len(COCO_CLASSES) == len(COCO_IDS) == 80
    assert COCO_IDS[-1] == 90


def test_moving_crops_move_boxes_with_the_pixels():
    image = np.zeros((60, 90, 3), np.uint8)
    image[20:40, 30:60] = 255
    objects = {
        "bbox": tf.constant([[20 / 60, 30 / 90, 40 / 60, 60 / 90]]),
        "label": tf.constant([3], tf.int64),
        "is_crowd": tf.constant([False]),
    }
    starts = set()
    info = DatasetInfo({}, max_objects=2, is_video=False)
    for index in range(5):
        example = {"image": tf.constant(image), "objects": objects}
        clip = clips._still_clip(index, example, config("detection", num_frames=4), info)
        assert clip["labels"].numpy().tolist() == [[4, 0]] * 4
        for frame, boxes in zip(clip["frames"].numpy(), clip["boxes"].numpy(), strict=True):
            rows, columns = np.nonzero(frame[..., 0] > 127)
            seen = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]) / 64
            np.testing.assert_allclose(boxes[0], seen, atol=2.5 / 64)
        starts.add(tuple(clip["boxes"].numpy()[0, 0]))
    assert len(starts) == 5


# What is broken, how, and what must be said of it.
BAD_VID = {
    "cut off JPEG": (lambda r, v: truncate(f"{r}/Data/VID/{v}/000003.JPEG"), "000003.JPEG: not a readable image"),
    "missing frame": (
        lambda r, v: os.remove(f"{r}/Data/VID/{v}/000003.JPEG"),
        "000003.JPEG: this frame is missing",
    ),
    "missing XML": (lambda r, v: os.remove(f"{r}/Annotations/VID/{v}/000003.xml"), "000003.xml: this annotation"),
    "cut off XML": (lambda r, v: truncate(f"{r}/Annotations/VID/{v}/000003.xml"), "000003.xml: not a VOC"),
    "box outside": (
        lambda r, v: write_xml(f"{r}/Annotations/VID/{v}/000003.xml", [(WORDNET_IDS[0], 0, 50, 10, 70, 20)]),
        "box 50,10,70,20 is not inside of the 64x48 frame",
    ),
    "unknown class": (
        lambda r, v: write_xml(f"{r}/Annotations/VID/{v}/000003.xml", [("n00000001", 0, 5, 5, 9, 9)]),
        "unknown class 'n00000001'",
    ),
    "other size": (
        lambda r, v: write_xml(f"{r}/Annotations/VID/{v}/000003.xml", [], size=(100, 100)),
        "says 100x100, but the frame has 64x48",
    ),
}


def truncate(path):
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD_VID)
def test_bad_vid_files_stop_the_preparation_or_are_skipped_and_listed(case, vid, tmp_path, capsys):
    break_it, message = BAD_VID[case]
    root = str(shutil.copytree(vid, tmp_path / "vid"))
    shutil.rmtree(f"{root}/Data/VID/train")
    video = "val/ILSVRC2015_val_00000000"
    with open(f"{root}/ImageSets/VID/val.txt", "w") as file:  # so that a missing frame can be missed
        file.writelines(f"ILSVRC2015_val_00000000/{t:06d} {t + 1}\n" for t in range(20))
    break_it(root, video)
    flags = ["--dataset=imagenet_vid", f"--manual_dir={root}", f"--data_dir={tmp_path}"]
    assert prepare.main(flags) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in line
    assert len(line) < 300
    assert not builder_of("imagenet_vid", str(tmp_path)).is_prepared()
    assert prepare.main([*flags, "--skip_bad"]) == 0
    output = capsys.readouterr().out
    assert "skipped 1 bad frames" in output
    assert message in output
    (only,) = videos_of("imagenet_vid", str(tmp_path)).values()
    assert only.frame_names == [f"{t:06d}" for t in range(20) if t != 3]


@pytest.mark.slow
def test_a_video_without_a_good_frame_is_listed_too(vid, tmp_path, capsys):
    root = str(shutil.copytree(vid, tmp_path / "vid"))
    for t in range(20):
        truncate(f"{root}/Data/VID/val/ILSVRC2015_val_00000001/{t:06d}.JPEG")
    flags = ["--dataset=imagenet_vid", f"--manual_dir={root}", f"--data_dir={tmp_path}", "--skip_bad"]
    assert prepare.main(flags) == 0
    assert "skipped 1 videos without a good frame\n  ILSVRC2015_val_00000001" in capsys.readouterr().out


def test_preparing_again_keeps_the_old_until_the_new_is_whole(davis, tmp_path, capsys):
    flags = ["--dataset=davis2016", f"--data_dir={tmp_path}/tfds"]
    assert prepare.main([*flags, f"--manual_dir={davis}"]) == 0
    assert prepare.main([*flags, f"--manual_dir={davis}"]) == 0
    assert "already prepared" in capsys.readouterr().out
    broken = str(shutil.copytree(davis, tmp_path / "broken"))
    truncate(f"{broken}/JPEGImages/480p/bear/00001.jpg")
    assert prepare.main([*flags, f"--manual_dir={broken}", "--overwrite"]) == 1
    assert len(videos_of("davis2016", f"{tmp_path}/tfds")) == 1
    shutil.rmtree(f"{broken}/JPEGImages/480p/cow")
    shutil.copytree(f"{davis}/JPEGImages/480p/cow", f"{broken}/JPEGImages/480p/cow")
    assert prepare.main([*flags, f"--manual_dir={broken}", "--overwrite", "--skip_bad"]) == 0
    assert "skipped 1 bad frames" in capsys.readouterr().out
    assert len(videos_of("davis2016", f"{tmp_path}/tfds", "train")["bear"].frame_names) == 4
    assert sorted(os.listdir(f"{tmp_path}/tfds")) == ["davis2016", "downloads"]


def empty(path):
    with open(path, "w"):
        pass


BAD_DAVIS = {
    "mask of another size": (
        lambda r: PIL.Image.new("L", (10, 10)).save(f"{r}/Annotations/480p/bear/00001.png"),
        "00001.png: the mask has 10x10 pixels, its frame 64x48",
    ),
    "missing mask": (lambda r: os.remove(f"{r}/Annotations/480p/bear/00001.png"), "this mask is missing"),
    "missing frame": (
        lambda r: os.remove(f"{r}/JPEGImages/480p/bear/00001.jpg"),
        "00001.jpg: this frame is missing",
    ),
    "cut off frame": (
        lambda r: truncate(f"{r}/JPEGImages/480p/bear/00001.jpg"),
        "00001.jpg: not a readable image",
    ),
    "empty list": (lambda r: empty(f"{r}/ImageSets/480p/train.txt"), "train.txt: the list is empty"),
    "no frames": (lambda r: shutil.rmtree(f"{r}/JPEGImages"), "not the folder of DAVIS 2016"),
}


@pytest.mark.parametrize("case", BAD_DAVIS)
def test_bad_davis_files_are_named(case, davis, tmp_path, capsys):
    break_it, message = BAD_DAVIS[case]
    root = str(shutil.copytree(davis, tmp_path / "davis"))
    break_it(root)
    flags = ["--dataset=davis2016", f"--manual_dir={root}", f"--data_dir={tmp_path}"]
    assert prepare.main(flags) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not builder_of("davis2016", str(tmp_path)).is_prepared()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--dataset=davis2016", "--data_dir=D"], 2, "--manual_dir is required"),
        (["--dataset=davis2016", "--data_dir=D", "--manual_dir=D"], 1, "not the folder of DAVIS 2016"),
        (["--dataset=davis2016", "--data_dir=D", "--manual_dir=/nowhere"], 1, "/nowhere: no such folder"),
        pytest.param(
            ["--dataset=imagenet_vid", "--data_dir=D", "--manual_dir=D"],
            1,
            "not the folder of ImageNet VID",
            marks=pytest.mark.skipif(not importlib.util.find_spec("apache_beam"), reason="Beam is an extra"),
        ),
        (["--dataset=imagenet_vid", "--data_dir=D", "--manual_dir=D", "--config=x"], 2, "videos, frames15"),
        (["--data_dir=D"], 2, "--dataset is required"),
    ],
)
def test_wrong_use_of_prepare(flags, code, message, tmp_path, capsys):
    assert prepare.main([flag.replace("=D", f"={tmp_path}") for flag in flags]) == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


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
