"""The C library for apps against Python: answers, streams, errors, memory."""

import ctypes
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import needs
import numpy as np
import pytest
from arm64 import CORTEX_A53
from exports import export
from native_runner import ROOT

import patchwork_tf as pw
from patchwork_tf.benchmarks import native
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError
from patchwork_tf.export import golden
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.runtime import golden as vectors
from patchwork_tf.zoo import checkpoints

LIBRARY, EXAMPLE = ROOT / "runtime/c/patchwork.c", ROOT / "runtime/c/examples/stream.c"
CLIP = str(ROOT / "docs/photos.mp4")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
THREADS = ("-g", "-O1", "-fsanitize=thread", "-pthread")


class Detection(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in ("ymin", "xmin", "ymax", "xmax", "score")]
    _fields_ += [("label", ctypes.c_int)]


class Answer(ctypes.Structure):
    _fields_ = [
        ("detections", ctypes.POINTER(Detection)),
        ("num_detections", ctypes.c_size_t),
        ("mask", ctypes.POINTER(ctypes.c_float)),
        *((f"mask_{name}", ctypes.c_size_t) for name in ("height", "width", "stride")),
        ("classes", ctypes.POINTER(ctypes.c_int32)),
        *((name, ctypes.c_int) for name in ("row", "column", "looked")),
    ]


class Frame(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("format", "height", "width", "rotation")),
        ("planes", ctypes.c_void_p * 3),
        ("strides", ctypes.c_size_t * 3),
        ("chroma_step", ctypes.c_size_t),
        ("full_range", ctypes.c_int),
    ]


class Library:
    """patchwork.h in Python."""

    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.c.patchwork_error.restype = self.c.patchwork_label.restype = ctypes.c_char_p
        self.c.patchwork_label.argtypes = [ctypes.c_void_p, ctypes.c_int]
        for name in ("model_close", "stream_close", "stream_reset"):
            getattr(self.c, f"patchwork_{name}").argtypes = [ctypes.c_void_p]
        self.c.patchwork_stream_open.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        self.c.patchwork_stream_push.argtypes = [ctypes.c_void_p, ctypes.POINTER(Frame), ctypes.POINTER(Answer)]
        self.c.patchwork_model_open_memory.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_void_p,
        ]
        self.c.patchwork_model_open_descriptor.argtypes = [
            *(ctypes.c_int, ctypes.c_int64, ctypes.c_int64),
            *(ctypes.c_int, ctypes.c_void_p),
        ]
        self.c.patchwork_load_handle.argtypes = [ctypes.c_void_p]

    @property
    def error(self):
        return self.c.patchwork_error().decode()

    def model(self, path, threads=1, library=None):
        return self.opened("model_open", str(path).encode(), threads, library=library)

    def opened(self, function, *arguments, library=None):
        """The status of one of the functions that open a model, and the model."""
        opened = ctypes.c_void_p(1)  # of which nothing may be left after a failure
        status = self.c.patchwork_load(str(library or native.library_path()).encode())
        if status:
            return status, ctypes.c_void_p()
        return getattr(self.c, f"patchwork_{function}")(*arguments, ctypes.byref(opened)), opened

    def stream(self, model, start=0):
        opened = ctypes.c_void_p()
        assert self.c.patchwork_stream_open(model, start, ctypes.byref(opened)) == 0, self.error
        return opened

    def push(self, stream, frame, stride=None, size=None):
        frame = np.ascontiguousarray(frame)
        height, width = size or frame.shape[:2]
        return self.push_planes(stream, 0, height, width, [(frame, stride or 3 * width)])

    def push_planes(self, stream, kind, height, width, planes, rotation=0, chroma_step=0, full_range=0):
        """`planes`: an array and the bytes between its rows, of each."""
        pushed, answer = (
            Frame(kind, height, width, rotation, chroma_step=chroma_step, full_range=full_range),
            Answer(),
        )
        for number, (plane, stride) in enumerate(planes):
            pushed.planes[number], pushed.strides[number] = plane.ctypes.data, stride
        return self.c.patchwork_stream_push(stream, ctypes.byref(pushed), ctypes.byref(answer)), answer


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "libpatchwork.so"
    native.compile_c(needs.compiler(), [LIBRARY], path, "-shared", "-fPIC")
    return Library(path)


