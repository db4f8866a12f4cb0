"""The native runner, run for real: its answers, its pace, what it refuses."""

import os
import platform
import time
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import overhead
import pytest
import tensorflow as tf
from conftest import random_frames
from native_runner import (
    STEPS,
    call,
    steps_in_python,
    write_frames,
    write_windows,
)
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from patchwork_tf.benchmarks import native
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.errors import DataError

# --- what it computes


@pytest.mark.slow
@pytest.mark.parametrize("buffers", ["alias", "swap"])
def test_a_hundred_steps_equal_litert_in_python(buffers, detector, run, tmp_path):
    """Frames repeat, windows follow the model; bit for bit the same."""
    frames = random_frames(np.random.default_rng(0), 30, (128, 128))
    samples, found = run(
        detector, write_frames(tmp_path / "frames", frames), f"buffers={buffers}", f"steps={STEPS}", "warmup=3"
    )
    assert samples.kinds == ["window"] * STEPS
    assert len(np.unique(found["next_window"], axis=0)) > 1
    for name, expected in steps_in_python(detector, frames, 3 + STEPS).items():
        np.testing.assert_array_equal(found[name], expected[3:], err_msg=name)


@pytest.mark.slow
def test_a_list_of_windows_is_looked_through(detector, run, tmp_path):
    windows = [(0, 2), (1, 1), (2, 0)]
    frames = random_frames(np.random.default_rng(1), 10, (128, 128))
    samples, found = run(
        detector,
        write_frames(tmp_path / "frames", frames),
        write_windows(tmp_path / "windows", windows),
        "steps=20",
        "warmup=0",
    )
    assert samples.kinds == ["whole", *["window"] * 19]  # the first frame is looked at as a whole
    for name, expected in steps_in_python(detector, frames, 20, windows).items():
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_the_model_chooses_the_window_and_state_goes_on(echo, run):
    _, found = run(echo, "steps=7", "warmup=2")
    np.testing.assert_array_equal(found["looked"] - 10, [[n % 3, n % 3] for n in range(2, 9)])
    np.testing.assert_array_equal(found["steps"].ravel(), range(3, 10))


def test_frames_and_windows_start_over_when_they_are_through(echo, run, tmp_path):
    frames = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    windows = [(0, 1), (2, 0)]
    flags = [write_frames(tmp_path / "frames", frames), write_windows(tmp_path / "windows", windows)]
    _, found = run(echo, *flags, "steps=8", "warmup=1")
    np.testing.assert_array_equal(found["corner"], [frames[n % 3][0, 0] for n in range(1, 9)])
    np.testing.assert_array_equal(found["looked"] - 10, [windows[n % 2] for n in range(1, 9)])


def test_flip_runs_the_mirrored_frame_with_a_state_of_its_own(echo, run, tmp_path):
    frames = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)
    windows = [(0, 1), (2, 0), (1, 2)]
    flags = [write_frames(tmp_path / "frames", frames), write_windows(tmp_path / "windows", windows)]
    for buffers in ("alias", "swap"):
        samples, found = run(echo, *flags, "steps=6", "warmup=0", "flip", "positions=3", f"buffers={buffers}")
        assert samples.facts["flip"]
        np.testing.assert_array_equal(found["corner"], [frames[n % 5][0, 0] for n in range(6)])
        np.testing.assert_array_equal(found["mirrored/corner"], [frames[n % 5][0, -1] for n in range(6)])
        mirrored = [(row, 2 - column) for row, column in windows]
        np.testing.assert_array_equal(found["mirrored/looked"] - 10, [mirrored[n % 3] for n in range(6)])
        np.testing.assert_array_equal(found["mirrored/steps"].ravel(), range(1, 7))


