"""Trains a system's model on clips of video.

Checkpoints, TensorBoard events, history.csv and, in the end, its plot go to --model_dir; with --eval_every scores
and the best checkpoint, too. Ctrl-C saves a checkpoint first. The same command resumes a run that was stopped, and
continues one that is finished if --steps is raised.

  patchwork-train --system=vid-pw-m4n2 --image_size=128 --depth=0.35 --model_dir=/tmp/pw --steps=2000
"""

import os
import sys

from patchwork_tf import choices, cli

# What flags are by default, which depends on the stage: the recipes of the docs.
_DEFAULTS = {
    "supervised": dict(steps=2000, batch_size=16, learning_rate=2e-3, warmup_steps=100, warm_starts=0.0),
    "policy": dict(steps=200, batch_size=4, learning_rate=1e-3, warmup_steps=10, warm_starts=1.0),
    "distill": dict(steps=2000, batch_size=4, learning_rate=2e-4, warmup_steps=30, warm_starts=1.0),
}


def _by_default(name: str) -> str:
    """For the help of a flag."""
    values = {stage: f"{defaults[name]:g}" for stage, defaults in _DEFAULTS.items()}
    others = ", ".join(f"{value} with --stage={stage}" for stage, value in values.items() if stage != "supervised")
    return f"by default {values['supervised']}, {others}"


_FLAGS = cli.Flags()
cli.define(_FLAGS, "system", "model_dir", "dataset", "data_dir", "config", "split", "image_size", "depth", "seed")
_FLAGS.count("steps", f"Optimizer steps in all; {_by_default('steps')}.")
_FLAGS.count("batch_size", f"Clips per step; {_by_default('batch_size')}.")
_FLAGS.count(
    "accumulate",
    "Parts of a batch, one after the other: the same step in less memory, but for batch statistics.",
    default=1,
)
_FLAGS.count("clip_frames", "Frames per clip; by default 8, and 1 for single-frame models.")
_FLAGS.count("stride", "Every so many frames of a video one is taken for a clip.", default=1)
_FLAGS.enum(
    "resize_mode",
    "How frames get to the image size; a letterbox leaves bars.",
    default="stretch",
    values=choices.RESIZE_MODES,
)
_FLAGS.number("learning_rate", f"Peak learning rate of Adam; {_by_default('learning_rate')}.")
_FLAGS.integer(
    "warmup_steps", f"Steps of linear warm-up; then a cosine falls to 0; {_by_default('warmup_steps')}.", least=0
)
_FLAGS.enum("windows", "How windows of training clips are chosen.", default="mixed", values=choices.TRAIN_WINDOWS)
_FLAGS.number(
    "warm_starts",
    f"Part of the clips that start with their whole first frame in memory; {_by_default('warm_starts')}.",
    least=0.0,
    most=1.0,
)
_FLAGS.boolean("augment", "Flip, crop and recolour clips.", default=True)
_FLAGS.string(
    "init_checkpoint",
    "Checkpoint, or name of a pretrained system, to take all weights from before the first step, for example of "
    "the single-frame twin. Of a detector of other classes, predictors of those with equal names are taken over.",
)
_FLAGS.string(
    "backbone_weights", "Of the backbone to start from: imagenet, a .keras or .npz file, or as --init_checkpoint."
)
_FLAGS.enum(
    "stage",
    "What to train: supervised, the network's answers, by the truth; distill, the same by what the single-frame "
    "twin, --teacher, says of whole frames, on any video; policy, which window to look at, by Q-learning, "
    "all else being frozen.",
    default="supervised",
    values=list(_DEFAULTS),
)
_FLAGS.number(
    "discount",
    "Of the next frame's value, with --stage=policy; a step takes longer above 0.",
    default=0.0,
    least=0.0,
    most=0.999,
)
_FLAGS.enum(
    "policy_prior",
    "What --stage=policy adds its values to: the rule's, or none, as in the paper.",
    default="rule",
    values=choices.POLICY_PRIORS,
)
_FLAGS.string("teacher", "Of --stage=distill, the single-frame twin's checkpoint; by default --init_checkpoint.")
_FLAGS.integer(
    "burn_in",
    "With --stage=distill, frames before --clip_frames that are watched and not learned from.",
    default=16,
    least=0,
)
_FLAGS.string("photos", "Folder of photos that join the videos of --dataset=video, as crops that wander.")
_FLAGS.boolean("skip_bad", "Leave out videos and photos of --dataset=video that cannot be read.")
_FLAGS.enum(
    "precision",
    "What layers compute in while they are trained; weights, memories and losses stay in float32.",
    default="float32",
    values=choices.PRECISIONS,
)
_FLAGS.boolean("xla", "Compile the step with XLA on TensorFlow, which takes minutes. JAX always does.")
_FLAGS.boolean(
    "deterministic", "On TensorFlow and GPUs: the same run, bit by bit, from the same --seed, and slower."
)
_FLAGS.count(
    "num_processes",
    "Train with so many processes, on one host or several; each takes its share of --batch_size. Start this "
    "command once for each, with KERAS_BACKEND=jax.",
    default=1,
)
_FLAGS.integer("process_id", "Which of --num_processes this is; 0 writes the checkpoints and logs.", default=0)
_FLAGS.string("coordinator", "HOST:PORT of process 0, free there, that all processes can reach.")
_FLAGS.count(
    "eval_every",
    "Steps between scores of a checkpoint; the best one is kept in --model_dir/best. By default none.",
)
_FLAGS.string("eval_split", "Part of the data set that --eval_every scores.", default="validation")
_FLAGS.list("eval_video", "Of --stage=distill, clips that --eval_every scores, by agreement with the teacher.")
_FLAGS.count("num_videos", "At most so many videos for --eval_every; by default all.")
cli.define(_FLAGS, "max_frames")
_FLAGS.count("log_every", "Steps between log entries.", default=20)
_FLAGS.count(
    "save_every", "Steps between checkpoints, three of which are kept; by default --steps / 10, at most 500."
)


@cli.command("patchwork-train", _FLAGS, __doc__)
def main():
    """Sets the defaults of the stage, then trains."""
    if _FLAGS.precision == "bfloat16":  # TensorFlow 2.21's oneDNN then has gradients of convolutions that are NaN
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from patchwork_tf.commands.train_run import run

    for name, value in _DEFAULTS[_FLAGS.stage].items():
        if _FLAGS[name].value is None:
            _FLAGS[name].value = value
    if _FLAGS.save_every is None:
        _FLAGS.save_every = min(500, -(-_FLAGS.steps // 10))
    run(_FLAGS)


if __name__ == "__main__":
    sys.exit(main())
