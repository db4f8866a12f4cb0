"""The report as one HTML page: plots and tables, no other files, no network."""

import json

from patchwork_tf import files
from patchwork_tf.benchmarks import latency, page_style, plots
from patchwork_tf.benchmarks.charts import escape
from patchwork_tf.benchmarks.labels import device, pace, remarks, warnings
from patchwork_tf.benchmarks.text import METRICS, TITLES, accuracy, megaflops, milliseconds, notes, of_task, ratio


def write(report: dict, path: str):
    """Writes the page."""
    with files.atomic_file(path, "w") as file:
        file.write(page(report))


def page(report: dict) -> str:
    """The page of a report."""
    title = f"{'EMULATED: ' if report['emulated'] else ''}Latency of Patchwork systems"
    tasks = [task for task in TITLES if of_task(report, task)]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{page_style.CSS}</style></head><body>",
            '<div class="banner">EMULATED DEVICE: no phone was measured</div>' if report["emulated"] else "",
            f"<h1>{title}</h1>",
            f'<p class="soft">{escape(device(report))}; {escape(pace(report))}; {escape(report["created"])}</p>',
            _labels(report),
            *(_table(task, of_task(report, task)) for task in tasks),
            _notes(report),
            *(_latency_against(report, task) for task in tasks),
            _distributions(report, tasks),
            _over_time(report),
            _kinds(report),
            _cross_check(report),
            _machine(report),
            _files(report),
            _definitions(),
            f"<h2>Command</h2><pre>{escape(report['command'])}</pre>",
            f'<div id="tip" role="status" hidden></div><script>{page_style.SCRIPT}</script></body></html>\n',
        ]
    )


def _labels(report) -> str:
    grave = [f'<li class="grave">{escape(text)}</li>' for text in warnings(report)]
    other = [f"<li>{escape(text)}</li>" for text in remarks(report)]
    return f'<ul class="labels">{"".join(grave + other)}</ul>'


def _table(task, rows) -> str:
    """Table 4 or 5, ours and the paper's."""
    metrics = "/".join(METRICS[task])
    paced = any(row["deadline_misses"] is not None for row in rows.values())
    groups = {"MFLOPs": 2, "ms per frame": 4, f"{metrics}, %": 2, "max / SF": 2, "avg / SF": 2}
    heads = ["max", "avg", "median", "p95", "p99", "mean &plusmn; std", *3 * ["ours", "paper"]]
    groups, heads = (groups | {"deadlines": 1}, [*heads, "missed"]) if paced else (groups, heads)
    top = "".join(f'<th class="group" colspan="{width}">{name}</th>' for name, width in groups.items())
    lines = "".join(_table_line(task, name, row) for name, row in rows.items())
    head = f"<tr><th></th>{top}</tr><tr><th>system</th>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
    return f"<h2>{TITLES[task]}</h2>{_scrolled(head, lines)}"


def _table_line(task, name, row) -> str:
    paper = row["paper"] or {}
    cells = [
        megaflops(row["mflops_max"]),
        megaflops(row["mflops_avg_run"]),
        *(_with_interval(milliseconds, row, key) for key in latency.PERCENTILES),
        f"{milliseconds(row['mean_ms'])} &plusmn; {milliseconds(row['std_ms'])}",
        accuracy(row["accuracy"], METRICS[task]),
        accuracy(paper.get("accuracy"), METRICS[task]),
        _with_interval(ratio, row, "ratio_p95"),
        ratio(paper.get("ratio_p95")),
        _with_interval(ratio, row, "ratio_mean"),
        ratio(paper.get("ratio_mean")),
    ]
    if row["deadline_misses"] is not None:
        cells.append(f"{100 * row['deadline_misses']:.1f} %")
    star = "*" if row["stream"]["delay"] else ""
    return f'<tr class="{plots.family(name)}"><th>{escape(name)}{star}</th>{_cells(cells)}</tr>'


def _cells(cells) -> str:
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _with_interval(form, row, key) -> str:
    if key not in row["intervals"]:
        return form(row[key])
    low, high = map(form, row["intervals"][key])
    return form(row[key]) + (f"<small>{low}&ndash;{high}</small>" if high != "0" else "")


def _notes(report) -> str:
    """What the tables' columns are, and the stars."""
    lines = [
        "max is p95 and p99, avg is mean and standard deviation, as in the paper; SF is the single-frame "
        f"network. Small: {latency.CONFIDENCE} % bootstrap intervals.",
        *notes(report["systems"]),
    ]
    return "".join(f'<p class="soft">{escape(text)}</p>' for text in lines)


