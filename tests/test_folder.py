"""A folder of one's own pictures and annotations: five formats that say the same, and what is wrong with them."""

import json
import os

import numpy as np
import PIL.Image
import pytest
from own_folders import (
    BOXES,
    CLIPS,
    FRAMES,
    HEIGHT,
    NAMES,
    WIDTH,
    box_of,
    frames_of,
    masks,
    mot,
    roboflow_coco,
    roboflow_yolo,
    write,
)
from test_annotations import BAD_FRAMES

from patchwork_tf import prepare
from patchwork_tf.data.datasets import Source, annotated_videos, class_names
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.data.video import write_video
from patchwork_tf.errors import DataError


def ready(root, folder, *flags):
    return prepare.main(["--dataset=folder", f"--manual_dir={root}", f"--data_dir={folder}", *flags])


def read(folder, **source):
    source = Source("folder", str(folder), **source)
    return {video.name: video for video in annotated_videos(source)[0]}, source


@pytest.mark.parametrize("make", BOXES.values(), ids=BOXES)
def test_every_format_says_the_same(make, tmp_path):
    make(f"{tmp_path}/own")
    write(f"{tmp_path}/own/.DS_Store", "")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    videos, source = read(tmp_path / "data")
    assert class_names(source, "objects") == NAMES
    assert list(videos) == [*CLIPS]
    for index, (clip, video) in enumerate(videos.items()):
        expected = render_clip(index, FRAMES, WIDTH, "train").frames[:, :HEIGHT]
        for t, frame in enumerate(video.frames):
            assert np.abs(frame.astype(int) - expected[t]).mean() < 12
            box = box_of(clip, t)
            if box is None:  # a frame without objects is one of them
                assert video.boxes[t].shape == (0, 4)
                continue
            x, y, w, h = box
            edges = [y / HEIGHT, x / WIDTH, (y + h) / HEIGHT, (x + w) / WIDTH]
            np.testing.assert_allclose(video.boxes[t], [edges], atol=1e-6)
            assert video.labels[t].tolist() == [CLIPS[clip]]


def test_masks_of_several_sequences(tmp_path):
    masks(f"{tmp_path}/own")
    write(f"{tmp_path}/own/masks/pond/._00000.png", "of macOS")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    videos, source = read(tmp_path / "data")
    assert class_names(source, "masks") == ["foreground"]
    for clip, video in videos.items():
        for t, mask in enumerate(video.masks):
            assert mask.sum() == (0 if t == FRAMES - 1 else 20 * 16)
            if box := box_of(clip, t):
                assert mask[box[1], box[0]]


def test_frames_of_a_video_file_and_their_order(tmp_path):
    """YOLO beside a video file; frames are numbered from 0, and 10 comes after 9."""
    frames = render_clip(0, 12, WIDTH, "train").frames[:, :HEIGHT]
    os.makedirs(tmp_path / "own")
    write_video(f"{tmp_path}/own/walk.mp4", frames, 0.1)
    write(f"{tmp_path}/own/classes.txt", "cup\nduck\n")
    for t in (0, 2, 10):
        write(f"{tmp_path}/own/labels/walk/frame_{t}.txt", f"1 0.5 0.5 {0.1 + t / 100} 0.5")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    (video,) = read(tmp_path / "data")[0].values()
    widths = [[float(box[3] - box[1]) for box in boxes] for boxes in video.boxes]
    assert [len(boxes) for boxes in widths] == [1, 0, 1, *[0] * 7, 1, 0]
    assert widths[10] == pytest.approx([0.2])
    for frame, expected in zip(video.frames, frames, strict=True):
        assert np.abs(frame.astype(int) - expected).mean() < 16
    write(f"{tmp_path}/own/labels/walk/frame_12.txt", "1 0.5 0.5 0.1 0.5")
    assert ready(f"{tmp_path}/own", tmp_path / "data", "--overwrite", "--skip_bad") == 0


