"""The Java class for apps: its answers are Python's, and no mistake of a caller ends the JVM."""

import itertools
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from exports import export
from native_runner import ROOT

import patchwork_tf as pw
from patchwork_tf.benchmarks import native
from patchwork_tf.data.video import Video
from patchwork_tf.export import golden, metadata
from patchwork_tf.zoo import checkpoints

JAVA, CLIP = ROOT / "runtime/java/src/main", ROOT / "docs/photos.mp4"
LABELS = ["plain", "grüße", '🦆 "duck"\\', *"abcdefg"]
HEIGHT, WIDTH = 180, 320

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def java(tool, tmp_path_factory):
    """Function of a task of Check.java and lines of its input, to what it prints."""
    folder, compiler = tmp_path_factory.mktemp("java"), Path(tool("JDK")).resolve()
    include = compiler.parents[1] / "include"
    flags = ["-shared", "-fPIC", f"-I{include}", *(f"-I{path.parent}" for path in include.glob("*/jni_md.h"))]
    sources = [ROOT / "runtime/c/patchwork.c", JAVA / "c/patchwork_jni.c"]
    native.compile_c(tool("C compiler"), sources, folder / "libpatchwork_jni.so", "-Werror", *flags)
    classes = [JAVA / "java/org/patchwork/Patchwork.java", ROOT / "tests/java/Check.java"]
    warned = ["-Xlint:all", "-Werror", "--release", "11", "-encoding", "UTF-8"]
    subprocess.run([compiler, *warned, "-d", folder, *classes], check=True)

    def run(task, *lines):
        command = [compiler.parent / "java", "-Xcheck:jni", f"-Djava.library.path={folder}", "-cp", folder]
        command += ["--add-opens", "java.base/java.io=ALL-UNNAMED", "Check", task]
        text = "\n".join(map(str, [native.library_path(), *lines]))
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, cwd=folder)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()[-3000:]
        return done.stdout.decode()

    return run


@pytest.fixture(scope="module")
def letterboxed(detector, segmenter, tmp_path_factory):
    """Both in files of other names, and labels, than an app in C would think of."""
    paths = []
    for path, labels in ((detector, LABELS), (segmenter, ["🦆"])):
        paths.append(tmp_path_factory.mktemp("letterboxed") / f"größe 🦆 {len(labels)}.tflite")
        facts = {**metadata.read(path), "resize_mode": "letterbox", "labels": labels}
        paths[-1].write_bytes(metadata.insert(Path(path).read_bytes(), facts))
    return list(map(str, paths))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A trained segmenter of several classes, which finds someone in the demo's clip."""
    path = str(tmp_path_factory.mktemp("classes") / "classes.tflite")
    weights = checkpoints.read("voc-pw-m4n2")
    model = checkpoints.build_from(pw.get_system("voc-pw-m4n2"), weights, image_size=256)
    export(model, path, verify_steps=1)
    return path


@pytest.fixture(scope="module")
def frames(clip):
    few = itertools.islice(Video(clip), 60)
    return [cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in few]


class Job:
    """What Check.java shall answer: frames of a format, stored as they are before so many turns of 90 degrees."""

    def __init__(self, folder, model, frames, image_format="rgb", turns=0, start="WHOLE"):
        stored = [[np.rot90(plane, turns) for plane in planes(frame, image_format)] for frame in frames]
        height, width = stored[0][0].shape[:2]
        self.name = f"{Path(model).stem}, {image_format}, {90 * turns} degrees, {start}"
        files = [folder / f"{self.name}.{part}" for part in ("raw", "labels", "answers")]
        pixels, self.labels, self.numbers = files
        pixels.write_bytes(b"".join(plane.tobytes() for frame in stored for plane in frame))
        self.lines = [model, start, image_format, height, width, 90 * turns, *files]

    def assert_same(self, expected):
        numbers = np.fromfile(self.numbers, "<f4")
        for answer in expected:
            (row, column, looked, count, height, width, has_classes), numbers = np.split(numbers, [7])
            sizes = np.array([6 * count, height * width, has_classes * height * width], int)
            found, mask, classes, numbers = np.split(numbers, np.cumsum(sizes))
            assert looked
            assert (None if row < 0 else (row, column)) == (answer.window and tuple(answer.window)), self.name
            if hasattr(answer, "boxes"):
                boxes = np.column_stack([answer.boxes, answer.scores, answer.classes])
                np.testing.assert_allclose(found.reshape(-1, 6), boxes, atol=1e-4, err_msg=self.name)
                continue
            shape = int(height), int(width)
            # Python's has the bars of a letterbox in it.
            top, left = np.subtract(answer.probability.shape, shape) // 2
            inner = answer.probability[top : top + shape[0], left : left + shape[1]]
            np.testing.assert_allclose(mask.reshape(shape), inner, atol=1e-3, err_msg=self.name)
            if has_classes:
                np.testing.assert_array_equal(classes.reshape(shape), answer.mask)
        assert not numbers.size

    def boxes(self) -> np.ndarray:
        """Of a detector, of all frames: (D, 6), as in golden vectors."""
        numbers, found = np.fromfile(self.numbers, "<f4"), []
        while numbers.size:
            count = int(numbers[3])
            found.append(numbers[7 : 7 + 6 * count].reshape(-1, 6))
            numbers = numbers[7 + 6 * count :]
        return np.concatenate(found)


