"""Trains a system's model on clips of video.

Checkpoints, TensorBoard events and history.csv go to --model_dir. The same command resumes a
run that was stopped, and continues one that is finished if --steps is raised.

  patchwork-train --system=vid-pw-m4n2 --image_size=128 --depth=0.35 --model_dir=/tmp/pw --steps=2000
"""

import dataclasses
import functools
import sys

import keras
from absl import flags

from patchwork_tf import cli, files
from patchwork_tf.data import clips
from patchwork_tf.data.datasets import DATASETS, class_names, scenes_of
from patchwork_tf.data.fitting import FITS
from patchwork_tf.errors import UsageError
from patchwork_tf.models.weights import assign_weights, load_backbone_weights
from patchwork_tf.training import distribution
from patchwork_tf.training.clip_model import CLIP_MODELS
from patchwork_tf.training.clip_policy import ClipPolicy
from patchwork_tf.training.fit import fit, make_optimizer
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.systems import get_system

# What flags are by default, which depends on the stage: the recipes of the docs.
_DEFAULTS = {
    "supervised": {
        "steps": 2000,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "warmup_steps": 100,
        "warm_starts": 0.0,
    },
    "policy": {"steps": 200, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 10, "warm_starts": 1.0},
}


def _by_default(name: str) -> str:
    """For the help of a flag."""
    return f"by default {_DEFAULTS['supervised'][name]:g}, and {_DEFAULTS['policy'][name]:g} with --stage=policy"


_FLAGS = flags.FlagValues()
_SYSTEM = flags.DEFINE_string(
    "system", "vid-pw-m4n2", "System of the zoo whose model to train.", flag_values=_FLAGS
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder for checkpoints and logs; resumes from what is there. Required.", flag_values=_FLAGS
)
_DATASET = flags.DEFINE_enum(
    "dataset",
    "moving_objects",
    list(DATASETS),
    "What to train on. Of COCO's still images, crops that wander over them make clips.",
    flag_values=_FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "TFDS folder that holds the prepared data set (see docs/data.md); without it moving_objects is generated "
    "on the fly.",
    flag_values=_FLAGS,
)
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "Which form of the data set, such as frames15 of imagenet_vid; by default the first. Of generated "
    "moving_objects, the kind of scenes: varied, sparse, or mixed, which takes turns.",
    flag_values=_FLAGS,
)
_SPLIT = flags.DEFINE_string(
    "split", "train", "Part of the data set to train on, such as train or train[:90%].", flag_values=_FLAGS
)
_STEPS = flags.DEFINE_integer(
    "steps", None, f"Optimizer steps in all; {_by_default('steps')}.", lower_bound=1, flag_values=_FLAGS
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, f"Clips per step; {_by_default('batch_size')}.", lower_bound=1, flag_values=_FLAGS
)
_CLIP_FRAMES = flags.DEFINE_integer(
    "clip_frames",
    None,
    "Frames per clip, through which gradients flow; by default 8, and 1 for single-frame models.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_STRIDE = flags.DEFINE_integer(
    "stride", 1, "Every so many frames of a video one is taken for a clip.", lower_bound=1, flag_values=_FLAGS
)
_FIT = flags.DEFINE_enum(
    "fit",
    "stretch",
    list(FITS),
    "How frames get to the image size: stretched, or letterboxed, which keeps the shape of things and "
    "leaves bars.",
    flag_values=_FLAGS,
)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size",
    None,
    "Frame size in pixels: one side, or HEIGHTxWIDTH; by default the system's.",
    flag_values=_FLAGS,
)
_DEPTH = flags.DEFINE_float("depth", None, "Width multiplier; by default the system's.", flag_values=_FLAGS)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", None, f"Peak learning rate of Adam; {_by_default('learning_rate')}.", flag_values=_FLAGS
)
_WARMUP_STEPS = flags.DEFINE_integer(
    "warmup_steps",
    None,
    f"Steps of linear warm-up; then a cosine falls to 0; {_by_default('warmup_steps')}.",
    lower_bound=0,
    flag_values=_FLAGS,
)
_WINDOWS = flags.DEFINE_enum(
    "windows", "mixed", list(clips.TRAIN_WINDOWS), "How windows of training clips are chosen.", flag_values=_FLAGS
)
_WARM_STARTS = flags.DEFINE_float(
    "warm_starts",
    None,
    "What part of the clips starts with their whole first frame in memory, the others starting blind; "
    f"{_by_default('warm_starts')}.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=_FLAGS,
)
_AUGMENT = flags.DEFINE_boolean("augment", True, "Flip, crop and recolour clips.", flag_values=_FLAGS)
_INIT_CHECKPOINT = flags.DEFINE_string(
    "init_checkpoint",
    None,
    "Checkpoint to take all weights from before the first step, for example of the single-frame twin.",
    flag_values=_FLAGS,
)
_BACKBONE_WEIGHTS = flags.DEFINE_string(
    "backbone_weights",
    None,
    "MobileNetV2 weights to start from: imagenet, or a .npz or .keras file.",
    flag_values=_FLAGS,
)
_STAGE = flags.DEFINE_enum(
    "stage",
    "supervised",
    ["supervised", "policy"],
    "What to train: supervised, the network's answers; policy, which window to look at, by Q-learning, all else "
    "being frozen.",
    flag_values=_FLAGS,
)
_DISCOUNT = flags.DEFINE_float(
    "discount",
    0.0,
    "Of the next frame's value, with --stage=policy; above 0 a step takes longer.",
    lower_bound=0.0,
    upper_bound=0.999,
    flag_values=_FLAGS,
)
_EPSILON = flags.DEFINE_list(
    "epsilon",
    ["0.5", "0.1"],
    "How often to explore at first and in the end, with --stage=policy.",
    flag_values=_FLAGS,
)
_EPSILON_STEPS = flags.DEFINE_integer(
    "epsilon_steps",
    None,
    "Steps from the first to the last of --epsilon; by default half of all.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_TARGET_RATE = flags.DEFINE_float(
    "target_rate",
    0.01,
    "By what part the target network follows per step, with --stage=policy.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=_FLAGS,
)
_MAP_DROPOUT = flags.DEFINE_float(
    "map_dropout",
    0.5,
    "With --stage=policy, the part of the map's channels that the attention network does not see while it learns, "
    "lest it learn the clips by heart.",
    lower_bound=0.0,
    upper_bound=0.95,
    flag_values=_FLAGS,
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    1,
    "Train with so many processes, on one host or several; each takes its share of --batch_size. Start this "
    "command once for each, with KERAS_BACKEND=jax.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", 0, "Which of --num_processes this is; 0 writes the checkpoints and logs.", flag_values=_FLAGS
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, free there, that all processes can reach.", flag_values=_FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, data, windows and augmentation.", flag_values=_FLAGS)
_DETERMINISTIC = flags.DEFINE_boolean(
    "deterministic",
    True,
    "Clips in their fixed order, so that runs repeat; without it none waits for a slow one.",
    flag_values=_FLAGS,
)
_LOG_EVERY = flags.DEFINE_integer("log_every", 20, "Steps between log entries.", lower_bound=1, flag_values=_FLAGS)
_SAVE_EVERY = flags.DEFINE_integer(
    "save_every", 500, "Steps between checkpoints.", lower_bound=1, flag_values=_FLAGS
)
_KEEP = flags.DEFINE_integer("keep_checkpoints", 3, "How many to keep.", lower_bound=1, flag_values=_FLAGS)