def test_photos_and_splits(tmp_path):
    """Pictures of any size, each by itself, of train and val; the second is turned by its EXIF."""
    annotations, images = [], []
    for number, split in enumerate(("train2017", "train2017", "val2017")):
        path = f"{split}/{number}.jpg"
        os.makedirs(tmp_path / "own" / split, exist_ok=True)
        exif = PIL.Image.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        PIL.Image.new("RGB", (40 + number, 30)).save(tmp_path / "own" / path, exif=exif)
        images.append({"id": number, "file_name": path})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [0, 15, 30, 15]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    write(f"{tmp_path}/own/annotations/instances.json", json.dumps(content))
    assert ready(f"{tmp_path}/own", tmp_path / "data", "--config=photos") == 0
    videos, _ = read(tmp_path / "data", config="photos")
    assert [next(iter(video.frames)).shape for video in videos.values()] == [(30, 40, 3), (41, 30, 3)]
    np.testing.assert_allclose(videos["train2017/1"].boxes[0], [[15 / 41, 0, 30 / 41, 1]], atol=1e-6)
    assert len(read(tmp_path / "data", config="photos", split="validation")[0]) == 1
    with pytest.raises(DataError, match="folder/clips was not prepared there, but --config=photos"):
        read(tmp_path / "data")
    images[1] |= {"width": 41, "height": 30}  # annotated lying
    write(f"{tmp_path}/own/annotations/instances.json", json.dumps(content))
    flags = ["--config=photos", "--overwrite"]
    assert ready(f"{tmp_path}/own", tmp_path / "data", *flags) == 1
    assert ready(f"{tmp_path}/own", tmp_path / "data", *flags, "--skip_bad") == 0


