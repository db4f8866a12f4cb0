"""This machine as a target: by the native runner where it can be built, else by LiteRT in Python.

Systems take turns every few seconds, so that a machine that speeds up or slows down does so for all of them: their
ratios mean something, the milliseconds less.
"""

import os
import platform
import subprocess
import time
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np

from patchwork_tf.benchmarks import native
from patchwork_tf.benchmarks.harness import Target
from patchwork_tf.benchmarks.plan import Settings, Workload, write_windows
from patchwork_tf.benchmarks.report import Repeat
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.runtime.network import START, STEP, Network
from patchwork_tf.runtime.quiet import hidden_stderr


class Host(Target):
    """This machine.

    Args:
        settings: how to measure.
        say: is told why LiteRT in Python measures, if it does.

    Raises:
        UsageError: if the settings need the native runner, which cannot be built.
    """

    name = serial = "host"
    most_frames = 128  # whole blocks of 16, within which all schedules of the zoo repeat

    def __init__(self, settings: Settings, say=print):
        super().__init__(settings)
        try:
            self._runner = native.runner_path()
        except DataError as error:
            self._runner = None
            if settings.fps or settings.threads > 1:
                raise UsageError(f"--fps and --threads take the native runner: {error}") from None
            say(f"{error}; without the native runner, LiteRT in Python measures")

    @contextmanager
    def session(self, workloads, folder):
        """Nothing is changed, nothing has to be undone."""
        self._folder = folder
        write_windows(workloads, self.settings, folder)
        yield machine(self.settings.threads) | {"runner": "native" if self._runner else "python"}

    def run(self, workload: Workload, number: int, frames: int) -> Repeat:
        """Runs a workload once. Raises DataError if the runner fails."""
        started = time.time()
        if not self._runner:
            with hidden_stderr():  # LiteRT has much to say
                return time_in_python(workload, self.settings, frames, started)
        samples = os.path.join(self._folder, "samples.txt")
        files = [f"--library={native.library_path()}", f"--model={os.path.abspath(workload.path)}"]
        command = [self._runner, *files, "--samples=samples.txt", *workload.flags(self.settings, frames)]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, errors="replace")
        if done.returncode:
            reason = done.stderr.strip() or f"exit code {done.returncode}"
            raise DataError(f"{workload.run.system}: the native runner failed: {reason}")
        return read_samples(samples, workload.facts(self.settings, frames)).repeat(started)


def time_in_python(workload: Workload, settings: Settings, frames: int, started: float) -> Repeat:
    """Times frames as the native runner does: noise, the inputs already in place, state fed back.

    Args:
        workload: what to run.
        settings: `warmup`, `policy` and `seed` count.
        frames: to time, after the warm-up.
        started: seconds, when the repeat began.
    """
    begun = time.perf_counter_ns()
    stream = _Stream(workload, settings)
    load_ns = time.perf_counter_ns() - begun
    first_ns, *_ = [stream.time_frame() for _ in range(settings.warmup)]
    interval = workload.run.stream.interval
    nanoseconds = [0 if number % interval else stream.time_frame() for number in range(frames)]
    processed = "key" if interval > 1 else "window" if workload.run.patchwork else "whole"
    kinds = ["skip" if number % interval else processed for number in range(frames)]
    return Repeat(started, [ns / 1e6 for ns in nanoseconds], kinds, load_ns / 1e6, first_ns / 1e6)


class _Stream:
    """An exported file, run over frames the way its system does."""

    def __init__(self, workload, settings):
        self._networks = [Network(workload.path) for _ in range(1 + workload.run.stream.flip)]
        self._size, self._positions = workload.run.image_size, workload.grid.positions
        self._rng = np.random.default_rng(settings.seed)
        self._windows = workload.windows(settings)
        self._number, self._window = 0, (0, 0)

    def time_frame(self) -> int:
        """Nanoseconds of inference on the next frame; the first one is looked at as a whole if the file can."""
        starts = self._number == 0 and self._networks[0].starts_whole
        self._load()
        start = time.perf_counter_ns()
        for network in self._networks:
            network.run(START if starts else STEP)
        elapsed = time.perf_counter_ns() - start
        self._number += 1
        self._window = tuple(self._networks[0].read("next_window").tolist())
        return elapsed

    def _load(self):
        frame = self._rng.uniform(-1, 1, (1, *self._size, 3)).astype(np.float32)
        if self._windows:
            self._window = self._windows[self._number % len(self._windows)]
        row, column = self._window
        self._networks[0].load(frame, (row, column))
        for mirrored in self._networks[1:]:
            mirrored.load(frame[:, :, ::-1], (row, self._positions - 1 - column))


def machine(threads: int = 1) -> dict:
    """What the times are measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "ai_edge_litert": version("ai-edge-litert"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
