"""What a benchmark measured: repeats of runs, one run per system, and the report of one machine.

A `Report` has `runs`, by system; a `Run` says what is known of its system and has `repeats`; a `Repeat` has
`samples`. All else is computed from these:

  run.samples, run.kinds_of_samples, run.statistics["p95_ms"], run.kinds["key"]["p95_ms"], run.deadline_misses
  run.paper_ratios["ratio_p95"]                              # each None if the paper has no such row
  report.ratios(run)["ratio_p95"]                            # to run.reference; each None if it was not measured
  report.intervals(run)["p95_ms"], report.intervals(run)["ratio_p95"]
  report.groups()                                            # [(reference, its runs)]: a table, a plot each

The JSON has all of it, under the names of the fields below.
"""

import dataclasses
import functools
import json

import numpy as np
import pydantic

from patchwork_tf.benchmarks import latency
from patchwork_tf.errors import DataError
from patchwork_tf.files import read_json, write_json
from patchwork_tf.models.config import StreamConfig
from patchwork_tf.task import get_task
from patchwork_tf.zoo.paper import PAPER, PaperRow
from patchwork_tf.zoo.systems import get_system

SCHEMA = 3
FRAMES = "synthetic (noise)"
_RATIOS = {"ratio_median": "median_ms", "ratio_p95": "p95_ms", "ratio_mean": "mean_ms"}


@dataclasses.dataclass(frozen=True)
class Repeat:
    """Consecutive frames of one system, in one go. What is None is unknown."""

    started: float  # seconds, since any moment that all repeats of a report share
    samples: list[float]  # milliseconds of every frame, in order
    kinds: list[str]  # of every frame: 'window' or 'whole'; with an interval 'key' or 'skip', with a delay 'part'
    load_ms: float  # from the file to a model that is ready
    first_ms: float  # of the very first inference, before the warm-up
    late: int | None = None  # how many frames missed their deadline; None if frames came back to back
    peak_mb: float | None = None  # most memory held
    temperature_before: float | None = None  # degrees Celsius
    temperature_after: float | None = None
    reason: str | None = None  # why the repeat is not to be trusted; None if it is

    def __post_init__(self):
        if not len(self.samples) == len(self.kinds) > 0:
            raise ValueError(f"a repeat has {len(self.samples)} samples and {len(self.kinds)} kinds of frames")

    @property
    def tainted(self) -> bool:
        return self.reason is not None


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """What was run; `state_bytes` are of one stream, `weights` says where they come from, if from a checkpoint."""

    sha256: str
    bytes: int
    state_bytes: int
    weights: str
    weights_sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """What patchwork-evaluate scored, and on what: `metrics` in per cent, 'mAP', 'J' and 'F'."""

    metrics: dict
    dataset: str
    policy: str
    image_size: list[int]
    weights: dict | None = None


@dataclasses.dataclass(frozen=True)
class Run:
    """A system, and all that was measured of it."""

    system: str  # as 'vid-pw-m4n2'
    task: str
    reference: str  # name of the single-frame system that its ratios refer to
    stream: StreamConfig
    patchwork: bool  # whether it looks at windows
    depth: float  # width multiplier
    image_size: tuple[int, ...]  # (height, width) in pixels
    mflops_max: float  # multiply-adds / 10^6 per frame of a run, as mflops_avg_run
    mflops_avg: float  # divided by the frames of a delay once more, as the paper does
    mflops_avg_run: float
    file: ExportedFile
    paper: PaperRow | None = None  # its row there, if it has one
    accuracy: Accuracy | None = None
    grid: dict | None = None  # its 'cells' and 'window_cells'
    repeats: tuple[Repeat, ...] = ()  # in the order of time

    @functools.cached_property
    def samples(self) -> np.ndarray:
        """Milliseconds of all frames, (n,) in the order of time."""
        return np.concatenate([repeat.samples for repeat in self.repeats])

    @functools.cached_property
    def kinds_of_samples(self) -> list[str]:
        return [kind for repeat in self.repeats for kind in repeat.kinds]

    @functools.cached_property
    def statistics(self) -> dict[str, float]:
        """'median_ms', 'p95_ms', 'p99_ms', 'mean_ms', 'std_ms' of all frames (see `latency.DEFINITIONS`)."""
        return latency.describe(self.samples)

    @functools.cached_property
    def kinds(self) -> dict[str, dict[str, float]]:
        """Kind of frame -> 'count', and statistics as above."""
        kinds = np.array(self.kinds_of_samples)
        parts = {str(kind): self.samples[kinds == kind] for kind in np.unique(kinds)}
        return {kind: {"count": len(part), **latency.describe(part)} for kind, part in parts.items()}

    @property
    def deadline_misses(self) -> float | None:
        """The part of frames that missed their deadline; None if there was none."""
        late = [repeat.late for repeat in self.repeats]
        return None if None in late else sum(late) / len(self.samples)

    @property
    def load_ms(self) -> float:
        return float(np.median([repeat.load_ms for repeat in self.repeats]))

    @property
    def first_ms(self) -> float:
        return float(np.median([repeat.first_ms for repeat in self.repeats]))

    @property
    def max_ms(self) -> float:
        """The dearest frame of all, the first of a stream included."""
        first = max(repeat.first_ms for repeat in self.repeats) / (self.stream.delay + 1)
        return max(first, float(np.max(self.samples)))

    @property
    def peak_mb(self) -> float | None:
        return max((repeat.peak_mb for repeat in self.repeats if repeat.peak_mb is not None), default=None)

    @property
    def paper_ratios(self) -> dict[str, float | None]:
        """The paper's 'ratio_p95' and 'ratio_mean', to its own single-frame network on its phone."""
        reference = PAPER.get(self.reference)
        keys = ("ratio_p95", "ratio_mean")
        if not self.paper or not reference:
            return dict.fromkeys(keys)
        return {key: getattr(self.paper, _RATIOS[key]) / getattr(reference, _RATIOS[key]) for key in keys}

    def to_json(self) -> dict:
        computed = ("kinds", "deadline_misses", "load_ms", "first_ms", "max_ms", "peak_mb")
        return {
            **self.statistics,
            **{key: getattr(self, key) for key in computed},
            **dataclasses.asdict(self),
            "samples": self.samples.tolist(),
        }


