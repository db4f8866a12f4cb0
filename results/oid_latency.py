"""Latency of the shipped detector's systems beside the file it was imported from, with objects in the picture.

  make pretrained-oid
  python results/oid_latency.py --source=build/oid/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite \\
      --json=results/oid_latency.json

One thread, suppression in our files, systems in turn on the same frame of a video, in an order that changes from
frame to frame. Time of inference alone, inputs in place. The source file gives raw outputs at its own 300 pixels.
"""

import json
import os
import sys
import tempfile
import time

import cv2
import numpy as np
from absl import flags
from ai_edge_litert.interpreter import Interpreter
from tqdm import tqdm

import patchwork_tf as pw
from patchwork_tf import cli, files
from patchwork_tf.benchmarks.host import machine
from patchwork_tf.data.video import Video
from patchwork_tf.runtime.network import START, STEP, Network
from patchwork_tf.streaming.stream import model_input

SYSTEMS = ("oid-sf", "oid-pw-m4n2", "oid-pw-m4n1", "oid-pw-m2n1")
WARM_UP = 20

_FLAGS = flags.FlagValues()
_SOURCE = flags.DEFINE_string("source", None, "The .tflite file that was imported. Required.", flag_values=_FLAGS)
_VIDEO = flags.DEFINE_string("video", "docs/photos.mp4", "What to look at, again and again.", flag_values=_FLAGS)
_STEPS = flags.DEFINE_integer("steps", 1000, "Frames to time.", lower_bound=1, flag_values=_FLAGS)
_JSON = flags.DEFINE_string("json", None, "Where to write all samples.", flag_values=_FLAGS)


class _Source:
    """The imported file in LiteRT's interpreter, with XNNPACK, on one thread."""

    def __init__(self, path):
        self._interpreter = Interpreter(path, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]

    def __call__(self, frame):
        height, width = self._input["shape"][1:3]
        self._interpreter.set_tensor(
            self._input["index"], model_input(cv2.resize(frame, (width, height)), (height, width))
        )
        start = time.perf_counter()
        self._interpreter.invoke()
        return 1e3 * (time.perf_counter() - start)


class _System:
    """One of our files, which chooses its windows."""

    def __init__(self, name, folder):
        path = os.path.join(folder, f"{name}.tflite")
        pw.export(pw.load(name), path, verify_steps=2)
        self._runner, self._window = Network(path), None
        self._size = self._runner.facts["input"]["image_size"]

    def __call__(self, frame):
        starts = self._window is None and self._runner.starts_whole
        self._runner.load(model_input(frame, self._size), self._window or (0, 0))
        start = time.perf_counter()
        self._runner.run(START if starts else STEP)
        took = 1e3 * (time.perf_counter() - start)
        self._window = tuple(self._runner.read("next_window").tolist())
        return took


def _run():
    with tempfile.TemporaryDirectory() as folder:
        timed = {"source file": _Source(_SOURCE.value), **{name: _System(name, folder) for name in SYSTEMS}}
        frames, rng, samples = list(Video(_VIDEO.value)), np.random.default_rng(0), {name: [] for name in timed}
        for number in tqdm(range(WARM_UP + _STEPS.value), unit="frame"):
            for name in rng.permutation(list(timed)):
                took = timed[name](frames[number % len(frames)])
                if number >= WARM_UP:
                    samples[name].append(took)
    medians = {name: float(np.median(values)) for name, values in samples.items()}
    print(f"{'':<14}{'median ms':>10}{'p95':>8}{'p99':>8}{'/ oid-sf':>10}{'/ source':>10}")
    for name, values in samples.items():
        p95, p99 = np.percentile(values, (95, 99))
        ratios = [medians[name] / medians[other] for other in ("oid-sf", "source file")]
        print(f"{name:<14}{medians[name]:>10.2f}{p95:>8.2f}{p99:>8.2f}{ratios[0]:>10.3f}{ratios[1]:>10.3f}")
    if _JSON.value:
        with files.atomic_file(_JSON.value, "w") as file:
            rounded = {name: np.round(values, 3).tolist() for name, values in samples.items()}
            json.dump({"machine": machine(), "video": _VIDEO.value, "samples_ms": rounded}, file)


if __name__ == "__main__":
    sys.exit(cli.run(_run, _FLAGS, "oid_latency", __doc__))
