"""The report of a benchmark: from raw times to its JSON, and back from a file.

What it holds is in report_schema.py, and explained in docs/latency.md: facts of the run, and for every system its
statistics, what the paper says about it, and all samples.
"""

import csv
import dataclasses
import itertools
import json

import numpy as np

from patchwork_tf import files
from patchwork_tf.benchmarks import latency, report_schema
from patchwork_tf.benchmarks.labels import device
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.zoo.paper import PAPER
from patchwork_tf.zoo.systems import get_system

FRAMES = "synthetic (noise)"
_RATIOS = {"ratio_median": "median_ms", "ratio_p95": "p95_ms", "ratio_mean": "mean_ms"}


def reference_of(system: str) -> str:
    """The system that a system's ratios refer to: the single-frame network of its task."""
    return get_system(system).reference


def build(raw: dict, facts: dict[str, dict], command: str) -> dict:
    """The report of a run on one machine.

    Args:
        raw: 'target', 'emulated', 'finished', 'created', 'machine', 'settings', 'stock' (see stock.py; may be
            missing) and 'systems', as for `summarise`.
        facts: system name -> what was not measured but is known of its model: 'image_size' (height, width),
            'depth', 'mflops_max', 'mflops_avg' and 'mflops_avg_run' (see `tables.cost_row`), and 'file' with
            'state_bytes' and 'weights'.
        command: that asked for it.
    """
    rows = summarise(raw)
    return {
        "schema": report_schema.VERSION,
        "target": raw["target"],
        "emulated": raw["emulated"],
        "finished": raw.get("finished", True),
        "created": raw["created"],
        "command": command,
        "frames": FRAMES,
        "machine": raw["machine"],
        "settings": raw["settings"],
        "stock": raw.get("stock", {}),
        "systems": {
            name: {**row, **facts[name], "file": {**row["file"], **facts[name]["file"]}}
            for name, row in rows.items()
        },
    }


def summarise(raw: dict) -> dict[str, dict]:
    """Statistics per system (see `latency.DEFINITIONS`), and what the paper says about it.

    Args:
        raw: 'settings', with 'fps' if frames arrived at that rate, and 'systems': name -> 'file' ('sha256',
            'bytes'), 'stream' ('interval', 'delay', 'flip'), and 'repeats', each with one entry per frame in
            'nanoseconds', 'kinds' and 'late', and 'load_ns', 'first_ns', 'peak_kb' (or None), 'started'
            (seconds), 'temperature_before', 'temperature_after' (degrees Celsius or None), 'tainted', 'reason'.
            Times lie in the stream already, a delay's inference spread over its frames.
    """
    paced = bool(raw["settings"].get("fps"))
    rows, resamples = {}, {}
    for number, (name, measured) in enumerate(raw["systems"].items()):
        rows[name] = _row(name, measured, paced)
        resamples[name] = latency.resample(rows[name]["samples"], number)
        estimates = dict(zip(latency.STATISTICS, resamples[name].T, strict=True))
        rows[name]["intervals"] = {key: latency.interval(value) for key, value in estimates.items()}
    for name, row in rows.items():
        _add_ratios(row, rows.get(reference_of(name)), resamples[name], resamples.get(reference_of(name)))
    return rows


def _row(name, measured, paced) -> dict:
    repeats = measured["repeats"]
    samples = np.concatenate([repeat["nanoseconds"] for repeat in repeats]) / 1e6
    kinds = _kinds(repeats, measured["stream"])
    late = np.concatenate([repeat["late"] for repeat in repeats])
    peaks = [repeat["peak_kb"] for repeat in repeats if repeat["peak_kb"] is not None]
    return {
        **latency.describe(samples),
        "kinds": _per_kind(samples, kinds),
        "deadline_misses": float(np.mean(late)) if paced else None,
        "paper": _paper(name),
        "accuracy": None,
        "load_ms": float(np.median([repeat["load_ns"] for repeat in repeats])) / 1e6,
        "first_ms": float(np.median([repeat["first_ns"] for repeat in repeats])) / 1e6,
        "peak_mb": max(peaks) / 1024 if peaks else None,
        "file": measured["file"],
        "stream": measured["stream"],
        "repeats": [_repeat(repeat) for repeat in repeats],
        "samples": samples.tolist(),
        "kinds_of_samples": kinds,
    }


def _kinds(repeats, stream) -> list[str]:
    """Of all frames. With a delay there are no key frames: those that wait for an answer have parts of it."""
    kinds = list(itertools.chain(*(repeat["kinds"] for repeat in repeats)))
    if not stream["delay"]:
        return kinds
    since_key = itertools.chain(*(range(len(repeat["kinds"])) for repeat in repeats))
    return ["part" if number % stream["interval"] <= stream["delay"] else "skip" for number in since_key]


