"""What the native runner adds to a bare invoke, and how much state moves between steps.

  python tools/overhead.py                  # a file whose step takes microseconds
  python tools/overhead.py --model=F.tflite

Bare is checks/bare.c: the same step over and over, nothing else. Copies are counted by checks/copies.c, which
replaces memcpy (Linux with glibc only).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from patchwork_tf.benchmarks import native
from patchwork_tf.benchmarks.samples import read_samples

_CHECKS = Path(__file__).with_name("checks")
_NOT_SHARED = ("options.c", "results.c", "runner.c")  # sources of the runner that the checks do without
_ROUNDS = 10


def write_echo_model(path: str):
    """Writes a file with the runner's signature and next to no work: it answers with what it was fed.

    Inputs: frame [1, 8, 8, 3], window [2], state_00_steps [1], state_01_sum [1, 8, 8, 3]. Outputs: corner [3],
    the frame's top left pixel; looked [2], ten more than the window (LiteRT mixes up an input that is an output as
    it stands); steps [1], how many there have been; next_window, one further down and to the right, modulo 3; and
    the states, the second being the sum of all frames.
    """
    import tensorflow as tf

    frame, window = tf.TensorSpec((1, 8, 8, 3), name="frame"), tf.TensorSpec((2,), tf.int32, name="window")
    steps, total = tf.TensorSpec((1,), name="state_00_steps"), tf.TensorSpec((1, 8, 8, 3), name="state_01_sum")

    @tf.function(input_signature=[frame, window, steps, total])
    def step(frame, window, state_00_steps, state_01_sum):
        return {
            "corner": frame[0, 0, 0],
            "looked": window + 10,
            "steps": tf.cast(state_00_steps + 1, tf.int32),
            "next_window": (window + 1) % 3,
            "state_00_steps": state_00_steps + 1,
            "state_01_sum": state_01_sum + frame,
        }

    module = tf.Module()
    module.step = step
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"step": step})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["step"])
        Path(path).write_bytes(converter.convert())


def compile_check(name: str, folder: str) -> str:
    """Compiles checks/NAME.c into a folder; returns the program's path."""
    program = os.path.join(folder, name)
    sources = [_CHECKS / f"{name}.c", *(path for path in native.source_files("c") if path.name not in _NOT_SHARED)]
    # For copies.c: the library is to find this program's memcpy, and that must not become a call of itself.
    flags = ["-rdynamic", "-fno-builtin", f"-I{native.SOURCES}"]
    native.compile_c(native.host_compiler(), sources, program, *flags)
    return program


def count_copies(model: str, buffers: str, folder: str, steps: int = 50) -> dict[str, float]:
    """Copies of state per step, on average: see checks/copies.c.

    Args:
        model: exported file.
        buffers: 'alias' or 'swap'.
        folder: for the compiled program.
        steps: to average over.

    Returns:
        'state_bytes', 'carried_copies', 'bytes_read', 'bytes_written'.
    """
    printed = _run([compile_check("copies", folder), native.library_path(), model, str(steps), buffers])
    return {key: float(value) for key, value in map(str.split, printed.splitlines())}


def time_bare(program: str, model: str, steps: int) -> np.ndarray:
    """Nanoseconds of each bare invoke; `program` as compiled from bare.c."""
    return np.array(_run([program, native.library_path(), model, str(steps)]).split(), np.int64)


def time_runner(model: str, steps: int, buffers: str, folder: str) -> np.ndarray:
    """Nanoseconds of each frame as the runner times it."""
    path = os.path.join(folder, "samples.txt")
    files = [f"--library={native.library_path()}", f"--model={model}", f"--samples={path}"]
    _run([native.runner_path(), *files, f"--steps={steps}", f"--buffers={buffers}"])
    return read_samples(path).nanoseconds


def _run(command) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main():
    """Prints what the runner adds to a bare invoke, and what it copies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="exported file; by default one whose step does next to nothing")
    parser.add_argument("--steps", type=int, default=1000, help="per run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or os.path.join(folder, "echo.tflite")
        if not given.model:
            write_echo_model(model)
        bare, rounds = compile_check("bare", folder), []
        for _ in range(_ROUNDS):
            runs = [time_bare(bare, model, given.steps)]
            runs += [time_runner(model, given.steps, buffers, folder) for buffers in ("alias", "swap")]
            rounds.append([np.median(run) / 1000 for run in runs])
        rounds = np.array(rounds)
        print(f"{os.path.basename(model)}: {_ROUNDS} rounds of {given.steps} steps, medians per run in us")
        for name, column in zip(("bare invoke", "runner, alias", "runner, swap"), rounds.T, strict=True):
            added = column - rounds[:, 0]
            print(f"{name:<14}{np.median(column):>10.2f}   more than bare {np.median(added):>7.2f}")
        for buffers in ("alias", "swap") if sys.platform == "linux" else ():
            print(f"{buffers}, per step: {count_copies(model, buffers, folder)}")


if __name__ == "__main__":
    main()
