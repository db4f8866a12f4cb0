"""A benchmark as a user starts it, on emulated devices, with a stand-in for the native runner."""

import contextlib
import os
import re
import stat
import sys
from pathlib import Path

import fake_runner
from absl import flags

from patchwork_tf import cli
from patchwork_tf.benchmarks import harness, native
from patchwork_tf.benchmarks.plan import Model, Settings, order

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
        self._program(native.RUNNER, f"#!{sys.executable} -SE\n{source}")
        (self.runner / native.LIBRARY).write_bytes(os.urandom(300_000))
        self.faults()
        self.models = {name: self._model(name) for name in SYSTEMS}
        self.results, self.said, self.progress = [], [], []

    def faults(self, **of_runs):
        """What goes wrong in which runs, by 'SYSTEM.REPEAT'."""
        (self.runner / "faults").write_text("".join(f"{run} {fault}\n" for run, fault in of_runs.items()))

    def start(self, *serials, stock_tool=None, **settings):
        """Measures; returns exit code and message of a command that does so."""
        settings = Settings(**{"steps": STEPS, "repeats": 2, "warmup": 1, **settings})
        runner = str(self.runner) if self.runner else None
        benchmark = harness.Benchmark(
            self.models, settings, runner, stock_tool, self.progress.append, self.said.append
        )
        self.results.clear()

        def main():
            self.results.extend(harness.measure(benchmark, self.adb, list(serials), str(self.kept)))

        with contextlib.redirect_stderr(_Lines()) as errors:
            code = cli.run(main, flags.FlagValues(), "patchwork-benchmark", "", [])
        return code, errors.text

    def stock_tool(self, script):
        return str(self._program("benchmark_model", f"#!/bin/sh\n{script}", self.folder))

    def finished(self):
        """What is kept: file -> content."""
        return {path.name: path.read_bytes() for path in self.kept.glob("*/vid-*.*")}

    def _model(self, name):
        path = self.folder / f"{name}.tflite"
        path.write_bytes(os.urandom(300_000))
        return Model(str(path), interval=4, delay=3) if "delay" in name else Model(str(path))

    def _program(self, name, text, folder=None):
        path = (folder or self.runner) / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path


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