def test_an_interval_processes_key_frames_and_keeps_their_answer(echo, run, tmp_path):
    """Measured frames begin with a key frame whatever the warm-up, all of which is processed."""
    frames = np.random.default_rng(0).uniform(-1, 1, (50, 8, 8, 3)).astype(np.float32)
    samples, found = run(echo, write_frames(tmp_path / "frames", frames), "steps=10", "warmup=3", "interval=4")
    assert samples.kinds == ["key", "skip", "skip", "skip"] * 2 + ["key", "skip"]
    keys = np.array([0, 0, 0, 0, 4, 4, 4, 4, 8, 8])
    np.testing.assert_array_equal(found["corner"], frames[3 + keys, 0, 0])
    np.testing.assert_array_equal(found["steps"].ravel(), 3 + 1 + keys // 4)
    is_key = np.arange(10) % 4 == 0
    assert np.all(samples.nanoseconds[is_key] > 0)
    assert np.all(samples.nanoseconds[~is_key] == 0)


@pytest.mark.parametrize("buffers", ["alias", "swap"])
def test_states_in_int8_begin_at_their_zero_point(buffers, run, tmp_path):
    path = tmp_path / "int8.tflite"
    inputs = {"frame": ((1, 8, 8, 3),), "state_00": ((4,), tf.int8)}
    _write_model(
        path,
        inputs,
        lambda frame, state_00: {
            "mask": tf.cast(state_00, tf.float32) + 0 * frame[0, 0, 0, 0],
            "state_00": tf.concat([state_00[1:], tf.cast(tf.fill([1], frame[0, 0, 0, 0]), tf.int8)], 0),
        },
    )
    model = flatbuffer_utils.read_model(str(path))
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT8:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [-7]
    flatbuffer_utils.write_model(model, str(path))
    frames = write_frames(tmp_path / "frames", np.full((1, 8, 8, 3), 5))
    _, found = run(path, frames, "steps=3", "warmup=0", f"buffers={buffers}")
    np.testing.assert_array_equal(found["mask"], [[-7, -7, -7, -7], [-7, -7, -7, 5], [-7, -7, 5, 5]])


def test_noise_depends_on_seed_and_frame_only(echo, run):
    corners = run(echo, "steps=40", "warmup=0", "seed=5")[1]["corner"]
    np.testing.assert_array_equal(run(echo, "steps=30", "warmup=10", "seed=5")[1]["corner"], corners[10:])
    assert not np.any(run(echo, "steps=40", "warmup=0", "seed=6")[1]["corner"] == corners)
    assert len(np.unique(corners)) == corners.size
    assert -1 <= corners.min() < -0.9
    assert 0.9 < corners.max() < 1


# --- how it keeps time


def test_a_paced_run_waits_for_its_frames(echo, run):
    start = time.monotonic()
    samples, _ = run(echo, "steps=20", "warmup=0", "fps=40")
    assert time.monotonic() - start >= 19 / 40
    assert samples.facts["fps"] == 40
    assert samples.late.mean() < 0.5
    assert np.median(samples.nanoseconds) < 0.5e9 / 40, "waiting is not inference"


def test_missed_deadlines_are_counted(echo, run):
    """10 us per frame are too few even for this file; back to back there are no deadlines."""
    assert run(echo, "steps=500", "fps=100000", "warmup=0")[0].late.mean() > 0.5
    assert not run(echo, "steps=500", "warmup=0")[0].late.any()


@pytest.mark.skipif(platform.system() != "Linux", reason="pins to cores on Linux only")
def test_pinning_to_cores(echo, run, program, tmp_path):
    core = min(os.sched_getaffinity(0))
    run(echo, "steps=5", f"cpu_mask={1 << core:x}")
    flags = [f"--library={native.library_path()}", f"--model={echo}", f"--samples={tmp_path / 'samples.txt'}"]
    done = call([program, *flags, "--cpu_mask=8000000000000000"])
    assert done.returncode == 2
    assert "are there such cores?" in done.stderr


# --- state is not copied


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counting copies needs glibc")
def test_no_state_is_copied_between_steps(detector, program, tmp_path):
    """By the addresses of memcpy. Swapped buffers are the control: what a step leaves alone is copied over."""
    alias, swap = (overhead.count_copies(detector, buffers, str(tmp_path)) for buffers in ("alias", "swap"))
    assert alias["carried_copies"] == 0
    assert swap["carried_copies"] >= 1
    assert alias["bytes_written"] < swap["bytes_written"]


def test_the_runner_adds_little_to_a_bare_invoke(echo, program, tmp_path):
    """Some microseconds of a shared machine allowed; docs/measure.md has what was measured."""
    bare = overhead.compile_check("bare", str(tmp_path))
    added = [
        np.median(overhead.time_runner(echo, 500, "alias", str(tmp_path)))
        - np.median(overhead.time_bare(bare, echo, 500))
        for _ in range(5)
    ]
    assert np.median(added) < 5000


# --- samples


def test_samples_say_what_ran(echo, run):
    samples, _ = run(echo, "steps=12", "warmup=4", "threads=2", "interval=3", "buffers=swap")
    expected = {"model": "echo model.tflite", "steps": 12, "warmup": 4, "threads": 2, "fps": 0, "interval": 3}
    assert expected.items() <= samples.facts.items()
    assert samples.facts["buffers"] == "swap"
    assert samples.facts["flip"] is False
    assert samples.facts["load_ns"] > samples.facts["first_ns"] > 0
    assert 1000 < samples.facts["peak_kb"] < 200_000
    assert len(samples.kinds) == len(samples.nanoseconds) == len(samples.late) == 12
    assert samples.nanoseconds.dtype == np.int64


def _sealed(body: bytes, count: int) -> bytes:
    return body + f"end {count} {zlib.crc32(body):08x}\n".encode()


def test_samples_that_are_not_whole_are_refused(echo, run, tmp_path):
    run(echo, "steps=5")
    content = (tmp_path / "samples.txt").read_bytes()
    body, end = content[: content.rindex(b"end ")], content[content.rindex(b"end ") :]
    assert content == _sealed(body, 5)
    path = tmp_path / "damaged.txt"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"damaged.txt: (empty|not a samples file|truncated)"):
            read_samples(str(path))
    for place in range(len(b"patchwork-samples 1\n"), len(body)):
        path.write_bytes(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :] + end)
        with pytest.raises(DataError, match=r"checksum is wrong|no end record"):
            read_samples(str(path))


