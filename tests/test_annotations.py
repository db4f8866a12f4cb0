"""What is wrong with annotations is said with its place: of one frame, which may be left out, or of all."""

import json
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_folders import HEIGHT, WIDTH, coco, masks, mot, voc, write, yolo

from patchwork_tf.data import annotations
from patchwork_tf.data.media import Frames
from patchwork_tf.data.schema import number, whole_number
from patchwork_tf.errors import DataError


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


def _write(path, text):
    return lambda root: write(f"{root}/{path}", text)


def _copy(path, other):
    return lambda root: shutil.copyfile(f"{root}/{path}", f"{root}/{other}")


_JSON, _GT = "annotations/instances_default.json", "kitchen/gt/gt.txt"
_TXT, _XML = "labels/train/pond/00000.txt", "Annotations/pond/00001.xml"
_SIZE = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
_BOX = "<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>{}</xmax><ymax>20</ymax></bndbox>"


def _voc(xmax=30, name="<name>cup</name>", root="annotation"):
    return _write(_XML, f"<{root}>{_SIZE}<object>{name}{_BOX.format(xmax)}</object></{root}>")


def _coco(**values):
    """Annotation 2 with other values; all categories, videos and images too, if so called."""

    def change(content):
        for key, value in values.items():
            if key in content:
                content[key] = value(content[key])
            else:
                content["annotations"][1][key] = value

    return _change(_JSON, change)