@dataclasses.dataclass(frozen=True)
class Report:
    """Runs on one machine."""

    target: str  # 'host' or 'adb', or a name of one's own
    emulated: bool  # whether the machine was a computer that plays a phone: its times mean nothing
    finished: bool  # whether there are as many frames as asked for
    created: str  # ISO time
    command: str  # that asked for it
    machine: dict  # facts; 'cpu' and 'threads' at least
    settings: dict  # of the benchmark; 'steps' at least
    runs: dict[str, Run]  # by system
    frames: str = FRAMES  # what the frames were
    version: str | None = None  # of this project

    def groups(self) -> list[tuple[str, list[Run]]]:
        """Runs that have a reference in common, and its name."""
        names = dict.fromkeys(run.reference for run in self.runs.values())
        return [(name, [run for run in self.runs.values() if run.reference == name]) for name in names]

    def ratios(self, run: Run) -> dict[str, float | None]:
        """'ratio_median', 'ratio_p95', 'ratio_mean': statistics divided by the reference's."""
        reference = self.runs.get(run.reference)
        return {
            ratio: reference and run.statistics[key] / reference.statistics[key] for ratio, key in _RATIOS.items()
        }

    def intervals(self, run: Run) -> dict[str, list[float]]:
        """Bootstrap intervals [low, high] of statistics, and of ratios where there are any."""
        estimates = dict(self._resamples[run.system])
        if reference := self._resamples.get(run.reference):
            estimates |= {ratio: estimates[key] / reference[key] for ratio, key in _RATIOS.items()}
        return {key: latency.interval(values) for key, values in estimates.items()}

    @functools.cached_property
    def _resamples(self) -> dict[str, dict[str, np.ndarray]]:
        """System -> statistic -> what it might have been, (resamples,)."""
        return {
            name: dict(zip(latency.STATISTICS, latency.resample(run.samples, number).T, strict=True))
            for number, (name, run) in enumerate(self.runs.items())
        }

    def to_json(self) -> dict:
        """The fields, runs as 'systems' with their ratios and intervals."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["runs"]
        systems = {
            name: {**run.to_json(), **self.ratios(run), "intervals": self.intervals(run)}
            for name, run in self.runs.items()
        }
        return {"schema": SCHEMA, **fields, "systems": systems}


def write(report: Report, path: str):
    """Writes the report as JSON."""
    write_json(path, report.to_json())


def read(path: str) -> Report:
    """Reads a report. Raises DataError, which says why, if it is missing or not a report of this version."""
    try:
        return _report(read_json(path))
    except ValueError as error:
        raise DataError(f"{path}: not a report of patchwork-benchmark: {error}") from None


def _report(data) -> Report:
    if not isinstance(data, dict) or not data.get("systems"):
        raise ValueError("it names no 'systems'")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema {data.get('schema')}, this reads schema {SCHEMA}; measure again")
    runs = from_json(dict[str, Run], data["systems"], "'systems'")
    runs = {name: dataclasses.replace(run, paper=run.paper or PAPER.get(name)) for name, run in runs.items()}
    report = dataclasses.replace(from_json(Report, {**data, "runs": {}}, "the report"), runs=runs)
    for part, key, kind in (("machine", "cpu", str), ("machine", "threads", int), ("settings", "steps", int)):
        if not isinstance(getattr(report, part).get(key), kind):
            raise ValueError(f"'{part}': no '{key}'")
    return report


def from_json(kind, value, where: str):
    """A dataclass, or a dict of such, of what JSON made of it; keys that it does not know are ignored.

    Raises ValueError, which names the field of `where` that is missing or of another type.
    """
    try:
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        wrong = error.errors()[0]
        field = "".join(f": '{key}'" for key in wrong["loc"])
        raise ValueError(f"{where}{field}: {wrong['msg']}") from None


def scored_rows(paths: list[str]) -> list[tuple[dict, Accuracy]]:
    """Rows that `patchwork-evaluate --json` wrote. Raises DataError if a file is something else."""
    rows = []
    for path in paths:
        scores = read_json(path)
        for score in scores if isinstance(scores, list) else [scores]:
            try:
                metrics = get_task(get_system(score["system"]).task).accuracy(score)
                percent = {name: value if value is None else 100 * value for name, value in metrics.items()}
                rows.append((score, from_json(Accuracy, {**score, "metrics": percent}, score["system"])))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path}: not what patchwork-evaluate --json writes of systems ({error})"
                ) from None
    return rows
