"""What each runtime costs: loading, first frame, every frame after, memory, and one more stream.

  python results/runtimes.py --json=results/runtimes.json

Frames are 1920 x 1080, the shipped detector's 384 x 384. Every runtime is a process of its own, started by turns,
so that what else the machine does falls on all. Megabytes are what the process holds beyond its frame (and, in
Python, beyond numpy). Plain LiteRT runs the single-frame file on every frame, resized by OpenCV.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tabulate
from absl import flags

import patchwork_tf as pw
from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.benchmarks import host, native
from patchwork_tf.zoo import checkpoints

ROOT = Path(__file__).parents[1]
SIZE, SYSTEMS, TYPES = (1080, 1920), ("oid-pw-m4n2", "oid-pw-m4n1"), ("none", "float16")

_FLAGS = flags.FlagValues()
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Processes of each runtime.", 1, flag_values=_FLAGS)
_FRAMES = flags.DEFINE_integer("frames", 200, "Of each process, after the first.", 1, flag_values=_FLAGS)
_JSON = flags.DEFINE_string("json", None, "Where to write the numbers, all samples.", flag_values=_FLAGS)

# Each is a function `opened`, which gives a function of a new stream to one of a frame.
_PYTHON = """
import json, sys, time
import numpy as np
def megabytes():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))
path, frames = sys.argv[1], int(sys.argv[2])
frame = (np.arange(1080 * 1920 * 3, dtype=np.int64) // 60 * 31 % 256).astype(np.uint8).reshape(1080, 1920, 3)
before, begun = megabytes(), time.perf_counter()
def timed(run):
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)
{}
found = {{"load_ms": 1e3 * (time.perf_counter() - begun)}}
push = stream()
found["first_ms"] = timed(push)
found["frame_ms"] = [timed(push) for _ in range(frames)]
held = megabytes()
second = stream()
for _ in range(20):
    second()
print(json.dumps({{**found, "mb": held - before, "stream_mb": megabytes() - held}}))
"""
_OURS = """
from patchwork_runtime import Model
model = Model(path)
def stream():
    pushed = model.stream()
    return lambda: pushed.push(frame)
"""
_TENSORFLOW = """
import itertools
import patchwork_tf as pw
from patchwork_tf.export.streaming import ExportedStep
model = ExportedStep(path)
def stream():
    answers = pw.stream(model, itertools.repeat(frame))
    return lambda: next(answers)
"""
_PLAIN = """
import cv2
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(path, num_threads=1).get_signature_runner("step")
cv2.setNumThreads(1)
def stream():
    def push():
        image = cv2.resize(frame, (384, 384), interpolation=cv2.INTER_AREA)
        return runner(frame=image[None].astype(np.float32) / 127.5 - 1, window=np.zeros(2, np.int32))
    return push
"""


def _command(kind, path, folder) -> list[str]:
    if kind == "C":
        arguments = [native.library_path(), path, *map(str, SIZE), str(_FRAMES.value), "0"]
        return [os.path.join(folder, "push"), *arguments]
    code = {"Python": _OURS, "patchwork_tf": _TENSORFLOW, "LiteRT": _PLAIN}[kind]
    return [sys.executable, "-c", _PYTHON.format(code), path, str(_FRAMES.value)]


def _exported(folder) -> dict:
    """The command of every runtime and file."""
    sources = [ROOT / "tools/checks/push.c", native.LIBRARY_SOURCES / "patchwork.c"]
    native.compile_c(native.host_compiler(), sources, os.path.join(folder, "push"))
    commands = {}
    for system in ("oid-sf", *SYSTEMS):
        model = checkpoints.build_from(pw.get_system(system), checkpoints.read(system))
        for kind in TYPES:
            path = os.path.join(folder, f"{system}-{kind}.tflite")
            pw.export(model, path, verify_steps=1, quantization=kind)
            runtimes = ("LiteRT",) if system == "oid-sf" else ("C", "Python", "patchwork_tf")
            commands |= {(system, kind, runtime): _command(runtime, path, folder) for runtime in runtimes}
    return commands


def _measure():
    found = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime/python"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as folder:
        commands = _exported(folder)
        with progress(desc="measuring", unit="process", total=_ROUNDS.value * len(commands)) as bar:
            for _ in range(_ROUNDS.value):
                for key, command in commands.items():
                    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                    found.setdefault(" ".join(key), []).append(json.loads(done.stdout.splitlines()[-1]))
                    bar.update()
    rows = []
    for name, runs in found.items():
        frames = np.concatenate([run["frame_ms"] for run in runs])
        medians = [float(np.median([run[key] for run in runs])) for key in ("load_ms", "first_ms")]
        held = [float(np.median([run[key] for run in runs])) for key in ("mb", "stream_mb")]
        rows.append([name, *medians, *np.percentile(frames, [50, 95]), *held])
    heads = ["system, type, runtime", "load ms", "first ms", "frame ms", "p95", "MB", "MB a stream more"]
    print(tabulate.tabulate(rows, heads, "github", floatfmt=".1f"))
    if _JSON.value:
        files.write_json(_JSON.value, {"machine": host.machine(), "runs": found})


def main(argv=None) -> int:
    return cli.run(_measure, _FLAGS, "runtimes", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
