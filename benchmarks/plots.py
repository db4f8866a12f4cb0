"""The plots of a report: what is shown in them, and what they tell who points at it."""

import itertools

import numpy as np

from patchwork_tf.benchmarks import charts
from patchwork_tf.benchmarks.text import METRICS, milliseconds, of_task, ratio

# Ours and the paper's: the ratio that counts, the latency behind it, and the MFLOPs beside it.
_PANELS = {
    "max": ("ratio_p95", "p95_ms", "mflops_max", "mflops_max"),
    "avg": ("ratio_mean", "mean_ms", "mflops_avg_run", "mflops_avg"),
}
_AXES = {"max": "p95 / single-frame network's p95", "avg": "mean / single-frame network's mean"}


def family(name: str) -> str:
    """'pw' for Patchwork, 'sf' for single-frame networks."""
    return "pw" if "-pw-" in name else "sf"


def short(name: str) -> str:
    """A system's name without its task."""
    return name.partition("-")[2]


def latency_against(report: dict, task: str) -> dict[str, str]:
    """Latency against accuracy, as in the paper's Figures 5 to 8, or against MFLOPs where no accuracy is known.

    Latencies are ratios to the single-frame network, so that the paper's fit beside ours.

    Returns:
        'max' and 'avg' -> svg; nothing if there is no single-frame network.
    """
    rows = of_task(report, task)
    if f"{task}-sf" not in rows:
        return {}
    metric = METRICS[task][0] if any(row["accuracy"] for row in rows.values()) else None
    y_label = f"{metric}, %" if metric else "MFLOPs / single-frame network's"
    plots = {}
    for panel, axis in _AXES.items():
        points = [
            *_ours(rows, rows[f"{task}-sf"], panel, metric),
            *_papers(rows, rows[f"{task}-sf"], panel, metric),
        ]
        title = f"Latency ({panel}) against {metric or 'MFLOPs'}"
        plots[panel] = charts.scatter(points, title, axis, y_label, y_logarithmic=metric is None)
    return plots


def _ours(rows, reference, panel, metric):
    key, latency, mflops, _ = _PANELS[panel]
    for name, row in rows.items():
        height = (row["accuracy"] or {}).get(metric) if metric else row[mflops] / reference[mflops]
        if height is not None:
            tip = _tip(f"{name}, measured here", row[latency], row[key], row[mflops], row["accuracy"], metric)
            yield charts.Point(short(name), row[key], height, family(name), tip)


def _papers(rows, reference, panel, metric):
    key, latency, _, mflops = _PANELS[panel]
    for name, row in rows.items():
        if paper := row["paper"]:
            height = paper["accuracy"][metric] if metric else paper[mflops] / reference["paper"][mflops]
            tip = _tip(
                f"{name}, the paper's", paper[latency], paper[key], paper[mflops], paper["accuracy"], metric
            )
            yield charts.Point(short(name), paper[key], height, f"{family(name)} paper", tip)


def _tip(title, latency, of_reference, mflops, scores, metric) -> str:
    lines = [
        title,
        f"{milliseconds(latency)} ms, {ratio(of_reference)} of the single-frame network",
        f"{mflops:.0f} MFLOPs",
    ]
    return "\n".join(lines + ([f"{metric} {scores[metric]:.1f} %"] if metric else []))


def distribution(report: dict, task: str) -> str:
    """Times of the frames that are processed, a system below the other."""
    rows = of_task(report, task)
    return charts.violins([_distribution(name, row) for name, row in rows.items()], "Distribution", "ms per frame")


def _distribution(name, row) -> charts.Row:
    values = _processed(row)[1]
    marks = (row["median_ms"], row["p95_ms"], row["p99_ms"])
    skipped = len(row["samples"]) - len(values)
    note = f"{100 * len(values) / len(row['samples']):.3g} % of frames" if skipped else ""
    tip = [
        name,
        *(
            f"{key[:-3]} {milliseconds(row[key])} ms {_interval(row, key)}"
            for key in ("median_ms", "p95_ms", "p99_ms")
        ),
        f"mean {milliseconds(row['mean_ms'])} \N{PLUS-MINUS SIGN} {milliseconds(row['std_ms'])} ms",
        f"slowest {milliseconds(values.max())} ms of {len(row['samples'])} frames",
    ]
    return charts.Row(short(name), values, marks, note, family(name), "\n".join(tip))


def _interval(row, key) -> str:
    low, high = row["intervals"][key]
    return f"[{milliseconds(low)}, {milliseconds(high)}]"


def over_time(report: dict, name: str) -> str:
    """A system's frames in the order of time, with the temperature before and after every run if known."""
    row = report["systems"][name]
    frames, values = _processed(row)
    counts = [repeat["count"] for repeat in row["repeats"]]
    series = charts.Series(
        values,
        frames,
        total=sum(counts),
        starts=[0, *itertools.accumulate(counts)][:-1],
        tainted=[repeat["tainted"] for repeat in row["repeats"]],
        temperatures=[(repeat["temperature_before"], repeat["temperature_after"]) for repeat in row["repeats"]],
    )
    return charts.time_series(series, f"{name} over time", family(name))


def _processed(row) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and milliseconds of the frames that are not skipped."""
    frames = np.flatnonzero(np.array(row["kinds_of_samples"]) != "skip")
    return frames, np.array(row["samples"])[frames]
