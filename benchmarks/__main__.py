"""Measures per-frame latency of systems of the zoo, in turn, with their state fed back.

  patchwork-benchmark --system=vid-sf,vid-pw-m4n2,vid-pw-m4n1 --json=latency.json
  patchwork-benchmark --system=all --scores=vid.json,davis.json --json=latency.json --html=latency.html
  patchwork-benchmark --tflite=sf.tflite,pw.tflite --json=latency.json
  patchwork-benchmark --target=adb --system=vid-sf,vid-pw-m4n2 --json=phone.json --html=phone.html
  patchwork-benchmark --report=latency.json --html=latency.html
  patchwork-benchmark --report=before.json,after.json

The systems, or all of the zoo with --system=all, and those to which their ratios refer, are exported first, with
random weights unless a checkpoint is given: latency does not depend on what the weights are, except that
suppression has less to do if nothing is found.
docs/measure.md explains the report and measuring phones. After Ctrl-C, this machine's report is
on what was measured until then, and a phone's run can be resumed.
"""

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator

from tqdm import tqdm

from patchwork_tf import bars, cli
from patchwork_tf.benchmarks.android import CLUSTERS
from patchwork_tf.errors import DataError, UsageError

_FLAGS = cli.Flags()
_OF_MODELS = ("checkpoint", "image_size", "depth")
_OF_PHONES = ("serial", "cluster", "fixed_performance", "cool_seconds", "runner", "resume")

_FLAGS.enum("target", "This machine, or a phone that adb reaches.", default="host", values=["host", "adb"])
cli.define(_FLAGS, "system", system="vid-sf,vid-pw-m4n2,vid-pw-m4n1")
_FLAGS.count("steps", "Frames to time per system and repeat; below 1000, p99 says little.", default=1000)
cli.define(_FLAGS, "json")
_FLAGS.string("html", "The page with plots to write.")
_FLAGS.list("scores", "Accuracies to show beside latencies: files that patchwork-evaluate --json wrote.")
_FLAGS.list("report", "Measure nothing: show this report, or compare BEFORE.json,AFTER.json.")
cli.define(_FLAGS, "tflite", "checkpoint", "image_size", "depth")
_FLAGS.count("repeats", "How often every system runs; by default once, and 3 times on phones.")
_FLAGS.number(
    "fps", "Frames arrive at this rate, and late ones are counted; 0 is back to back.", default=0.0, least=0
)
_FLAGS.count("threads", "Of inference.", default=1)
cli.define(_FLAGS, "seed")
_FLAGS.list("serial", "Phones: which of several, by serial number or HOST:PORT.")
_FLAGS.enum("cluster", "Phones: CPUs to run on; all does not pin.", default="big", values=CLUSTERS)
_FLAGS.boolean("fixed_performance", "Phones: hold the clocks at what they can sustain.", default=True)
_FLAGS.number("cool_seconds", "Phones: how long to wait for a hot one.", default=600.0, least=0)
_FLAGS.string("runner", "Phones: folder of a runner built elsewhere, by an NDK for example.")
_FLAGS.string("resume", "Phones: folder of finished repeats, to continue; by default a temporary one.")


@cli.command("patchwork-benchmark", _FLAGS, __doc__)
def main():
    """Measures, or shows or compares reports."""
    from patchwork_tf.benchmarks import compare, report

    cli.check_outputs(_FLAGS, "json", "html")
    rows = report.scored_rows(_FLAGS.scores)
    scores = {row["system"]: accuracy for row, accuracy in reversed(rows)}  # of several policies, the first one's
    reports = [report.read(path) for path in _FLAGS.report]
    if len(reports) > 2:
        raise UsageError(f"--report takes one report, or two to compare, not {len(reports)}")
    if len(reports) == 2:
        print(compare.compare(*reports))
    elif reports:
        _publish(reports[0], scores)
    else:
        for measured in _measured():
            _publish(measured, scores)
            if not measured.finished:
                raise KeyboardInterrupt  # what there was is written; the exit code tells that it is not all


