"""Where a Patchwork step's time goes: the same network without its memory, and on the window alone.

  python tools/breakdown.py --systems=vid-pw-m4n1,vid-pw-m4n2 --steps=300

For every system four files take turns: the single-frame network of its task and depth on the full frame and
on as many pixels as a window has (what runs on the window, and nothing else), the step with zeros in place
of all that is remembered (that, the part on the full map and the choice of a window), and the step itself.
Weights are random.
"""

import argparse
import dataclasses
import os
import tempfile

import tensorflow as tf

from patchwork_tf.benchmarks import harness, workloads
from patchwork_tf.benchmarks.host import Host
from patchwork_tf.benchmarks.plan import Settings, Workload
from patchwork_tf.benchmarks.text import device
from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata
from patchwork_tf.export.memory import FirstMemory
from patchwork_tf.export.tflite import Step, convert
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.systems import get_system


class _Zeros(FirstMemory):
    """In the place of a memory: nothing is remembered, borders are zeros, and the rest of a map too."""

    def before(self, name, x, at):
        return tf.zeros_like(x)

    def blend(self, name, x, size, at, decay=1.0):
        x = x[:, : size[0], : size[1]]
        height, width = x.shape[1:3]
        return tf.pad(x, ((0, 0), (0, size[0] - height), (0, size[1] - width), (0, 0)))


class WithoutMemory(Step):
    """A step that computes all that the step does and remembers nothing."""

    def __init__(self, model, suppression):
        super().__init__(model, suppression)
        self.state_shapes, self.predictions = {}, {}

    def __call__(self, frame, window):
        window = tf.clip_by_value(window, 0, self.model.grid.positions - 1)
        return self._run(_Zeros(self.model.grid), frame, window)


def variants(system, suppression=True, **overrides) -> dict:
    """Title -> step of what is compared.

    Args:
        system: a Patchwork system of one stream.
        suppression: whether detectors include it.
        overrides: of the system's model.

    Raises:
        UsageError: if it is another system.
    """
    if system.model.grid.is_whole_frame or system.stream.flip:
        raise UsageError(f"{system.name} is no Patchwork system of one stream")
    model = build(system.model, **overrides)
    single = get_system(system.reference)
    depth, frame = model.config.depth, model.config.image_size[0]
    side = frame * model.grid.window_cells // model.grid.cells

    def single_step(size):
        return Step(build(single.model, image_size=size, depth=depth), suppression)

    return {
        "single-frame network": single_step(frame),
        f"the same on {side} x {side} pixels": single_step(side),
        "step without memory": WithoutMemory(model, suppression),
        "step": Step(model, suppression),
    }


def _workload(folder, title, step) -> Workload:
    path = os.path.join(folder, f"{title}.tflite")
    with open(path, "wb") as file:
        file.write(convert(step, metadata.describe(step)))
    workload = workloads.from_file(path)
    return dataclasses.replace(workload, run=dataclasses.replace(workload.run, system=title))


def main(argv=None):
    """Prints where the time of each system goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", default="vid-pw-m4n1,vid-pw-m4n2", help="separated by commas")
    parser.add_argument("--steps", type=int, default=300, help="frames to time per file")
    parser.add_argument("--image_size", type=int, default=384)
    parser.add_argument("--depth", type=float, default=1.0)
    parser.add_argument("--nosuppression", action="store_true", help="raw predictions of detectors")
    given = parser.parse_args(argv)
    target = Host(Settings(steps=given.steps))
    for name in given.systems.split(","):
        steps = variants(get_system(name), not given.nosuppression, image_size=given.image_size, depth=given.depth)
        with tempfile.TemporaryDirectory() as folder:
            files = {title: _workload(folder, title, step) for title, step in steps.items()}
            (report,) = harness.measure(harness.Benchmark(files, os.path.join(folder, "kept")), [target])
        print(f"{name}, {device(report)}: median ms of {given.steps} frames, and part of the first")
        medians = {title: run.statistics["median_ms"] for title, run in report.runs.items()}
        first = next(iter(medians.values()))
        print("\n".join(f"  {title:<34}{ms:>8.2f}{ms / first:>8.3f}" for title, ms in medians.items()))


if __name__ == "__main__":
    main()