def _per_kind(samples, kinds) -> dict[str, dict]:
    kinds = np.array(kinds)
    parts = {str(kind): samples[kinds == kind] for kind in np.unique(kinds)}
    return {kind: {"count": len(part), **latency.describe(part)} for kind, part in parts.items()}


def _repeat(repeat) -> dict:
    kept = ("started", "temperature_before", "temperature_after", "tainted", "reason")
    return {**{key: repeat[key] for key in kept}, "count": len(repeat["nanoseconds"])}


def _paper(name) -> dict | None:
    """The paper's row, with its ratios to the paper's single-frame network. None if it has no such row."""
    row = PAPER.get(name)
    if row is None:
        return None
    reference = PAPER[reference_of(name)]
    ratios = {"ratio_mean": row.mean_ms / reference.mean_ms, "ratio_p95": row.p95_ms / reference.p95_ms}
    return {**dataclasses.asdict(row), **ratios}


def _add_ratios(row, reference, resampled, resampled_reference):
    """Ratios to a reference row, and their intervals; None if it was not measured."""
    for ratio, key in _RATIOS.items():
        row[ratio] = reference and row[key] / reference[key]
        if reference:
            column = latency.STATISTICS.index(key)
            estimates = resampled[:, column] / resampled_reference[:, column]
            row["intervals"][ratio] = latency.interval(estimates)


def read_scores(paths: list[str]) -> dict[str, dict]:
    """Accuracies from what `patchwork-evaluate --json` wrote, by system; of several policies, the first one's.

    Returns:
        System name -> the paper's metrics ('mAP', or 'J' and 'F') in per cent, and what they were scored on:
        'dataset', 'policy', 'checkpoint', 'image_size'.

    Raises:
        DataError: if a file is something else.
    """
    found = {}
    for path in paths:
        scores = files.read_json(path)
        for score in scores if isinstance(scores, list) else [scores]:
            try:
                found.setdefault(score["system"], _accuracy(score))
            except (KeyError, TypeError, UsageError) as error:
                raise DataError(
                    f"{path}: not what patchwork-evaluate --json writes of systems ({error})"
                ) from None
    return found


def _accuracy(score) -> dict:
    if get_system(score["system"]).task == "detection":
        metrics = {"mAP": score["mAP_vid"]}
    else:
        metrics = {"J": score["J"]["mean"], "F": score["F"]["mean"]}
    about = {key: score[key] for key in ("dataset", "policy", "checkpoint", "image_size")}
    return {**{key: value if value is None else 100 * value for key, value in metrics.items()}, **about}


def write(report: dict, path: str):
    """Writes the report as JSON."""
    with files.atomic_file(path, "w") as file:
        json.dump(report, file)


def read(path: str) -> dict:
    """Reads a report.

    Raises:
        DataError: if it is missing, or not such a report.
    """
    report = files.read_json(path)
    try:
        report_schema.check(report)
    except ValueError as error:
        raise DataError(f"{path}: not a report of patchwork-benchmark: {error}") from None
    return report


def write_csv(report: dict, path: str):
    """Writes one line per system; every line says what it was measured on."""
    lines = [_csv_line(report, name, row) for name, row in report["systems"].items()]
    with files.atomic_file(path, "w") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _csv_line(report, name, row) -> dict:
    paper, accuracy = row["paper"] or {}, row["accuracy"] or {}
    ends = {
        f"{key}_{end}": value
        for key in latency.PERCENTILES
        for end, value in zip(("low", "high"), row["intervals"][key], strict=True)
    }
    measured = (
        *latency.PERCENTILES,
        "mean_ms",
        "std_ms",
        *_RATIOS,
        "deadline_misses",
        "load_ms",
        "first_ms",
        "peak_mb",
    )
    paper_keys = ("mflops_max", "mflops_avg", "p95_ms", "p99_ms", "mean_ms", "std_ms", "ratio_p95", "ratio_mean")
    line = {
        "system": name,
        "target": "EMULATED" if report["emulated"] else report["target"],
        "device": device(report),
        "weights": row["file"]["weights"],
        "frames": report["frames"],
        "count": len(row["samples"]),
        **{key: row[key] for key in measured},
        **ends,
        **{key: row[key] for key in ("mflops_max", "mflops_avg", "mflops_avg_run")},
        **{metric: accuracy.get(metric) for metric in ("mAP", "J", "F")},
        "dataset": accuracy.get("dataset"),
        **{f"paper_{key}": paper.get(key) for key in paper_keys},
        **{f"paper_{metric}": paper.get("accuracy", {}).get(metric) for metric in ("mAP", "J", "F")},
    }
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in line.items()}
