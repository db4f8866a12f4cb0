"""TensorFlow's own benchmark_model as a cross-check of our runner.

It feeds no state back, keeps no samples and knows no p99, but it is what others measure with. Its percentiles
are the sorted sample number floor(p n), ours are interpolated.
"""

import dataclasses
import math
import re

from patchwork_tf.errors import DataError

_NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
# A line of its own, maybe behind logcat's columns. Not "Timings (microseconds): count=...": that is a profile's.
_STATISTICS = re.compile(r"^(?:\d\d-\d\d [\d:. ]+ [VDIWEF] \w+\s*: )?(count=\d+.*)$", re.MULTILINE)
# The last line of a run. Builds before 2020 say "Average inference timings" and "Inference:" or "no stats:".
_SUMMARY = re.compile(
    rf"^.*nference timings in us: .*?(?:Inference \(avg\)|Inference|no stats): ({_NUMBER})", re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Latency of the measured runs in microseconds; percentiles are None in builds that do not print them."""

    count: int
    first: float
    last: float
    minimum: float
    maximum: float
    mean: float
    std: float
    p5: float | None = None
    median: float | None = None
    p95: float | None = None


def command(tool: str, model: str, steps: int, warmup: int, threads: int) -> list[str]:
    """The arguments to run it by: exactly `steps` runs, however long they take.

    Args:
        tool, model: paths on the device.
    """
    return [
        tool,
        f"--graph={model}",
        f"--num_threads={threads}",
        f"--warmup_runs={warmup}",
        "--warmup_min_secs=0",
        f"--num_runs={steps}",
        "--min_secs=0",
        "--max_secs=86400",  # it would stop after 150 seconds
    ]


def parse(text: str, source: str) -> Statistics:
    """Statistics of the measured runs in what benchmark_model printed.

    Args:
        text: everything it printed, maybe through logcat.
        source: where that comes from, for messages.

    Raises:
        DataError: if it failed or did not finish, or printed only the warm-up or a profile.
    """
    if "Benchmarking failed" in text:
        cause = re.search(r"^(?:ERROR: |Failed to ).+$", text, re.MULTILINE)
        raise DataError(f"{source}: benchmark_model failed: {cause[0] if cause else 'it does not say why'}")
    summary = _SUMMARY.search(text)
    if not summary:
        found = "only profiles of operators" if "Timings (microseconds)" in text else "it did not finish"
        raise DataError(f"{source}: {found}; there is no line with benchmark_model's 'Inference timings'")
    lines = _STATISTICS.findall(text[: summary.start()])
    if not lines:
        raise DataError(f"{source}: no statistics before benchmark_model's last line")
    statistics = parse_line(lines[-1], source)  # the one before it is of the warm-up
    if not math.isclose(statistics.mean, float(summary[1]), rel_tol=1e-4):
        raise DataError(f"{source}: statistics of {statistics.mean} us, but its last line says {summary[1]} us")
    return statistics


def read(path: str) -> Statistics:
    """Statistics of a file that `parse` can read."""
    with open(path, encoding="utf-8") as file:
        return parse(file.read(), path)


def parse_line(line: str, source: str) -> Statistics:
    """One statistics line, in any of its forms.

    Raises:
        DataError: for a line without runs.
    """
    fields = {name: float(value) for name, value in re.findall(rf"(\w+)=({_NUMBER})", line)}
    if not fields["count"]:
        raise DataError(f"{source}: benchmark_model measured no run ({line.strip()})")
    if "first" not in fields and (fields["count"] == 1 or "(all same)" in line):
        fields |= dict.fromkeys(("first", "min", "max", "avg"), fields["curr"]) | {"std": 0.0}
    try:
        values = [fields[name] for name in ("first", "curr", "min", "max", "avg", "std")]
    except KeyError as error:
        raise DataError(f"{source}: no {error} in benchmark_model's '{line.strip()}'") from None
    return Statistics(int(fields["count"]), *values, fields.get("p5"), fields.get("median"), fields.get("p95"))
