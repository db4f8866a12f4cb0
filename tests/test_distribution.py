"""Several processes on this machine learn what one does; if one is lost, the run says so, and resumes."""

import csv
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from patchwork_tf import train
from patchwork_tf.data import clips

STEPS, SAVED = 9, 3
TRAIN = [
    sys.executable,
    "-m",
    "patchwork_tf.train",
    "--plugins=small_network",  # nothing here depends on the network
    "--system=small",
    "--clip_frames=1",
    "--batch_size=16",  # batch statistics of few pixels magnify rounding errors
    "--log_every=1",
    f"--save_every={SAVED}",
    "--warmup_steps=1",
    "--learning_rate=1e-5",
    f"--steps={STEPS}",
]
PATIENCE = 300  # seconds; most of it is compiling


@pytest.fixture
def start(on_jax, tmp_path):
    """Starts one process of a run, its errors going to a file; kills what is left of it in the end."""
    started = []

    def start_process(name, *flags):
        with open(tmp_path / f"{name}.err", "w") as errors:
            process = subprocess.Popen([*TRAIN, *flags], env=on_jax, stderr=errors, stdout=subprocess.DEVNULL)
        started.append(process)
        return process

    yield start_process
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def losses(folder) -> list[float]:
    with open(folder / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def learned(folder) -> np.ndarray:
    """What all weights have changed by between two checkpoints, in a row."""
    first, last = (np.load(folder / f"checkpoint-{step:08d}.npz") for step in (SAVED, STEPS))
    weights = [key for key in first.files if key.endswith(("/kernel", "/gamma", "/beta", "/bias"))]
    return np.concatenate([(last[key] - first[key]).ravel() for key in weights])


def cosine(first, second) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "it ended early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_survive_a_loss(start, free_port, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert start("alone", f"--model_dir={alone}").wait(PATIENCE) == 0

    def start_both(name):
        shared = [f"--model_dir={together}", "--num_processes=2", f"--coordinator=127.0.0.1:{free_port()}"]
        return [start(f"{name}-{rank}", *shared, f"--process_id={rank}") for rank in range(2)]

    chief, other = start_both("first")
    wait_for(lambda: (together / f"checkpoint-{SAVED:08d}.npz").exists(), chief)
    other.send_signal(signal.SIGKILL)
    assert chief.wait(60) == 1
    message = (tmp_path / "first-0.err").read_text().splitlines()[-1]
    assert "process 0 lost another one of 2; start all of them again with the same flags" in message
    assert len(losses(together)) < STEPS

    for process in start_both("second"):
        assert process.wait(PATIENCE) == 0
    expected, found = losses(alone), losses(together)
    assert len(found) == STEPS
    # Rounding errors grow, as Adam divides by gradients that are almost zero: hence the low rate.
    assert found[:4] == pytest.approx(expected[:4], rel=1e-4)
    assert found == pytest.approx(expected, rel=0.01)
    assert cosine(learned(alone), learned(together)) > 0.98


def test_shards_make_one_batch():
    """Clips 0 to 3, dealt to two processes, are those of one process."""

    def indices(start, shard):
        config = clips.ClipConfig("masks", 1, (32, 32), start=start, shard=shard)
        return [int(clip["index"]) for clip in clips.generated_clips("train", config).take(4 // shard[1])]

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
