"""Plots as inline SVG, drawn by a few functions of our own: a page with them is small, and needs nothing else.

Colours are CSS classes (page_style.py), so that a plot follows the reader's light or dark mode. All plots are 400
units wide: two fit on a laptop, one on a phone, and letters are legible on both.
"""

import dataclasses
import html
import math

import numpy as np

WIDTH = 400
_LEFT, _RIGHT = 52, 14  # margins beside the plot of points
_LETTER = 6.0  # width of a label's letters, about
_BINS = 60


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values between `low` and `high` to positions between `start` and `end`, logarithmic or linear."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = True

    def __call__(self, value):
        low, high = self._along(self.low), self._along(self.high)
        return self.start + (self._along(value) - low) / (high - low) * (self.end - self.start)

    def _along(self, value):
        return np.log(value) if self.logarithmic else value

    def ticks(self) -> list[float]:
        """Round values from low to high, a handful."""
        if not self.logarithmic:
            return _linear_ticks(self.low, self.high)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            ticks = [digit * 10.0**decade for decade in decades for digit in digits]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) < 8:
                return inside if len(inside) > 1 else _linear_ticks(self.low, self.high)
        return inside


def _linear_ticks(low, high) -> list[float]:
    rough = (high - low) / 4
    decade = 10 ** math.floor(math.log10(rough))
    step = next(digit * decade for digit in (1, 2, 5, 10) if digit * decade >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def around(values, logarithmic=True, margin=0.08) -> tuple[float, float]:
    """Ends of a scale that shows all values, with some room on both sides."""
    low, high = min(values), max(values)
    if logarithmic:
        room = max(high / low, 1.2) ** margin
        return low / room, high * room
    room = margin * max(high - low, 1)
    return low - room, high + room


def escape(text) -> str:
    """Text in HTML, also in an attribute's quotes."""
    return html.escape(str(text))


def picture(height: float, title: str, parts: list[str]) -> str:
    """An <svg> of WIDTH x height, which readers hear as its title."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def text(x, y, content, kind="", anchor="start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1, y1, x2, y2, kind) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def path(points, kind, closed=False) -> str:
    """A line through points (x, y)."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{steps}{"Z" if closed else ""}" class="{kind}"/>'


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:g}" if value < 1e4 else f"{value:.0e}"


@dataclasses.dataclass(frozen=True)
class Point:
    """A system in a plot of points.

    Attributes:
        kind: CSS classes: 'sf' or 'pw' for its family, and 'paper' if the paper measured it.
        tip: what a reader is told who points at it.
    """

    name: str
    x: float
    y: float
    kind: str
    tip: str


def scatter(points: list[Point], title: str, x_label: str, y_label: str, y_logarithmic: bool) -> str:
    """Points by name, those of one system joined by a line; squares for Patchwork, hollow for the paper's.

    With two logarithmic axes the diagonal is drawn where both are equal.
    """
    height, top, bottom = 300, 22, 40
    x = Scale(*around([point.x for point in points]), _LEFT, WIDTH - _RIGHT)
    y = Scale(*around([point.y for point in points], y_logarithmic), height - bottom, top, y_logarithmic)
    parts = [
        *_axes(x, y),
        text(_LEFT - 44, 12, y_label, "label"),
        text(WIDTH - _RIGHT, height - 6, x_label, "label", "end"),
    ]
    if y_logarithmic:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(line(x(low), y(low), x(high), y(high), "diagonal"))
    by_name = {}
    for point in points:
        by_name.setdefault(point.name, []).append((x(point.x), y(point.y)))
    parts += [path(places, "join") for places in by_name.values() if len(places) > 1]
    parts += [_mark(point, x(point.x), y(point.y)) for point in points]
    parts += _names(by_name, [place for places in by_name.values() for place in places], top, height - bottom)
    return picture(height, title, parts)


def _axes(x: Scale, y: Scale):
    for tick in x.ticks():
        yield line(x(tick), y.start, x(tick), y.end, "rule")
        yield text(x(tick), y.start + 14, number(tick), "tick", "middle")
    for tick in y.ticks():
        yield line(x.start, y(tick), x.end, y(tick), "rule")
        yield text(x.start - 5, y(tick) + 3.5, number(tick), "tick", "end")


def _mark(point, x, y) -> str:
    about = f'class="mark {point.kind}" tabindex="0" data-tip="{escape(point.tip)}"'
    if "pw" in point.kind:
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" {about}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {about}/>'


def _names(by_name, marks, top, bottom):
    """Names beside the first point of each, where they cover neither marks nor other names if possible."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
    for name, ((x, y), *_) in by_name.items():
        width = _LETTER * len(name)
        places = [(x + 8, y + 3.5), (x - 8 - width, y + 3.5)]
        places += [(x - width * part, y + away) for away in (-9, 16, -20, 27) for part in (0.5, 0, 1)]
        boxes = [(left, base - 8, left + width, base + 2) for left, base in places]
        inside = [box for box in boxes if box[0] > 2 and box[2] < WIDTH - 2 and top < box[1] and box[3] < bottom]
        best = min(inside or boxes, key=lambda box: sum(_overlap(box, other) for other in taken))
        taken.append(best)
        yield text(best[0], best[3] - 2, name, "name")


def _overlap(a, b) -> float:
    """Area that two boxes (left, top, right, bottom) share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


@dataclasses.dataclass(frozen=True)
class Row:
    """A system in a plot of distributions.

    Attributes:
        values: (n,) milliseconds, all positive.
        marks: median, p95, p99.
        note: shown below the name.
        kind, tip: as of a Point.
    """

    name: str
    values: np.ndarray
    marks: tuple[float, float, float]
    note: str
    kind: str
    tip: str


