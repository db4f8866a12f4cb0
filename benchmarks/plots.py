"""Plots of a report: matplotlib's SVG, to be inlined in a page whose CSS gives the colours.

All plots are 400 units wide: two fit on a laptop, one on a phone, and letters are legible on both.
"""

import html
import io
import itertools
import re
from importlib import resources
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from patchwork_tf.benchmarks.latency import PERCENTILES
from patchwork_tf.benchmarks.report import Report, Run
from patchwork_tf.benchmarks.text import milliseconds

CSS = resources.files("patchwork_tf.benchmarks").joinpath("report.css").read_text(encoding="utf-8")
# Colours in light mode by name; a plot refers to them by name, as they are others in dark mode.
_COLOURS = dict(re.findall(r"--(\w+): (#\w{6})", CSS.partition("@media")[0]))
_INK, _SOFT = _COLOURS["ink"], _COLOURS["soft"]
_STYLE = {
    "figure.dpi": 72,  # matplotlib's pixel is then a unit of the SVG
    "font.size": 10.5,
    "text.parse_math": False,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _COLOURS["grid"],
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in (("major.size", 0), ("labelcolor", _SOFT))},
    "svg.fonttype": "none",  # text stays text
}
_BINS = 60
_PARTS_OF_TIME = 100
# Where a name may be, the nearest first: units across and up from its point, and which part of it is on the left.
_PLACES = [(8, 0, 0), (-8, 0, 1)]
_PLACES += [(0, side * away, part) for away in (13, 25, 37, 49) for side in (1, -1) for part in (0.5, 0, 1)]
# Of a panel: the statistic whose ratio counts, our multiply-adds and the paper's.
PANELS = {"max": ("p95", "mflops_max", "mflops_max"), "avg": ("mean", "mflops_avg_run", "mflops_avg")}


class _Point(NamedTuple):
    """A system in a plot."""

    name: str
    x: float
    y: float
    patchwork: bool
    paper: bool  # else measured here
    about: str  # what it tells who points at it


@matplotlib.rc_context(_STYLE)
def latency_against(report: Report, runs: list[Run], panel: str, metric: str | None, title: str) -> str:
    """Latency (panel 'max' or 'avg') against a metric of accuracy, or against multiply-adds if there is none.

    As in the paper's Figures 5 to 8, but latencies are ratios to the single-frame network, so that the paper's fit
    beside ours; so are multiply-adds, and a diagonal shows where both are equal. A line joins a system's points.
    """
    points = list(_points(report, runs, panel, metric))
    axes = _figure(290).add_axes((0.13, 0.12, 0.84, 0.81), xscale="log", yscale="linear" if metric else "log")
    axes.margins(0.08)
    axes.set_xlabel(f"{PANELS[panel][0]} / single-frame network's", loc="right")
    y_label = f"{metric}, %" if metric else "MFLOPs / single-frame network's"
    axes.set_title(y_label, loc="left", x=-0.12, fontsize=10.5, color=_SOFT)
    for _, same in itertools.groupby(sorted(points), key=lambda point: point.name):
        axes.plot(*np.array([(point.x, point.y) for point in same]).T, color=_SOFT, lw=0.7)
    for point in points:
        hollow = {"markerfacecolor": _COLOURS["panel"], "markeredgewidth": 1.8} if point.paper else {}
        style = {"color": _colour(point), "marker": "s" if point.patchwork else "o", "markersize": 8}
        axes.plot(point.x, point.y, zorder=3, gid=point.about, **style, **hollow)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # as the points need, whatever is drawn next
    _place_ticks(axes.xaxis)
    if not metric:
        axes.axline((0.1, 0.1), (1, 1), color=_SOFT, lw=0.8, linestyle=(0, (2, 4)))
        _place_ticks(axes.yaxis)
    _add_names(axes, points)
    return _svg(axes.figure, title)