def test_foreign_samples_are_refused(tmp_path):
    head = (
        b"patchwork-samples 1\nmodel m steps 1 warmup 0 threads 1 fps 0 interval 1 flip 0 buffers alias\n"
        b"load_ns 5\nfirst_ns 6\npeak_kb 7\n"
    )
    cases = {
        b"hello\n": "not a samples file",
        b"patchwork-samples 2\n": "not a samples file of patchwork-samples 1",
        _sealed(head + b"whole 9 0\n", 2): "1 samples of 1 steps, and an end record for 2",
        _sealed(head.replace(b"steps", b"stops") + b"whole 9 0\n", 1): "no facts of a run",
        _sealed(head.replace(b"load_ns", b"lead_ns") + b"whole 9 0\n", 1): "no facts of a run",
        _sealed(b"patchwork-samples 1\n", 0): "not written by this runner",
    }
    path = tmp_path / "foreign.txt"
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_samples(str(path))
    path.write_bytes(_sealed(head + b"whole 9 1\n", 1))
    assert read_samples(str(path)).late.tolist() == [True]
    with pytest.raises(DataError, match="No such file"):
        read_samples(str(tmp_path / "missing.txt"))


# --- what it refuses


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["library=nowhere/libLiteRt.so"], 1, "cannot load the library"),
        (["model=nowhere.tflite"], 1, "nowhere.tflite: No such file"),
        (["model=text.tflite"], 1, "text.tflite: cannot load it"),
        (["model=half.tflite"], 1, "half.tflite: cannot load it: not a TFLite file, or a damaged one"),
        (["model=empty.tflite"], 1, "empty.tflite: empty"),
        (["frames=text.tflite"], 1, "no frames of float32"),
        (["frames=nowhere.raw"], 1, "nowhere.raw: No such file"),
        (["windows=text.tflite"], 1, "line 1 is no window"),
        (["windows=empty.tflite"], 1, "no windows in it"),
        (["steps=0"], 2, "--steps=0: give a whole number from 1"),
        (["steps=ten"], 2, "--steps=ten: give a whole number"),
        (["fps=-1"], 2, "--fps=-1: give frames per second"),
        (["fps=nan"], 2, "--fps=nan: give frames per second"),
        (["cpu_mask=xyz"], 2, "give a hexadecimal number"),
        (["buffers=copy"], 2, "give alias or swap"),
        (["samples="], 2, "name a file"),
        (["stepz=5"], 2, "no such flag"),
        (["flip=1"], 2, "no such flag"),
        (["samples=no/folder/samples.txt"], 4, "No such file"),
        (["dump=no/folder/dump"], 4, "No such file"),
        pytest.param(
            ["samples=/dev/full"], 4, "No space left", marks=pytest.mark.skipif("not os.path.exists('/dev/full')")
        ),
        pytest.param(
            ["dump=/dev/full"], 4, "/dev/full", marks=pytest.mark.skipif("not os.path.exists('/dev/full')")
        ),
    ],
)
def test_one_line_says_what_is_wrong(flags, code, message, echo, program, tmp_path):
    (tmp_path / "text.tflite").write_text("these are some words and no model")
    (tmp_path / "empty.tflite").touch()
    content = Path(echo).read_bytes()
    (tmp_path / "half.tflite").write_bytes(content[: len(content) // 2])
    good = [f"library={native.library_path()}", f"model={echo}", "samples=samples.txt"]
    done = call([program, *(f"--{flag}" for flag in [*good, *flags])], tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("patchwork_runner: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["library", "model", "samples"])
def test_what_is_missing_is_named(name, program):
    flags = [f"--{other}=x" for other in ("library", "model", "samples") if other != name]
    done = call([program, *flags])
    assert done.returncode == 2
    assert f"--{name} is missing" in done.stderr


def test_a_library_of_something_else_is_refused(program, tmp_path):
    (tmp_path / "other.c").write_text("int other(void) { return 1; }\n")
    native.compile_c(native.host_compiler(), [tmp_path / "other.c"], tmp_path / "libother.so", "-shared", "-fPIC")
    done = call([program, "--library=libother.so", "--model=x", "--samples=samples.txt"], tmp_path)
    assert done.returncode == 1
    assert "LiteRT 2.2 or newer is needed" in done.stderr


def _write_model(path, inputs: dict, step):
    module = tf.Module()
    module.step = tf.function(
        step, input_signature=[tf.TensorSpec(*spec, name=name) for name, spec in inputs.items()]
    )
    tf.saved_model.save(module, f"{path}.saved", signatures={"step": module.step})
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(f"{path}.saved", signature_keys=["step"]).convert())


def test_files_that_cannot_be_fed_are_refused(program, tmp_path):
    frame, window = ((1, 8, 8, 3),), ((2,), tf.int32)
    models = {
        "no input 'frame'": ({"window": window}, lambda window: {"next_window": window + 1}),
        "is not float32": ({"frame": ((1, 8, 8, 3), tf.int32)}, lambda frame: {"mask": frame + 1}),
        "is not int32": (
            {"frame": frame, "window": ((2,),)},
            lambda frame, window: {"mask": frame[0, 0, 0, :2] + window},
        ),
        "goes in and never out": (
            {"frame": frame, "state_00": ((1,),)},
            lambda frame, state_00: {"mask": frame + state_00},
        ),
        "nothing to feed its input 'gain'": (
            {"frame": frame, "gain": ((1,),)},
            lambda frame, gain: {"mask": frame * gain},
        ),
    }
    for number, (message, (inputs, step)) in enumerate(models.items()):
        path = tmp_path / f"{number}.tflite"
        _write_model(path, inputs, step)
        done = call([program, f"--library={native.library_path()}", f"--model={path}", f"--samples={path}.txt"])
        assert done.returncode == 1, message
        assert message in done.stderr


def test_failing_inference_has_its_own_exit_code(program, tmp_path):
    """A window that looks beyond a table."""
    path, windows = tmp_path / "gather.tflite", tmp_path / "windows"
    inputs = {"frame": ((1, 8, 8, 3),), "window": ((2,), tf.int32)}
    _write_model(path, inputs, lambda frame, window: {"mask": tf.gather(frame[0], window)})
    flags = [
        f"--library={native.library_path()}",
        f"--model={path}",
        f"--samples={path}.txt",
        f"--windows={windows}",
    ]
    windows.write_text("1 2\n")
    assert call([program, *flags]).returncode == 0
    windows.write_text("1 2\n1 99\n")
    done = call([program, *flags])
    assert done.returncode == 3
    assert done.stderr.startswith(f"patchwork_runner: {path}: inference failed")
    with pytest.raises(DataError, match="did not finish"):
        read_samples(f"{path}.txt")


def test_help_and_version(program):
    shown = call([program, "--help"]).stdout
    assert all(f"--{flag}" in shown for flag in ("library", "fps=0", "cpu_mask", "buffers=alias", "dump"))
    assert call([program, "--version"]).stdout.split()[1] == version("patchwork-tf")