_LEGEND = (
    '<div class="legend"><span><i class="sf"></i>single-frame, here</span>'
    '<span><i class="sf paper"></i>single-frame, the paper</span>'
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


def _latency_against(report, task) -> str:
    """Figures 5 to 8 of the paper."""
    rows = of_task(report, task)
    scored = any(row["accuracy"] for row in rows.values())
    figures = [_figure(f"{panel}", svg) for panel, svg in plots.latency_against(report, task).items()]
    if not figures:
        return ""
    what = "accuracy" if scored else "multiply-adds"
    return (
        f"<h2>Latency against {what}: {TITLES[task].partition(',')[0].lower()}</h2>"
        f'<p class="soft">{_SCORED if scored else _UNSCORED}</p>{_LEGEND}{_grid(figures)}'
    )


def _figure(title, svg) -> str:
    return f"<figure><h3>{escape(title)}</h3>{svg}</figure>"


def _grid(figures, size="") -> str:
    return f'<div class="grid {size}">{"".join(figures)}</div>'


def _distributions(report, tasks) -> str:
    figures = [_figure(TITLES[task].partition(",")[0], plots.distribution(report, task)) for task in tasks]
    return (
        '<h2>Distribution</h2><p class="soft">Frames that are processed. Logarithmic, and heights by the root of '
        "the count, so that a few slow frames show. Long line: median; shorter: p95; dashed: p99, of all frames "
        f"of the stream as in the tables.</p>{_grid(figures)}"
    )


def _over_time(report) -> str:
    figures = [_figure(name, plots.over_time(report, name)) for name in report["systems"]]
    return (
        '<h2>Over time</h2><p class="soft">ms per processed frame over frame numbers: median and range of each '
        "hundredth, cut off above p99.5. Dashed: a new run begins; shaded: a run that is tainted; below, where it "
        f"is known, the temperature before and after every run.</p>{_grid(figures, 'small')}"
    )


def _kinds(report) -> str:
    lines = [
        f'<tr class="{plots.family(name)}"><th>{escape(name)}</th><td>{kind}</td>'
        + _cells([part["count"], *(milliseconds(part[key]) for key in latency.PERCENTILES)])
        + "</tr>"
        for name, row in report["systems"].items()
        for kind, part in row["kinds"].items()
    ]
    return _details("Kinds of frames", ["system", "kind", "frames", "median, ms", "p95, ms", "p99, ms"], lines)


def _cross_check(report) -> str:
    """What benchmark_model measured of the same files."""
    lines = [
        f'<tr class="{plots.family(name)}"><th>{escape(name)}</th>'
        + _cells(
            [milliseconds(report["systems"][name]["mean_ms"]), milliseconds(stock["mean"] / 1000), stock["count"]]
        )
        + "</tr>"
        for name, stock in report["stock"].items()
    ]
    heads = ["system", "mean here, ms", "benchmark_model's, ms", "its runs"]
    return _details("Cross-check with benchmark_model", heads, lines) if lines else ""


def _files(report) -> str:
    lines = [
        f'<tr class="{plots.family(name)}"><th>{escape(name)}</th>'
        + _cells(_file_cells(row))
        + f'<td class="left">{escape(row["file"]["weights"])}</td></tr>'
        for name, row in report["systems"].items()
    ]
    heads = [
        "system",
        "input",
        "depth",
        "MB",
        "state, MB",
        "load, ms",
        "first frame, ms",
        "peak, MB",
        "SHA-256",
        "weights",
    ]
    return _details("Files", heads, lines)


def _file_cells(row) -> list[str]:
    file, peak = row["file"], row["peak_mb"]
    return [
        "x".join(map(str, row["image_size"])),
        f"{row['depth']:g}",
        f"{file['bytes'] / 1e6:.1f}",
        f"{file['state_bytes'] / 1e6:.1f}",
        milliseconds(row["load_ms"]),
        milliseconds(row["first_ms"]),
        "-" if peak is None else f"{peak:.0f}",
        f'<span title="{escape(file["sha256"])}">{escape(file["sha256"][:12])}</span>',
    ]


def _details(title, heads, lines) -> str:
    head = f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
    return f"<details><summary>{title}</summary>{_scrolled(head, ''.join(lines))}</details>"


def _scrolled(head, lines) -> str:
    """A table in a box that scrolls where it is narrow, also by keyboard."""
    table = f"<table><thead>{head}</thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _machine(report) -> str:
    about = _list({"target": report["target"], "emulated": report["emulated"], **report["machine"]})
    return f"<h2>Machine</h2>{about}<h2>Settings</h2>{_list(report['settings'])}"


def _list(facts) -> str:
    lines = (
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_shown(fact))}</dd>" for name, fact in facts.items()
    )
    return f"<dl>{''.join(lines)}</dl>"


def _shown(fact) -> str:
    if isinstance(fact, bool) or fact is None:
        return {True: "yes", False: "no", None: "-"}[fact]
    return json.dumps(fact) if isinstance(fact, (list, dict)) else str(fact)


def _definitions() -> str:
    return f"<h2>Definitions</h2>{_list(latency.DEFINITIONS)}"
