"""The harness: runs workloads on a target, in turns, and makes a report of what it hands back.

Every repeat runs all systems in another order, so that a machine that gets slower does so for all of them. What is
finished is kept on disk, whatever happens next, so that a run that broke can be continued.
"""

import dataclasses
import datetime
import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from patchwork_tf import provenance
from patchwork_tf.benchmarks.plan import Settings, Workload, order, streamed
from patchwork_tf.benchmarks.report import Repeat, Report, from_json
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.files import make_folder, read_json, write_json
from patchwork_tf.interrupts import interruptible

# Facts of a machine that must be the same when its run is continued.
_SAME_MACHINE = ("build", "cpu_mask", "runner", "fixed_performance")


class Target:
    """A machine that runs workloads. Subclasses say how."""

    name = "own"  # of the kind of machine, 'target' in the report
    serial = "own"  # of this one
    most_frames = None  # in one repeat; more are divided into several, in which systems take turns
    resumable = False  # whether an interrupted run can be continued; else it ends with a report on what there is

    def __init__(self, settings: Settings):
        self.settings = settings

    @contextmanager
    def session(self, workloads: dict[str, Workload], folder: str) -> Iterator[dict]:
        """Within it workloads can be run, with files in a folder; what was changed for that is undone in the end.
        Yields facts of the machine, 'cpu' and 'threads' at least.
        """
        raise NotImplementedError

    def run(self, workload: Workload, number: int, frames: int) -> Repeat:
        """Runs repeat `number`, timing `frames` after a warm-up, all of an inference in its key frame."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What to measure."""

    workloads: dict[str, Workload]  # by system
    folder: str  # where finished repeats are kept; those that are there are not measured again
    command: str = ""  # that asked for it
    progress: Callable[[int], None] = lambda total: None  # told after every run how many there are on all targets


def measure(benchmark: Benchmark, targets: list[Target]) -> Iterator[Report]:
    """Measures on one target after the other. In the main thread only, for the sake of Ctrl-C.

    Yields the report of every target on which all went well, or that was interrupted and is not resumable. Raises
    UsageError or DataError if something cannot be as asked for; what went wrong on one, when the others are done.
    """
    failures = []
    _begin(benchmark, targets[0].settings)
    for target in targets:
        try:
            with interruptible():
                report = _Measurement(benchmark, target, len(targets)).report()
        except DataError as error:
            resume = f". Finished repeats are kept, --resume={benchmark.folder} continues"
            failures.append(f"{error}{resume if target.resumable else ''}")
        else:
            yield report
    if failures:
        raise DataError("; ".join(failures))


def _begin(benchmark, settings):
    """Notes in the folder what is measured there, or makes sure that it is the same."""
    plan = dataclasses.asdict(settings)
    plan.pop("cool_seconds", None)  # one may lose patience
    plan |= {f"model of {name}": provenance.sha256(one.path) for name, one in benchmark.workloads.items()}
    make_folder(benchmark.folder)
    path = os.path.join(benchmark.folder, "plan.json")
    if not os.path.exists(path) and os.listdir(benchmark.folder):
        raise UsageError(f"{benchmark.folder}: neither empty nor a folder of a benchmark; name another one")
    if differs := _changed_since_begun(path, plan):
        raise UsageError(f"{benchmark.folder}: {differs}; continue it as it was begun, or name another folder")


def _changed_since_begun(path: str, now: dict, keys=None) -> str | None:
    """What is not as it was noted in a file in the beginning. In the beginning it is noted."""
    if not os.path.exists(path):
        write_json(path, now)
    begun = read_json(path)
    for key in keys or {**begun, **now}:
        if begun.get(key) != now.get(key):
            return f"this run was begun with {key} {begun.get(key)}, not {now.get(key)}"


class _Measurement:
    """All workloads on one target.

    In the folder, SERIAL/machine.json is the machine as it was in the beginning, SERIAL/SYSTEM.REPEAT.json a
    finished repeat.
    """

    def __init__(self, benchmark: Benchmark, target: Target, num_targets: int):
        self._benchmark, self._target, self._workloads = benchmark, target, benchmark.workloads
        self._kept = os.path.join(benchmark.folder, re.sub(r"[^\w.-]", "_", target.serial))
        self._lengths = target.settings.lengths(target.most_frames)
        self._turns = order(list(self._workloads), len(self._lengths), target.settings.seed)
        self._total = num_targets * len(self._turns)

    def report(self) -> Report:
        """Runs what is missing; then all that there is."""
        make_folder(self._kept)
        missing = [turn for turn in self._turns if self._finished(*turn) is None]
        for _ in range(len(self._turns) - len(missing)):
            self._benchmark.progress(self._total)
        try:
            if missing:
                self._run(missing)
        except KeyboardInterrupt:
            if self._target.resumable or not any(map(self._repeats, self._workloads)):
                raise
        return self._report()

    def _run(self, turns):
        target = self._target
        with target.session(self._workloads, self._benchmark.folder) as machine:
            if differs := _changed_since_begun(self._path("machine"), machine, _SAME_MACHINE):
                raise DataError(f"{self._kept}: {differs}; begin anew")
            for name, number in turns:
                workload = self._workloads[name]
                repeat = target.run(workload, number, self._lengths[number])
                repeat = streamed(repeat, workload.run.stream, target.settings.fps)
                write_json(self._path(name, number), dataclasses.asdict(repeat))
                self._benchmark.progress(self._total)

    def _path(self, *names):
        return os.path.join(self._kept, f"{'.'.join(map(str, names))}.json")

    def _finished(self, name, number) -> Repeat | None:
        """None if it is not finished, or spoilt."""
        try:
            return from_json(Repeat, read_json(self._path(name, number)), name)
        except (DataError, ValueError):
            return None

    def _repeats(self, name) -> list[Repeat]:
        """From the first on, as many as are finished."""
        repeats = (self._finished(name, number) for number in range(len(self._lengths)))
        return list(itertools.takewhile(lambda repeat: repeat is not None, repeats))

    def _report(self) -> Report:
        """Of as many repeats as all systems have that have any."""
        repeats = {name: of_system for name in self._workloads if (of_system := self._repeats(name))}
        count = min(map(len, repeats.values()))
        begun = min(of_system[0].started for of_system in repeats.values())
        runs = {}
        for name, of_system in repeats.items():
            relative = tuple(dataclasses.replace(part, started=part.started - begun) for part in of_system[:count])
            runs[name] = dataclasses.replace(self._workloads[name].run, repeats=relative)
        machine = read_json(self._path("machine"))
        created = datetime.datetime.fromtimestamp(begun, datetime.timezone.utc)
        return Report(
            target=self._target.name,
            emulated=machine.get("emulated", False),
            finished=count == len(self._lengths) and len(runs) == len(self._workloads),
            created=created.isoformat(timespec="seconds"),
            command=self._benchmark.command,
            machine=machine,
            settings=dataclasses.asdict(self._target.settings),
            runs=runs,
            version=provenance.version(),
        )