# Flags that another part of the same run may have other values of.
_OF_NO_CONSEQUENCE = {
    *("steps", "log_every", "save_every", "keep_checkpoints", "init_checkpoint", "backbone_weights"),
    *("data_dir", "num_processes", "process_id", "coordinator"),
}


def _train():
    for name, value in _DEFAULTS[_STAGE.value].items():
        if _FLAGS[name].value is None:
            _FLAGS[name].value = value
    system = get_system(_SYSTEM.value)
    if not _MODEL_DIR.value:
        raise UsageError("--model_dir is required: the folder for checkpoints and logs")
    names = class_names(_DATASET.value, system.task)
    config = dataclasses.replace(
        system.model,
        num_classes=len(names),
        **cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value), depth=_DEPTH.value),
    )
    if _STAGE.value == "policy":
        _check_policy(config)
    processes = distribution.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    distribution.share(_BATCH_SIZE.value, processes)
    # Before a model is built or a folder made:
    if _DATASET.value == "moving_objects" and not _DATA_DIR.value:
        scenes_of(_CONFIG.value)
    else:
        clips.open_source(_DATASET.value, _DATA_DIR.value, _SPLIT.value, _CONFIG.value, config.image_size)
    files.make_folder(_MODEL_DIR.value)
    keras.utils.set_random_seed(_SEED.value)
    model = build(config)
    resume_from = _resume_point(config)
    distribution.check_agreement(resume_from.step if resume_from else 0, processes)
    if resume_from is None:
        _initialise(model)
    elif resume_from.step >= _STEPS.value:
        print(f"{resume_from.path}: already at step {resume_from.step} of {_STEPS.value}, nothing to do")
        return

    metadata = {
        "system": system.name,
        "class_names": names,
        "training": {name: _FLAGS[name].value for name in _FLAGS if name != "model_dir"},
    }
    with distribution.loss_of_others_reported(processes, _MODEL_DIR.value):
        fit(
            _trainer(model),
            functools.partial(_batches, config, processes),
            make_optimizer(_LEARNING_RATE.value, _STEPS.value, _WARMUP_STEPS.value),
            steps=_STEPS.value,
            model_dir=_MODEL_DIR.value,
            metadata=metadata,
            resume_from=resume_from,
            log_every=_LOG_EVERY.value,
            save_every=_SAVE_EVERY.value,
            keep=_KEEP.value,
            writes=processes.is_chief,
        )
    print(f"trained {system.name} for {_STEPS.value} steps: {checkpoints.latest(_MODEL_DIR.value)}")


