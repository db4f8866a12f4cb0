"""Several processes on JAX learn what one does on TensorFlow; if one is lost, the run says so, and resumes."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import save_fresh

from patchwork_tf import train
from patchwork_tf.data import clips
from patchwork_tf.data.datasets import Source
from patchwork_tf.data.moving_objects import CLASSES

STEPS, SAVED = 6, 2
COMMON = ["--plugins=small_network", "--log_every=1", "--warmup_steps=1"]  # nothing here depends on the network
PATIENCE = 300  # seconds; most of it is compiling

pytestmark = pytest.mark.usefixtures("small_networks")


# Imports are half of a short run: one process makes them, and forks the runs that lines of its input describe.
FORKS = """
import json, os, sys
from patchwork_tf import train
import patchwork_tf.commands.train_run
for line in sys.stdin:
    name, flags = json.loads(line)
    if os.fork():
        continue
    run = os.fork()
    if not run:
        os.dup2(os.open(name + ".err", os.O_CREAT | os.O_WRONLY), 2)
        sys.exit(train.main(flags))
    with open(name + ".pid", "w") as file:
        file.write(f"{run}\\n")
    _, status = os.waitpid(run, 0)
    with open(name + ".code", "w") as file:
        file.write(f"{os.waitstatus_to_exitcode(status)}\\n")
    os._exit(0)
"""


@dataclasses.dataclass
class Run:
    """A process, by the path that its files begin with."""

    path: str

    @property
    def pid(self) -> int:
        wait_until(lambda: self._number("pid") is not None)
        return self._number("pid")

    def wait(self) -> int:
        """Its exit code."""
        wait_until(lambda: self._number("code") is not None)
        return self._number("code")

    def is_over(self) -> bool:
        return self._number("code") is not None

    def _number(self, kind):
        path = Path(f"{self.path}.{kind}")
        text = path.read_text() if path.exists() else ""
        return int(text) if text.endswith("\n") else None


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def forks(on_jax):
    """What to write lines to."""
    parent = subprocess.Popen([sys.executable, "-c", FORKS], env=on_jax, stdin=subprocess.PIPE, text=True)
    yield parent.stdin
    parent.stdin.close()
    parent.wait()


@pytest.fixture
def start(forks, tmp_path):
    """Starts one process of a run, its errors going to a file; kills what is left of it in the end."""
    started = []

    def start_process(name, *flags):
        started.append(Run(str(tmp_path / name)))
        print(json.dumps([started[-1].path, flags]), file=forks, flush=True)
        return started[-1]

    yield start_process
    for run in started:
        if not run.is_over():
            os.kill(run.pid, signal.SIGKILL)
            run.wait()


def losses(folder) -> list[float]:
    with open(folder / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def learned(folder, *steps) -> np.ndarray:
    """What all weights have changed by between two checkpoints, in a row."""
    first, last = (np.load(folder / f"checkpoint-{step:08d}.npz") for step in steps)
    weights = [key for key in first.files if key.endswith(("/kernel", "/gamma", "/beta", "/bias"))]
    return np.concatenate([(last[key] - first[key]).ravel() for key in weights])


def cosine(first, second) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


@pytest.fixture
def start_two(start, free_port):
    """Starts both processes of a run of two."""

    def start_both(name, *flags):
        shared = ["--num_processes=2", f"--coordinator=127.0.0.1:{free_port()}"]
        return [start(f"{name}-{rank}", *flags, *shared, f"--process_id={rank}") for rank in range(2)]

    return start_both


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_survive_a_loss(start_two, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    first = save_fresh(tmp_path / "first", "small-boxes-sf", CLASSES, num_classes=len(CLASSES))
    flags = [*COMMON, "--system=small-boxes-sf", f"--init_checkpoint={first}", f"--save_every={SAVED}"]
    # Batch statistics of few pixels magnify rounding errors, and Adam divides by gradients that are almost zero.
    flags += ["--clip_frames=1", "--batch_size=4", "--learning_rate=1e-5", f"--steps={STEPS}"]

    chief, other = start_two("first", *flags, f"--model_dir={together}")
    wait_until(lambda: (together / f"checkpoint-{SAVED:08d}.npz").exists() or chief.is_over())
    os.kill(other.pid, signal.SIGKILL)
    assert chief.wait() == 1
    message = (tmp_path / "first-0.err").read_text().splitlines()[-1]
    assert "process 0 lost another one of 2; start all of them again with the same flags" in message
    assert len(losses(together)) < STEPS

    second = start_two("second", *flags, f"--model_dir={together}")
    assert train.main([*flags, f"--model_dir={alone}"]) == 0
    for process in second:
        assert process.wait() == 0
    expected, found = losses(alone), losses(together)
    assert len(found) == STEPS
    assert found[:4] == pytest.approx(expected[:4], rel=1e-4)
    assert found == pytest.approx(expected, rel=0.01)
    assert cosine(learned(alone, SAVED, STEPS), learned(together, SAVED, STEPS)) > 0.98


@pytest.mark.slow
def test_two_processes_distil_what_one_distils(start_two, tmp_path):
    """Whose checkpoints have running means in the place of weights."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    (tmp_path / "videos").mkdir()
    shutil.copy("docs/photos.mp4", tmp_path / "videos")
    teacher = save_fresh(tmp_path / "first", "small")
    flags = [*COMMON, "--stage=distill", "--system=small", f"--init_checkpoint={teacher}", "--dataset=video"]
    flags += [f"--data_dir={tmp_path}/videos", "--clip_frames=1", "--burn_in=1", "--batch_size=2"]
    flags += ["--steps=2", "--learning_rate=1e-3"]
    processes = start_two("first", *flags, f"--model_dir={together}")
    assert train.main([*flags, f"--model_dir={alone}"]) == 0
    for process in processes:
        assert process.wait() == 0
    # The second loss is after one update: gradients agree, too.
    assert losses(together) == pytest.approx(losses(alone), rel=1e-3)


