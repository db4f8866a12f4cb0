"""Reading and writing video, on real files where there are some."""

import os

import cv2
import numpy as np
import pytest

from patchwork_tf.data.video import Video, write_video
from patchwork_tf.errors import DataError, UsageError


def moving_square(count=10, height=64, width=96):
    frames = np.full((count, height, width, 3), 30, np.uint8)
    for t in range(count):
        frames[t, 10:40, 4 * t : 4 * t + 30] = (250, 20, 20)
    return frames


def test_mp4_round_trip(tmp_path):
    frames = moving_square()
    path = str(tmp_path / "out.mp4")
    write_video(path, frames, 1 / 12.5)
    video = Video(path)
    assert (video.fps, video.num_frames) == (12.5, 10)
    decoded = np.stack(list(video))
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 6
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_gif_round_trip(tmp_path):
    path = str(tmp_path / "out.gif")
    write_video(path, moving_square(), 0.1)
    decoded = np.stack(list(Video(path)))
    assert decoded.shape == (10, 64, 96, 3)
    assert np.abs(decoded.astype(int) - moving_square()).mean() < 6


def test_odd_sizes_lose_a_pixel_in_mp4(tmp_path):
    path = str(tmp_path / "odd.mp4")
    write_video(path, moving_square(height=65, width=97), 0.1)
    assert next(iter(Video(path))).shape == (64, 96, 3)


def test_folder_frames_come_in_numeric_order(tmp_path):
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not a frame")
    assert [frame[0, 0, 0] for frame in Video(str(tmp_path))] == [1, 2, 10]


def test_real_mp4(real_data):
    frames = list(Video(real_data("misc_video/mmtracking_demo.mp4")))
    assert len(frames) == 8
    assert frames[0].shape == (1080, 1920, 3)


def test_mp4_of_the_demo():
    frames = list(Video("docs/photos.mp4"))
    assert len(frames) == 192
    assert frames[0].shape == (384, 512, 3)


def test_real_folder(real_data):
    video = Video(real_data("vid_clip_00007010/frames"))
    assert video.num_frames == 144
    assert next(iter(video)).shape == (720, 1280, 3)


def test_missing_empty_and_foreign_sources_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no video here")
    for name, message in (
        ("none.mp4", "no such file"),
        ("empty", "no images"),
        ("notes.txt", "not a readable video"),
    ):
        with pytest.raises(DataError, match=message):
            Video(str(tmp_path / name))


def test_truncated_video_is_corrupt_not_short(tmp_path):
    path = tmp_path / "whole.mp4"
    write_video(str(path), moving_square(40), 0.1)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"cut\.mp4"):
        list(Video(str(cut)))


def test_corrupt_image_in_a_folder_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    with pytest.raises(DataError, match=r"b\.jpg"):
        list(Video(str(tmp_path)))


def test_nothing_half_written(tmp_path):
    def failing():
        yield from moving_square(3)
        raise DataError("the camera caught fire")

    with pytest.raises(DataError, match="fire"):
        write_video(str(tmp_path / "out.mp4"), failing(), 0.1)
    assert os.listdir(tmp_path) == []


def test_unknown_output_format():
    with pytest.raises(UsageError, match=r"\.mp4 or a \.gif"):
        write_video("out.avi", [], 0.1)
