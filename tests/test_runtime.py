"""patchwork_runtime: exported files say without TensorFlow what they say in patchwork_tf, of any frame."""

import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from exports import export
from native_runner import ROOT
from pycocotools import mask as coco_masks
from test_library import CLIP, noise

import patchwork_tf as pw
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export import metadata
from patchwork_tf.resizing import resize_frame
from patchwork_tf.runtime import Model
from patchwork_tf.runtime.resizing import Resizer, inner_pixels, restore_map

PACKAGE = ROOT / "runtime" / "python"


@pytest.fixture(scope="module")
def frames(clip):
    few = itertools.islice(Video(clip), 24)
    return [cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA) for frame in few]


def assert_same(found, expected, tolerance=0.0):
    assert type(found).__name__ == type(expected).__name__
    assert (found.window, found.whole_frame) == (expected.window, expected.whole_frame)
    for name in ("boxes", "scores", "classes", "probability", "mask"):
        if hasattr(expected, name):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start"),
    [("detector", "whole"), ("detector", "sweep"), ("segmenter", "whole"), ("letterboxed", "sweep")],
)
def test_answers_are_those_of_patchwork_tf(name, start, request, frames):
    path = request.getfixturevalue(name)
    model = Model(path)
    stream = model.stream(start)
    for frame, expected in zip(frames, pw.stream(path, frames, start=start), strict=True):
        answer = stream.push(frame)
        assert_same(answer, expected, 1e-5)
        assert answer.mflops == pytest.approx(expected.mflops)
    facts = metadata.read(path)
    assert model.labels == tuple(facts["labels"])
    assert (model.system, model.task, model.cells) == (facts["system"], facts["task"], facts["grid"]["cells"])


SIZES = [(1080, 1920), (720, 1280), (480, 854), (1001, 773), (192, 192), (96, 96), (100, 70), (50, 400), (400, 50)]


@pytest.mark.parametrize("resize_mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", SIZES)
def test_frames_are_resized_as_opencv_does_it(size, resize_mode):
    """To a level, where a mean lies exactly between two or pixels are stretched; a window as in the whole."""
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    resizer, whole = Resizer(size, (96, 96), resize_mode), np.full((96, 96, 3), 9, np.float32)
    resizer.fill(frame, (0, 0, 96, 96), whole)
    levels = np.rint((whole + 1) * 127.5)
    difference = np.abs(levels - resize_frame(frame, (96, 96), resize_mode))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01
    for top, left in ((0, 0), (24, 48), (48, 48)):
        part = np.full((96, 96, 3), 9, np.float32)
        resizer.fill(frame, (top, left, top + 48, left + 48), part)
        differs = part[top : top + 48, left : left + 48] - whole[top : top + 48, left : left + 48]
        assert np.abs(differs).max() < 1.1 / 127.5
        assert np.mean(differs != 0) < 0.002
        part[top : top + 48, left : left + 48] = 9
        assert np.all(part == 9)