def _points(report, runs, panel, metric):
    """Ours, then the paper's."""
    statistic, cost, paper_cost = PANELS[panel]
    reference = report.runs[runs[0].reference]
    for run in runs:
        scores = run.accuracy.metrics if run.accuracy else {}
        y = scores.get(metric) if metric else getattr(run, cost) / getattr(reference, cost)
        about = f"{run.system}, measured here\n{milliseconds(run.statistics[f'{statistic}_ms'])} ms"
        if y is not None:
            x = report.ratios(run)[f"ratio_{statistic}"]
            yield _Point(run.system, x, y, run.patchwork, False, about)
    for run in (run for run in runs if run.paper and reference.paper):
        scores, costs = run.paper.accuracy, [getattr(row, paper_cost) for row in (run.paper, reference.paper)]
        y = scores[metric] if metric else costs[0] / costs[1]
        about = f"{run.system}, the paper's\n{milliseconds(getattr(run.paper, f'{statistic}_ms'))} ms"
        yield _Point(run.system, run.paper_ratios[f"ratio_{statistic}"], y, run.patchwork, True, about)


def _add_names(axes, points):
    """Writes each name beside its first point, where it covers least of points and names, with a line between."""
    centres = axes.transData.transform([(point.x, point.y) for point in points])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    room = axes.bbox.padded(12)
    to_point = {"arrowstyle": "-", "color": _SOFT, "lw": 0.5, "shrinkA": 0, "shrinkB": 0}
    for name, (x, y) in dict(zip((point.name for point in points[::-1]), centres[::-1], strict=True)).items():
        text = axes.annotate(name, (x, y), (0, 0), "figure pixels", arrowprops=to_point, zorder=2)
        width, height = Text.get_window_extent(text).size
        boxes = [
            Bbox.from_bounds(x + across - part * width, y + up - height / 2, width, height)
            for across, up, part in _PLACES
        ]
        costs = [
            sum(_overlap(box, other) for other in taken) + 1e4 * (4 - room.count_contains(box.corners()))
            for box in boxes
        ]
        taken.append(boxes[np.argmin(costs)])
        text.set_position((taken[-1].x0, taken[-1].y0 + 2))


def _overlap(box: Bbox, other: Bbox) -> float:
    """Area of both."""
    common = Bbox.intersection(box, other)
    return common.width * common.height if common else 0.0


@matplotlib.rc_context(_STYLE)
def distributions(runs: list[Run], title: str) -> str:
    """Histograms of processed frames, a system below the other, with median, p95 and p99.

    Heights go by the root of the count, so that a few slow frames show.
    """
    height = 38 + 32 * len(runs)
    axes = _figure(height).add_axes((0.34, 32 / height, 0.62, 1 - 36 / height), xscale="log")
    axes.set_xlabel("ms per frame", loc="right")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelcolor=_INK)
    times = [_processed(run)[1] for run in runs]
    edges = np.geomspace(0.95 * min(map(np.min, times)), 1.05 * max(map(np.max, times)), _BINS + 1)
    sizes = np.array([0.4, 0.32, 0.22])
    for place, (run, values) in enumerate(zip(runs, times, strict=True)):
        counts, _ = np.histogram(values, edges)
        half = 0.4 * np.sqrt(counts / counts.max())
        shape = {"fill": True, "color": _colour(run), "alpha": 0.5}
        axes.stairs(place + half, edges, baseline=place - half, gid=_about(run, values), **shape)
        marks = [run.statistics[key] for key in PERCENTILES]
        styles = {"linestyles": ["-", "-", (0, (2, 1.5))], "lw": [2, 1.2, 1.2]}
        axes.vlines(marks, place - sizes, place + sizes, _INK, **styles)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(len(runs) - 0.5, -0.5))
    parts = [100 * len(values) / len(run.samples) for run, values in zip(runs, times, strict=True)]
    notes = ["" if part == 100 else f"\n{part:.3g} % of frames" for part in parts]
    axes.set_yticks(range(len(runs)), [run.system + note for run, note in zip(runs, notes, strict=True)])
    _place_ticks(axes.xaxis)
    return _svg(axes.figure, title)


