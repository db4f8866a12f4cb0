"""coco_scenes: every thing is known, a photo is of one split, and a set is a function of its photos and seed."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_masks

from patchwork_tf import prepare
from patchwork_tf.data import coco_scenes
from patchwork_tf.data.coco_scenes import CocoScenes
from patchwork_tf.data.datasets import Source, annotated_videos, class_names
from patchwork_tf.data.moving_objects import CLASSES, render_clip

SIDE, FRAMES = 192, 4


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A folder as COCO's: photos of drawn shapes, half of them with nothing marked."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "annotations").mkdir()
    (folder / "val").mkdir()
    images, things = [], []
    for number in range(12):
        clip = render_clip(number, 1, SIDE, scenes="sparse")
        image = {"id": 100 + number, "file_name": f"{number:03d}.png", "width": SIDE, "height": SIDE}
        cv2.imwrite(str(folder / "val" / image["file_name"]), clip.frames[0, ..., ::-1])
        images.append(image)
        if number % 4 >= 2:
            continue
        for thing in clip.objects(0):
            mask = clip.instances[0] == thing["track_id"]
            runs = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
            box, area = coco_masks.toBbox(runs).tolist(), int(mask.sum())
            about = {"id": len(things), "image_id": image["id"], "category_id": 7 * int(thing["label"])}
            runs = {"size": runs["size"], "counts": runs["counts"].decode()}
            things.append({**about, "iscrowd": 0, "bbox": box, "area": area, "segmentation": runs})
    categories = [{"id": 7 * number, "name": name} for number, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": things, "categories": categories}
    (folder / "annotations/instances_val.json").write_text(json.dumps(content))
    return str(folder)


@pytest.fixture
def small(monkeypatch):
    for config in CocoScenes.BUILDER_CONFIGS:
        for name, value in (("image_size", 96), ("clip_frames", FRAMES), ("clips", 3)):
            monkeypatch.setattr(config, name, value)
    monkeypatch.setattr(coco_scenes, "_FEWEST_PIXELS", 100)


def prepared(coco, folder, kind):
    flags = ["--dataset=coco_scenes", f"--config={kind}", f"--manual_dir={coco}", f"--data_dir={folder}"]
    assert prepare.main(flags) == 0
    source = Source("coco_scenes", str(folder), "validation", kind)
    assert class_names(source, "objects") == list(CLASSES)
    return [
        list(zip(video.frames, video.boxes, video.labels, strict=True)) for video in annotated_videos(source)[0]
    ]


def test_scenes_are_made_of_cut_outs_again_and_again(coco, small, tmp_path):
    still, again = (prepared(coco, tmp_path / name, "still") for name in ("one", "two"))
    moving = prepared(coco, tmp_path / "one", "moving")
    seen = 0
    for video, other in zip(still, again, strict=True):
        assert len(video) == FRAMES
        for (frame, boxes, labels), (same, *_) in zip(video, other, strict=True):
            assert frame.shape == (96, 96, 3)
            np.testing.assert_array_equal(frame, same)
            assert len(boxes) == len(labels)
            seen += len(boxes)
    assert seen > 3 * FRAMES

    def changes(videos):
        """Median change of a pixel between the first frame and the last."""
        ends = [(video[0][0].astype(int), video[-1][0]) for video in videos]
        return np.mean([np.median(abs(first - last)) for first, last in ends])

    assert changes(still) < changes(moving)


def test_no_photo_is_in_two_splits(coco, small):
    photos = [coco_scenes._Photos(coco).of_split(number) for number in range(2)]
    for kind in ("_things", "_behind"):
        names = [{str(thing) for _, thing in getattr(split, kind)} for split in photos]
        assert names[0]
        assert names[1]
        assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no annotations/instances_*.json in it"),
        ("{", "instances.json: not COCO's instances"),
        (json.dumps({"images": [], "annotations": [], "categories": []}), "too few photos of these annotations"),
    ],
)
def test_what_is_no_coco_is_refused(content, said, tmp_path, capsys):
    (tmp_path / "coco").mkdir()
    if content:
        (tmp_path / "coco/instances.json").write_text(content)
    flags = [f"--manual_dir={tmp_path}/coco", f"--data_dir={tmp_path}/data"]
    assert prepare.main(["--dataset=coco_scenes", *flags]) == 1
    assert said in capsys.readouterr().err