@pytest.mark.slow
def test_two_devices_of_tensorflow_learn_what_one_learns(on_tensorflow, tmp_path):
    """Their batch statistics, objects per batch and clipped gradients included."""
    one, two = tmp_path / "one", tmp_path / "two"
    first = save_fresh(tmp_path / "first", "small-boxes", CLASSES, num_classes=len(CLASSES))
    flags = [*COMMON, "--system=small-boxes", f"--init_checkpoint={first}", "--clip_frames=2", "--batch_size=4"]
    flags += ["--learning_rate=1e-5", "--steps=3", "--save_every=2"]
    spread = [*flags, f"--model_dir={two}"]
    runs = [spread, [*spread, "--batch_size=3"], [*spread, "--accumulate=2"]]
    program = f"import two_devices; from patchwork_tf import train; print([train.main(flags) for flags in {runs}])"
    other = subprocess.Popen([sys.executable, "-c", program], env=on_tensorflow, stdout=subprocess.PIPE, text=True)
    assert train.main([*flags, f"--model_dir={one}"]) == 0
    assert other.communicate(timeout=PATIENCE)[0].endswith("[0, 2, 2]\n")
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert cosine(learned(one, 2, 3), learned(two, 2, 3)) > 0.999


def test_shards_make_one_batch():
    """Clips 0 to 3, dealt to two processes, are those of one process."""

    def indices(start, shard):
        config = clips.ClipConfig("masks", 1, (32, 32), start=start, shard=shard)
        return [int(clip["index"]) for clip in clips.training_clips(Source(), config).take(4 // shard[1])]

    for first in (0, 4):
        dealt = indices(first, (0, 2)) + indices(first, (1, 2))
        assert sorted(dealt) == indices(first, (0, 1)) == list(range(first, first + 4))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_processes=2"], "needs --coordinator=HOST:PORT"),
        (["--num_processes=2", "--coordinator=localhost:1", "--process_id=2"], "give 0 to 1"),
        (["--num_processes=2", "--coordinator=localhost:1"], "set KERAS_BACKEND=jax"),
    ],
)
def test_wrong_use_of_several_processes(flags, message, tmp_path, capsys):
    assert train.main([f"--model_dir={tmp_path}/run", *flags]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
