"""A folder of one's own pictures and annotations: five formats that say the same, and what is wrong with them."""

import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest

from patchwork_tf import prepare
from patchwork_tf.data.datasets import Source, annotated_videos, class_names
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.data.video import write_video
from patchwork_tf.errors import DataError

HEIGHT, WIDTH, FRAMES = 48, 64, 4
NAMES = ["cup", "duck"]
CLIPS = {"kitchen": 0, "pond": 1}  # and the class of what moves in them


def box_of(clip, t):
    """xmin, ymin, width, height; none in the last frame."""
    return None if t == FRAMES - 1 else (4 + 3 * t + CLIPS[clip], 10, 20, 16)


def _pictures(folder, name="{t:05d}.jpg"):
    for index, clip in enumerate(CLIPS):
        os.makedirs(folder.format(clip=clip))
        for t, frame in enumerate(render_clip(index, FRAMES, WIDTH, "train").frames[:, :HEIGHT]):
            PIL.Image.fromarray(frame).save(f"{folder.format(clip=clip)}/{name.format(t=t)}", quality=95)


def _all():
    return [(clip, t, box_of(clip, t)) for clip in CLIPS for t in range(FRAMES)]


def coco(root, videos=True):
    _pictures(f"{root}/frames/{{clip}}")
    clips = [*CLIPS]
    images, annotations = [], []
    for number, (clip, t, box) in enumerate(_all(), start=1):
        image = {"id": number, "file_name": f"{clip}/{t:05d}.jpg", "width": WIDTH, "height": HEIGHT}
        images.append(image | ({"video_id": clips.index(clip), "frame_id": t} if videos else {}))
        if box:
            annotation = {"id": number, "image_id": number, "category_id": 7 + CLIPS[clip], "bbox": box}
            annotations.append(annotation | {"instance_id": 3, "iscrowd": 0})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7 + k, "name": name} for k, name in enumerate(NAMES)],
    }
    if videos:
        content["videos"] = [{"id": number, "name": clip} for number, clip in enumerate(clips)]
    write(f"{root}/annotations/instances_default.json", json.dumps(content))


def plain_coco(root):
    coco(root, videos=False)


def mot(root):
    _pictures(f"{root}/{{clip}}/img1", "{t:06d}.jpg")
    for clip in CLIPS:
        rows = [
            f"{t + 1},3,{','.join(map(str, box))},1,{CLIPS[clip] + 1},1.0"
            for c, t, box in _all()
            if box and c == clip
        ]
        write(f"{root}/{clip}/gt/gt.txt", "\n".join(rows))
        write(f"{root}/{clip}/gt/labels.txt", "\n".join(NAMES))


def yolo(root):
    _pictures(f"{root}/images/train/{{clip}}")
    write(f"{root}/data.yaml", f"path: .\nnames: {{0: {NAMES[0]}, 1: {NAMES[1]}}}\n")
    for clip, t, box in _all():
        if box:
            x, y, w, h = box
            row = f"{CLIPS[clip]} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT} 3"
            write(f"{root}/labels/train/{clip}/{t:05d}.txt", row)


def voc(root):
    _pictures(f"{root}/JPEGImages/{{clip}}")
    for clip, t, box in _all():
        edges = box and f"<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[0] + box[2] - 1}</xmax>"
        thing = box and f"{edges}<ymax>{box[1] + box[3] - 1}</ymax>"
        thing = box and f"<object><name>{NAMES[CLIPS[clip]]}</name><bndbox>{thing}</bndbox></object>"
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        path = f"{root}/Annotations/{clip}/{t:05d}.xml"
        write(path, f"<annotation>{size}{thing or ''}</annotation>")


def masks(root):
    _pictures(f"{root}/frames/{{clip}}")
    for clip, t, box in _all():
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        if box:
            mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = 255
        os.makedirs(f"{root}/masks/{clip}", exist_ok=True)
        PIL.Image.fromarray(mask).save(f"{root}/masks/{clip}/{t:05d}.png")


BOXES = {"COCO with videos": coco, "COCO": plain_coco, "MOT": mot, "YOLO": yolo, "VOC": voc}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


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


def _change(path, change):
    def spoil(root):
        with open(f"{root}/{path}") as file:
            content = json.load(file)
        change(content)
        with open(f"{root}/{path}", "w") as file:
            json.dump(content, file)

    return spoil