BAD_PICTURES = {
    "mask size": (
        masks,
        lambda r: PIL.Image.new("L", (9, 9)).save(f"{r}/masks/pond/00001.png"),
        "its mask is (9, 9)",
    ),
    "frame size": (
        masks,
        lambda r: PIL.Image.new("RGB", (9, 9)).save(f"{r}/frames/pond/00001.jpg"),
        "has 9x9 pixels",
    ),
}
BAD = {
    **{
        case: BAD_FRAMES[case]
        for case in ("COCO box", "COCO nan", "MOT class", "YOLO box", "YOLO word", "VOC cut off")
    },
    **BAD_PICTURES,
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_frame_is_one_line_or_left_out(case, tmp_path, capsys):
    make, spoil, message = BAD[case]
    make(f"{tmp_path}/own")
    spoil(f"{tmp_path}/own")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in line
    assert len(line) < 400
    assert not os.path.exists(tmp_path / "data/folder/clips/1.0.0")
    assert ready(f"{tmp_path}/own", tmp_path / "data", "--skip_bad") == 0
    said = capsys.readouterr().out
    assert "skipped 1 bad frames" in said
    assert message in said
    assert sorted(len(video.frame_names) for video in read(tmp_path / "data")[0].values()) == [FRAMES - 1, FRAMES]


def test_a_split_without_a_good_frame_is_said(tmp_path, capsys):
    label_studio_yolo(f"{tmp_path}/own")
    for t in range(3):
        write(f"{tmp_path}/own/labels/{t}a-garden.txt", "cup 0.5 0.5 0.1 0.1")
    assert ready(f"{tmp_path}/own", tmp_path / "data", "--skip_bad") == 1
    assert "no frame of train can be used: " in capsys.readouterr().err


def cvat_yolo(root):
    frames_of(f"{root}/obj_train_data", "frame_{:06d}.PNG")
    write(f"{root}/obj.data", "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n")
    write(f"{root}/obj.names", "cup\n")
    write(f"{root}/train.txt", "data/obj_train_data/frame_000000.PNG\n")
    write(f"{root}/obj_train_data/frame_000000.txt", "")
    write(f"{root}/obj_train_data/frame_000001.txt", "0 0.5 0.5 0.25 0.5\n")


def cvat_mot(root):
    frames_of(f"{root}/img1", "frame_{:06d}.PNG")
    write(f"{root}/gt/labels.txt", "cup\n")
    write(f"{root}/gt/gt.txt", "2,1,24.00,12.00,16.00,24.00,1,1,1.0\n")


def cvat_coco(root):
    frames_of(f"{root}/images/default", "frame_{:06d}.PNG")
    images = [{"id": t + 1, "width": WIDTH, "height": HEIGHT, "file_name": f"frame_{t:06d}.PNG"} for t in range(3)]
    attributes = {"occluded": False, "track_id": 4, "keyframe": True}
    thing = {"id": 1, "image_id": 2, "category_id": 1, "bbox": [24.0, 12.0, 16.0, 24.0], "attributes": attributes}
    categories = [{"id": 1, "name": "cup", "supercategory": ""}]
    content = {"licenses": [], "info": {}, "categories": categories, "images": images, "annotations": [thing]}
    write(f"{root}/annotations/instances_default.json", json.dumps(content))


def cvat_voc(root):
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    frames_of(f"{root}/JPEGImages", "frame_{:06d}.PNG")
    write(f"{root}/labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncup:250,50,83::\n")
    write(f"{root}/ImageSets/Main/default.txt", "frame_000000\nframe_000001\nframe_000002\n")
    box = "<xmin>24.0</xmin><ymin>12.0</ymin><xmax>39.0</xmax><ymax>35.0</ymax>"
    for t in range(3):
        thing = f"<object><name>cup</name><occluded>0</occluded><bndbox>{box}</bndbox></object>" if t == 1 else ""
        write(f"{root}/Annotations/frame_{t:06d}.xml", f"<annotation>{size}{thing}</annotation>")


def label_studio_coco(root):
    frames_of(f"{root}/images", "{:d}a-garden.jpg")
    images = [
        {"id": t, "width": WIDTH, "height": HEIGHT, "file_name": f"images/{t}a-garden.jpg"} for t in range(3)
    ]
    thing = {"id": 0, "image_id": 1, "category_id": 0, "segmentation": [], "bbox": [24, 12, 16, 24], "iscrowd": 0}
    content = {"images": images, "categories": [{"id": 0, "name": "cup"}], "annotations": [thing], "info": {}}
    write(f"{root}/result.json", json.dumps(content))


def label_studio_yolo(root):
    frames_of(f"{root}/images", "{:d}a-garden.jpg")
    write(f"{root}/classes.txt", "cup\n")
    write(f"{root}/notes.json", json.dumps({"categories": [{"id": 0, "name": "cup"}], "info": {"year": 2026}}))
    write(f"{root}/labels/1a-garden.txt", "0 0.5 0.5 0.25 0.5")


EXPORTS = [cvat_yolo, cvat_mot, cvat_coco, cvat_voc, label_studio_coco, label_studio_yolo]


@pytest.mark.parametrize("make", EXPORTS, ids=lambda make: make.__name__)
def test_exports_of_annotation_tools_work_as_they_come_out(make, tmp_path):
    make(f"{tmp_path}/own")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    (videos, source) = read(tmp_path / "data")
    (video,) = videos.values()
    assert class_names(source, "objects") == ["cup"]
    assert [len(boxes) for boxes in video.boxes] == [0, 1, 0]
    np.testing.assert_allclose(video.boxes[1], [[0.25, 0.375, 0.75, 0.625]], atol=1e-6)


def test_cvat_s_segmentation_masks(tmp_path):
    frames_of(f"{tmp_path}/own/JPEGImages", "frame_{:06d}.jpg")
    for folder in ("SegmentationClass", "SegmentationObject"):
        os.makedirs(f"{tmp_path}/own/{folder}")
        for t in range(3):
            mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            mask[: 10 * t, :5] = (250, 50, 83)
            PIL.Image.fromarray(mask).save(f"{tmp_path}/own/{folder}/frame_{t:06d}.png")
    write(f"{tmp_path}/own/labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncup:250,50,83::\n")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    (video,) = read(tmp_path / "data")[0].values()
    assert [int(mask.sum()) for mask in video.masks] == [0, 50, 100]


@pytest.mark.parametrize("make", [roboflow_yolo, roboflow_coco], ids=lambda make: make.__name__)
def test_exports_of_roboflow_have_equal_names_in_splits(make, tmp_path):
    make(f"{tmp_path}/own")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    for split in ("train", "validation", "test"):
        (videos, source) = read(tmp_path / "data", split=split)
        (video,) = videos.values()
        assert class_names(source, "objects") == ["cup"]
        assert [len(boxes) for boxes in video.boxes] == [0, 1, 0]


def test_clips_of_which_nothing_is_said_are_left_out(tmp_path, capsys):
    """They may be full of objects. A whole split may be so, as MOT's own test."""
    mot(f"{tmp_path}/own")
    frames_of(f"{tmp_path}/own/test/street/img1", "{:06d}.jpg")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    assert "left out 3 frames without annotation, such as test/street/img1/000000" in capsys.readouterr().out
    assert list(read(tmp_path / "data")[0]) == [*CLIPS]
    label_studio_yolo(f"{tmp_path}/yolo")
    frames_of(f"{tmp_path}/yolo/more", "{:d}.jpg")
    assert ready(f"{tmp_path}/yolo", tmp_path / "data", "--overwrite") == 0
    assert "left out 3 frames without annotation, such as more/0" in capsys.readouterr().out


def test_mot_s_boxes_are_cut_to_the_frame_and_counted(tmp_path, capsys):
    mot(f"{tmp_path}/own")
    write(f"{tmp_path}/own/kitchen/gt/gt.txt", "1,3,-9,10,20,16,1,1,0.5\n2,3,50,40,20,16,1,1,0.5\n")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 0
    assert "cut 2 boxes that reached beyond their frames, such as " in capsys.readouterr().out
    boxes = read(tmp_path / "data")[0]["kitchen"].boxes
    np.testing.assert_allclose(boxes[0], [[10 / HEIGHT, 0, 26 / HEIGHT, 11 / WIDTH]], atol=1e-6)
    np.testing.assert_allclose(boxes[1], [[40 / HEIGHT, 50 / WIDTH, 1, 1]], atol=1e-6)
