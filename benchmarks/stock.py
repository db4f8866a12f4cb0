"""TensorFlow's own benchmark_model as a cross-check of our runner.

It feeds no state back, keeps no samples and knows no p99, but it is what others measure with.
"""

import math
import re

from patchwork_tf.benchmarks.plan import Settings
from patchwork_tf.benchmarks.report import Statistics
from patchwork_tf.errors import DataError

_NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
# What stands before a line: logcat's columns (-v threadtime, time or brief), and since 2023 the severity.
_BEFORE = r"(?:\d\d-\d\d [\d:. ]+)?(?:[VDIWEF][ /][\w.-]+ *(?:\( *\d+\))? *: )?(?:(?:INFO|WARNING|ERROR): )?"
# A line of its own. Not "Timings (microseconds): count=...": that is a profile's.
_STATISTICS = re.compile(rf"^{_BEFORE}(count=\d+.*)$", re.MULTILINE)
# The last line of a run. Builds before 2020 say "Average inference timings" and "Inference:" or "no stats:".
_SUMMARY = re.compile(
    rf"^.*nference timings in us: .*?(?:Inference \(avg\)|Inference|no stats): ({_NUMBER})", re.MULTILINE
)


def command(tool: str, model: str, settings: Settings) -> list[str]:
    """The arguments to run it by: exactly `settings.steps` runs, however long they take.

    Args:
        tool, model: paths on the device.
        settings: of the benchmark.
    """
    return [
        tool,
        f"--graph={model}",
        f"--num_threads={settings.threads}",
        f"--warmup_runs={settings.warmup}",
        "--warmup_min_secs=0",
        f"--num_runs={settings.steps}",
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
        cause = re.search(rf"^{_BEFORE}(?<=ERROR: ).+$|^{_BEFORE}Failed to .+$", text, re.MULTILINE)
        raise DataError(f"{source}: benchmark_model failed: {cause[0] if cause else 'it does not say why'}")
    summary = _SUMMARY.search(text)
    if not summary:
        missing = "only profiles of operators" if "Timings (microseconds)" in text else "it did not finish"
        raise DataError(f"{source}: {missing}; there is no line with benchmark_model's 'Inference timings'")
    lines = _STATISTICS.findall(text[: summary.start()])
    if not lines:
        raise DataError(f"{source}: no statistics before benchmark_model's last line")
    line, mean = lines[-1], float(summary[1])  # the line before it is of the warm-up
    fields = {name: float(value) for name, value in re.findall(rf"(\w+)=({_NUMBER})", line)}
    if not fields["count"]:
        raise DataError(f"{source}: benchmark_model measured no run ({line})")
    # Of equal times, or a single one, it says no more than the last.
    if not math.isclose(fields.get("avg", fields.get("curr", math.nan)), mean, rel_tol=1e-4):
        raise DataError(f"{source}: benchmark_model's '{line}' and its last line's mean, {mean} us, differ")
    return Statistics(int(fields["count"]), mean)
