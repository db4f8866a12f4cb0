"""The report of a benchmark in words: what was measured, what to know before believing it, and the numbers in the
layout of the paper's Tables 4 and 5.
"""

from collections.abc import Iterator

from tabulate import tabulate

from patchwork_tf.benchmarks.report import Report, Run
from patchwork_tf.task import get_task
from patchwork_tf.zoo.paper import TABLE_OF

ENOUGH_FRAMES = 1000  # p99 then rests on the slowest ten
_SAME_MODEL = 0.03  # of the paper's multiply-adds, to which all rows of its tables come closer
_TIMES = ("median\nms", "max: p95 / p99\nms", "worst\nms", "avg: mean +- std\nms")
_RATIOS = ("max / SF\nours", "\npaper", "avg / SF\nours", "\npaper")
_HEADS = ("\nsystem", "MFLOPs\nmax", "\navg", *_TIMES, "accuracy\n%", *_RATIOS, "late\n%")


def table(report: Report) -> str:
    """All systems, by reference, with what they were measured on in front and what to know at the end.

    'max' is p95 / p99, 'avg' is mean +- std, as in the paper; the ratios are of p95 and of the mean.
    """
    parts = ["\n".join([*warnings(report), f"{device(report)}; {pace(report)}"])]
    for reference, runs in report.groups():
        rows = [_cells(report, run) for run in runs]
        width = len(_HEADS) - all(run.deadline_misses is None for run in runs)
        lines = aligned([row[:width] for row in rows], _HEADS[:width])
        emulated = "EMULATED. " if report.emulated else ""
        parts.append("\n".join([emulated + title(reference, runs), lines, *_kinds(runs)]))
    parts.append("\n".join([*notes(report), *remarks(report)]))
    return "\n\n".join(parts)


def aligned(rows: list[list[str]], heads: tuple[str, ...]) -> str:
    """Columns of text, all but the first to the right."""
    align = ["left", *["right"] * (len(heads) - 1)]
    return tabulate(rows, heads, "simple", disable_numparse=True, colalign=align)


def title(reference: str, runs: list[Run]) -> str:
    """Of the runs that have a reference in common."""
    what = runs[0].task.capitalize()
    if reference in TABLE_OF:
        number, dataset = TABLE_OF[reference]
        return f"{what}, after the paper's Table {number} ({dataset})"
    return f"{what}, ratios to {reference}"


def _cells(report, run) -> list[str]:
    numbers, ratios, paper = run.statistics, report.ratios(run), run.paper_ratios
    times = {key: milliseconds(value) for key, value in numbers.items()}
    return [
        run.system + ("*" if run.stream.delay else ""),
        megaflops(run.mflops_max),
        megaflops(run.mflops_avg_run),
        times["median_ms"],
        f"{times['p95_ms']} / {times['p99_ms']}",
        milliseconds(run.max_ms),
        f"{times['mean_ms']} +- {times['std_ms']}",
        accuracy(run.task, run.accuracy and run.accuracy.metrics),
        *(ratio(part[key]) for key in ("ratio_p95", "ratio_mean") for part in (ratios, paper)),
        "" if run.deadline_misses is None else f"{100 * run.deadline_misses:.1f}",
    ]


def _kinds(runs):
    """Times of each kind of frame, where a system has several."""
    for run in runs:
        for kind, part in run.kinds.items() if len(run.kinds) > 1 else ():
            times = " / ".join(milliseconds(part[key]) for key in ("median_ms", "p95_ms", "p99_ms"))
            yield f"{run.system}: {part['count']} {kind} frames, median / p95 / p99: {times} ms"


def notes(report: Report):
    """What the stars in a table say, and where its accuracies come from."""
    runs = report.runs.values()
    delayed = {
        run.system: (run.stream.delay, report.ratios(run)["ratio_mean"]) for run in runs if run.stream.delay
    }
    if delayed and all(mean for _, mean in delayed.values()):
        divided = ", ".join(f"{name} {ratio(mean / (delay + 1))}" for name, (delay, mean) in delayed.items())
        yield f"* The paper divides the average by the frames of a delay once more; so would ours be: {divided}."
    told = {}  # in order, each once
    for scores in (run.accuracy for run in runs if run.accuracy):
        size = "x".join(map(str, scores.image_size))
        weights = f", {scores.weights['name']}" if scores.weights else ""
        told[f"Accuracy: {scores.dataset}, {size} pixels, policy {scores.policy}{weights}."] = None
    yield from told


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


def accuracy(task: str, metrics: dict | None) -> str:
    """The measures of a task, in per cent with one digit; '-' where unknown."""
    values = [metrics.get(measure) for measure in get_task(task).measures] if metrics else [None]
    return "/".join("-" if value is None else f"{value:.1f}" for value in values)


def device(report: Report) -> str:
    """What the times were measured on; an emulated device is never called anything else."""
    machine = report.machine
    names = ["EMULATED DEVICE"] if report.emulated else [machine["cpu"]]
    if "model" in machine and not report.emulated:
        names.insert(0, f"{machine.get('manufacturer', '')} {machine['model']}".strip())
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return ", ".join([*names, threads])


def pace(report: Report) -> str:
    """How frames came, and how many."""
    fps = report.settings.get("fps")
    fewest, most = _frame_counts(report)
    count = fewest if fewest == most else f"{fewest} to {most}"
    return f"{count} frames per system, {f'paced at {fps:g} per second' if fps else 'back to back'}"


def warnings(report: Report) -> Iterator[str]:
    """Why numbers may be no good at all, the gravest first."""
    if report.emulated:
        yield "EMULATED: no phone was measured. These are times of a computer that plays one, and mean nothing."
    if not report.finished:
        yield f"INTERRUPTED: {report.settings['steps']} frames per system were asked for."
    repeats = [repeat for run in report.runs.values() for repeat in run.repeats]
    if reasons := [repeat.reason for repeat in repeats if repeat.tainted]:
        yield f"{len(reasons)} of {len(repeats)} runs are tainted: {', '.join(dict.fromkeys(reasons))}."


def remarks(report: Report) -> Iterator[str]:
    """What to know about good numbers."""
    machine, runs = report.machine, report.runs.values()
    if report.target == "browser":
        yield (
            f"Measured in a browser ({machine.get('browser')}, WebAssembly, SIMD {machine.get('simd')}), whose "
            f"clock has steps of {machine.get('clock_ms')} ms. Native code is faster; compare ratios."
        )
    if random := [run.system for run in runs if run.file.weights == "random weights"]:
        which = "" if len(random) == len(runs) else f" ({', '.join(random)})"
        yield f"Random weights{which}: as fast as trained ones, but for suppression, which has less to do."
    yield f"Frames: {report.frames}, on which networks take as long as on real ones."
    fewest, _ = _frame_counts(report)
    if fewest < ENOUGH_FRAMES:
        yield f"Only {fewest} frames: p99 rests on the slowest {-(-fewest // 100)} of them."
    papers = [run for run in runs if run.paper]
    if other := [run for run in papers if abs(run.mflops_max / run.paper.mflops_max - 1) >= _SAME_MODEL]:
        size, names = "x".join(map(str, other[0].image_size)), ", ".join(run.system for run in other)
        about = f"{size} pixels, depth {other[0].depth:g} ({names})"
        yield f"Not the paper's models: {about}; the paper's take 384x384."


def _frame_counts(report) -> tuple[int, int]:
    counts = [len(run.samples) for run in report.runs.values()]
    return min(counts), max(counts)
