"""Trains a system's model on clips of video.

Checkpoints, TensorBoard events, history.csv and, in the end, its plot go to --model_dir; with --eval_every scores
and the best checkpoint, too. Ctrl-C saves a checkpoint first. The same command resumes a run that was stopped, and
continues one that is finished if --steps is raised.

  patchwork-train --system=vid-pw-m4n2 --image_size=128 --depth=0.35 --model_dir=/tmp/pw --steps=2000
"""

import os
import sys

from absl import flags

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


_FLAGS = flags.FlagValues()
cli.define(_FLAGS, "system", "model_dir", "dataset", "data_dir", "config", "split", "image_size", "depth", "seed")
flags.DEFINE_integer("steps", None, f"Optimizer steps in all; {_by_default('steps')}.", 1, flag_values=_FLAGS)
flags.DEFINE_integer("batch_size", None, f"Clips per step; {_by_default('batch_size')}.", 1, flag_values=_FLAGS)
flags.DEFINE_integer(
    "accumulate",
    1,
    "Parts of a batch, one after the other: the same step in less memory, but for batch statistics.",
    1,
    flag_values=_FLAGS,
)
flags.DEFINE_integer(
    "clip_frames", None, "Frames per clip; by default 8, and 1 for single-frame models.", 1, flag_values=_FLAGS
)
flags.DEFINE_integer(
    "stride", 1, "Every so many frames of a video one is taken for a clip.", 1, flag_values=_FLAGS
)
flags.DEFINE_enum(
    "resize_mode",
    "stretch",
    choices.RESIZE_MODES,
    "How frames get to the image size; a letterbox leaves bars.",
    _FLAGS,
)
flags.DEFINE_float(
    "learning_rate", None, f"Peak learning rate of Adam; {_by_default('learning_rate')}.", flag_values=_FLAGS
)
flags.DEFINE_integer(
    "warmup_steps",
    None,
    f"Steps of linear warm-up; then a cosine falls to 0; {_by_default('warmup_steps')}.",
    0,
    flag_values=_FLAGS,
)
flags.DEFINE_enum("windows", "mixed", choices.TRAIN_WINDOWS, "How windows of training clips are chosen.", _FLAGS)
flags.DEFINE_float(
    "warm_starts",
    None,
    f"Part of the clips that start with their whole first frame in memory; {_by_default('warm_starts')}.",
    0.0,
    1.0,
    _FLAGS,
)
flags.DEFINE_boolean("augment", True, "Flip, crop and recolour clips.", flag_values=_FLAGS)
flags.DEFINE_string(
    "init_checkpoint",
    None,
    "Checkpoint, or name of a pretrained system, to take all weights from before the first step, for example of "
    "the single-frame twin. Of a detector of other classes, predictors of those with equal names are taken over.",
    _FLAGS,
)
flags.DEFINE_string(
    "backbone_weights",
    None,
    "Of the backbone to start from: imagenet, a .keras or .npz file, or as --init_checkpoint.",
    _FLAGS,
)
flags.DEFINE_enum(
    "stage",
    "supervised",
    list(_DEFAULTS),
    "What to train: supervised, the network's answers, by the truth; distill, the same by what the single-frame "
    "twin, --teacher, says of whole frames, on any video; policy, which window to look at, by Q-learning, "
    "all else being frozen.",
    _FLAGS,
)
flags.DEFINE_float(
    "discount",
    0.0,
    "Of the next frame's value, with --stage=policy; a step takes longer above 0.",
    0.0,
    0.999,
    _FLAGS,
)
flags.DEFINE_enum(
    "policy_prior",
    "rule",
    choices.POLICY_PRIORS,
    "What --stage=policy adds its values to: the rule's, or none, as in the paper.",
    _FLAGS,
)
flags.DEFINE_string(
    "teacher",
    None,
    "Of --stage=distill, the single-frame twin's checkpoint; by default --init_checkpoint.",
    _FLAGS,
)
flags.DEFINE_integer(
    "burn_in",
    16,
    "With --stage=distill, frames before --clip_frames that are watched and not learned from.",
    0,
    flag_values=_FLAGS,
)
flags.DEFINE_string(
    "photos", None, "Folder of photos that join the videos of --dataset=video, as crops that wander.", _FLAGS
)
flags.DEFINE_boolean(
    "skip_bad", False, "Leave out videos and photos of --dataset=video that cannot be read.", _FLAGS
)
flags.DEFINE_enum(
    "precision",
    "float32",
    choices.PRECISIONS,
    "What layers compute in while they are trained; weights, memories and losses stay in float32.",
    _FLAGS,
)
flags.DEFINE_boolean(
    "xla", False, "Compile the step with XLA on TensorFlow, which takes minutes. JAX always does.", _FLAGS
)
flags.DEFINE_boolean(
    "deterministic",
    False,
    "On TensorFlow and GPUs: the same run, bit by bit, from the same --seed, and slower.",
    _FLAGS,
)
flags.DEFINE_integer(
    "num_processes",
    1,
    "Train with so many processes, on one host or several; each takes its share of --batch_size. Start this "
    "command once for each, with KERAS_BACKEND=jax.",
    1,
    flag_values=_FLAGS,
)
flags.DEFINE_integer(
    "process_id", 0, "Which of --num_processes this is; 0 writes the checkpoints and logs.", flag_values=_FLAGS
)
flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, free there, that all processes can reach.", _FLAGS
)
flags.DEFINE_integer(
    "eval_every",
    None,
    "Steps between scores of a checkpoint; the best one is kept in --model_dir/best. By default none.",
    1,
    flag_values=_FLAGS,
)
flags.DEFINE_string("eval_split", "validation", "Part of the data set that --eval_every scores.", _FLAGS)
cli.define_list(
    "eval_video", "", "Of --stage=distill, clips that --eval_every scores, by agreement with the teacher.", _FLAGS
)
flags.DEFINE_integer(
    "num_videos", None, "At most so many videos for --eval_every; by default all.", 1, flag_values=_FLAGS
)
cli.define(_FLAGS, "max_frames")
flags.DEFINE_integer("log_every", 20, "Steps between log entries.", 1, flag_values=_FLAGS)
flags.DEFINE_integer(
    "save_every",
    None,
    "Steps between checkpoints, three of which are kept; by default --steps / 10, at most 500.",
    1,
    flag_values=_FLAGS,
)


@cli.command("patchwork-train", _FLAGS, __doc__)
def main():
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