@matplotlib.rc_context(_STYLE)
def over_time(run: Run, title: str) -> str:
    """Times of processed frames over frame numbers: median and range of each hundredth.

    Dashed lines begin a repeat, a shade marks a tainted one; temperatures are below, where known.
    """
    ends = list(itertools.accumulate((len(repeat.samples) for repeat in run.repeats), initial=0))
    degrees = np.array([(repeat.temperature_before, repeat.temperature_after) for repeat in run.repeats], float)
    height = 118 if np.isnan(degrees).all() else 160
    figure = _figure(height)
    axes = figure.add_axes((0.13, 1 - 94 / height, 0.835, 88 / height), xlim=(0, ends[-1]))
    _draw_times(axes, *_processed(run), _colour(run))
    for repeat, start, end in zip(run.repeats, ends, ends[1:], strict=False):
        if repeat.tainted:
            axes.axvspan(start, end, color=_COLOURS["taint"], lw=0, zorder=0)
        if start:
            axes.axvline(start, color=_SOFT, lw=0.8, linestyle=(0, (3, 3)))
    if height > 118:
        below = figure.add_axes((0.13, 8 / height, 0.835, 32 / height), sharex=axes)
        _draw_temperatures(below, degrees, ends)
    return _svg(figure, title)


def _draw_times(axes, frames, values, colour):
    count = min(_PARTS_OF_TIME, len(values))
    parts, places = np.array_split(values, count), [part.mean() for part in np.array_split(frames, count)]
    ranges = [part.min() for part in parts], [part.max() for part in parts]
    axes.fill_between(places, *ranges, color=colour, alpha=0.4, lw=0)
    axes.plot(places, [np.median(part) for part in parts], color=colour, lw=1.5)
    low, high = values.min(), np.percentile(values, 99.5)  # the slowest would make the rest flat
    room = max(0.1 * (high - low), 0.02 * high)
    axes.set_ylim(max(0, low - room), high + room)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _draw_temperatures(axes, degrees, ends):
    for pair, span in zip(degrees, itertools.pairwise(ends), strict=True):
        axes.plot(span, pair, "o-", color=_COLOURS["heat"], lw=1, markersize=4, clip_on=False)
    axes.tick_params(labelbottom=False)
    axes.grid(visible=False)
    axes.margins(y=0.2)
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter("{x:g}\N{DEGREE SIGN}C")


def _processed(run) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and milliseconds (n,) of the frames that are not skipped."""
    frames = np.flatnonzero(np.array(run.kinds_of_samples) != "skip")
    return frames, run.samples[frames]


def _about(run, values) -> str:
    times = (f"{key[:-3]} {milliseconds(run.statistics[key])} ms" for key in (*PERCENTILES, "mean_ms"))
    return "\n".join([run.system, *times, f"slowest {milliseconds(values.max())} ms"])


def _colour(run) -> str:
    return _COLOURS["pw" if run.patchwork else "sf"]


def _figure(height: float) -> Figure:
    return Figure((400 / 72, height / 72), facecolor="none")


def _place_ticks(axis):
    """Round values on a logarithmic axis, a handful."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    digits = (1, 2, 5) if decades < 2 else (1, 3) if decades < 4 else (1,)
    axis.set_major_locator(LogLocator(subs=digits) if decades > 0.7 else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


# What matplotlib's SVG loses or is given as a part of a page: pattern, replacement.
_CHANGES = [
    (r"^.*?<svg[^>]*>|<style.*?</style>", ""),
    (r'font-family: [^;]*; | transform="rotate\(-0 [^)]*\)"', ""),
    (r"\s*\n\s*(?=[<\"CLMz])", ""),  # a path has a line per point
    ("xlink:href", "href"),
    (r'<g id="[\w.]*_\d+"/>', ""),
    (r'<g id="[\w.]*_\d+">', "<g>"),  # the same in all plots
    (r'<g id="([^"]*)">', r"<g><title>\1</title>"),  # an artist's gid is what it tells who points at it
    *((colour, f"var(--{name})") for name, colour in _COLOURS.items()),
]


def _svg(figure: Figure, title: str) -> str:
    """An <svg> to be inlined, which readers hear as its title; a title must be unique in a page, as ids are."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()
    for pattern, replacement in _CHANGES:
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    width, height = figure.bbox.size
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(title)}">{svg}'
