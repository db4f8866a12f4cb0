"""This machine as a target, by the native runner.

Systems take turns every few seconds, so that a machine that speeds up or slows down does so for all of them: their
ratios mean something, the milliseconds less.
"""

import os
import platform
import subprocess
import time
from contextlib import contextmanager
from importlib.metadata import version

from patchwork_tf.benchmarks import native
from patchwork_tf.benchmarks.harness import Target
from patchwork_tf.benchmarks.plan import Settings, Workload
from patchwork_tf.benchmarks.report import Repeat
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.errors import DataError


class Host(Target):
    """This machine. Raises DataError if the native runner cannot be built."""

    name = serial = "host"
    most_frames = 128  # whole blocks of 16, within which all schedules of the zoo repeat

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self._runner = native.runner_path()

    @contextmanager
    def session(self, workloads, folder):
        """Nothing is changed, nothing has to be undone."""
        self._folder = folder
        yield machine(self.settings.threads) | {"runner": "native"}

    def run(self, workload: Workload, number: int, frames: int) -> Repeat:
        """Runs a workload once. Raises DataError if the runner fails."""
        started = time.time()
        files = [f"--library={native.library_path()}", f"--model={os.path.abspath(workload.path)}"]
        command = [self._runner, *files, "--samples=samples.txt", *workload.flags(self.settings, frames)]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, errors="replace")
        if done.returncode:
            reason = done.stderr.strip() or f"exit code {done.returncode}"
            raise DataError(f"{workload.run.system}: the native runner failed: {reason}")
        samples = read_samples(os.path.join(self._folder, "samples.txt"), workload.facts(self.settings, frames))
        return samples.repeat(started)


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
