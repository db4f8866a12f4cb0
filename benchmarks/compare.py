"""Two reports side by side: what changed, and whether it is more than chance."""

import numpy as np

from patchwork_tf.benchmarks import latency
from patchwork_tf.benchmarks.labels import device, pace, remarks, warnings
from patchwork_tf.benchmarks.text import milliseconds, ratio
from patchwork_tf.errors import DataError

# Facts that change from one run to the next on one machine.
_OF_THE_MOMENT = ("load_average", "charge_percent", "charging", "transport", "adb")
# Settings that change how sure numbers are, or where they go, not what they are of.
_OF_THE_RUN = ("steps", "repeats", "seed", "cool_seconds")


def compare(a: dict, b: dict) -> str:
    """Text: medians and p95 of the systems in both reports, and their changes from a to b.

    A change has a bootstrap interval and is marked if that excludes 0. Of systems that skip frames the
    mean is compared instead of the median, which would be that of a skipped frame.

    Raises:
        DataError: if they have no system in common.
    """
    common = [name for name in a["systems"] if name in b["systems"]]
    if not common:
        raise DataError("the two reports have no system in common")
    lines = [*_about("A", a), *_about("B", b), *_warnings(a, b), "", *_HEADER]
    lines += [_line(name, a["systems"][name], b["systems"][name]) for name in common]
    lines += ["", f"Changes with {latency.CONFIDENCE} % bootstrap intervals; ! where 0 is outside."]
    for title, report in (("A", a), ("B", b)):
        if only := [name for name in report["systems"] if name not in common]:
            lines.append(f"Only in {title}: {', '.join(only)}.")
    return "\n".join(lines)


_CHANGE = f"{'A':>9}{'B':>9}{'change, %':>25}"
_HEADER = (
    f"{'':<22}{'median (m: mean), ms':>46}{'p95, ms':>43}{'mean / SF':>18}",
    f"{'system':<22}{'':<3}{_CHANGE}{_CHANGE}{'A':>9}{'B':>9}",
)


def _about(title, report):
    yield f"{title}: {device(report)}; {pace(report)}; {report['created']}"
    yield from (f"   {label}" for label in (*warnings(report), *remarks(report)))


def _warnings(a, b):
    if a["target"] != b["target"] or a["emulated"] != b["emulated"]:
        yield "DIFFERENT KINDS OF MACHINES: the changes below say nothing."
    for what, ignored in (("machine", _OF_THE_MOMENT), ("settings", _OF_THE_RUN)):
        different = [
            f"{key} ({a[what].get(key)} / {b[what].get(key)})"
            for key in {**a[what], **b[what]}
            if key not in ignored and a[what].get(key) != b[what].get(key)
        ]
        if different:
            yield f"The {'machines' if what == 'machine' else what} differ: {', '.join(different)}."


def _line(name, a, b) -> str:
    middle = "mean_ms" if "skip" in a["kinds"] else "median_ms"
    samples = [latency.resample(row["samples"], seed) for seed, row in enumerate((a, b))]
    mark = "m" if middle == "mean_ms" else ""
    changes = "".join(_change(key, a, b, samples) for key in (middle, "p95_ms"))
    return f"{name:<22}{mark:>3}{changes}{ratio(a['ratio_mean']):>9}{ratio(b['ratio_mean']):>9}"


def _change(key, a, b, samples) -> str:
    column = latency.STATISTICS.index(key)
    low, high = latency.interval(_percent(samples[0][:, column], samples[1][:, column]))
    change = _percent(a[key], b[key])
    text = f"{change:+.1f} [{low:+.1f}, {high:+.1f}]{' ' if low <= 0 <= high else '!'}"
    return f"{milliseconds(a[key]):>9}{milliseconds(b[key]):>9}{text:>25}"


def _percent(before, after):
    return 100 * (np.divide(after, before) - 1)
