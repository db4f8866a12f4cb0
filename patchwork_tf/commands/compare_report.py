"""What patchwork-compare says of its numbers: a table, sentences, and a page with two plots."""

import html
import io

from tabulate import tabulate

from patchwork_tf import cli
from patchwork_tf.cli import per_cent
from patchwork_tf.task import get_task

_FEW, _STILL = 30, 0.95  # frames; agreement of every 6th frame
_IMPORTED = 0.9  # agreement of an import with its file, below which that is said first
_LEVEL = 0.01  # differences below are none
_EQUAL = 1.15  # by which a cost may be above another, and be the same: intervals are whole numbers
_KINDS = {
    "own": ("the file", "black"),
    "every": ("every frame", "black"),
    "skip": ("every k-th frame", "#d55e00"),
    "late": ("every k-th frame, late", "#cc79a7"),
    "smaller": ("smaller frames", "#e69f00"),
    "half": ("half the depth", "#999999"),
    "patchwork": ("Patchwork", "#0072b2"),
    "swept": ("Patchwork from a sweep", "#009e73"),
    "no memory": ("Patchwork without memory", "#56b4e9"),
}


def kept(row) -> float | None:
    """What a method keeps: accuracy where truth is given, else agreement; in [0, 1]."""
    return next(iter(row["accuracy"].values())) if row["accuracy"] else row["agreement"]


def measure_of(result) -> str:
    """What `kept` is called."""
    accuracy = result["rows"][0]["accuracy"]
    return next(iter(accuracy)) if accuracy else f"agreement ({get_task(result['task']).agreement})"


def rivals(result, row, swept) -> dict[str, dict | None]:
    """Who keeps most at the mean cost of a Patchwork row, and at the worst case of the same from a sweep.

    Those that were chosen for it, if they cost what it does when all is measured; None if nobody does.
    """
    found = {}
    for name, key, own in (("mean", "mean_ms", row), ("worst", "p99_ms", swept)):
        equal = [
            other
            for other in result["rows"]
            if (row["title"] in other["rival_of"].get(name, ()) or other["kind"] == "half")
            and other[key] <= _EQUAL * own[key]
            and kept(other) is not None
        ]
        found[name] = max(equal, key=kept, default=None)
    return found


def sentences(result) -> list[str]:
    """Who wins at an equal mean cost and at an equal worst case, or why nobody can tell."""
    if why := _unclear(result):
        return [why]
    found = []
    for row in result["rows"]:
        if row["kind"] == "every" and row["agreement"] is not None and row["agreement"] < _IMPORTED:
            size = "x".join(map(str, row["image_size"]))
            found.append(
                f"The import at {size} agrees with {result['reference']} to {per_cent(row['agreement'])} on every "
                "whole frame: windows keep part of that."
            )
        if row["kind"] != "patchwork" or ", " in row["title"] or kept(row) is None:
            continue
        swept = next(x for x in result["rows"] if x["title"] == f"{row['title']} from a sweep")
        equal = rivals(result, row, swept)
        found.append(
            f"{row['title']} keeps {per_cent(kept(row))}. {_against(row, equal['mean'], 'mean cost', 'mean_ms')} "
            f"{_against(swept, equal['worst'], 'worst case', 'p99_ms')}"
        )
    return found


def _unclear(result) -> str | None:
    frames = result["frames"]
    if not result["found"]:
        return f"Nothing can be told: {result['reference']} finds nothing that it is sure of in these frames."
    if frames < _FEW:
        return f"Too short to tell: {frames} frames. Take {_FEW} or more in which something moves."
    skips = [row for row in result["rows"] if row["kind"] == "skip" and row["interval"] >= 6]
    if still := [row for row in skips if row["agreement"] is not None and row["agreement"] >= _STILL]:
        row = min(still, key=lambda row: row["interval"])
        return (
            f"Too still to tell: {row['title']} already agrees to {per_cent(row['agreement'])}. Skip frames, or "
            "take a video in which more moves."
        )
    return None


