"""Measures per-frame latency of systems of the zoo, in turn, with their state fed back.

  patchwork-benchmark --systems=vid-sf,vid-pw-m4n2,vid-pw-m4n1 --json=latency.json
  patchwork-benchmark --systems=all --scores=vid.json,davis.json --json=latency.json --html=latency.html
  patchwork-benchmark --tflite=sf.tflite,pw.tflite --json=latency.json
  patchwork-benchmark --target=adb --systems=vid-sf,vid-pw-m4n2 --json=phone.json --html=phone.html
  patchwork-benchmark --report=latency.json --html=latency.html
  patchwork-benchmark --compare=before.json,after.json

The models are exported first, with random weights unless a checkpoint is given: latency does not
depend on what the weights are, except that suppression has less to do if nothing is found.
docs/latency.md explains the report, docs/phone.md measuring phones. After Ctrl-C, this machine's report is
on what was measured until then, and a phone's run can be resumed.
"""

import dataclasses
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator

import keras
from absl import flags
from tqdm import tqdm

from patchwork_tf import cli, files
from patchwork_tf.benchmarks import host, html, on_phones, report
from patchwork_tf.benchmarks.adb import Adb
from patchwork_tf.benchmarks.compare import compare
from patchwork_tf.benchmarks.facts import model_facts
from patchwork_tf.benchmarks.plan import WINDOWS, Model
from patchwork_tf.benchmarks.text import table
from patchwork_tf.choices import QUANTIZATIONS
from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata
from patchwork_tf.export.exporting import export
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.systems import get_system, list_systems