def violins(rows: list[Row], title: str, x_label: str) -> str:
    """How times are distributed, a system below the other."""
    step, left, top = 30, 130, 6
    bottom = top + step * len(rows)
    x = Scale(
        *around([end for row in rows for end in (min(row.values), max(row.values))], margin=0.03),
        left,
        WIDTH - _RIGHT,
    )
    parts = [part for tick in x.ticks() for part in _vertical(x(tick), tick, top, bottom)]
    for place, row in enumerate(rows):
        parts.append(_violin(row, x, top + step * (place + 0.5)))
    parts.append(text(WIDTH - _RIGHT, bottom + 30, x_label, "label", "end"))
    return picture(bottom + 36, title, parts)


def _vertical(x, tick, top, bottom):
    yield line(x, top, x, bottom, "rule")
    yield text(x, bottom + 14, number(tick), "tick", "middle")


def _violin(row, x, middle) -> str:
    counts, edges = np.histogram(np.log(row.values), np.linspace(math.log(x.low), math.log(x.high), _BINS + 1))
    half = 11 * np.sqrt(counts / counts.max())  # the root, so that a few slow frames can be seen
    used = np.flatnonzero(counts)
    used = range(used[0], used[-1] + 1)
    centres = x(np.exp((edges[:-1] + edges[1:]) / 2))
    upper = [(centres[bin_], middle - half[bin_] - 0.5) for bin_ in used]
    lower = [(centres[bin_], middle + half[bin_] + 0.5) for bin_ in reversed(used)]
    lines = [
        line(x(mark), middle - size, x(mark), middle + size, kind)
        for mark, size, kind in zip(row.marks, (11, 9, 6), ("median", "p95", "p99"), strict=True)
        if x.low <= mark <= x.high
    ]
    return (
        f'<g class="violin {row.kind}" tabindex="0" data-tip="{escape(row.tip)}">'
        f'<rect x="0" y="{middle - 15:.1f}" width="{WIDTH}" height="30" class="target"/>'
        + text(4, middle + (0 if row.note else 4), row.name, "name")
        + text(4, middle + 11, row.note, "tick")
        + path(upper + lower, "shape", closed=True)
        + "".join(lines)
        + "</g>"
    )


@dataclasses.dataclass(frozen=True)
class Series:
    """A system's frames over time.

    Attributes:
        values: (n,) milliseconds, in order.
        frames: (n,) their numbers.
        total: number of frames, with those that are not shown.
        starts: numbers of the frames that repeats begin with.
        tainted: whether those repeats are.
        temperatures: (before, after) of each, degrees Celsius or None.
    """

    values: np.ndarray
    frames: np.ndarray
    total: int
    starts: list[int]
    tainted: list[bool]
    temperatures: list[tuple[float | None, float | None]]


def time_series(series: Series, title: str, kind: str, parts_of_time: int = 100) -> str:
    """Times over frame numbers: median and range of each hundredth; temperature below, where there is one."""
    known = [value for pair in series.temperatures for value in pair if value is not None]
    top, bottom = 8, 96
    height = bottom + (64 if known else 22)
    x = Scale(0, series.total, _LEFT, WIDTH - _RIGHT, logarithmic=False)
    y = Scale(*_range_of_most(series.values), bottom, top, logarithmic=False)
    spans = list(zip(series.starts, [*series.starts[1:], series.total], strict=True))
    parts = [*_taint(spans, series.tainted, x, top, bottom), *_axes(x, y)]
    parts += [line(x(start), top, x(start), bottom, "repeat") for start in series.starts[1:]]
    parts += _band(series, x, y, kind, parts_of_time)
    if known:
        parts += _temperature(
            spans, series.temperatures, x, Scale(*around(known, False, 0.2), height - 4, bottom + 24, False)
        )
    return picture(height, title, parts)


def _range_of_most(values) -> tuple[float, float]:
    """All but the slowest half per cent, which would make the rest flat."""
    low, high = np.min(values), np.percentile(values, 99.5)
    room = max(0.1 * (high - low), 0.02 * high)
    return max(0.0, low - room), high + room


def _taint(spans, tainted, x, top, bottom):
    for (start, end), is_tainted in zip(spans, tainted, strict=True):
        if is_tainted:
            place = f'x="{x(start):.1f}" y="{top}" width="{x(end) - x(start):.1f}" height="{bottom - top}"'
            yield f'<rect {place} class="taint"/>'


def _band(series, x, y, kind, parts_of_time):
    count = min(parts_of_time, len(series.values))
    values, frames = np.array_split(series.values, count), np.array_split(series.frames, count)
    places = [float(x(part.mean())) for part in frames]

    def curve(statistic):
        heights = [float(y(min(statistic(part), y.high))) for part in values]
        return list(zip(places, heights, strict=True))

    yield f'<g class="{kind}">{path(curve(np.min) + curve(np.max)[::-1], "shape", closed=True)}'
    yield f"{path(curve(np.median), 'curve')}</g>"


def _temperature(spans, temperatures, x, y):
    for tick in (y.ticks()[0], y.ticks()[-1]):
        yield text(_LEFT - 5, y(tick) + 3.5, f"{tick:g}\N{DEGREE SIGN}C", "tick", "end")
    for (start, end), pair in zip(spans, temperatures, strict=True):
        points = [(x(at), y(value)) for at, value in zip((start, end), pair, strict=True) if value is not None]
        if points:
            yield path(points, "temperature")
            yield "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" class="heat"/>' for a, b in points)
