"""The native runner for tests: fixtures that build it and run it for real, and what it is held against."""

import subprocess
from pathlib import Path

import needs
import numpy as np
import overhead
import pytest
from exports import export

from patchwork_tf.benchmarks import native
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.export import metadata
from patchwork_tf.runtime.network import Network

ROOT = Path(__file__).parents[1]
STEPS = 100


@pytest.fixture(scope="module")
def program():
    """The runner's path."""
    needs.compiler()
    return native.runner_path()


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A file that answers with what it is fed; its frames are 8 x 8."""
    path = str(tmp_path_factory.mktemp("echo") / "echo model.tflite")
    overhead.write_echo_model(path)
    return path


@pytest.fixture(scope="session")
def detector(small, tmp_path_factory):
    """A small Patchwork detector."""
    path = str(tmp_path_factory.mktemp("detector") / "detector.tflite")
    export(small("oid-pw-m4n1"), path, verify_steps=5)
    return path


@pytest.fixture(scope="session")
def segmenter(small, tmp_path_factory):
    """A small Patchwork segmenter."""
    path = str(tmp_path_factory.mktemp("segmenter") / "segmenter.tflite")
    export(small("davis-pw-m2n1"), path, verify_steps=3)
    return path


@pytest.fixture(scope="session")
def letterboxed(detector, tmp_path_factory):
    """The same detector, which wants frames letterboxed."""
    path = tmp_path_factory.mktemp("letterboxed") / "detector.tflite"
    facts = {
        **metadata.read(detector),
        "resize_mode": "letterbox",
        "labels": ["plain", "grüße", '🦆 "duck"\\', *list("abcdefg")],
    }
    path.write_bytes(metadata.insert(Path(detector).read_bytes(), facts))
    return str(path)


@pytest.fixture
def run(program, tmp_path):
    """Function of a model and flags without dashes, to samples and a dict of answers, one row per frame."""

    def run_model(model, *flags, command=None, cwd=None):
        samples, dump = tmp_path / "samples.txt", tmp_path / "dump"
        command = command or host_command(program)
        files = [f"--model={model}", f"--samples={samples}", f"--dump={dump}"]
        done = call([*command, *files, *(f"--{flag}" for flag in flags)], cwd)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return read_samples(str(samples)), read_dump(dump)

    return run_model


def host_command(program):
    return [program, f"--library={native.library_path()}"]


def call(command, cwd=None):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd)


def read_dump(path) -> dict[str, np.ndarray]:
    fields = []
    for line in Path(f"{path}.index").read_text().splitlines():
        name, dtype, *shape = line.split()
        fields.append((name, dtype, tuple(map(int, shape))))
    rows = np.fromfile(path, np.dtype(fields))
    return {name: rows[name] for name, _, _ in fields}


def write_frames(path, frames):
    np.asarray(frames, np.float32).tofile(path)
    return f"frames={path}"


def write_windows(path, windows):
    path.write_text("".join(f"{row} {column}\n" for row, column in windows))
    return f"windows={path}"


def steps_in_python(model, frames, steps, windows=None) -> dict[str, np.ndarray]:
    runner, window, answers = Network(model), np.zeros(2, np.int32), []
    for number in range(steps):
        frame = frames[number % len(frames)][None]
        if windows:
            window = windows[number % len(windows)]
        is_start = number == 0 and runner.starts_whole
        answers.append(runner.start(frame) if is_start else runner.step(frame, window))
        window = answers[-1]["next_window"]
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