def _publish(shown, scores):
    """Prints and writes a report."""
    from patchwork_tf.benchmarks import html, report, text

    runs = {
        name: dataclasses.replace(run, accuracy=scores.get(name, run.accuracy)) for name, run in shown.runs.items()
    }
    shown = dataclasses.replace(shown, runs=runs)
    for path, write in ((_FLAGS.json, report.write), (_FLAGS.html, html.write)):
        if path:
            write(shown, _path_of(path, shown))
    print(text.table(shown))


def _path_of(path, shown) -> str:
    """One of several phones has its serial number in the names of its files."""
    if len(_FLAGS.serial) < 2:
        return path
    name, extension = os.path.splitext(path)
    return f"{name}.{re.sub(r'[^a-zA-Z0-9_.-]', '_', shown.machine['serial'])}{extension}"


def _measured() -> Iterator:
    """Reports of a new run, one per machine."""
    from patchwork_tf.benchmarks import harness

    if _FLAGS.tflite:
        _refuse(("system", *_OF_MODELS), "--tflite: the files say what they are; leave out --{}")
    if _FLAGS.target == "host":
        _refuse(_OF_PHONES, "--{} is for phones: say --target=adb too")
    with tempfile.TemporaryDirectory() as exports:
        # Devices first: exports take longer.
        targets = _targets()
        workloads = _workloads(exports)
        with bars.progress(unit="run", desc="timing") as bar, _kept(targets[0].resumable) as folder:

            def progress(total):
                bar.total = total
                bar.update()

            given = [_FLAGS[name].serialize() for name in _FLAGS if _FLAGS[name].present]
            command = shlex.join(["patchwork-benchmark", *given])
            benchmark = harness.Benchmark(workloads, folder, command, progress)
            for measured in harness.measure(benchmark, targets):
                bar.clear()  # what is printed about it would go on in the bar's line
                of_models = {name: _FLAGS[name].value for name in _OF_MODELS}
                yield dataclasses.replace(measured, settings={**measured.settings, **of_models})


def _refuse(names, why):
    if given := [name for name in names if _FLAGS[name].present]:
        raise UsageError(why.format(given[0]))


def _settings(cls):
    values = {field.name: _FLAGS[field.name].value for field in dataclasses.fields(cls) if field.name in _FLAGS}
    return cls(**{name: value for name, value in values.items() if value is not None})


def _targets() -> list:
    from patchwork_tf.benchmarks.adb import Adb, select
    from patchwork_tf.benchmarks.host import Host
    from patchwork_tf.benchmarks.phone import Phone, PhoneSettings
    from patchwork_tf.benchmarks.plan import Settings

    if _FLAGS.target == "host":
        return [Host(_settings(Settings))]
    settings, devices = _settings(PhoneSettings), select(Adb(), _FLAGS.serial, _say)
    return [Phone(device, settings, _FLAGS.runner, _say) for device in devices]


def _workloads(folder) -> dict:
    from patchwork_tf.benchmarks import workloads

    if _FLAGS.tflite:
        return workloads.from_files(_FLAGS.tflite)
    overrides = cli.override(image_size=_FLAGS.image_size, depth=_FLAGS.depth)
    checkpoint = cli.single("checkpoint", _FLAGS.checkpoint) if _FLAGS.checkpoint else None
    return workloads.from_zoo(cli.non_empty("system", _FLAGS.system), folder, checkpoint, _FLAGS.seed, **overrides)


@contextlib.contextmanager
def _kept(resumable: bool):
    """The folder for finished repeats. A temporary one stays if a run that can be resumed breaks."""
    folder = _FLAGS.resume or tempfile.mkdtemp(prefix="patchwork-benchmark-")
    kept = bool(_FLAGS.resume)
    try:
        yield folder
    except (KeyboardInterrupt, DataError) as error:
        kept = kept or resumable
        if kept and isinstance(error, KeyboardInterrupt):
            _say(f"finished repeats are kept, --resume={folder} continues")
        raise
    finally:
        if not kept:
            shutil.rmtree(folder)


def _say(text):
    tqdm.write(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
