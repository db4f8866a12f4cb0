"""What a distilled model still differs from its teacher by, on videos that it was not trained on.

  python results/held_out_loss.py --system=oid-pw-m4n1 --teacher=oid-sf --checkpoint=oid-sf,A.npz,B.npz \
      --data_dir=HELD_OUT --json=losses.json --plot=losses.svg

Every checkpoint is asked about the same clips. They are in the order of training, the first before it.
"""

import json
import sys

import keras
from absl import flags
from matplotlib.figure import Figure

from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.data import clips
from patchwork_tf.data.datasets import Source
from patchwork_tf.models.weights import assign_weights
from patchwork_tf.training.clip_distillation import ClipDistillation, twin_of
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system

BATCH, FRAMES, WATCHED = 2, 6, 10

_FLAGS = flags.FlagValues()
cli.define(_FLAGS, "system", "checkpoint", "data_dir", "json", "seed")
_TEACHER = flags.DEFINE_string("teacher", "oid-sf", "Weights of the single-frame twin.", flag_values=_FLAGS)
_BATCHES = flags.DEFINE_integer("batches", 24, "Of two clips each.", lower_bound=1, flag_values=_FLAGS)
_PLOT = flags.DEFINE_string("plot", None, "The SVG to draw.", flag_values=_FLAGS)


def _losses(trainer, batches) -> dict[str, float]:
    trainer.reset_metrics()
    for clip, _ in progress(iterable=batches, total=_BATCHES.value, unit="batch"):
        trainer.compute_loss(clip, None, trainer(clip))
    return {mean.name: float(mean.result()) for mean in trainer.means}


def _draw(rows, path):
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(rows[0]) - 1), list(rows[0])[1:], strict=True):
        axes.plot([row[name] for row in rows], marker="o")
        axes.set_xticks(range(len(rows)))
        axes.set(title=name.replace("_", " "), xlabel="checkpoint", ylim=(0, None))
    with files.atomic_file(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


def _run():
    teacher = checkpoints.read(_TEACHER.value)
    system = get_system(cli.single("system", _FLAGS.system))
    student = checkpoints.build_from(system, teacher)
    trainer = ClipDistillation(student, twin_of(student, teacher.arrays, teacher.path), WATCHED)
    wanted = clips.ClipConfig("nothing", WATCHED + FRAMES, student.config.image_size, seed=_FLAGS.seed)
    found = clips.training_clips(Source("video", _FLAGS.data_dir), wanted)
    looking = clips.Looking(warm_starts=1.0, follows=0.7, augmented=False, seed=_FLAGS.seed)
    batches = clips.training_batches(found, student.grid, BATCH, looking).take(_BATCHES.value)
    rows = []
    for source in cli.non_empty("checkpoint", _FLAGS.checkpoint):
        checkpoint = checkpoints.read(source)
        assign_weights(student.variables, checkpoint.arrays, checkpoint.path)
        rows.append({"checkpoint": source.rpartition("/")[2], **_losses(trainer, batches)})
        print("  ".join(f"{value:.3f}" if isinstance(value, float) else value for value in rows[-1].values()))
    if _FLAGS.json:
        with files.atomic_file(_FLAGS.json, "w") as file:
            json.dump(rows, file, indent=1)
    if _PLOT.value:
        _draw(rows, _PLOT.value)


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    sys.exit(cli.run(_run, _FLAGS, "held_out_loss", __doc__))