def test_a_letterbox_has_the_frame_in_its_midst_in_whole_pixels():
    for width in range(301, 700, 7):
        height = round(100 * 300 / width)
        assert inner_pixels((100, width), (300, 300), "letterbox") == ((300 - height) // 2, 0, height, 300)


@pytest.mark.parametrize("resize_mode", ["stretch", "letterbox"])
def test_maps_are_restored_with_and_without_opencv(resize_mode, monkeypatch):
    rng, size = np.random.default_rng(0), (180, 320)
    probability, numbers = rng.random((96, 96), np.float32), rng.integers(0, 5, (96, 96), dtype=np.uint8)
    expected = [restore_map(values, size, resize_mode) for values in (probability, numbers)]
    monkeypatch.setattr("patchwork_tf.runtime.resizing._opencv", lambda: None)
    np.testing.assert_allclose(restore_map(probability, size, resize_mode), expected[0], atol=1e-5)
    np.testing.assert_array_equal(restore_map(numbers, size, resize_mode), expected[1])


@pytest.mark.slow
def test_eight_streams_take_turns_and_each_equals_itself_alone(detector):
    videos = [noise(12)[number:] + noise(12)[:number] for number in range(8)]
    videos = [[frame[:, :: 1 - 2 * (number % 2)] for frame in video] for number, video in enumerate(videos)]
    model, alone = Model(detector), []
    for video in videos:
        stream = model.stream()
        alone.append([stream.push(frame) for frame in video])
    streams = [model.stream() for _ in videos]
    for _ in range(2):  # the second time after a reset
        for number in range(len(videos[0])):
            for stream, video, expected in zip(streams, videos, alone, strict=True):
                assert_same(stream.push(video[number]), expected[number])
        for stream in streams:
            stream.reset()


def test_two_threads_at_one_model_are_told(detector):
    model, told = Model(detector), []
    streams = [model.stream() for _ in range(4)]

    def run(stream):
        for frame in noise(6):
            try:
                stream.push(frame)
            except UsageError as error:
                told.append(str(error))

    threads = [threading.Thread(target=run, args=[stream]) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told
    assert "two threads are at one Model" in told[0]
    assert model.stream().push(noise(1)[0]).whole_frame


def test_what_cannot_be_is_one_line(detector, tmp_path, small, small_networks):
    with pytest.raises(DataError, match="No such file"):
        Model(tmp_path / "none.tflite")
    content = Path(detector).read_bytes()
    for name, wrong, message in (
        ("empty", b"", "empty"),
        ("text", b"no model" * 9, "not a TFLite file"),
        ("cut", content[: len(content) // 2], "Patchwork metadata|damaged"),
        ("flipped", content[:-999] + bytes([content[-999] ^ 1]) + content[-998:], "checksum differs"),
    ):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=message):
            Model(path)
    raw = str(tmp_path / "raw.tflite")
    export(small("small-boxes", image_size=64), raw, suppression=False, verify_steps=1)
    with pytest.raises(UsageError, match="without --nosuppression"):
        Model(raw)
    facts = metadata.read(detector)
    late = {**facts, "stream": {**facts["stream"], "interval": 4, "delay": 3}}
    Path(raw).write_bytes(metadata.insert(content, late))
    with pytest.raises(UsageError, match="answers late"):
        Model(raw)
    stream, frame = Model(detector).stream(), noise(1)[0]
    with pytest.raises(UsageError, match="start is one of whole, sweep, not raster"):
        Model(detector).stream("raster")
    with pytest.raises(UsageError, match=r"frame 0: an image is \(h, w, 3\) uint8"):
        stream.push(frame.astype(np.float32))
    stream.push(frame)
    with pytest.raises(DataError, match="frames of one video have one size"):
        stream.push(frame[:90])
    assert stream.push(frame).window is not None  # the stream goes on


def command(*arguments, code=""):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    program = ["-c", code] if code else ["-m", "patchwork_runtime"]
    arguments = list(map(str, arguments))
    return subprocess.run(
        [sys.executable, *program, *arguments], capture_output=True, text=True, env=environment, cwd="/"
    )


LOADED = """
import sys
from patchwork_runtime.__main__ import main
code = main(sys.argv[1:])
print(code, [name for name in ("tensorflow", "keras", "jax", "patchwork_tf") if name in sys.modules])
"""


@pytest.mark.slow
def test_the_command_answers_clips_by_turns_without_tensorflow(detector):
    done = command(detector, CLIP, CLIP, "--json", "--max_frames=3", "--min_score=0.5", code=LOADED)
    *lines, last = done.stdout.splitlines()
    assert last == "0 []", done.stderr
    records = [json.loads(line) for line in lines]
    assert [record["frame"] for record in records] == [0, 0, 1, 1, 2, 2]
    few = list(itertools.islice(Video(CLIP), 3))
    for number, expected in enumerate(pw.stream(detector, few)):
        shown = expected.scores >= 0.5
        for record in records[2 * number : 2 * number + 2]:
            scores = record["scores"]
            assert len(record["boxes"]) == len(record["classes"]) == len(scores)
            # Random weights: where scores are nearly equal, a level of one pixel may say who wins.
            assert abs(len(scores) - shown.sum()) <= 2
            assert np.mean(np.abs(np.sort(scores)[-50:] - np.sort(expected.scores)[-50:]) < 2e-3) > 0.9
    assert done.stderr.count("3 frames") == 2
    assert "ms, p95" in done.stderr


@pytest.mark.slow
def test_masks_are_run_lengths_that_coco_reads(segmenter):
    done = command(segmenter, CLIP, "--json", "--max_frames=2")
    assert done.returncode == 0, done.stderr
    assert "INFO" not in done.stderr
    few = list(itertools.islice(Video(CLIP), 2))
    for line, expected in zip(done.stdout.splitlines(), pw.stream(segmenter, few), strict=True):
        found = json.loads(line)["masks"].get("foreground")
        runs = coco_masks.frPyObjects(found, *found["size"]) if found else None
        mask = coco_masks.decode(runs) if found else np.zeros_like(expected.mask)
        assert np.mean(mask != expected.mask) < 0.01


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.tflite", "clip.mp4"], 1, "none.tflite: No such file"),
        (["none.tflite"], 2, "name a clip, or a camera by --camera"),
        (["none.tflite", "clip.mp4", "--start=late"], 2, "invalid choice"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(arguments, code, message):
    done = command(*arguments)
    assert done.returncode == code
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_clips_that_cannot_be_read_are_one_line(detector, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for path in (tmp_path / "none.mp4", tmp_path / "text.mp4"):
        done = command(detector, path)
        assert done.returncode == 1
        assert f"{path}: cannot read it" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_documented_lines_run(detector, tmp_path):
    """Those of docs/use.md that need no TensorFlow, as they are there."""
    text = (ROOT / "docs/use.md").read_text()
    block = text[text.index("from patchwork_runtime") :].split("```")[0]
    (tmp_path / "pw.tflite").symlink_to(detector)
    (tmp_path / "clip.mp4").symlink_to(CLIP)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 2
