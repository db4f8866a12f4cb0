"""Holds the zoo against the paper: the architecture of Table 3, the costs of Tables 4 and 5.

Everything is counted from the built models, layer by layer; max and avg are those of a run
over frames. MFLOPs are multiply-adds / 10^6, as in the paper. Without --system these are the 20 rows of the
paper's tables, and M=2 N=1 for both tasks, of which the paper gives no figures (and --json leaves out).

  patchwork-tables
  patchwork-tables --json > tables.json
  patchwork-tables --layers --system=vid-pw-m4n1

With --scores or --latency it is a whole table of the paper, ours beside its own: what patchwork-evaluate --json
has scored, one file or more for each seed, and a report of patchwork-benchmark --json, of this machine or a phone.

  patchwork-tables --scores=seed0.json,seed1.json,seed2.json --latency=phone.json --output=table5.md
"""

import collections
import dataclasses
import functools
import itertools
import json
import statistics
import sys

from tabulate import tabulate

import patchwork_tf as pw
from patchwork_tf import cli, files
from patchwork_tf.errors import UsageError
from patchwork_tf.zoo.paper import PAPER, TABLE_3, TABLE_OF

_FLAGS = cli.Flags()
cli.define(_FLAGS, "system", "image_size", system="")
_FLAGS.boolean(
    "json",
    "Print a list with one object per row: system, mflops_max, mflops_avg, paper_mflops_max, "
    "paper_mflops_avg, and more.",
)
_FLAGS.boolean("layers", "Multiply-adds, parameters, activation and state bytes of every layer.")
_FLAGS.list("scores", "What was scored: files of patchwork-evaluate --json, of all seeds.")
_FLAGS.string("latency", "What was timed: a report of patchwork-benchmark --json.")
_FLAGS.string("output", "File for the table of --scores and --latency, in Markdown; by default it is printed.")

_TABLE_3_SYSTEMS = ("vid-pw-m4n1", "vid-pw-m2n1", "vid-pw-m4n2")
_NO_TABLE = 99  # after all others
_WITHOUT_FIGURES = ("vid-pw-m2n1", "davis-pw-m2n1")  # in Table 3 alone
_TIMES = ("p95", "p99", "mean", "std")


@cli.command("patchwork-tables", _FLAGS, __doc__)
def main():
    """Prints the tables, or writes one of the paper with --scores and --latency."""
    if _FLAGS.scores or _FLAGS.latency:
        text = _paper_table()
        if not _FLAGS.output:
            print(text)
            return
        with files.atomic_file(_FLAGS.output, "w") as file:
            file.write(text)
        return
    names = _FLAGS.system or [*PAPER, *([] if _FLAGS.json else _WITHOUT_FIGURES)]
    systems = [pw.get_system(name) for name in names]
    by_model = sorted(systems, key=lambda system: repr(system.model))
    rows = {system.name: cost_row(system, _FLAGS.image_size, _FLAGS.layers) for system in by_model}
    rows = [rows[system.name] for system in systems]
    print(json.dumps(rows, indent=1) if _FLAGS.json else "\n\n".join(_texts(rows)))


def cost_row(system, image_size=None, with_layers=False) -> dict:
    """A row of Table 4 or 5, in JSON. What the paper does not give, or not for this (H, W), is None.

    'mflops_avg' is by the paper's arithmetic, which divides the average of a delayed system by its delay a second
    time; 'mflops_avg_run' is what a run really has. 'state_bytes' are of one stream in float32, 'backbone' has the
    rows of Table 3; with layers there are 'layers', the bill of the model.
    """
    from patchwork_tf.models.costs import backbone_rows, count_macs, layer_costs, state_bytes
    from patchwork_tf.streaming.schedule import run_mflops
    from patchwork_tf.streaming.step import KerasStep

    model = _model(dataclasses.replace(system.model, **cli.override(image_size=image_size)))
    most, average, average_of_run = run_mflops(system.stream, KerasStep(model, system.stream).mflops())
    paper = PAPER.get(system.name) if image_size in (None, (384, 384)) else None
    row = {
        "table": TABLE_OF.get(system.reference, (None,))[0],
        "system": system.name,
        "mflops_max": most,
        "mflops_avg": average,
        "mflops_avg_run": average_of_run,
        "paper_mflops_max": paper and paper.mflops_max,
        "paper_mflops_avg": paper and paper.mflops_avg,
        "residual_max_percent": paper and 100 * (most / paper.mflops_max - 1),
        "residual_avg_percent": paper and 100 * (average / paper.mflops_avg - 1),
        "parameters": model.count_params(),
        "state_bytes": state_bytes(model),
        "warm_start_mflops": None if model.grid.is_whole_frame else count_macs(model, whole_frame=True) / 1e6,
        "backbone": [
            dict(zip(("input", "operator", "t", "c", "n", "s"), line, strict=True))
            for line in backbone_rows(model)
        ],
    }
    if with_layers:
        row["layers"] = [dataclasses.asdict(cost) for cost in layer_costs(model)]
    return row


