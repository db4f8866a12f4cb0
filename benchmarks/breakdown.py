"""Where a Patchwork step's time goes: the same network without its memory, and on the window alone.

  python -m patchwork_tf.benchmarks.breakdown --systems=vid-pw-m4n1,vid-pw-m4n2 --steps=300

For every system four files take turns: the single-frame network of its task and depth on the full frame and
on as many pixels as a window has (what runs on the window, and nothing else), the step with zeros in place
of all that is remembered (that, the part on the full map and the choice of a window), and the step itself.
Weights are random.
"""

import os
import sys
import tempfile

import numpy as np
import tensorflow as tf
from absl import flags
from tqdm import tqdm

from patchwork_tf import cli
from patchwork_tf.benchmarks import host
from patchwork_tf.benchmarks.plan import Model
from patchwork_tf.benchmarks.report import reference_of
from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata
from patchwork_tf.export.memory import Plan
from patchwork_tf.export.tflite import Step, convert
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.systems import get_system

_FLAGS = flags.FlagValues()
_SYSTEMS = flags.DEFINE_list(
    "systems", "vid-pw-m4n1,vid-pw-m4n2", "Patchwork systems, separated by commas.", flag_values=_FLAGS
)
_STEPS = flags.DEFINE_integer("steps", 300, "Frames to time per file.", lower_bound=1, flag_values=_FLAGS)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side of the frame in pixels; by default each system's, 384.", flag_values=_FLAGS
)
_DEPTH = flags.DEFINE_float("depth", None, "Width multiplier; by default each system's.", flag_values=_FLAGS)
_SUPPRESSION = flags.DEFINE_boolean("suppression", True, "Include suppression in detectors.", flag_values=_FLAGS)


class _Zeros(Plan):
    """In the place of a memory: nothing is remembered, borders are zeros, and the rest of a map too."""

    def blend(self, name, x, size, at, decay=1.0):
        x = x[:, : size[0], : size[1]]
        height, width = x.shape[1:3]
        return tf.pad(x, ((0, 0), (0, size[0] - height), (0, size[1] - width), (0, 0)))


class _WithoutMemory(Step):
    """A step that computes all that the step does and remembers nothing."""

    def __init__(self, model, suppression):
        super().__init__(model, suppression)
        self.state_shapes, self.predictions = {}, {}

    def __call__(self, frame, window):
        window = tf.clip_by_value(window, 0, self.model.grid.positions - 1)
        return self._run(_Zeros(self.model.grid), frame, window)


def _breakdown():
    for name in cli.non_empty("systems", _SYSTEMS.value):
        system = get_system(name)
        if system.model.grid.is_whole_frame or system.stream.flip:
            raise UsageError(f"{name} is no Patchwork system of one stream")
        with tempfile.TemporaryDirectory() as folder:
            models = {title: _file(folder, *made) for title, made in _variants(system).items()}
            rounds = host.WARMUP_FRAMES + _STEPS.value
            with tqdm(total=rounds, unit="round", desc=name, dynamic_ncols=True) as bar:
                raw = host.measure(models, _STEPS.value, progress=bar.update)
        print(_table(name, raw))


def _variants(system) -> dict:
    """Title -> system and step of what is compared."""
    overrides = cli.override(image_size=_IMAGE_SIZE.value, depth=_DEPTH.value)
    model = build(system.model, **overrides)
    single = get_system(reference_of(system.name))
    depth, frame = model.config.depth, model.config.image_size[0]
    side = frame * model.grid.window // model.grid.cells
    suppression = _SUPPRESSION.value

    def single_step(size):
        return single, Step(build(single.model, image_size=size, depth=depth), suppression)

    return {
        "single-frame network": single_step(frame),
        f"the same on {side} x {side} pixels": single_step(side),
        "step without memory": (system, _WithoutMemory(model, suppression)),
        "step": (system, Step(model, suppression)),
    }


def _file(folder, system, step) -> Model:
    path = os.path.join(folder, f"{len(os.listdir(folder))}.tflite")
    facts = metadata.describe(step)
    with open(path, "wb") as file:
        file.write(convert(step, facts))
    return Model.read(path)


def _table(name, raw) -> str:
    lines = [
        f"{name}, {raw['machine']['cpu']}, 1 thread: median ms of {_STEPS.value} frames, and part of the first"
    ]
    medians = {title: _median(found) for title, found in raw["systems"].items()}
    first = next(iter(medians.values()))
    return "\n".join([*lines, *(f"  {title:<34}{ms:>8.2f}{ms / first:>8.3f}" for title, ms in medians.items())])


def _median(found) -> float:
    """Milliseconds."""
    return float(np.median(found["repeats"][0]["nanoseconds"])) / 1e6


def main(argv=None) -> int:
    return cli.run(_breakdown, _FLAGS, "patchwork_tf.benchmarks.breakdown", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