def _batches(config, processes, first_step):
    """The batches of optimizer step `first_step` and all later ones: this process's share of them."""
    wanted = clips.ClipConfig(
        task=config.task,
        num_frames=_CLIP_FRAMES.value or (1 if config.grid.is_whole_frame else 8),
        image_size=config.image_size,
        stride=_STRIDE.value,
        fit=_FIT.value,
        seed=_SEED.value,
        start=first_step * _BATCH_SIZE.value,
        shard=(processes.index, processes.count),
        deterministic=_DETERMINISTIC.value,
    )
    return clips.training_batches(
        clips.training_clips(_DATASET.value, _DATA_DIR.value, _SPLIT.value, wanted, _CONFIG.value),
        config.grid,
        distribution.share(_BATCH_SIZE.value, processes),
        windows=_WINDOWS.value,
        augmented=_AUGMENT.value,
        warm_starts=_WARM_STARTS.value,
        seed=_SEED.value,
        exploration=_exploration() if _STAGE.value == "policy" else None,
    )


def _trainer(model):
    if _STAGE.value == "policy":
        return ClipPolicy(model, _DISCOUNT.value, _TARGET_RATE.value, _MAP_DROPOUT.value)
    return CLIP_MODELS[model.config.task](model)


def _exploration():
    first, last = (float(value) for value in _EPSILON.value)
    steps = _EPSILON_STEPS.value or _STEPS.value // 2
    return clips.Exploration(first, last, clips=steps * _BATCH_SIZE.value)


def _check_policy(config):
    """Whether there is a policy to train, and something to train it on."""
    if config.grid.is_whole_frame or config.memory != "features":
        raise UsageError(f"--stage=policy: {_SYSTEM.value} has no windows to choose")
    if not _INIT_CHECKPOINT.value and not checkpoints.latest(_MODEL_DIR.value):
        raise UsageError("--stage=policy needs --init_checkpoint: a network that was trained to answer")
    try:
        probabilities = [float(value) for value in _EPSILON.value]
    except ValueError:
        probabilities = []
    if len(probabilities) != 2 or not all(0 <= p <= 1 for p in probabilities):
        raise UsageError(f"--epsilon={','.join(_EPSILON.value)}: give two probabilities, such as 1,0.1")


def _resume_point(config):
    path = checkpoints.latest(_MODEL_DIR.value)
    if path is None:
        return None
    checkpoint = checkpoints.read(path)
    if checkpoint.config != config:
        raise _cannot_resume(f"{path} holds another model ({_difference(checkpoint.config, config)})")
    print(f"resuming from {path}{_other_flags(checkpoint)}")
    return checkpoint


def _other_flags(checkpoint) -> str:
    """Which flags are not those that a checkpoint was trained with, in words.

    Raises:
        UsageError: if it is one of those that its optimizer's or random state depends on.
    """
    before = {"stage": "supervised", "map_dropout": 0.0, **checkpoint.metadata.get("training", {})}
    for name in ("stage", "map_dropout") if _STAGE.value == "policy" else ("stage",):
        if _FLAGS[name].value != before[name]:
            raise _cannot_resume(f"{checkpoint.path} was trained with --{name}={before[name]}")
    changed = [
        f"--{name}={_FLAGS[name].value} (was {before[name]})"
        for name in _FLAGS
        if name in before.keys() - _OF_NO_CONSEQUENCE and _FLAGS[name].value != before[name]
    ]
    return f", now with {', '.join(changed)}" if changed else ""


def _cannot_resume(why: str) -> UsageError:
    return UsageError(f"{why}; use another --model_dir, or the flags it was trained with")


def _difference(a, b) -> str:
    a, b = dataclasses.asdict(a), dataclasses.asdict(b)
    return ", ".join(f"{key} {a[key]} instead of {b[key]}" for key in a if a[key] != b[key])


def _initialise(model):
    if _INIT_CHECKPOINT.value:
        checkpoint = checkpoints.read(_INIT_CHECKPOINT.value)
        assign_weights(model.variables, checkpoint.arrays, checkpoint.path)
    if _BACKBONE_WEIGHTS.value:
        load_backbone_weights(model, _BACKBONE_WEIGHTS.value)


def main(argv=None) -> int:
    return cli.run(_train, _FLAGS, "patchwork-train", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