@functools.lru_cache(maxsize=2)  # neighbours in the tables run the same model
def _model(config):
    return pw.build(config)


def _texts(rows):
    """The parts of the printed page."""
    shown = [row for row in rows if row["system"] in _TABLE_3_SYSTEMS]
    if shown and _FLAGS.image_size in (None, (384, 384)):
        yield _table_3_text(shown)
    for table, of_table in itertools.groupby(sorted(rows, key=_table_number), _table_number):
        part = list(of_table)
        what = pw.get_system(part[0]["system"]).task
        yield _cost_text(f"Table {table}, {what}" if table < _NO_TABLE else "Not in the paper", part)
    if _FLAGS.layers:
        for row in rows:
            yield _layers_text(row)


def _table_number(row) -> int:
    return row["table"] or _NO_TABLE


def _table_3_text(rows) -> str:
    names, lines = [row["system"].removeprefix("vid-pw-").upper() for row in rows], []
    for number, (paper_shape, operator, t, c, n, s) in enumerate(TABLE_3):
        line = [operator, paper_shape[2], t or "-", c, n, s]
        for name, row in zip(names, rows, strict=True):
            built = row["backbone"][number]
            factor = 1 if name == "M4N1" else 2
            shape = (factor * paper_shape[0], factor * paper_shape[1], paper_shape[2])
            same = tuple(built.values()) == (shape, operator, t, c, n, s)
            line.append(f"{built['input'][0]} / {shape[0]}{'' if same else ' !'}")
        lines.append(line)
    title = "Table 3, the backbone: side of the input, as built / in the paper (M4N1's, doubled for the others)"
    return f"{title}\n{cli.table(['operator', 'channels', 't', 'c', 'n', 's', *names], lines)}"


def _cost_text(title, rows) -> str:
    lines = []
    for row in rows:
        line = [row["system"]]
        for key in ("max", "avg"):
            line += [f"{row[f'mflops_{key}']:.1f}", _or_dash(row[f"paper_mflops_{key}"], ".0f")]
            line.append(_or_dash(row[f"residual_{key}_percent"], "+.1f", " %"))
        run, parameters, state = row["mflops_avg_run"], row["parameters"] / 1e6, row["state_bytes"] / 1e6
        lines.append([*line, f"{run:.1f}", f"{parameters:.2f}", f"{state:.1f}"])
    titles = ["system", "max", "paper", "", "avg", "paper", "", "avg of a run", "M params", "MB state"]
    text = f"{title}: MFLOPs per frame, avg as the paper divides\n{cli.table(titles, lines)}"
    if any(row["system"] == "davis-sf-int16-delay15" for row in rows):
        text += "\nThe paper's 52 looks like a slip: its own arithmetic gives 3307 / 16 / 16 = 13."
    return text


def _or_dash(value, form, unit="") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _layers_text(row) -> str:
    keys = ("macs", "parameters", "activation_bytes", "state_bytes")
    total = {key: sum(layer[key] for layer in row["layers"]) for key in keys}
    lines = []
    for layer in [*row["layers"], {"name": "total", "kind": "", "output": (), **total}]:
        shape = " x ".join(map(str, layer["output"]))
        lines.append([layer["name"], layer["kind"], shape, *(f"{layer[key]:,}" for key in keys)])
    titles = ["layer", "kind", "output", "MACs", "parameters", "activation", "state"]
    title = f"{row['system']}, one step: multiply-adds, parameters, bytes in float32"
    return f"{title}\n{cli.table(titles, lines, left=(0, 1))}"