@pytest.fixture(scope="module")
def single_frame(small, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("single") / "single.tflite")
    export(small("davis-sf"), path, verify_steps=1)
    return path


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A trained segmenter of several classes, which finds a cat in the demo's clip."""
    path = str(tmp_path_factory.mktemp("classes") / "classes.tflite")
    system, weights = pw.get_system("voc-pw-m4n2"), checkpoints.read("voc-pw-m4n2")
    export(checkpoints.build_from(system, weights, image_size=256), path, verify_steps=1)
    return path


@pytest.fixture(scope="module")
def frames(clip):
    """40 frames of a real clip."""
    few = itertools.islice(Video(clip), 40)
    return [cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA) for frame in few]


def noise(count, height=180, width=240):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (count, height // 10, width // 10, 3), dtype=np.uint8)
    return list(small.repeat(10, axis=1).repeat(10, axis=2))


def assert_same(answer, expected, label_of=None):
    window = None if answer.row < 0 else (answer.row, answer.column)
    assert window == (None if expected.window is None else tuple(expected.window))
    if hasattr(expected, "boxes"):
        assert answer.num_detections == len(expected.boxes)
        for k in range(answer.num_detections):
            found = answer.detections[k]
            box = (found.ymin, found.xmin, found.ymax, found.xmax, found.score)
            np.testing.assert_allclose(box, [*expected.boxes[k], expected.scores[k]], atol=1e-4)
            assert found.label == expected.classes[k]
        return
    size = expected.probability.shape
    np.testing.assert_allclose(cv2.resize(pixels(answer, "mask"), size[::-1]), expected.probability, atol=1e-3)


def pixels(answer, name):
    height, width, stride = answer.mask_height, answer.mask_width, answer.mask_stride
    return np.ctypeslib.as_array(getattr(answer, name), (height * stride,)).reshape(height, stride)[:, :width]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detector", "segmenter", "letterboxed"])
def test_answers_over_real_video_are_python_s(name, request, library, frames):
    path = request.getfixturevalue(name)
    status, model = library.model(path)
    assert status == 0, library.error
    stream = library.stream(model)
    for frame, expected in zip(frames, pw.stream(ExportedStep(path), frames), strict=True):
        status, answer = library.push(stream, frame)
        assert status == 0, library.error
        assert answer.looked
        assert_same(answer, expected)
    labels = ExportedStep(path).info.class_names
    assert tuple(library.c.patchwork_label(model, k).decode() for k in range(len(labels))) == labels
    assert library.c.patchwork_label(model, len(labels)) is None
    library.c.patchwork_stream_close(stream)
    library.c.patchwork_model_close(model)


@pytest.mark.slow
def test_classes_of_a_segmenter_are_python_s(library, segmenter, classes):
    path = classes
    frames = [cv2.resize(frame, (256, 256)) for frame in itertools.islice(Video(CLIP), 8)]
    model = library.model(path)[1]
    stream, seen = library.stream(model), set()
    for frame, expected in zip(frames, pw.stream(ExportedStep(path), frames), strict=True):
        answer = library.push(stream, frame)[1]
        assert_same(answer, expected)
        np.testing.assert_array_equal(pixels(answer, "classes"), expected.mask)
        seen |= set(np.unique(expected.mask))
    assert "person" in {library.c.patchwork_label(model, number - 1).decode() for number in seen - {0}}
    assert not library.push(library.stream(library.model(segmenter)[1]), frame)[1].classes


@pytest.mark.slow
def test_streams_of_one_model_do_not_disturb_each_other_and_begin_anew(detector, library):
    videos = noise(24)[:12], [frame[:, ::-1] for frame in noise(24)[12:]]
    expected = [list(pw.stream(ExportedStep(detector), video)) for video in videos]
    _, model = library.model(detector)
    streams = [library.stream(model) for _ in videos]
    for _ in range(2):  # the second time after a reset
        for pair in zip(*videos, *expected, strict=True):
            for stream, frame, answer in zip(streams, pair[:2], pair[2:], strict=True):
                assert_same(library.push(stream, frame)[1], answer)
        for stream in streams:
            library.c.patchwork_stream_reset(stream)
    padded = np.zeros((180, 250, 3), np.uint8)  # rows may be longer than the frame
    padded[:, :240] = videos[0][0]
    assert_same(library.push(streams[0], padded, stride=750, size=(180, 240))[1], expected[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(90, 120), (128, 128), (256, 256), (300, 90), (40, 500)])
def test_frames_of_any_shape(size, detector, letterboxed, library):
    """Smaller ones are stretched in OpenCV's fixed point, which rounds one pixel in 500 otherwise."""
    frames = [cv2.resize(frame, size[::-1]) for frame in noise(4)]
    for path in (detector, letterboxed):
        stream = library.stream(library.model(path)[1])
        for frame, expected in zip(frames, pw.stream(ExportedStep(path), frames), strict=True):
            answer = library.push(stream, frame)[1]
            scores = [answer.detections[k].score for k in range(answer.num_detections)]
            assert abs(len(scores) - len(expected.scores)) <= 2
            np.testing.assert_allclose(scores[:5], expected.scores[:5], atol=0.02)


@pytest.mark.slow
def test_frames_that_cannot_be_are_an_error(detector, library):
    _, model = library.model(detector)
    stream, frame = library.stream(model), noise(1)[0]
    for size, stride in (((0, 240), None), ((180, -1), 720), ((180, 240), 719), ((1 << 20, 240), None)):
        assert library.push(stream, frame, stride, size)[0] == 1
        assert "cannot be" in library.error
    assert library.push(stream, frame)[0] == 0
    assert library.error == ""
    assert library.push(stream, frame[:80])[0] == 1
    assert "another size or rotation than those before it" in library.error
    assert library.push(stream, frame)[0] == 0  # the stream goes on


def stored(frame, name):
    """A frame (h, w, 3) as a format keeps it: its number, planes and fields, and the RGB that it holds."""
    height, width = frame.shape[:2]
    packed = {"RGB": frame, "BGR": frame[..., ::-1], "GREY": frame[..., 1]}
    for order in ("RGB", "BGR"):
        packed[f"{order}A"] = np.dstack([packed[order], np.full((height, width), 7, np.uint8)])
    if name in packed:
        seen = np.repeat(frame[..., 1:2], 3, axis=2) if name == "GREY" else frame
        plane = np.ascontiguousarray(packed[name])
        return list(FORMATS).index(name), [(plane, plane.strides[0])], {}, seen
    planar = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
    luma, u, v = planar[:height], *planar[height:].reshape(2, height // 2, width // 2)
    seen = cv2.cvtColor(planar, cv2.COLOR_YUV2RGB_I420)
    if name == "I420":
        return 7, [(x, x.strides[0]) for x in map(np.ascontiguousarray, (luma, u, v))], {}, seen
    pairs = np.stack([v, u] if name == "NV21" else [u, v], axis=-1).copy()
    if name == "android":  # planes of YUV_420_888: U and V of one buffer
        planes = [(luma, width), (pairs, width), (pairs.reshape(-1)[1:], width)]
        return 7, planes, {"chroma_step": 2}, seen
    return FORMATS[name], [(luma, width), (pairs, width)], {}, seen


ORDER = ("RGB", "BGR", "RGBA", "BGRA", "GREY", "NV12", "NV21", "I420")
FORMATS = {name: number for number, name in enumerate(ORDER)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rotation"),
    [
        *((name, 90) for name in [*FORMATS, "android"]),
        *((name, 180) for name in ("BGRA", "NV21", "android")),
        *((name, turn) for name in ("RGB", "I420") for turn in (0, 270)),
    ],
)
def test_every_format_and_rotation_equals_the_rgb_answer(name, rotation, detector, library):
    """YUV is converted as OpenCV does it, to the bit, so that answers to the RGB that it makes are equal, too."""
    model = library.model(detector)[1]
    streams = [library.stream(model) for _ in range(2)]
    for frame in noise(3):
        turned = np.ascontiguousarray(np.rot90(frame, rotation // 90))
        kind, planes, fields, seen = stored(turned, name)
        status, answer = library.push_planes(streams[0], kind, *turned.shape[:2], planes, rotation, **fields)
        assert status == 0, library.error
        expected = library.push(streams[1], np.rot90(seen, -rotation // 90))[1]
        assert (answer.row, answer.num_detections) == (expected.row, expected.num_detections)
        found = [np.ctypeslib.as_array(x.detections, (x.num_detections,)) for x in (answer, expected)]
        assert len(found[0])
        np.testing.assert_array_equal(*found)


def test_full_range_is_brighter_where_black_is_not_0(detector, library):
    """Luma 128 is grey 128 in full range, and 130 in that of video."""
    model = library.model(detector)[1]
    plane, chroma = np.full((180, 240), 128, np.uint8), np.full((90, 240), 128, np.uint8)
    for full, grey in ((1, 128), (0, 130)):
        yuv = library.push_planes(
            library.stream(model), 5, 180, 240, [(plane, 240), (chroma, 240)], full_range=full
        )
        same = library.push(library.stream(model), np.full((180, 240, 3), grey, np.uint8))
        assert yuv[1].num_detections == same[1].num_detections
        assert [yuv[1].detections[k].score for k in range(5)] == [same[1].detections[k].score for k in range(5)]


@pytest.mark.slow
def test_formats_that_cannot_be_are_an_error(detector, library):
    stream, plane = library.stream(library.model(detector)[1]), np.zeros((180, 240), np.uint8)
    for kind, planes, fields, message in (
        (8, [(plane, 720)], {}, "format is unknown"),
        (0, [(plane, 720)], {"rotation": 45}, "rotation is 0, 90, 180 or 270"),
        (5, [(plane, 240)], {}, "plane of the frame: null"),
        (5, [(plane, 240), (plane, 239)], {}, "cannot be"),
        (7, [(plane, 240), (plane, 240), (plane, 238)], {"chroma_step": 2}, "cannot be"),
        (2, [(plane, 959)], {}, "cannot be"),
    ):
        assert library.push_planes(stream, kind, 180, 240, planes, **fields)[0] == 1
        assert message in library.error
    assert library.push(stream, noise(1)[0])[0] == 0
    assert library.push_planes(stream, 4, 180, 240, [(plane, 240)], rotation=180)[0] == 1
    assert "another size or rotation" in library.error


@pytest.mark.slow
def test_a_model_may_be_in_memory_or_in_a_part_of_a_file(detector, library, tmp_path):
    content, frame = Path(detector).read_bytes(), noise(1)[0]
    expected = library.push(library.stream(library.model(detector)[1]), frame)[1]
    held = np.zeros(len(content) + 64, np.uint8)
    start = -held.ctypes.data % 16
    held[start : start + len(content)] = np.frombuffer(content, np.uint8)
    opened = [library.opened("model_open_memory", held[start:].ctypes.data, len(content), 1)]
    for offset in (0, 4, 4100):  # an app's package aligns assets to four bytes
        package = tmp_path / f"assets-{offset}"
        package.write_bytes(bytes(offset) + content + b"more")
        with open(package, "rb") as file:
            opened.append(library.opened("model_open_descriptor", file.fileno(), offset, len(content), 1))
    for status, model in opened:
        assert status == 0, library.error
        answer = library.push(library.stream(model), frame)[1]
        scores = [[x.detections[k].score for k in range(x.num_detections)] for x in (answer, expected)]
        assert scores[0] == scores[1]
    with open(package, "rb") as file:
        assert library.opened("model_open_descriptor", file.fileno(), 4100, len(content) + 99, 1)[0] == 2
    assert "ends before byte" in library.error
    assert library.opened("model_open_memory", held[start:].ctypes.data, 99, 1)[0] == 2
    assert library.opened("model_open_memory", held[start + 1 :].ctypes.data, 99, 1)[0] == 1
    handle = ctypes.CDLL(native.library_path())._handle
    assert library.c.patchwork_load_handle(handle) == 0
    assert library.c.patchwork_load_handle(library.c._handle) == 2


@pytest.mark.slow
def test_a_sweep_of_the_first_frames_is_python_s(detector, library):
    model, frames = library.model(detector)[1], noise(20)
    stream = library.stream(model, start=1)
    for _ in range(2):
        windows = []
        for frame, expected in zip(frames, pw.stream(detector, frames, start="sweep"), strict=True):
            answer = library.push(stream, frame)[1]
            assert_same(answer, expected)
            windows.append((answer.row, answer.column))
        assert windows[:16] == [(row, column) for row in range(4) for column in range(4)]
        library.c.patchwork_stream_reset(stream)
    opened = ctypes.c_void_p()
    assert library.c.patchwork_stream_open(model, 2, ctypes.byref(opened)) == 1


@pytest.mark.slow
def test_files_that_cannot_be_used_are_an_error(detector, library, tmp_path, small, small_networks):
    content = Path(detector).read_bytes()
    raw = str(tmp_path / "raw.tflite")
    export(small("small-boxes", image_size=64), raw, suppression=False, verify_steps=1)
    start = content.index(b'{"patchwork"')
    files = {
        "none": (None, "No such file"),
        "empty": (b"", "empty"),
        "text": (b"no model" * 99, "cannot load it"),
        "raw": (Path(raw).read_bytes(), "without --nosuppression"),
        "version": (content.replace(b'"patchwork": 5', b'"patchwork": 4'), "another version"),
        "metadata": (content[:start] + b"[" + content[start + 1 :], "no 'patchwork' in its metadata"),
        "labels": (content.replace(b'"labels": [', b'"labels": {'), "no 'labels' in its metadata"),
    }
    for name, (wrong, message) in files.items():
        path = tmp_path / f"{name}.tflite"
        if wrong is not None:
            path.write_bytes(wrong)
        status, model = library.model(path)
        assert (status, model.value) == (2, None), name
        assert message in library.error, name
    status, model = library.model(detector, threads=0)
    assert (status, model.value) == (1, None)
    assert library.model(detector)[0] == 0  # loads LiteRT, if nothing before has
    for other in (library.c._name, tmp_path / "libLiteRt.so"):
        status, model = library.model(detector, library=other)
        assert (status, model.value) == (2, None)
        assert f"{other}: not the LiteRT that this program has loaded" in library.error


@pytest.mark.parametrize("flags", [(), ("-fvisibility=hidden",)])
def test_only_the_library_s_own_names_leave_it(flags, tmp_path):
    """And an app may have functions of the names that it has inside."""
    (tmp_path / "app.c").write_text("int fail, litert, litert_load, model_load, model_close, input_memory;\n")
    output = tmp_path / "libapp.so"
    sources = [LIBRARY, tmp_path / "app.c"]
    native.compile_c(needs.compiler(), sources, output, "-shared", "-fPIC", *flags)
    exported = subprocess.run(["nm", "-D", "--defined-only", output], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in exported.stdout.splitlines()}
    declared = set(re.findall(r"(patchwork_\w+)\(", LIBRARY.with_suffix(".h").read_text()))
    assert {name for name in names if name.startswith("patchwork")} == declared
    assert names - declared <= {"fail", "litert", "litert_load", "model_load", "model_close", "input_memory"}


def test_cmake_builds_and_installs_it(tool, tmp_path):
    """With pages of 16 KB, as Android 15 has them; and C++ takes the header."""
    cmake, built, root = tool("CMake"), tmp_path / "build", tmp_path / "root"
    for command in (
        ["-S", LIBRARY.parent, "-B", built],
        ["--build", built],
        ["--install", built, "--prefix", root],
    ):
        subprocess.run([cmake, *command], check=True, capture_output=True)
    (library,) = root.glob("lib*/**/libpatchwork.so")
    headers = subprocess.run(["readelf", "-lW", library], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in headers.splitlines() if "LOAD" in line} == {"0x4000"}
    (facts,) = root.glob("lib*/**/patchwork.pc")
    assert "-lpatchwork" in facts.read_text()
    program = tmp_path / "app.cc"
    program.write_text("#include <patchwork.h>\nint main() { return *patchwork_error(); }\n")
    include = root / "include"
    command = ["c++", f"-I{include}", program, library, f"-Wl,-rpath,{library.parent}", "-o", tmp_path / "app"]
    subprocess.run(command, check=True)
    assert subprocess.run([tmp_path / "app"], check=False).returncode == 0


def _environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


FUZZ = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_library import Library, noise
library, content, frame = Library(sys.argv[2]), open(sys.argv[3], "rb").read(), noise(1)[0]
rng, path, opened = np.random.default_rng(0), sys.argv[4], 0
start = content.index(b'{"patchwork"')
for _ in range(150):
    wrong = bytearray(content)
    for place in rng.integers(start, start + 2500, rng.integers(1, 6)):
        wrong[place] = rng.integers(0, 256)
    open(path, "wb").write(wrong)
    status, model = library.model(path)
    if not status:
        opened += 1
        stream = library.stream(model)
        library.push(stream, frame)
        library.c.patchwork_stream_close(stream)
        library.c.patchwork_model_close(model)
print(opened)
"""


@pytest.mark.slow
def test_damaged_metadata_never_crashes(segmenter, library, tmp_path):
    arguments = [str(ROOT / "tests"), library.c._name, segmenter, f"{tmp_path}/x.tflite"]
    command = [sys.executable, "-c", FUZZ, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < 150


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", [THREADS, SANITIZED], ids=["thread", "address"])
def test_threads_nulls_and_a_model_closed_before_its_stream(sanitizer, detector, tmp_path):
    program = tmp_path / "threads"
    sources = [ROOT / "tools/checks/threads.c", LIBRARY]
    native.compile_c(needs.compiler(), sources, program, *sanitizer)
    done = subprocess.run([program, native.library_path(), detector], capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("this kernel puts memory where gcc's ThreadSanitizer cannot look: sysctl vm.mmap_rnd_bits=28")
    assert done.returncode == 0, done.stderr
    assert "Sanitizer" not in done.stderr


def _example(tmp_path, compiler, *flags):
    program = tmp_path / "stream"
    native.compile_c(compiler, [EXAMPLE, LIBRARY], program, *flags)
    return program


@pytest.fixture(scope="module")
def plain_example(tmp_path_factory):
    return _example(tmp_path_factory.mktemp("example"), needs.compiler())


def _run(command, frames, cwd=None):
    done = subprocess.run(list(map(str, command)), input=np.stack(frames).tobytes(), capture_output=True, cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


@pytest.mark.slow
def test_the_example_is_clean_under_sanitizers(plain_example, detector, tmp_path):
    sanitized = _example(tmp_path, needs.compiler(), *SANITIZED)
    arguments = [native.library_path(), detector, 180, 240]
    expected = _run([plain_example, *arguments], noise(8))
    assert expected.count("frame ") == 8
    assert "frame 0 whole" in expected
    assert _run([sanitized, *arguments], noise(8)) == expected
    wrong = subprocess.run([sanitized, native.library_path(), EXAMPLE, "9", "9"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith(f"stream: {EXAMPLE}: cannot load it")


@pytest.mark.slow
def test_the_example_says_the_same_on_arm64(arm64, plain_example, detector):
    bundle, frames, arguments = arm64.bundle, noise(8), [detector, 180, 240]
    expected = _run([plain_example, native.library_path(), *arguments], frames)
    program = _example(Path(bundle.folder), arm64.compiler)
    loader = [part for part in bundle.command if "ld-linux" in part]
    start = [*arm64.start(*CORTEX_A53), *loader, "--library-path", "."]
    found = _run([*start, f"./{program.name}", f"./{native.LIBRARY}", *arguments], frames, cwd=bundle.folder)
    numbers = [
        [float(word) for word in text.split() if word.replace(".", "").isdigit()] for text in (found, expected)
    ]
    np.testing.assert_allclose(*numbers, atol=1e-4)


GROWTH = """
import sys
sys.path.insert(0, sys.argv[1])
from test_library import Library, noise
library, frames = Library(sys.argv[2]), noise(10, 80, 120)
stream = library.stream(library.model(sys.argv[3])[1])
def megabytes():
    return next(int(line.split()[1]) / 1000 for line in open("/proc/self/status") if line.startswith("VmRSS"))
sizes = []
for number in range(4000):
    assert library.push(stream, frames[number % 10])[0] == 0
    if number in (1000, 3999):
        sizes.append(megabytes())
print(sizes[1] - sizes[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_thousands_of_frames_without_growth(library, small, small_networks, tmp_path):
    path = str(tmp_path / "tiny.tflite")
    export(small("small", image_size=64), path, verify_steps=1)
    command = [sys.executable, "-c", GROWTH, str(ROOT / "tests"), library.c._name, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    assert float(done.stdout.split()[-1]) < 2


@pytest.fixture(scope="module")
def golden_program(tmp_path_factory):
    program = tmp_path_factory.mktemp("golden") / "golden"
    native.compile_c(needs.compiler(), [ROOT / "runtime/c/examples/golden.c", LIBRARY], program, *SANITIZED)
    return program


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detector", "segmenter", "letterboxed", "single_frame", "classes"])
def test_golden_vectors_prove_it_in_python_and_in_c(name, request, golden_program, tmp_path):
    path, folder = request.getfixturevalue(name), str(tmp_path / "golden")
    golden.write(path, folder)
    assert vectors.check(folder, path) == 0
    command = [golden_program, native.library_path(), path, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "10 frames agree" in done.stdout
    text = Path(folder, "golden.txt").read_text()
    Path(folder, "golden.txt").write_text(re.sub("frame 3 .*", "frame 3 window 9 9", text))
    with pytest.raises(DataError, match=r"golden\.txt:\d+: expected 'frame 3 window 9"):
        vectors.check(folder, path)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected frame 3 window 9" in done.stderr
    with pytest.raises(DataError, match="no golden vectors"):
        vectors.check(str(tmp_path), path)


@pytest.mark.slow
def test_golden_vectors_prove_it_on_arm64(arm64, segmenter, tmp_path):
    golden.write(segmenter, str(tmp_path))
    command = f"""
        cd runtime/c
        aarch64-linux-gnu-gcc -O2 -o {tmp_path}/prove examples/golden.c patchwork.c -ldl -lm -lpthread
        cd {arm64.bundle.folder}
        qemu-aarch64-static -cpu cortex-a53 -L {ROOT}/runtime/c/qemu ./ld-linux-aarch64.so.1 --library-path . \\
            {tmp_path}/prove ./libLiteRt.so {segmenter} {tmp_path}
    """
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 frames agree" in done.stdout


@pytest.mark.slow
def test_an_eight_bit_file_looks_at_its_first_frame_as_a_whole(library, small, tmp_path):
    path, frames = str(tmp_path / "int8.tflite"), noise(6, 80, 80)
    export(small("oid-pw-m2n1", image_size=64), path, True, 1, "int8", frames)
    stream = library.stream(library.model(path)[1])
    for frame, expected in zip(frames, pw.stream(ExportedStep(path), frames), strict=True):
        answer = library.push(stream, frame)[1]
        assert (answer.row < 0) == (expected.window is None) == (frame is frames[0])
        scores = [answer.detections[k].score for k in range(answer.num_detections)]
        np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