def _against(row, rival, equal, key) -> str:
    own = f" ({row['title']}: {per_cent(kept(row))})" if row["kind"] == "swept" else ""
    if rival is None or kept(row) is None:
        return f"At an equal {equal} there is no rival."
    gain = kept(row) - kept(rival)
    verdict = f"{'wins' if gain > 0 else 'loses'} by {abs(100 * gain):.1f} against"
    if abs(gain) < _LEVEL:
        verdict = "is level with"
    costs = f"{per_cent(kept(rival))} in {rival[key]:.1f} ms, it takes {row[key]:.1f}"
    return f"At an equal {equal}{own} it {verdict} the best rival, {rival['title']} ({costs})."


def table(result) -> str:
    """All rows, the dearest first."""
    videos = len(result["videos"])
    text = f"{result['frames']} frames of {videos} video{'s' * (videos > 1)}; against {result['reference']}"
    text += _timed(result) + ("" if result["finished"] else "; INTERRUPTED, this is what was measured until then")
    return "\n".join([text, cli.table(*_cells(result)), "", *sentences(result)])


def _timed(result) -> str:
    """Of which frames the milliseconds are, if not of all."""
    timed = result["timed_frames"]
    return f"; milliseconds of the first {timed}, alone" if timed < result["frames"] else ""


def _cells(result):
    accuracy = list(result["rows"][0]["accuracy"])
    heads = ["", "ms, mean", "p99", "max", "MFLOPs", "agreement", *accuracy, "flicker", "peak, MB", "file, MB"]
    lines = []
    for row in sorted(result["rows"], key=lambda row: -row["mean_ms"]):
        times = [f"{row[key]:.1f}" for key in ("mean_ms", "p99_ms", "max_ms")]
        sizes = ["-" if row[key] is None else f"{row[key]:.1f}" for key in ("peak_mb", "file_mb")]
        mflops = "-" if row["mflops"] is None else f"{row['mflops']:.0f}"
        scores = [row["agreement"], *(row["accuracy"][key] for key in accuracy), row["flicker"]]
        lines.append([row["title"], *times, mflops, *map(per_cent, scores), *sizes])
    return heads, lines


def page(result) -> str:
    """A page of HTML that needs nothing but itself."""
    heads, lines = _cells(result)
    rows = tabulate(lines, heads, "html", disable_numparse=True)
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences(result))
    machine = result["machine"]
    where = f"{machine['cpu']}, one thread; {result['frames']} frames of {', '.join(result['videos'])}"
    where += _timed(result) + ("" if result["finished"] else "; interrupted")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Patchwork and its rivals</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .15rem .6rem; text-align: right; }}
td:first-child {{ text-align: left; }} tr:nth-child(even) {{ background: #f2f4f6; }}
.scroll {{ overflow-x: auto; }} svg {{ max-width: 100%; height: auto; }} footer {{ color: #5d636b; }}
</style></head><body><h1>Patchwork and its rivals</h1>{said}{_plots(result)}
<div class="scroll" tabindex="0">{rows}</div>
<footer><p>{html.escape(where)}. Against {html.escape(result["reference"])} on every whole frame; version
{html.escape(str(result["version"]))}. Mean, p99 and maximum are of frames as an app pushes them: scaling,
inference and suppression, the first frame included; of a file as it runs today, inference alone. A late answer is
spread over the frames until it is due, and its first blanks do not count. Flicker: objects or pixels that come and
go though they stay in what they are held against.</p></footer>
</body></html>
"""


def _plots(result) -> str:
    from matplotlib import rc_context  # it takes a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    plots = (("mean_ms", "mean"), ("p99_ms", "worst case (p99)"))
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), plots, strict=True):
        for kind, (name, colour) in _KINDS.items():
            rows = [row for row in result["rows"] if row["kind"] == kind and kept(row) is not None]
            if not rows:
                continue
            axes.scatter([row[key] for row in rows], [100 * kept(row) for row in rows], label=name, color=colour)
            for row in rows:
                place = row[key], 100 * kept(row)
                axes.annotate(_short(row["title"]), place, (5, 3), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.margins(x=0.12)
        for axis_formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis_formatter("{x:g}")
        axes.set_xlabel(f"ms per frame, {label}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(f"{measure_of(result)}, %")
    handles = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), fontsize=9, loc="outside lower center", ncols=4)
    drawn = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": ""}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def _short(title) -> str:
    """What is written beside a point, whose colour says the kind."""
    if title == "every frame":
        return title
    for words in ("frames of", "every ", " frame", "pw-", " from a sweep", " without memory"):
        title = title.replace(words, "")
    return title.split(" x ")[0].strip()
