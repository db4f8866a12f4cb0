"""What half precision and eight bits cost the shipped detector; in eight bits, by what its calibration sees.

  python results/oid_types.py --davis=DAVIS --json=results/oid_types.json

Agreement with the single-frame network in Keras, float32, on every whole frame, as `patchwork-evaluate --against`
has it, over every second training sequence of DAVIS 2016. Each of --seeds calibrates on eight frames of eight of
the other sequences, drawn at random. XNNPACK emulates half precision where the processor does not have it.
"""

import functools
import itertools
import json
import os
import random
import sys
import tempfile
from unittest import mock

from absl import flags
from ai_edge_litert.cpu_options import CpuOptions

import patchwork_tf as pw
from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.data.video import Video
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.models.config import StreamConfig
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.streaming.stream import stream_together
from patchwork_tf.zoo import checkpoints

# System -> weights; those that skip frames are there to be compared with.
SYSTEMS = {
    "oid-sf": "oid-sf",
    "oid-sf-int4": "oid-sf",
    "oid-sf-int16": "oid-sf",
    "oid-pw-m4n2": "oid-sf",
    "oid-pw-m4n1": "oid-pw-m4n1",
}
SEQUENCES = FRAMES = 8  # to calibrate on
HALF_PRECISION = functools.partial(CpuOptions, xnnpack_flags=0xF)  # XNNPACK's defaults, and half precision forced

_FLAGS = flags.FlagValues()
_DAVIS = flags.DEFINE_string("davis", None, "Root of DAVIS 2016, at any resolution. Required.", flag_values=_FLAGS)
_MAX_FRAMES = flags.DEFINE_integer("max_frames", 60, "Of each sequence.", 1, flag_values=_FLAGS)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "How often to draw the frames of the calibration.", 1, flag_values=_FLAGS
)
_JSON = flags.DEFINE_string("json", None, "Where to write the numbers.", flag_values=_FLAGS)


def _step(name, quantization="none", calibration=None) -> ExportedStep:
    """A system's file, running."""
    model = checkpoints.build_from(pw.get_system(name), checkpoints.read(SYSTEMS[name]))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        pw.export(model, path, verify_steps=1, quantization=quantization, calibration=calibration)
        options = HALF_PRECISION if quantization == "float16" else CpuOptions
        with mock.patch("patchwork_tf.runtime.network.CpuOptions", options):
            return ExportedStep(path)


def _run():
    cli.required(_FLAGS, "davis")
    (resolution,) = os.listdir(f"{_DAVIS.value}/JPEGImages")
    root = f"{_DAVIS.value}/JPEGImages/{resolution}"
    sequences = sorted(os.listdir(root))
    steps = {(name, "float32"): _step(name) for name in SYSTEMS}
    quantized = [name for name in SYSTEMS if "int" not in name]
    for name in quantized:
        steps[name, "float16"] = _step(name, "float16")
    for seed in range(_SEEDS.value):
        drawn = sequences[1::2]
        random.Random(seed).shuffle(drawn)
        frames = [
            frame for name in drawn[:SEQUENCES] for frame in itertools.islice(Video(f"{root}/{name}"), FRAMES)
        ]
        for name in quantized:
            steps[name, f"int8, seed {seed}"] = _step(name, "int8", frames)
    model = checkpoints.build_from(pw.get_system("oid-sf"), checkpoints.read("oid-sf"))
    exact = KerasStep(model, StreamConfig(every_class=True))
    metrics = {key: step.task.agreement_metric(step.info.class_names) for key, step in steps.items()}
    together = [exact, *steps.values()]
    count = 0
    for sequence in progress(iterable=sequences[::2], unit="sequence"):
        video = itertools.islice(Video(f"{root}/{sequence}"), _MAX_FRAMES.value)
        for frame, (expected, *answers) in stream_together(together, video, [None] * len(together)):
            count += 1
            for metric, answer in zip(metrics.values(), answers, strict=True):
                metric.add_frame(answer, expected, frame.shape[:2])
    rows = [
        {"system": name, "type": kind, "agreement": metric.result(), "frames": count}
        for (name, kind), metric in metrics.items()
    ]
    for row in rows:
        print(f"{row['system']:<16}{row['type']:<16}{100 * row['agreement']:>7.1f}")
    if _JSON.value:
        with files.atomic_file(_JSON.value, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    sys.exit(cli.run(_run, _FLAGS, "oid_types", __doc__))