BAD_FRAMES = {  # of one frame, which --skip_bad leaves out
    "COCO class": (coco, _coco(category_id=5), "annotation 2 is of category 5"),
    "COCO box": (
        coco,
        _coco(bbox=[50, 9, 20, 9]),
        "annotation 2: box 50,9,70,18 is not inside of the 64x48 frame",
    ),
    "COCO keys": (
        coco,
        _change(_JSON, lambda c: c["annotations"][1].pop("bbox")),
        "annotation 2: not COCO's format (KeyError: 'bbox')",
    ),
    "COCO nan": (coco, _coco(bbox=[9, float("nan"), 9, 9]), "annotation 2: nan is not a finite number"),
    "COCO infinity": (coco, _coco(bbox=[9, 9, float("inf"), 9]), "annotation 2: inf is not a finite number"),
    "COCO huge": (coco, _coco(bbox=[9, 9, 10**400, 9]), "is not a finite number"),
    "COCO true": (coco, _coco(bbox=[True, 9, 9, 9]), "annotation 2: True is not a finite number"),
    "COCO long track": (coco, _coco(instance_id=2**40), "1099511627776 is not a whole number of 32 bits"),
    "COCO crowd": (coco, _coco(iscrowd="0"), "annotation 2: iscrowd is 0 or 1, not '0'"),
    "MOT class": (mot, _append(_GT, "\n1,4,1,1,9,9,1,3,1"), "gt.txt:4: class 3; there are 1 to 2"),
    "MOT box": (
        mot,
        _append(_GT, "\n1,4,64,1,9,9,1,1,1"),
        "gt.txt:4: box 64,1,73,10 has no area inside of the 64x48",
    ),
    "MOT number": (mot, _append(_GT, "\n1,4,1,1,9,inf,1,1,1"), "gt.txt:4: 'inf' is not a finite number"),
    "MOT track": (mot, _append(_GT, "\n1,4.5,1,1,9,9,1,1,1"), "gt.txt:4: '4.5' is not a whole number"),
    "MOT commas": (mot, _append(_GT, "\n1,4,24,00,12,00,16,00,24,00"), "gt.txt:4: the seventh number"),
    "YOLO class": (yolo, _append(_TXT, "\n2 0.5 0.5 0.1 0.1"), "00000.txt:2: class 2, which "),
    "YOLO box": (yolo, _append(_TXT, "\n1 0.9 0.5 0.5 0.1"), "00000.txt:2: box"),
    "YOLO cut off": (yolo, _append(_TXT, "\n1 0.9 0.5"), "00000.txt:2: expected class x y"),
    "YOLO cut off number": (yolo, _append(_TXT, "\n1 0.5 0.5 0.1 0."), "00000.txt:2: box"),
    "YOLO commas": (yolo, _write(_TXT, "1 0,5 0,5 0,1 0,1"), "00000.txt:1: '0,5' is not a finite number"),
    "YOLO word": (yolo, _write(_TXT, "duck 0.5 0.5 0.1 0.1"), "00000.txt:1: 'duck' is not a finite number"),
    "YOLO letter": (yolo, _append(_TXT, "\n1 0.5 0.5 o.1 0.1"), "00000.txt:2: 'o.1' is not a finite number"),
    "YOLO underscore": (yolo, _append(_TXT, "\n1 0.5 0.5 0_1 0.1"), "00000.txt:2: '0_1' is not a finite number"),
    "YOLO score": (yolo, _append(_TXT, "\n1 0.5 0.5 0.1 0.1 0.87"), "00000.txt:2: '0.87' is not a whole number"),
    "VOC box": (voc, _voc(xmax=99), "00001.xml: object 1: box 9,9,100,21 is not inside of the 64x48 frame"),
    "VOC no name": (voc, _voc(name=""), "00001.xml: object 1: a name is one line of text, not None"),
    "VOC empty name": (voc, _voc(name="<name> </name>"), "00001.xml: object 1: a name is one line of text"),
    "VOC no edge": (voc, _voc(xmax=""), "00001.xml: object 1, xmax: '' is not a finite number"),
    "VOC nan": (voc, _voc(xmax="nan"), "00001.xml: object 1, xmax: 'nan' is not a finite number"),
    "VOC other": (voc, _voc(root="annotations"), "00001.xml: not a VOC annotation"),
    "VOC encoding": (
        voc,
        _write(_XML, "<?xml version='1.0' encoding='x'?><a/>"),
        "00001.xml: not a VOC annotation",
    ),
    "VOC cut off": (voc, _write(_XML, "<annotation><size>"), "00001.xml: not a VOC annotation"),
}
BAD = {  # of all
    "COCO frame": (
        coco,
        lambda r: os.remove(f"{r}/frames/pond/00001.jpg"),
        "image 6 is of pond/00001.jpg, which is not among",
    ),
    "COCO ids": (coco, _coco(id=1), "annotation 1 is there twice"),
    "COCO image": (coco, _coco(image_id=99), "is of image 99"),
    "COCO empty": (coco, _coco(images=lambda _: [], annotations=lambda _: []), "no annotations there"),
    "COCO true id": (coco, _coco(id=True), "annotation True: an id is a whole number or a text"),
    "COCO no file name": (coco, _coco(images=lambda found: [found[0] | {"file_name": ""}]), "image 1 is of ,"),
    "COCO null class": (
        coco,
        _coco(categories=lambda _: [{"id": 7, "name": None}]),
        "category 7: a name is one line",
    ),
    "COCO class twice": (
        coco,
        _coco(categories=lambda found: [category | {"name": "cup"} for category in found]),
        "categories 7 and 8 are both called cup",
    ),
    "COCO category twice": (coco, _coco(categories=lambda found: found + found[:1]), "category 7 is there twice"),
    "COCO video twice": (coco, _coco(videos=lambda found: [v | {"name": "pond"} for v in found]), "the same name"),
    "COCO twice": (coco, _copy(_JSON, "copy.json"), "image 1 is of "),
    "not JSON": (coco, _append(_JSON, "]"), "instances_default.json: not JSON"),
    "deep JSON": (coco, _write("x.json", "[" * 100_000), "x.json: not JSON"),
    "MOT frame": (mot, _append(_GT, "\n9,4,1,1,9,9,1,1,1"), "gt.txt:4 is of frame 9, which is not in kitchen"),
    "MOT part of a frame": (mot, _append(_GT, "\n1.5,4,1,1,9,9,1,1,1"), "gt.txt:4: '1.5' is not a whole number"),
    "MOT words": (mot, _append(_GT, "\n1,4,x"), "gt.txt:4: expected frame,id,left"),
    "MOT twice": (mot, _copy(_GT, "kitchen/gt.txt"), "keep one of them"),
    "MOT class twice": (mot, _append("kitchen/gt/labels.txt", "\ncup"), "labels.txt:3: class cup is there twice"),
    "YOLO frame": (
        yolo,
        lambda r: os.remove(f"{r}/images/train/pond/00000.jpg"),
        "is of labels/train/pond/00000.txt",
    ),
    "YOLO twice": (yolo, _copy(_TXT, "images/train/pond/00000.txt"), "keep one of them"),
    "YOLO classes": (yolo, _write("classes.txt", "duck\ncup"), "it has other classes than"),
    "YOLO no labels": (yolo, lambda r: shutil.rmtree(f"{r}/labels"), "no annotations there"),
    "VOC frame": (voc, lambda r: os.remove(f"{r}/JPEGImages/pond/00001.jpg"), "which is not among the pictures"),
    "VOC twice": (voc, _copy(_XML, "JPEGImages/pond/00001.xml"), "keep one of them"),
    "mask frame": (masks, lambda r: os.remove(f"{r}/frames/pond/00001.jpg"), "masks/pond/00001.png is of"),
    "two formats": (masks, _yolo_too, "both YOLO and masks are there"),
    "no frames": (yolo, lambda r: shutil.rmtree(f"{r}/images"), "neither pictures"),
    "link": (
        yolo,
        lambda r: os.symlink(f"{r}/images/train/pond", f"{r}/images/train/z"),
        "are one folder, by a link; remove one of them",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_all_is_said_with_its_place(case, tmp_path):
    make, spoil, message = BAD[case]
    make(f"{tmp_path}/own")
    spoil(f"{tmp_path}/own")
    with pytest.raises(DataError) as raised:
        annotations.read(Frames(f"{tmp_path}/own"))
    assert message in str(raised.value)


def _wrong(found, frame) -> list[str]:
    """What is said against a frame."""
    if frame in found.bad:
        return [str(found.bad[frame])]
    wrong = []
    for thing in found.things[frame]:
        try:
            thing.described((HEIGHT, WIDTH), found.class_names.index(thing.name))
        except DataError as error:
            wrong.append(str(error))
    return wrong


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_what_is_wrong_with_a_frame_is_said_of_it_alone(case, tmp_path):
    make, spoil, message = BAD_FRAMES[case]
    make(f"{tmp_path}/own")
    spoil(f"{tmp_path}/own")
    found = annotations.read(Frames(f"{tmp_path}/own"))
    (said,) = (line for frame in found.things for line in _wrong(found, frame))
    assert message in said
    assert len(said) < 400


@pytest.mark.parametrize(
    ("names", "number", "expected"),
    [
        ("{0: cat, 2: dog, 3: bus}", 2, "dog"),
        ("{0: cat, 2: dog, 3: bus}", 1, None),
        (str({str(n): f"n{n}" for n in range(12)}), 10, "n10"),
    ],
)
def test_the_number_of_a_class_is_data_yaml_s(names, number, expected, tmp_path):
    yolo(f"{tmp_path}/own")
    write(f"{tmp_path}/own/data.yaml", f"names: {names}")
    write(f"{tmp_path}/own/{_TXT}", f"{number} 0.5 0.5 0.1 0.1")
    frames = Frames(f"{tmp_path}/own")
    found, frame = annotations.read(frames), frames.find(_TXT, "x")
    assert [thing.name for thing in found.things[frame]] == ([expected] if expected else [])
    assert (frame in found.bad) == (expected is None)


def test_two_files_may_have_videos_of_one_name(tmp_path):
    for split in ("train", "valid"):
        coco(f"{tmp_path}/{split}")
    found = annotations.read(Frames(str(tmp_path)))
    expected = ["kitchen", "pond", "valid/frames/kitchen", "valid/frames/pond"]
    assert {name: len(frames) for name, frames in found.clips.items()} == dict.fromkeys(expected, 4)
    assert {len(things) for things in found.things.values()} == {0, 1}


@pytest.mark.parametrize("size", ["<size><width>0</width><height>0</height></size>", "<size/>", ""])
def test_a_voc_size_of_nothing_is_unknown(size, tmp_path):
    voc(f"{tmp_path}/own")
    write(f"{tmp_path}/own/{_XML}", f"<annotation>{size}</annotation>")
    assert annotations.read_voc(f"{tmp_path}/own/{_XML}") == ([], None)
    assert len(annotations.read(Frames(f"{tmp_path}/own")).sizes) == 7


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.one_of(st.text(), st.from_regex(r"[-+]?[0-9_]*[.,]?[0-9]*(e[0-9]*)?", fullmatch=True), st.floats()))
def test_a_number_is_finite_and_written_in_one_way(value):
    for read in (number, whole_number):
        try:
            found = read(value, "x")
        except DataError:
            continue
        assert abs(found) < float("inf")
        assert found == float(value)
        assert "_" not in str(value)
