"""A benchmark as a user starts it, on emulated devices, with a stand-in for the native runner."""

import contextlib
import os
import re
import sys
from pathlib import Path

import fake_runner
from absl import flags
from runs import run_of

from patchwork_tf import cli
from patchwork_tf.benchmarks import harness, native
from patchwork_tf.benchmarks.adb import select
from patchwork_tf.benchmarks.phone import Phone, PhoneSettings
from patchwork_tf.benchmarks.plan import Workload, order

STEPS = 12
SYSTEMS = ("vid-sf", "vid-sf-int4-delay3", "vid-pw-m4n2")
RUNS = order(list(SYSTEMS), repeats=2, seed=0)


class Bench:
    """A benchmark as a user starts it, and how that ended."""

    def __init__(self, adb, folder):
        self.adb, self.folder = adb, folder
        self.kept = folder / "kept"
        self.runner = folder / "runner"
        self.runner.mkdir()
        source = Path(fake_runner.__file__).read_text()
        program = self.runner / native.RUNNER
        program.write_text(f"#!{sys.executable} -SE\n{source}")
        program.chmod(0o755)
        (self.runner / native.LIBRARY).write_bytes(os.urandom(300_000))
        self.faults()
        self.workloads = {name: self._workload(name) for name in SYSTEMS}
        self.results, self.said, self.progress = [], [], []

    def faults(self, **of_runs):
        """What goes wrong in which runs, by 'SYSTEM.REPEAT'."""
        (self.runner / "faults").write_text("".join(f"{run} {fault}\n" for run, fault in of_runs.items()))

    def start(self, *serials, **settings):
        """Measures; returns exit code and message of a command that does so."""
        settings = PhoneSettings(**{"steps": STEPS, "repeats": 2, "warmup": 1, **settings})
        runner = str(self.runner) if self.runner else None
        benchmark = harness.Benchmark(self.workloads, str(self.kept), progress=self.progress.append)
        self.results.clear()

        def main():
            devices = select(self.adb, list(serials), self.said.append)
            phones = [Phone(device, settings, runner, self.said.append) for device in devices]
            self.results.extend(harness.measure(benchmark, phones))

        with contextlib.redirect_stderr(_Lines()) as errors:
            code = cli.run(main, flags.FlagValues(), "patchwork-benchmark", "", [])
        return code, errors.text

    def finished(self):
        """What is kept: file -> content."""
        return {path.name: path.read_bytes() for path in self.kept.glob("*/vid-*.*")}

    def _workload(self, name):
        path = self.folder / f"{name}.tflite"
        path.write_bytes(os.urandom(300_000))
        return Workload(run_of(name), str(path))


class _Lines:
    """Standard error that remembers its text."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def runs_of(phone) -> list[str]:
    """What was run on a phone, in order, as 'SYSTEM.REPEAT'."""
    return [found[1] for command in phone.commands if (found := re.search(r"--samples=(\S+)\.txt", command))]


def left_as_it_was(phone) -> bool:
    return phone.system.temporary_files() == [] and phone.system.fixed_performance()[-1:] != ["true"]
