"""The report as one HTML page: plots and tables, no other files, no network."""

import json
from html import escape

from patchwork_tf.benchmarks import latency, plots, text
from patchwork_tf.benchmarks.report import Report
from patchwork_tf.benchmarks.text import accuracy, megaflops, milliseconds, ratio
from patchwork_tf.files import atomic_file
from patchwork_tf.task import get_task

_LEGEND = (
    '<div class="legend"><span><i></i>single-frame, here</span>'
    '<span><i class="paper"></i>single-frame, the paper</span>'
    '<span><i class="pw"></i>Patchwork, here</span>'
    '<span><i class="pw paper"></i>Patchwork, the paper</span></div>'
)
_SCORED = (
    "Towards the top left is better. A line joins a system here and in the paper, whose accuracy is of ImageNet "
    "VID or DAVIS 2016; see above for what ours is of."
)
_UNSCORED = (
    "No accuracy is known here (--scores adds it). On the dotted diagonal, latency falls as multiply-adds do; "
    "right of it, less. A line joins a system here and in the paper."
)
_COLUMNS = (
    "max is p95 and p99, avg is mean and standard deviation, as in the paper; SF is the single-frame network. "
    f"Small: {latency.CONFIDENCE} % bootstrap intervals."
)
_DISTRIBUTION = (
    "Frames that are processed. Logarithmic, and heights by the root of the count, so that a few slow frames "
    "show. Long line: median; shorter: p95; dashed: p99, of all frames of the stream as in the tables."
)
_OVER_TIME = (
    "ms per processed frame over frame numbers: median and range of each hundredth, cut off above p99.5. Dashed: "
    "a new run begins; shaded: a run that is tainted; below, where it is known, the temperature before and after "
    "every run."
)


def write(report: Report, path: str):
    """Writes the page."""
    with atomic_file(path, "w") as file:
        file.write(page(report))


def page(report: Report) -> str:
    """The page of a report."""
    title = f"{'EMULATED: ' if report.emulated else ''}Latency of Patchwork systems"
    groups = {text.title(reference, runs): runs for reference, runs in report.groups()}
    distributions = {name: plots.distributions(runs, f"Distribution: {name}") for name, runs in groups.items()}
    over_time = {name: plots.over_time(run, f"{name} over time") for name, run in report.runs.items()}
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{plots.CSS}</style></head><body>",
        '<div class="banner">EMULATED DEVICE: no phone was measured</div>' if report.emulated else "",
        f"<h1>{title}</h1>",
        _paragraph(f"{text.device(report)}; {text.pace(report)}; {report.created}"),
        _labels(report),
        *(f"<h2>{escape(name)}</h2>{_results(report, runs)}" for name, runs in groups.items()),
        *map(_paragraph, (_COLUMNS, *text.notes(report))),
        *(_latency_against(report, name, runs) for name, runs in groups.items()),
        f"<h2>Distribution</h2>{_paragraph(_DISTRIBUTION)}{_figures(distributions)}",
        f"<h2>Over time</h2>{_paragraph(_OVER_TIME)}{_figures(over_time)}",
        *_details(report.runs.values()),
        f"<h2>Machine</h2>{_list({'target': report.target, 'emulated': report.emulated, **report.machine})}",
        f"<h2>Settings</h2>{_list(report.settings)}",
        f"<h2>Definitions</h2>{_list(latency.DEFINITIONS)}",
        f"<h2>Command</h2><pre>{escape(report.command)}</pre></body></html>\n",
    ]
    return "\n".join(parts)


def _paragraph(content) -> str:
    return f'<p class="soft">{escape(content)}</p>'


def _labels(report) -> str:
    grave = [f'<li class="grave">{escape(label)}</li>' for label in text.warnings(report)]
    other = [f"<li>{escape(label)}</li>" for label in text.remarks(report)]
    return f'<ul class="labels">{"".join(grave + other)}</ul>'


def _figures(svgs) -> str:
    figures = (f"<figure><h3>{escape(title)}</h3>{svg}</figure>" for title, svg in svgs.items())
    return f'<div class="grid">{"".join(figures)}</div>'


def _results(report, runs) -> str:
    """Table 4 or 5, ours and the paper's."""
    paced = any(run.deadline_misses is not None for run in runs)
    groups = {"": 1, "MFLOPs": 2, "ms per frame": 5, f"{'/'.join(get_task(runs[0].task).measures)}, %": 2}
    groups |= {"max / SF": 2, "avg / SF": 2, **({"deadlines": 1} if paced else {})}
    top = "".join(f'<th class="group" colspan="{width}">{name}</th>' for name, width in groups.items())
    heads = ["max", "avg", "median", "p95", "p99", "worst", "mean &plusmn; std", *3 * ["ours", "paper"]]
    lines = [(run, _result_cells(report, run)) for run in runs]
    return _table([*heads, "missed"] if paced else heads, lines, f"<tr>{top}</tr>")