def _paper_table() -> str:
    """A table of the paper, ours beside its own: costs, latency and accuracy of what was scored and timed."""
    from patchwork_tf.benchmarks import report

    scores = collections.defaultdict(list)  # of a system by a policy: a row for each seed
    for row, accuracy in report.scored_rows(_FLAGS.scores):
        scores[row["system"], row["policy"]].append({**row, "accuracy": accuracy.metrics})
    latency = report.read(_FLAGS.latency) if _FLAGS.latency else None
    runs = latency.runs if latency else {}
    places = list(PAPER)  # systems are in the order of the paper, others after them
    known = dict.fromkeys([*(system for system, _ in scores), *runs])
    names = _FLAGS.system or sorted(known, key=lambda name: places.index(name) if name in PAPER else len(places))
    if unknown := [name for name in names if name not in PAPER and not name.endswith("m2n1")]:
        raise UsageError(f"{unknown[0]} is in no table of the paper: name those with --system")
    parts, systems = [], [pw.get_system(name) for name in names]
    for number, dataset in TABLE_OF.values():
        of_table = [system for system in systems if TABLE_OF[system.reference][0] == number]
        if of_table:
            title = f"Table {number}, {of_table[0].task} on {dataset}: ours / the paper's"
            rows = [row for system in of_table for row in _rows(system, scores, runs.get(system.name))]
            parts.append(f"{title}\n\n{tabulate(rows, 'keys', 'github', disable_numparse=True)}")
    return "\n\n".join([*parts, "\n".join(_notes(names, scores, latency))]) + "\n"


def _rows(system, scores, run) -> list[dict]:
    """Of a system a row for every policy that was scored."""
    name = system.name
    paper, cost = PAPER.get(name), cost_row(system)
    row = {"system": name, "windows": ""}
    for key in ("max", "avg"):
        row[f"MFLOPs {key}"] = _beside(cost[f"mflops_{key}"], paper and getattr(paper, f"mflops_{key}"), ".0f")
    for key in _TIMES:
        theirs = paper and getattr(paper, f"{key}_ms")
        row[f"{key} ms"] = _beside(run and run.statistics[f"{key}_ms"], theirs, ".1f")
    measures = (paper or PAPER[system.reference]).accuracy
    found = []
    for policy in [policy for scored, policy in scores if scored == name] or [None]:
        of_seeds = scores.get((name, policy), [])
        values = {
            key: _of_seeds([s["accuracy"][key] for s in of_seeds], paper and paper.accuracy[key])
            for key in measures
        }
        found.append({**row, "windows": policy or "", **values, "seeds": len(of_seeds) or ""})
    return found


def _of_seeds(values, theirs) -> str:
    """Mean, in per cent, and of several seeds the least and the most."""
    values = [value for value in values if value is not None]
    text = _beside(statistics.fmean(values) if values else None, theirs, ".1f")
    return f"{text} ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else text


def _beside(ours, theirs, form) -> str:
    return " / ".join("-" if value is None else f"{value:{form}}" for value in (ours, theirs))


def _notes(names, scores, latency) -> list[str]:
    """What the numbers were measured on."""
    rows = [row for of_seeds in scores.values() for row in of_seeds]
    said = {
        f"{row['dataset'].rsplit(', seed', 1)[0]}, {row['videos']} videos, {row['frames']} frames" for row in rows
    }
    notes = [f"- Accuracy in %: {text}." for text in sorted(said)]
    sizes = {("x".join(map(str, row["image_size"])), f"{row['depth']:g}") for row in rows}
    notes += [f"- Scored at {size}, depth {depth}." for size, depth in sorted(sizes)]
    if len({len(of_seeds) for of_seeds in scores.values()} | {3}) > 1:
        notes.append("- Other than three seeds: what differs by less than seeds do says nothing.")
    if latency:
        emulated = "EMULATED, its times mean nothing. " if latency.emulated else ""
        cpu, threads = latency.machine["cpu"], latency.machine["threads"]
        sizes = {f"{'x'.join(map(str, run.image_size))}, depth {run.depth:g}" for run in latency.runs.values()}
        notes.append(
            f"- Latency: {emulated}{cpu}, {threads} thread(s), {latency.settings['steps']} frames each, "
            f"{'; '.join(sorted(sizes))}. The paper's is of its phone: compare ratios to the single-frame network."
        )
    notes.append("- MFLOPs are multiply-adds / 10^6 of the paper's sizes; avg is divided as in the paper.")
    if any("-delay" in name for name in names):
        notes.append(
            "- The paper divides the average of delayed systems by their delay twice; in truth it is their max."
        )
    return notes


if __name__ == "__main__":
    sys.exit(main())