def planes(frame, image_format):
    """What a camera stores: all planes of one kind, or luma and colours."""
    if image_format == "grey":
        return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)]
    if not image_format.startswith(("n", "i", "y")):
        rgba = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA)
        return [rgba[..., ["rgba".index(channel) for channel in image_format]]]
    height, width = frame.shape[:2]
    yuv = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
    if image_format == "yuv420full":
        no_colour = np.full((height // 2, width), 128, np.uint8)
        yuv = np.concatenate([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), no_colour])
    u, v = yuv[height:].reshape(2, height // 2, width // 2)
    if image_format == "i420":
        return [yuv[:height], u, v]
    return [yuv[:height], np.stack([v, u] if image_format == "nv21" else [u, v], -1)]


def seen(frame, image_format):
    """What is left of a frame in that format."""
    if image_format in ("grey", "yuv420full"):
        return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if not image_format.startswith(("n", "i", "y")):
        return frame
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), cv2.COLOR_YUV2RGB_I420)


def test_answers_over_real_video_are_python_s(java, detector, segmenter, letterboxed, classes, frames, tmp_path):
    cat = [cv2.resize(frame, (256, 256)) for frame in itertools.islice(Video(str(CLIP)), 8)]
    upright = [frame.transpose(1, 0, 2) for frame in frames[:20]]  # with bars to the left and right
    videos = {detector: frames, segmenter: frames, classes: cat, **dict.fromkeys(letterboxed, upright)}
    jobs = [Job(tmp_path, path, video) for path, video in videos.items()]
    sweep = Job(tmp_path, detector, frames[:12], start="SWEEP")
    golden.write(detector, str(tmp_path))
    first, *lines = (tmp_path / golden.TEXT).read_text().splitlines()
    size = (*map(int, first.split()[1:]), 3)
    (tmp_path / "golden").mkdir()
    golden_job = Job(tmp_path / "golden", detector, np.fromfile(tmp_path / golden.FRAMES, np.uint8).reshape(size))
    every = [*jobs, sweep, golden_job]
    assert java("answers", *itertools.chain.from_iterable(job.lines for job in every)) == ""
    boxes = np.array([line.split()[1:] for line in lines if line.startswith("box")], np.float32)
    np.testing.assert_allclose(golden_job.boxes(), boxes, atol=1e-3)
    for job, (path, video) in zip(jobs, videos.items(), strict=True):
        job.assert_same(pw.stream(path, video))
    sweep.assert_same(pw.stream(detector, frames[:12], start="sweep"))
    assert jobs[3].labels.read_text("utf-8").splitlines() == LABELS


def test_frames_of_every_format_and_turn(java, detector, frames, tmp_path):
    formats = dict(bgr=1, rgba=2, bgra=3, grey=1, nv12=1, nv21=0, i420=2, yuv420=3, yuv420full=1)
    few = frames[50:58]
    jobs = {name: Job(tmp_path, detector, few, name, turns) for name, turns in formats.items()}
    assert java("answers", *itertools.chain.from_iterable(job.lines for job in jobs.values())) == ""
    expected = {}
    for name, job in jobs.items():
        upright = np.stack([seen(frame, name) for frame in few])
        key = upright.tobytes()
        if key not in expected:
            expected[key] = list(pw.stream(detector, list(upright)))
        job.assert_same(expected[key])
    assert len(expected) == 3


def test_misuse_is_told_and_the_jvm_goes_on(java, letterboxed):
    assert java("misuse", letterboxed[0]) == "all told\n"
