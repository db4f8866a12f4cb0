"""Measures per-frame latency of systems of the zoo, in turn, with their state fed back.

  patchwork-benchmark --target=host --systems=vid-sf,vid-pw-m4n2,vid-pw-m4n1 --steps=1000 --json=latency.json

The models are exported first, with random weights unless a checkpoint is given: latency does not
depend on what the weights are, except that suppression has less to do if nothing is found.
"""

import json
import os
import sys
import tempfile

from absl import flags
from tqdm import tqdm

from patchwork_tf import cli
from patchwork_tf.benchmarks import host, report
from patchwork_tf.export.__main__ import export
from patchwork_tf.training import checkpoints
from patchwork_tf.zoo.systems import get_system

_FLAGS = flags.FlagValues()
_TARGET = flags.DEFINE_enum(
    "target", "host", ["host"], "Where to measure: this machine's CPU, one thread.", flag_values=_FLAGS
)
_SYSTEMS = flags.DEFINE_list(
    "systems",
    "vid-sf,vid-pw-m4n2,vid-pw-m4n1",
    "Systems of the zoo, separated by commas; the single-frame network of a task, to which its ratios refer, "
    "is added if it is missing.",
    flag_values=_FLAGS,
)
_STEPS = flags.DEFINE_integer("steps", 1000, "Frames to time per system.", lower_bound=1, flag_values=_FLAGS)
_JSON = flags.DEFINE_string("json", None, "Where to write the report with all samples.", flag_values=_FLAGS)
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
_SUPPRESSION = flags.DEFINE_boolean(
    "suppression", True, "Include per-class suppression of detectors.", flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Of frames, windows and turns.", flag_values=_FLAGS)


def _benchmark():
    systems = cli.non_empty("systems", _SYSTEMS.value)
    for name in systems:
        get_system(name)
    names = list(dict.fromkeys([*map(report.reference_of, systems), *systems]))
    checkpoint = checkpoints.read(_CHECKPOINT.value) if _CHECKPOINT.value else None
    if _JSON.value:
        cli.check_output(_JSON.value)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: _export(name, checkpoint, folder) for name in names}
        with tqdm(total=host.WARMUP_FRAMES + _STEPS.value, unit="round", desc="timing", dynamic_ncols=True) as bar:
            samples = host.measure(paths, _STEPS.value, _SEED.value, bar.update)
    rows = report.summarise(samples)
    machine = host.machine()
    print(
        f"{machine['cpu']}, 1 thread, LiteRT {machine['ai_edge_litert']}, ms per frame, {_STEPS.value} frames each"
    )
    print(report.table(rows))
    if _JSON.value:
        settings = {name: _FLAGS[name].value for name in _FLAGS if name != "json"}
        with cli.atomic_file(_JSON.value, "w") as file:
            json.dump({"machine": machine, "settings": settings, "systems": rows}, file)


def _export(name, checkpoint, folder) -> str:
    print(f"exporting {name}", file=sys.stderr)
    system = get_system(name)
    overrides = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value), depth=_DEPTH.value)
    model = checkpoints.build_from(system, checkpoint, **overrides)
    path = os.path.join(folder, f"{name}.tflite")
    export(system, model, checkpoint, path, _SUPPRESSION.value, verify_steps=10)
    return path


def main(argv=None) -> int:
    return cli.run(_benchmark, _FLAGS, "patchwork-benchmark", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
