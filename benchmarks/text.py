"""The report of a benchmark for the terminal, in the layout of the paper's Tables 4 and 5."""

from patchwork_tf.benchmarks.labels import device, pace, remarks, warnings

TITLES = {
    "vid": "Detection, after the paper's Table 4 (ImageNet VID)",
    "davis": "Segmentation, after the paper's Table 5 (DAVIS 2016)",
}
METRICS = {"vid": ("mAP",), "davis": ("J", "F")}
_RATIO = f"{'ours':>7}{'paper':>7}"
_HEADER = (
    f"{'':<22}{'MFLOPs':>15}{'ms per frame':>44}{'accuracy':>11}{'max / SF':>14}{'avg / SF':>14}\n"
    f"{'system':<22}{'max':>8}{'avg':>7}{'median':>9}{'max: p95 / p99':>17}{'avg: mean +- std':>18}{'%':>11}"
    f"{_RATIO}{_RATIO}"
)


def table(report: dict) -> str:
    """All systems, by task, with what they were measured on in front and what to know at the end.

    'max' is p95 / p99, 'avg' is mean +- std, as in the paper; the ratios are of p95 and of the mean.
    """
    parts = ["\n".join([*warnings(report), f"{device(report)}; {pace(report)}"])]
    for task in TITLES:
        if rows := of_task(report, task):
            title = f"{'EMULATED. ' if report['emulated'] else ''}{TITLES[task]}"
            parts.append("\n".join([title, _HEADER, *_lines(task, rows)]))
    parts.append("\n".join([*notes(report["systems"]), *remarks(report)]))
    return "\n\n".join(parts)


def of_task(report: dict, task: str) -> dict[str, dict]:
    """The systems of a task, 'vid' or 'davis', by name."""
    return {name: row for name, row in report["systems"].items() if name.partition("-")[0] == task}


def _lines(task, rows):
    for name, row in rows.items():
        yield _line(task, name, row)
        if len(row["kinds"]) > 1:
            yield "".join(f"{'':<4}{_kind_text(kind, part)}" for kind, part in row["kinds"].items())


def _line(task, name, row) -> str:
    paper = row["paper"] or {}
    return (
        f"{name + ('*' if row['stream']['delay'] else ''):<22}"
        f"{megaflops(row['mflops_max']):>8}{megaflops(row['mflops_avg_run']):>7}{milliseconds(row['median_ms']):>9}"
        f"{milliseconds(row['p95_ms']) + ' / ' + milliseconds(row['p99_ms']):>17}"
        f"{milliseconds(row['mean_ms']) + ' +- ' + milliseconds(row['std_ms']):>18}"
        f"{accuracy(row['accuracy'], METRICS[task]):>11}"
        f"{ratio(row['ratio_p95']):>7}{ratio(paper.get('ratio_p95')):>7}"
        f"{ratio(row['ratio_mean']):>7}{ratio(paper.get('ratio_mean')):>7}"
        + ("" if row["deadline_misses"] is None else f"{100 * row['deadline_misses']:>7.1f} % late")
    )


def _kind_text(kind, part) -> str:
    times = " / ".join(milliseconds(part[key]) for key in ("median_ms", "p95_ms", "p99_ms"))
    return f"{part['count']} {kind} frames, median / p95 / p99: {times}"


def notes(rows: dict[str, dict]):
    """What the stars in a table say, and where its accuracies come from."""
    delayed = {name: row for name, row in rows.items() if row["stream"]["delay"]}
    if delayed and all(row["ratio_mean"] for row in delayed.values()):
        as_paper = ", ".join(f"{name} {ratio(as_the_paper_divides(row))}" for name, row in delayed.items())
        yield f"* The paper divides the average by the frames of a delay once more; so would ours be: {as_paper}."
    for note in dict.fromkeys(scored_on(row["accuracy"]) for row in rows.values() if row["accuracy"]):
        yield f"Accuracy: {note}."


def as_the_paper_divides(row) -> float:
    """The ratio of a delayed system's mean, divided by the frames of its delay a second time."""
    return row["ratio_mean"] / (row["stream"]["delay"] + 1)


def scored_on(scores: dict) -> str:
    """Where an accuracy comes from."""
    size = "x".join(map(str, scores["image_size"]))
    return f"{scores['dataset']}, {size} pixels, policy {scores['policy']}, {scores['checkpoint']}"


def milliseconds(value: float) -> str:
    """Three significant digits, which is as far as latencies go; nothing below a microsecond."""
    if value < 0.001:
        return "0"
    return f"{value:.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def megaflops(value: float) -> str:
    """As many digits as the paper has, and one more of small numbers."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def ratio(value: float | None) -> str:
    """Two or three digits of a ratio."""
    return "-" if value is None else f"{value:.3f}" if value < 0.9995 else f"{value:.2f}"


def accuracy(scores: dict | None, metrics: tuple[str, ...]) -> str:
    """Per cent with one digit each; '-' where unknown."""
    values = [(scores or {}).get(metric) for metric in metrics]
    return "/".join("-" if value is None else f"{value:.1f}" for value in values) if scores else "-"