_FLAGS = flags.FlagValues()
_TARGET = flags.DEFINE_enum(
    "target",
    "host",
    ["host", "adb"],
    "Where to measure: this machine's CPU, one thread, or a phone that adb reaches.",
    flag_values=_FLAGS,
)
_SYSTEMS = flags.DEFINE_list(
    "systems",
    "vid-sf,vid-pw-m4n2,vid-pw-m4n1",
    "Systems of the zoo, separated by commas, or all; the single-frame network of a task, to which its ratios "
    "refer, is added if it is missing.",
    flag_values=_FLAGS,
)
_STEPS = flags.DEFINE_integer(
    "steps",
    1000,
    "Frames to time per system (and repeat); below 1000, p99 says little.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_JSON = flags.DEFINE_string("json", None, "Where to write the report with all samples.", flag_values=_FLAGS)
_HTML = flags.DEFINE_string("html", None, "Where to write the report as a page with plots.", flag_values=_FLAGS)
_CSV = flags.DEFINE_string(
    "csv", None, "Where to write the report's numbers, a line per system.", flag_values=_FLAGS
)
_SCORES = flags.DEFINE_list(
    "scores",
    "",
    "What patchwork-evaluate --json wrote, one file or several: accuracies to show beside the latencies. Of a "
    "system's policies, the first counts.",
    flag_values=_FLAGS,
)
_REPORT = flags.DEFINE_string(
    "report", None, "Measure nothing: show this report, a JSON file written earlier.", flag_values=_FLAGS
)
_COMPARE = flags.DEFINE_list(
    "compare", "", "Measure nothing: compare two reports, BEFORE.json,AFTER.json.", flag_values=_FLAGS
)
_TFLITE = flags.DEFINE_list(
    "tflite",
    "",
    "Exported files, separated by commas, to measure in place of --systems; the single-frame network of every "
    "task, to which ratios refer, must be among them.",
    flag_values=_FLAGS,
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Checkpoint or training folder whose weights all systems take.", flag_values=_FLAGS
)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size",
    None,
    "Frame size in pixels: one side, or HEIGHTxWIDTH; by default the checkpoint's or each system's.",
    flag_values=_FLAGS,
)
_DEPTH = flags.DEFINE_float(
    "depth",
    None,
    "Width multiplier of all systems; by default the checkpoint's or each system's.",
    flag_values=_FLAGS,
)
_SUPPRESSION = flags.DEFINE_boolean("suppression", True, "Include suppression in detectors.", flag_values=_FLAGS)
_QUANTIZE = flags.DEFINE_enum(
    "quantize", "none", list(QUANTIZATIONS), "How files are exported, see patchwork-export.", flag_values=_FLAGS
)
_POLICY = flags.DEFINE_enum(
    "policy",
    "model",
    list(WINDOWS),
    "Who chooses windows: the model itself, as in use, or a blind policy; latency hardly depends on it.",
    flag_values=_FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of random weights, frames, windows and turns.", flag_values=_FLAGS)
_PHONES = on_phones.PhoneFlags(_FLAGS)

_OUTPUTS = ((_JSON, report.write), (_CSV, report.write_csv), (_HTML, html.write))
_OF_MODELS = ("checkpoint", "image_size", "depth", "suppression", "quantize")


def _benchmark():
    if _COMPARE.value:
        _compare()
        return
    for flag, _ in _OUTPUTS:
        if flag.value:
            files.check_output(flag.value)
    scores = report.read_scores([path for path in _SCORES.value if path])
    if _REPORT.value:
        _publish(report.read(_REPORT.value), scores)
        return
    for measured in _measured():
        _publish(measured, scores)
        if not measured["finished"]:
            raise KeyboardInterrupt  # what there was is written; the exit code tells that it is not all


def _publish(shown, scores):
    """Prints and writes a report."""
    for name, row in shown["systems"].items():
        row["accuracy"] = scores.get(name, row["accuracy"])
    print(table(shown))
    for flag, write in _OUTPUTS:
        if flag.value:
            write(shown, _path_of(flag.value, shown))


def _path_of(path, shown) -> str:
    """One of several phones has its serial number in the names of its files."""
    if len(_PHONES.serial.value) < 2:
        return path
    name, extension = os.path.splitext(path)
    return f"{name}.{re.sub(r'[^a-zA-Z0-9_.-]', '_', shown['machine']['serial'])}{extension}"


def _compare():
    if len(_COMPARE.value) != 2:
        raise UsageError(f"--compare takes two reports, BEFORE.json,AFTER.json, not {len(_COMPARE.value)}")
    print(compare(*map(report.read, _COMPARE.value)))


def _measured() -> Iterator[dict]:
    """Reports of a new run, one per machine."""
    names = [] if any(_TFLITE.value) else _names()
    if _TARGET.value == "host":
        _PHONES.check_unused()
    adb = Adb(_PHONES.adb.value, _PHONES.adb_port.value) if _TARGET.value == "adb" else None
    checkpoint = checkpoints.read(_CHECKPOINT.value) if _CHECKPOINT.value else None
    with tempfile.TemporaryDirectory() as folder:
        models, facts = _export_all(names, checkpoint, folder) if names else _given()
        for raw in _on_phones(models, adb) if adb else [_on_host(models)]:
            raw["settings"] |= {name: _FLAGS[name].value for name in _OF_MODELS}
            yield report.build(raw, facts, _command())


def _names() -> list[str]:
    """What to measure, without doubles, references first."""
    asked = cli.non_empty("systems", _SYSTEMS.value)
    asked = list_systems() if asked == ["all"] else [get_system(name).name for name in asked]
    return list(dict.fromkeys([*map(report.reference_of, asked), *asked]))


def _given() -> tuple[dict[str, Model], dict[str, dict]]:
    """The files of --tflite by their systems' names, and what is known of their models."""
    if given := [name for name in ("systems", *_OF_MODELS) if _FLAGS[name].present]:
        raise UsageError(f"--tflite: the files say what they are; leave out --{given[0]}")
    models, facts = {}, {}
    for path in filter(None, _TFLITE.value):
        about = metadata.read(path)
        system = get_system(about["system"])
        if system.name in models:
            raise UsageError(f"--tflite: two files of {system.name}; measure one of them")
        models[system.name] = Model.read(path)
        facts[system.name] = model_facts(system, build(ModelConfig(**about["model"])), path)
    if missing := {*map(report.reference_of, models)} - models.keys():
        raise UsageError(f"--tflite: ratios refer to {', '.join(sorted(missing))}; name a file of it too")
    return models, facts


def _export_all(names, checkpoint, folder) -> tuple[dict[str, Model], dict[str, dict]]:
    """One file for all systems that run the same network, and what is known of each system's model."""
    by_network = {}
    for name in names:
        by_network.setdefault(get_system(name).model, []).append(name)
    models, facts = {}, {}
    for first, *others in by_network.values():
        path = os.path.join(folder, f"{first}.tflite")
        network = _export(first, checkpoint, path)
        for system in map(get_system, (first, *others)):
            models[system.name] = dataclasses.replace(Model.read(path), **dataclasses.asdict(system.stream))
            facts[system.name] = model_facts(system, network, path)
    return {name: models[name] for name in names}, facts


def _export(name, checkpoint, path):
    """Writes a system's file, and returns its network."""
    print(f"exporting {name}", file=sys.stderr)
    system = get_system(name)
    overrides = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value), depth=_DEPTH.value)
    keras.utils.set_random_seed(_SEED.value)  # a run that is resumed has the same files
    network = checkpoints.build_from(system, checkpoint, **overrides)
    export(network, path, _SUPPRESSION.value, verify_steps=10, quantization=_QUANTIZE.value)
    return network


def _on_host(models) -> dict:
    rounds = host.WARMUP_FRAMES + _STEPS.value
    with tqdm(total=rounds, unit="round", desc="timing", dynamic_ncols=True) as bar:
        return host.measure(models, _STEPS.value, _POLICY.value, _SEED.value, bar.update)


def _on_phones(models, adb) -> Iterator[dict]:
    settings = _PHONES.settings(steps=_STEPS.value, policy=_POLICY.value, seed=_SEED.value)
    return on_phones.measure(_PHONES, adb, models, settings)


def _command() -> str:
    given = [_FLAGS[name].serialize() for name in _FLAGS if _FLAGS[name].present]
    return shlex.join(["patchwork-benchmark", *given])


def main(argv=None) -> int:
    return cli.run(_benchmark, _FLAGS, "patchwork-benchmark", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