def _append(path, text):
    def spoil(root):
        with open(f"{root}/{path}", "a") as file:
            file.write(text)

    return spoil


def _yolo_too(root):
    write(f"{root}/classes.txt", "cup")
    write(f"{root}/labels/pond/00000.txt", "0 0.5 0.5 0.1 0.1")


_JSON, _GT = "annotations/instances_default.json", "kitchen/gt/gt.txt"
_XML = "Annotations/pond/00001.xml"
_SIZE = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
_FAR = (
    "<object><name>cup</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>99</xmax><ymax>20</ymax></bndbox></object>"
)
BAD = {
    "COCO class": (
        coco,
        _change(_JSON, lambda c: c["annotations"][1].update(category_id=5)),
        "annotation 2 is of category 5",
    ),
    "COCO box": (
        coco,
        _change(_JSON, lambda c: c["annotations"][1].update(bbox=[50, 9, 20, 9])),
        "annotation 2: box",
    ),
    "COCO frame": (
        coco,
        lambda r: os.remove(f"{r}/frames/pond/00001.jpg"),
        "image 6 is of pond/00001.jpg, which is not among",
    ),
    "COCO ids": (coco, _change(_JSON, lambda c: c["annotations"][1].update(id=1)), "annotation 1 is there twice"),
    "COCO image": (coco, _change(_JSON, lambda c: c["annotations"][1].update(image_id=99)), "is of image 99"),
    "COCO keys": (
        coco,
        _change(_JSON, lambda c: c["annotations"][1].pop("bbox")),
        "not COCO's format (KeyError: 'bbox')",
    ),
    "COCO empty": (coco, _change(_JSON, lambda c: c.update(images=[], annotations=[])), "no annotations there"),
    "not JSON": (coco, _append(_JSON, "]"), "instances_default.json: not JSON"),
    "MOT class": (mot, _append(_GT, "\n1,4,1,1,9,9,1,3,1"), "gt.txt:4: class 3; there are 1 to 2"),
    "MOT box": (mot, _append(_GT, "\n1,4,60,1,9,9,1,1,1"), "gt.txt:4: box 60,1,69,10 is not inside of the 64x48"),
    "MOT frame": (mot, _append(_GT, "\n9,4,1,1,9,9,1,1,1"), "gt.txt:4 is of frame 9, which is not in kitchen"),
    "MOT words": (mot, _append(_GT, "\n1,4,x"), "gt.txt:4: expected frame,id,left"),
    "YOLO class": (yolo, _append("labels/train/pond/00000.txt", "\n2 0.5 0.5 0.1 0.1"), "00000.txt:2: class 2"),
    "YOLO box": (yolo, _append("labels/train/pond/00000.txt", "\n1 0.9 0.5 0.5 0.1"), "00000.txt:2: box"),
    "YOLO frame": (
        yolo,
        lambda r: os.remove(f"{r}/images/train/pond/00000.jpg"),
        "is of labels/train/pond/00000.txt",
    ),
    "YOLO numbers": (
        yolo,
        _append("labels/train/pond/00000.txt", "\n1 0.9 0.5"),
        "00000.txt:2: expected class x y",
    ),
    "VOC box": (voc, lambda r: write(f"{r}/{_XML}", f"<annotation>{_SIZE}{_FAR}</annotation>"), "00001.xml: box"),
    "VOC frame": (voc, lambda r: os.remove(f"{r}/JPEGImages/pond/00001.jpg"), "which is not among the pictures"),
    "VOC cut off": (voc, lambda r: write(f"{r}/{_XML}", "<annotation><size>"), "00001.xml: not a VOC annotation"),
    "mask size": (
        masks,
        lambda r: PIL.Image.new("L", (9, 9)).save(f"{r}/masks/pond/00001.png"),
        "its mask is (9, 9)",
    ),
    "mask frame": (masks, lambda r: os.remove(f"{r}/frames/pond/00001.jpg"), "masks/pond/00001.png is of"),
    "frame size": (
        masks,
        lambda r: PIL.Image.new("RGB", (9, 9)).save(f"{r}/frames/pond/00001.jpg"),
        "has 9x9 pixels",
    ),
    "two formats": (masks, _yolo_too, "both YOLO and masks are there"),
    "no frames": (yolo, lambda r: shutil.rmtree(f"{r}/images"), "neither pictures"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_file_and_place(case, tmp_path, capsys):
    make, spoil, message = BAD[case]
    make(f"{tmp_path}/own")
    spoil(f"{tmp_path}/own")
    assert ready(f"{tmp_path}/own", tmp_path / "data") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in line
    assert len(line) < 400
    assert not os.path.exists(tmp_path / "data/folder/clips/1.0.0")


@pytest.mark.parametrize("case", ["COCO box", "MOT box", "YOLO box", "VOC box", "mask size", "frame size"])
def test_bad_frames_are_left_out_and_listed(case, tmp_path, capsys):
    make, spoil, message = BAD[case]
    make(f"{tmp_path}/own")
    spoil(f"{tmp_path}/own")
    assert ready(f"{tmp_path}/own", tmp_path / "data", "--skip_bad") == 0
    said = capsys.readouterr().out
    assert "skipped 1 bad frames" in said
    assert message in said
    assert sorted(len(video.frame_names) for video in read(tmp_path / "data")[0].values()) == [FRAMES - 1, FRAMES]


def _frames(folder, pattern, count=3):
    os.makedirs(folder)
    for t in range(count):
        PIL.Image.new("RGB", (WIDTH, HEIGHT), (40 * t, 80, 120)).save(f"{folder}/{pattern.format(t)}")


def cvat_yolo(root):
    _frames(f"{root}/obj_train_data", "frame_{:06d}.PNG")
    write(f"{root}/obj.data", "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n")
    write(f"{root}/obj.names", "cup\n")
    write(f"{root}/train.txt", "data/obj_train_data/frame_000000.PNG\n")
    write(f"{root}/obj_train_data/frame_000000.txt", "")
    write(f"{root}/obj_train_data/frame_000001.txt", "0 0.5 0.5 0.25 0.5\n")


def cvat_mot(root):
    _frames(f"{root}/img1", "frame_{:06d}.PNG")
    write(f"{root}/gt/labels.txt", "cup\n")
    write(f"{root}/gt/gt.txt", "2,1,24.00,12.00,16.00,24.00,1,1,1.0\n")


def cvat_coco(root):
    _frames(f"{root}/images/default", "frame_{:06d}.PNG")
    images = [{"id": t + 1, "width": WIDTH, "height": HEIGHT, "file_name": f"frame_{t:06d}.PNG"} for t in range(3)]
    attributes = {"occluded": False, "track_id": 4, "keyframe": True}
    thing = {"id": 1, "image_id": 2, "category_id": 1, "bbox": [24.0, 12.0, 16.0, 24.0], "attributes": attributes}
    categories = [{"id": 1, "name": "cup", "supercategory": ""}]
    content = {"licenses": [], "info": {}, "categories": categories, "images": images, "annotations": [thing]}
    write(f"{root}/annotations/instances_default.json", json.dumps(content))


def cvat_voc(root):
    _frames(f"{root}/JPEGImages", "frame_{:06d}.PNG")
    write(f"{root}/labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncup:250,50,83::\n")
    write(f"{root}/ImageSets/Main/default.txt", "frame_000000\nframe_000001\nframe_000002\n")
    box = "<xmin>24.0</xmin><ymin>12.0</ymin><xmax>39.0</xmax><ymax>35.0</ymax>"
    for t in range(3):
        thing = f"<object><name>cup</name><occluded>0</occluded><bndbox>{box}</bndbox></object>" if t == 1 else ""
        write(f"{root}/Annotations/frame_{t:06d}.xml", f"<annotation>{_SIZE}{thing}</annotation>")


def label_studio_coco(root):
    _frames(f"{root}/images", "{:d}a-garden.jpg")
    images = [
        {"id": t, "width": WIDTH, "height": HEIGHT, "file_name": f"images/{t}a-garden.jpg"} for t in range(3)
    ]
    thing = {"id": 0, "image_id": 1, "category_id": 0, "segmentation": [], "bbox": [24, 12, 16, 24], "iscrowd": 0}
    content = {"images": images, "categories": [{"id": 0, "name": "cup"}], "annotations": [thing], "info": {}}
    write(f"{root}/result.json", json.dumps(content))


def label_studio_yolo(root):
    _frames(f"{root}/images", "{:d}a-garden.jpg")
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
    _frames(f"{tmp_path}/own/JPEGImages", "frame_{:06d}.jpg")
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
