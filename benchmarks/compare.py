"""Two reports side by side: what changed, and whether it is more than chance."""

import numpy as np

from patchwork_tf.benchmarks import latency
from patchwork_tf.benchmarks.report import Report
from patchwork_tf.benchmarks.text import aligned, device, milliseconds, pace, ratio, remarks, warnings
from patchwork_tf.errors import DataError

# Facts that change from one run to the next on one machine.
_OF_THE_MOMENT = ("load_average", "charge_percent", "charging", "transport", "adb")
# Settings that change how sure numbers are, not what they are of. Windows cost the same whoever chose them.
_OF_THE_RUN = ("steps", "repeats", "seed", "cool_seconds", "policy")
_CHANGE = ("\nB", "change\n%")
_HEADS = ("\nsystem", "median (m: mean), ms\nA", *_CHANGE, "p95, ms\nA", *_CHANGE, "mean / SF\nA", "\nB")


def compare(a: Report, b: Report) -> str:
    """Text: medians and p95 of the systems in both reports, and their changes from a to b.

    A change has a bootstrap interval and is marked if that excludes 0. Of systems that skip frames the
    mean is compared instead of the median, which would be that of a skipped frame.

    Raises DataError if they have no system in common.
    """
    common = [name for name in a.runs if name in b.runs]
    if not common:
        raise DataError("the two reports have no system in common")
    rows = [_row(name, a, b) for name in common]
    lines = [*_about("A", a), *_about("B", b), *_warnings(a, b), ""]
    lines += [aligned(rows, _HEADS)]
    lines += ["", f"Changes with {latency.CONFIDENCE} % bootstrap intervals; ! where 0 is outside."]
    for title, report in (("A", a), ("B", b)):
        if only := [name for name in report.runs if name not in common]:
            lines.append(f"Only in {title}: {', '.join(only)}.")
    return "\n".join(lines)


def _about(title, report):
    yield f"{title}: {device(report)}; {pace(report)}; {report.created}"
    yield from (f"   {label}" for label in (*warnings(report), *remarks(report)))


def _warnings(a, b):
    if a.target != b.target or a.emulated != b.emulated:
        yield "DIFFERENT KINDS OF MACHINES: the changes below say nothing."
    for what, before, after, ignored in (
        ("machines", a.machine, b.machine, _OF_THE_MOMENT),
        ("settings", a.settings, b.settings, _OF_THE_RUN),
    ):
        different = [
            f"{key} ({before.get(key)} / {after.get(key)})"
            for key in {**before, **after}
            if key not in ignored and before.get(key) != after.get(key)
        ]
        if different:
            yield f"The {what} differ: {', '.join(different)}."


def _row(name, a, b) -> list[str]:
    runs = [report.runs[name] for report in (a, b)]
    middle = "mean_ms" if "skip" in runs[0].kinds else "median_ms"
    resamples = [latency.resample(run.samples, seed) for seed, run in enumerate(runs)]
    ratios = [ratio(report.ratios(run)["ratio_mean"]) for report, run in zip((a, b), runs, strict=True)]
    first, *changes = [part for key in (middle, "p95_ms") for part in _change(key, runs, resamples)]
    return [name, f"{'m ' if middle == 'mean_ms' else ''}{first}", *changes, *ratios]


def _change(key, runs, resamples) -> list[str]:
    column = latency.STATISTICS.index(key)
    low, high = latency.interval(_percent(*(resampled[:, column] for resampled in resamples)))
    before, after = (run.statistics[key] for run in runs)
    text = f"{_percent(before, after):+.1f} [{low:+.1f}, {high:+.1f}]{' ' if low <= 0 <= high else '!'}"
    return [milliseconds(before), milliseconds(after), text]


def _percent(before, after):
    return 100 * (np.divide(after, before) - 1)
