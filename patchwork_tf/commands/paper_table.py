"""A table of the paper, ours beside its own: costs, latency and accuracy of systems that were scored and timed."""

import collections
import statistics

from tabulate import tabulate

from patchwork_tf import files
from patchwork_tf.benchmarks import report as reports
from patchwork_tf.commands.tables import cost_row
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.task import get_task
from patchwork_tf.zoo.paper import PAPER, TABLE_OF
from patchwork_tf.zoo.systems import get_system

_TIMES = ("p95", "p99", "mean", "std")


def show(flags):
    """Prints or writes the table of --scores and --latency."""
    scores = _read_scores([path for path in flags.scores if path])
    latency = reports.read(flags.latency) if flags.latency else None
    runs = latency.runs if latency else {}
    known = [*dict.fromkeys([*(system for system, _ in scores), *runs])]
    systems = [name for name in flags.system if name] or sorted(known, key=_place)
    if unknown := [name for name in systems if name not in PAPER and not name.endswith("m2n1")]:
        raise UsageError(f"{unknown[0]} is in no table of the paper: name those with --system")
    parts = []
    for number, dataset in TABLE_OF.values():
        of_table = [name for name in systems if TABLE_OF[get_system(name).reference][0] == number]
        if of_table:
            title = f"Table {number}, {get_system(of_table[0]).task} on {dataset}: ours / the paper's"
            rows = [row for name in of_table for row in _rows(name, scores, runs.get(name))]
            parts.append(f"{title}\n\n{tabulate(rows, 'keys', 'github', disable_numparse=True)}")
    text = "\n\n".join([*parts, "\n".join(_notes(systems, scores, latency))]) + "\n"
    if not flags.output:
        print(text)
        return
    with files.atomic_file(flags.output, "w") as file:
        file.write(text)


def _place(name) -> int:
    """Systems are in the order of the paper, others after them."""
    names = list(PAPER)
    return names.index(name) if name in PAPER else len(names)


def _read_scores(paths) -> dict[tuple[str, str], list[dict]]:
    """Rows of patchwork-evaluate by system and who chose windows: one for each seed."""
    scores = collections.defaultdict(list)
    for path in paths:
        content = files.read_json(path)
        for row in content if isinstance(content, list) else [content]:
            try:
                row["accuracy"] = get_task(get_system(row["system"]).task).accuracy(row)
                scores[row["system"], row["policy"]].append(row)
            except (KeyError, TypeError):
                raise DataError(f"{path}: not what patchwork-evaluate --json writes of systems") from None
    return scores


def _rows(name, scores, run) -> list[dict]:
    """Of a system a row for every policy that was scored."""
    paper, cost = PAPER.get(name), cost_row(get_system(name))
    row = {"system": name, "windows": ""}
    for key in ("max", "avg"):
        row[f"MFLOPs {key}"] = _beside(cost[f"mflops_{key}"], paper and getattr(paper, f"mflops_{key}"), ".0f")
    for key in _TIMES:
        theirs = paper and getattr(paper, f"{key}_ms")
        row[f"{key} ms"] = _beside(run and run.statistics[f"{key}_ms"], theirs, ".1f")
    names = paper.accuracy if paper else PAPER[get_system(name).reference].accuracy
    policies = [policy for system, policy in scores if system == name] or [None]
    found = []
    for policy in policies:
        of_seeds = scores.get((name, policy), [])
        values = {
            key: _of_seeds([s["accuracy"][key] for s in of_seeds], paper and paper.accuracy[key]) for key in names
        }
        found.append({**row, "windows": policy or "", **values, "seeds": len(of_seeds) or ""})
    return found


def _of_seeds(values, theirs) -> str:
    """Mean, in per cent, and of several seeds the least and the most."""
    values = [100 * value for value in values if value is not None]
    text = _beside(statistics.fmean(values) if values else None, theirs, ".1f")
    return f"{text} ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else text


def _beside(ours, theirs, form) -> str:
    return " / ".join("-" if value is None else f"{value:{form}}" for value in (ours, theirs))


def _notes(systems, scores, latency) -> list[str]:
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
    if any("-delay" in name for name in systems):
        notes.append(
            "- The paper divides the average of delayed systems by their delay twice; in truth it is their max."
        )
    return notes
