"""patchwork-tables: the zoo's costs, counted from the built models, beside the paper's."""

import dataclasses
import functools
import itertools
import json
import statistics

from patchwork_tf import cli
from patchwork_tf.models.costs import backbone_rows, count_macs, layer_costs, state_bytes
from patchwork_tf.streaming.schedule import frame_mflops
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.paper import PAPER, TABLE_3, TABLE_OF
from patchwork_tf.zoo.systems import get_system

_TABLE_3_SYSTEMS = ("vid-pw-m4n1", "vid-pw-m2n1", "vid-pw-m4n2")
_NO_TABLE = 99  # after all others
_WITHOUT_FIGURES = ("vid-pw-m2n1", "davis-pw-m2n1")  # in Table 3 alone
_RUN_FRAMES = 64  # a multiple of every system's interval


def cost_row(system, image_size=None, with_layers=False) -> dict:
    """A row of Table 4 or 5.

    Args:
        system: of the zoo.
        image_size: (H, W) instead of the paper's 384 x 384; there are no paper figures then.
        with_layers: add 'layers', the bill of the model.

    Returns:
        'table', None if the paper has none; 'system'; 'mflops_max' and 'mflops_avg', the latter by the paper's
        arithmetic, which divides the average of a delayed system by its delay a second time; 'mflops_avg_run', the
        average that a run really has; 'paper_mflops_max' and 'paper_mflops_avg', None if the paper
        has no such row; 'residual_max_percent', 'residual_avg_percent'; 'parameters'; 'state_bytes'
        of one stream, float32; 'warm_start_mflops', None for single-frame systems; 'backbone', the
        rows of Table 3.
    """
    model = _model(dataclasses.replace(system.model, **cli.override(image_size=image_size)))
    frames = list(itertools.islice(frame_mflops(KerasStep(model, system.stream)), _RUN_FRAMES))
    average = statistics.fmean(frames)
    paper = PAPER.get(system.name) if image_size in (None, (384, 384)) else None
    ours = {"max": max(frames), "avg": average / (system.stream.delay + 1)}
    row = {
        "table": TABLE_OF.get(system.reference, (None,))[0],
        "system": system.name,
        "mflops_max": ours["max"],
        "mflops_avg": ours["avg"],
        "mflops_avg_run": average,
        "paper_mflops_max": paper and paper.mflops_max,
        "paper_mflops_avg": paper and paper.mflops_avg,
        "residual_max_percent": paper and 100 * (ours["max"] / paper.mflops_max - 1),
        "residual_avg_percent": paper and 100 * (ours["avg"] / paper.mflops_avg - 1),
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
    return build(config)


def run(flags):
    """Prints the tables of --system, or makes one of --scores and --latency."""
    if any(flags.scores) or flags.latency:
        from patchwork_tf.commands.paper_table import show

        show(flags)
        return
    names = [name for name in flags.system if name]
    systems = [get_system(name) for name in names or [*PAPER, *([] if flags.json else _WITHOUT_FIGURES)]]
    by_model = sorted(systems, key=lambda system: repr(system.model))
    rows = {system.name: cost_row(system, flags.image_size, flags.layers) for system in by_model}
    rows = [rows[system.name] for system in systems]
    if flags.json:
        print(json.dumps(rows, indent=1))
        return
    print("\n\n".join(_texts(rows, flags)))


def _texts(rows, flags):
    """The parts of the printed page."""
    shown = [row for row in rows if row["system"] in _TABLE_3_SYSTEMS]
    if shown and flags.image_size in (None, (384, 384)):
        yield _table_3_text(shown)
    for table, of_table in itertools.groupby(sorted(rows, key=_table_number), _table_number):
        part = list(of_table)
        what = get_system(part[0]["system"]).task
        yield _cost_text(f"Table {table}, {what}" if table < _NO_TABLE else "Not in the paper", part)
    if flags.layers:
        for row in rows:
            yield _layers_text(row)


def _table_number(row) -> int:
    return row["table"] or _NO_TABLE


def _table_3_text(rows) -> str:
    names = [row["system"].removeprefix("vid-pw-").upper() for row in rows]
    lines = [
        "Table 3, the backbone: side of the input, as built / in the paper (M4N1's, doubled for the others)",
        f"{'operator':<14}{'channels':>9}{'t':>4}{'c':>6}{'n':>3}{'s':>3}" + "".join(f"{n:>12}" for n in names),
    ]
    for number, (paper_shape, operator, t, c, n, s) in enumerate(TABLE_3):
        cells = []
        for name, row in zip(names, rows, strict=True):
            built = row["backbone"][number]
            factor = 1 if name == "M4N1" else 2
            shape = (factor * paper_shape[0], factor * paper_shape[1], paper_shape[2])
            same = tuple(built.values()) == (shape, operator, t, c, n, s)
            cells.append(f"{built['input'][0]} / {shape[0]}{'' if same else ' !'}")
        lines.append(
            f"{operator:<14}{paper_shape[2]:>9}{t or '-':>4}{c:>6}{n:>3}{s:>3}"
            + "".join(f"{c:>12}" for c in cells)
        )
    return "\n".join(lines)


def _cost_text(title, rows) -> str:
    lines = [
        f"{title}: MFLOPs per frame",
        f"{'':<22}{'max':>18}{'avg, as the paper divides':>35}{'avg of':>11}{'params':>9}{'state':>9}",
        f"{'system':<22}" + 2 * f"{'ours':>10}{'paper':>8}{'':>9}" + f"{'a run':>10}{'M':>9}{'MB':>9}",
    ]
    for row in rows:
        line = f"{row['system']:<22}"
        for key in ("max", "avg"):
            line += f"{row[f'mflops_{key}']:>10.1f}{_or_dash(row[f'paper_mflops_{key}'], '.0f'):>8}"
            line += f"{_or_dash(row[f'residual_{key}_percent'], '+.1f', ' %'):>9}"
        line += f"{row['mflops_avg_run']:>10.1f}{row['parameters'] / 1e6:>9.2f}{row['state_bytes'] / 1e6:>9.1f}"
        lines.append(line)
    if any(row["system"] == "davis-sf-int16-delay15" for row in rows):
        lines.append("The paper's 52 looks like a slip: its own arithmetic gives 3307 / 16 / 16 = 13.")
    return "\n".join(lines)


def _or_dash(value, form, unit="") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _layers_text(row) -> str:
    lines = [
        f"{row['system']}, one step: multiply-adds, parameters, bytes in float32",
        f"{'layer':<32}{'kind':<20}{'output':>16}{'MACs':>13}{'parameters':>12}{'activation':>12}{'state':>12}",
    ]
    total = dict.fromkeys(("macs", "parameters", "activation_bytes", "state_bytes"), 0)
    for layer in row["layers"]:
        shape = " x ".join(map(str, layer["output"]))
        lines.append(_layer_line(layer["name"], layer["kind"], shape, layer))
        total = {key: total[key] + layer[key] for key in total}
    return "\n".join([*lines, _layer_line("total", "", "", total)])


def _layer_line(name, kind, shape, numbers) -> str:
    return (
        f"{name:<32}{kind:<20}{shape:>16}{numbers['macs']:>13,}{numbers['parameters']:>12,}"
        f"{numbers['activation_bytes']:>12,}{numbers['state_bytes']:>12,}"
    )