def _result_cells(report, run) -> list[str]:
    numbers, intervals, paper = {**run.statistics, **report.ratios(run)}, report.intervals(run), run.paper_ratios

    def with_interval(form, key) -> str:
        if key not in intervals or intervals[key][1] < 0.001:  # as good as nothing, like its ends
            return form(numbers[key])
        return f"{form(numbers[key])}<small>{'&ndash;'.join(map(form, intervals[key]))}</small>"

    cells = [
        megaflops(run.mflops_max),
        megaflops(run.mflops_avg_run),
        *(with_interval(milliseconds, key) for key in latency.PERCENTILES),
        milliseconds(run.max_ms),
        f"{milliseconds(numbers['mean_ms'])} &plusmn; {milliseconds(numbers['std_ms'])}",
        accuracy(run.task, run.accuracy and run.accuracy.metrics),
        accuracy(run.task, run.paper and run.paper.accuracy),
    ]
    for key in ("ratio_p95", "ratio_mean"):
        cells += [with_interval(ratio, key), ratio(paper[key])]
    return cells if run.deadline_misses is None else [*cells, f"{100 * run.deadline_misses:.1f} %"]


def _table(heads, lines, top="") -> str:
    """A table of (run, cells) in a box that scrolls where it is narrow, also by keyboard."""
    head = "".join(f"<th>{head}</th>" for head in ["system", *heads])
    body = ""
    for run, cells in lines:  # its head is the system, with the mark it has in plots and a star if it answers late
        mark, star = "pw" if run.patchwork else "", "*" if run.stream.delay else ""
        row_head = f'<th><i class="{mark}"></i>{escape(run.system)}{star}</th>'
        body += f"<tr>{row_head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    table = f"<table><thead>{top}<tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _latency_against(report, name, runs) -> str:
    """Figures 5 to 8 of the paper; nothing if the single-frame network was not measured."""
    if runs[0].reference not in report.runs:
        return ""
    metric = next(iter(get_task(runs[0].task).measures), None)
    if all(run.accuracy is None or run.accuracy.metrics.get(metric) is None for run in runs):
        metric = None
    title = f"Latency against {'accuracy' if metric else 'multiply-adds'}: {name}"
    svgs = {
        panel: plots.latency_against(report, runs, panel, metric, f"{title}, {panel}") for panel in plots.PANELS
    }
    about = _paragraph(_SCORED if metric else _UNSCORED)
    return f"<h2>{escape(title)}</h2>{about}{_LEGEND}{_figures(svgs)}"


def _details(runs):
    """Tables that open when they are asked for."""
    kinds = [
        (run, [kind, part["count"], *(milliseconds(part[key]) for key in latency.PERCENTILES)])
        for run in runs
        for kind, part in run.kinds.items()
    ]
    yield _detail("Kinds of frames", ["kind", "frames", "median, ms", "p95, ms", "p99, ms"], kinds)
    heads = ["input", "depth", "MB", "state, MB", "load, ms", "first frame, ms", "peak, MB", "SHA-256", "weights"]
    yield _detail("Files", heads, [(run, _file_cells(run)) for run in runs])


def _detail(title, heads, lines) -> str:
    return f"<details><summary>{title}</summary>{_table(heads, lines)}</details>" if lines else ""


def _file_cells(run) -> list[str]:
    file = run.file
    return [
        "x".join(map(str, run.image_size)),
        f"{run.depth:g}",
        f"{file.bytes / 1e6:.1f}",
        f"{file.state_bytes / 1e6:.1f}",
        milliseconds(run.load_ms),
        milliseconds(run.first_ms),
        "-" if run.peak_mb is None else f"{run.peak_mb:.0f}",
        f'<span title="{escape(file.sha256)}">{escape(file.sha256[:12])}</span>',
        escape(file.weights),
    ]


def _list(facts) -> str:
    lines = (
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_shown(fact))}</dd>" for name, fact in facts.items()
    )
    return f"<dl>{''.join(lines)}</dl>"


def _shown(fact) -> str:
    if isinstance(fact, bool) or fact is None:
        return {True: "yes", False: "no", None: "-"}[fact]
    return json.dumps(fact) if isinstance(fact, (list, dict)) else str(fact)
