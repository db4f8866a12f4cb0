"""Preparing data sets: what bad files and wrong flags are told, and what is kept."""

import os
import shutil

import PIL.Image
import pytest
from published import videos_of, write_xml

from patchwork_tf import prepare
from patchwork_tf.data.datasets import builder_of
from patchwork_tf.data.imagenet_vid import WORDNET_IDS

# What is broken, how, and what must be said of it.
BAD_VID = {
    "cut off JPEG": (
        lambda r, v, t: truncate(f"{r}/Data/VID/{v}/{t:06d}.JPEG"),
        ".JPEG: not a readable image",
    ),
    "missing frame": (
        lambda r, v, t: os.remove(f"{r}/Data/VID/{v}/{t:06d}.JPEG"),
        ".JPEG: this frame is missing",
    ),
    "missing XML": (
        lambda r, v, t: os.remove(f"{r}/Annotations/VID/{v}/{t:06d}.xml"),
        ".xml: this annotation",
    ),
    "cut off XML": (lambda r, v, t: truncate(f"{r}/Annotations/VID/{v}/{t:06d}.xml"), ".xml: not a VOC"),
    "box outside": (
        lambda r, v, t: write_xml(f"{r}/Annotations/VID/{v}/{t:06d}.xml", [(WORDNET_IDS[0], 0, 50, 10, 70, 20)]),
        "box 50,10,71,21 is not inside of the 64x48 frame",
    ),
    "unknown class": (
        lambda r, v, t: write_xml(f"{r}/Annotations/VID/{v}/{t:06d}.xml", [("n00000001", 0, 5, 5, 9, 9)]),
        "unknown class 'n00000001'",
    ),
    "other size": (
        lambda r, v, t: write_xml(f"{r}/Annotations/VID/{v}/{t:06d}.xml", [], size=(100, 100)),
        "says 100x100, but the frame has 64x48",
    ),
}


def truncate(path):
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)


@pytest.fixture
def validation(vid, tmp_path):
    """A copy of the data set with one split, whose list names all frames, so that a missing one can be missed."""
    root = str(shutil.copytree(vid, tmp_path / "vid"))
    shutil.rmtree(f"{root}/Data/VID/train")
    with open(f"{root}/ImageSets/VID/val.txt", "w") as file:
        file.writelines(f"ILSVRC2015_val_0000000{v}/{t:06d} {t + 1}\n" for v in range(2) for t in range(20))
    return root


@pytest.mark.slow
def test_bad_vid_files_stop_the_preparation_or_are_skipped_and_listed(validation, tmp_path, capsys):
    """Each with the file that it is about; and a video without a good frame."""
    bad = dict(enumerate(BAD_VID.values(), start=3))
    for t, (break_it, _) in bad.items():
        break_it(validation, "val/ILSVRC2015_val_00000000", t)
    for t in range(20):
        truncate(f"{validation}/Data/VID/val/ILSVRC2015_val_00000001/{t:06d}.JPEG")
    flags = ["--dataset=imagenet_vid", f"--manual_dir={validation}", f"--data_dir={tmp_path}"]
    assert prepare.main(flags) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert any(message in line for _, message in bad.values())
    assert len(line) < 300
    assert not builder_of("imagenet_vid", str(tmp_path)).is_prepared()
    assert prepare.main([*flags, "--skip_bad"]) == 0
    output = capsys.readouterr().out
    assert f"skipped {len(BAD_VID)} bad frames" in output
    for t, (_, message) in bad.items():
        (line,) = (line for line in output.splitlines() if message in line)
        assert f"{t:06d}" in line
    assert "skipped 1 videos without a good frame\n  ILSVRC2015_val_00000001" in output
    (only,) = videos_of("imagenet_vid", str(tmp_path)).values()
    assert only.frame_names == [f"{t:06d}" for t in range(20) if t not in bad]


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
        (["--dataset=davis2016", "--data_dir=D/data", "--manual_dir=D"], 1, "not the folder of DAVIS 2016"),
        (["--dataset=davis2016", "--data_dir=D", "--manual_dir=/nowhere"], 1, "/nowhere: no such folder"),
        (["--dataset=imagenet_vid", "--data_dir=D/data", "--manual_dir=D"], 1, "not the folder of ImageNet VID"),
        (["--dataset=imagenet_vid", "--data_dir=D/data", "--manual_dir=D", "--config=x"], 2, "videos, frames15"),
        (["--data_dir=D"], 2, "--dataset is required"),
    ],
)
def test_wrong_use_of_prepare(flags, code, message, tmp_path, capsys):
    assert prepare.main([flag.replace("=D", f"={tmp_path}") for flag in flags]) == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
