"""The frames of a folder, and the names by which annotations call them."""

import os
import time
import unicodedata

import pytest
from own_folders import frames_of, roboflow_yolo

from patchwork_tf.data import annotations
from patchwork_tf.data.media import Clip, Frame, Frames
from patchwork_tf.errors import DataError


def test_labels_of_a_split_are_not_of_a_frame_in_another(tmp_path):
    roboflow_yolo(f"{tmp_path}/own")
    os.remove(f"{tmp_path}/own/train/images/img1_jpg.rf.ab.jpg")
    with pytest.raises(DataError, match=r"train/labels/img1_jpg.rf.ab.txt is of .* which is not among"):
        annotations.read(Frames(f"{tmp_path}/own"))


def test_what_links_leave_out_is_said(tmp_path):
    frames_of(f"{tmp_path}/own/a", "{:d}.jpg")
    os.symlink(tmp_path / "own/a", tmp_path / "own/b")
    with pytest.raises(DataError, match=r"own/b and .*own/a are one folder"):
        Frames(f"{tmp_path}/own")
    os.remove(tmp_path / "own/b")
    os.symlink(tmp_path / "nothing", tmp_path / "own/b")
    with pytest.raises(DataError, match=r"own/b: a link to what is not there"):
        Frames(f"{tmp_path}/own")


def test_videos_of_equal_names_are_told_apart_by_their_folders(tmp_path):
    for split in ("train", "valid"):
        os.makedirs(tmp_path / split)
        (tmp_path / split / "walk.mp4").touch()
    frames = Frames(str(tmp_path))
    frame = frames.find("valid/labels/walk/frame_7.txt", "x")
    assert (frame.path, frame.number) == (f"{tmp_path}/valid/walk.mp4", 7)
    with pytest.raises(DataError, match=r"may be .*train/walk.mp4 or .*valid/walk.mp4"):
        frames.find("labels/walk/frame_7.txt", "x")


def test_folders_name_splits_and_files_do_not(tmp_path):
    frames_of(f"{tmp_path}/own/street", "train{:d}.jpg")
    frames_of(f"{tmp_path}/own/val2017", "a{:d}.jpg")
    (tmp_path / "own/test.mp4").touch()
    splits = {name: clip.split for name, clip in Frames(f"{tmp_path}/own").clips.items()}
    assert splits == {"test": "train", "street": "train", "val2017": "validation"}


def test_mot_is_read_in_linear_time():
    frames = [Frame(f"a/{number:06d}", f"a/{number:06d}.jpg") for number in range(1, 20_001)]
    clip, start = Clip("a", frames), time.monotonic()
    assert [clip.numbered(number, "gt.txt") for number in range(1, 20_001)] == frames
    assert time.monotonic() - start < 5  # 200 if the numbers of all frames were read for each


@pytest.mark.parametrize(("on_disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_one(on_disk, listed, tmp_path):
    frame, named = (unicodedata.normalize(form, "M\xfcll/Stra\xdfe_\xe9") for form in (on_disk, listed))
    frames_of(f"{tmp_path}/{frame}".rpartition("/")[0], f"{frame.partition('/')[2]}{{:d}}.jpg")
    frames = Frames(str(tmp_path))
    for t in range(3):
        assert frames.find(f"{named}{t}.txt", "x").path == f"{tmp_path}/{frame}{t}.jpg"


def test_names_with_digits_that_are_none_are_sorted(tmp_path):
    for name in ("1\xb23", "10", "9"):
        frames_of(f"{tmp_path}/{name}", f"{name}_{{:d}}.jpg", count=1)
    assert list(Frames(str(tmp_path)).clips) == ["1\xb23", "9", "10"]
