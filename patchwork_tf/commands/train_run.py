"""patchwork-train: from flags to a run of `training.fit`."""

import contextlib
import dataclasses
import functools
import os

import keras

from patchwork_tf import cli, devices, files, provenance
from patchwork_tf.commands import validation
from patchwork_tf.data import clips, videos
from patchwork_tf.data.datasets import Source, class_names, scenes_of
from patchwork_tf.errors import UsageError
from patchwork_tf.models import weights as layer_weights
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.task import get_task
from patchwork_tf.training import distribution
from patchwork_tf.training.clip_distillation import ClipDistillation, twin_of
from patchwork_tf.training.clip_model import ClipModel
from patchwork_tf.training.clip_policy import ClipPolicy
from patchwork_tf.training.fit import Run, compute_in, fit, make_optimizer
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.systems import System

# Flags that another part of the same run may have other values of.
_OF_NO_CONSEQUENCE = {
    *("steps", "log_every", "save_every", "init_checkpoint", "backbone_weights"),
    *("eval_every", "eval_split", "eval_video", "num_videos", "max_frames"),
    *("data_dir", "photos", "num_processes", "process_id", "coordinator", "system", "xla", "deterministic"),
}
# Flags on which the optimizer's state depends, with what they were before they were there.
_OF_OPTIMIZER = {"stage": "supervised", "accumulate": 1, "precision": "float32"}
# Of --stage=policy. How often it explores at first, and from half of all steps on.
_EXPLORING = (0.5, 0.1)
# Of --stage=distill. What part of the clips is looked at through the windows that the model chooses, as in use;
# other windows show it more.
_FOLLOWING = 0.7
# What part of the map's channels attention does not see while it learns, lest it learn the clips by heart.
_MAP_DROPOUT = 0.5


@dataclasses.dataclass(frozen=True)
class _Setup:
    """What a run trains, on what, and what it begins with."""

    system: System
    config: ModelConfig
    source: Source
    names: list[str]  # of the classes
    teacher: checkpoints.Checkpoint | None
    weights: checkpoints.Checkpoint | None
    has_begun: bool  # the weights are the run's own


def run(flags):
    """Trains what --system names, from a checkpoint on if there is one."""
    setup = _setup(flags)
    processes = _processes(flags)
    # Before a model is built or a folder made:
    backbone = None if setup.has_begun else _backbone_weights(flags.backbone_weights, setup.config)
    errors_told = _check_source(flags, setup.source, setup.config)
    if flags.eval_every:
        validation.check(flags)
    files.make_folder(flags.model_dir)
    keras.utils.set_random_seed(flags.seed)
    model = build(dataclasses.replace(setup.system, model=setup.config))
    distribution.share_statistics(model)
    resume_from = _resume_point(flags, setup.config, setup.weights) if setup.has_begun else None
    distribution.check_agreement(resume_from.step if resume_from else 0, processes)
    if resume_from is None:
        _initialise(flags, model, setup, backbone)
    elif resume_from.step >= flags.steps:
        print(f"{resume_from.path}: already at step {resume_from.step} of {flags.steps}, nothing to do")
        return
    _tell_of_warmup(flags)
    is_folded = layer_weights.are_folded(
        resume_from.arrays if resume_from else layer_weights.get_weights(model.variables)
    )
    optimizer = make_optimizer(
        flags.learning_rate,
        flags.steps,
        flags.warmup_steps,
        averages=flags.stage == "distill",
        accumulate=flags.accumulate,
        precision=flags.precision,
    )
    with distribution.loss_of_others_reported(processes, flags.model_dir), errors_told:
        trainer = _trainer(flags, model, is_folded, setup.teacher)
        batches = functools.partial(_batches, flags, setup.source, setup.config, processes)
        fit(trainer, batches, optimizer, _fit_run(flags, setup, processes), resume_from)
    if processes.is_chief:
        validation.plot(flags.model_dir)
    print(f"trained {setup.system.name} for {flags.steps} steps: {checkpoints.latest(flags.model_dir)}")


def _setup(flags) -> _Setup:
    """What flags say of a run. Raises UsageError if they do not go together."""
    name = cli.single("system", flags.system)
    system = checkpoints.system_of(name, flags.init_checkpoint or flags.teacher)
    if system.model.network:
        raise UsageError(
            f"{name}: networks that were imported keep the weights of their file; they are not trained"
        )
    cli.required(flags, "model_dir")
    _check_model_dir(flags)
    if flags.stage != "supervised":
        _check_patchwork(flags, system.model)
    if flags.photos and flags.dataset != videos.NAME:
        raise UsageError("--photos goes with --dataset=video")
    source = Source(flags.dataset, flags.data_dir, flags.split, flags.config, flags.skip_bad, flags.photos)
    teacher = _teacher(flags, system) if flags.stage == "distill" else None
    names = teacher.class_names if teacher else class_names(source, get_task(system.task).truth)
    # Of a run that has begun, its own weights: the others may be gone.
    begun = checkpoints.latest(flags.model_dir)
    origin = begun or flags.init_checkpoint
    weights = checkpoints.read(origin) if origin else None
    given = cli.override(image_size=flags.image_size, depth=flags.depth)
    if flags.stage == "policy":
        given["policy_prior"] = flags.policy_prior
    fields = _of_weights(flags, system, weights, begun, given)
    config = dataclasses.replace(system.model, num_classes=len(names), **fields, **given)
    return _Setup(system, config, source, names, teacher, weights, bool(begun))


def _processes(flags) -> distribution.Processes:
    """All that train together, once they have met. Raises UsageError if flags do not suit their devices."""
    distribution.prepare(flags.deterministic)
    processes = distribution.join(
        flags.coordinator, flags.num_processes, flags.process_id, mirrors=flags.stage != "policy"
    )
    distribution.share(flags.batch_size, processes, flags.accumulate)
    if flags.precision == "float16" and (flags.accumulate > 1 or devices.count() > 1):
        raise UsageError(
            "--precision=float16 may skip steps, which --accumulate and several devices cannot: bfloat16"
        )
    if flags.xla and devices.count() > 1:
        raise UsageError("--xla is for one device, or for JAX: set KERAS_BACKEND=jax, or CUDA_VISIBLE_DEVICES=0")
    return processes


def _fit_run(flags, setup, processes) -> Run:
    metadata = {
        "system": setup.system.name,
        "stream": dataclasses.asdict(setup.system.stream),
        "reference": setup.system.reference,
        "class_names": setup.names,
        "training": _settings(flags),
        "version": provenance.version(),
    }
    validator = validation.Validator(flags, setup.system, setup.names, setup.teacher) if flags.eval_every else None
    return Run(
        flags.model_dir,
        flags.steps,
        metadata,
        flags.log_every,
        flags.save_every,
        writes=processes.is_chief,
        eval_every=flags.eval_every,
        watcher=validator,
        accumulate=flags.accumulate,
        xla=flags.xla,
    )


def _check_source(flags, source, config):
    """Opens the source, so that what is wrong with it is said first; the context in which training reads it."""
    if source.dataset == videos.NAME:
        cli.required(flags, "data_dir")
        return videos.open_videos(source.data_dir, source.skip_bad, source.photos).errors_told()
    if source.is_generated:
        scenes_of(flags.config)
    else:
        clips.open_source(source, config.image_size)
    return contextlib.nullcontext()


def _check_model_dir(flags):
    """Raises UsageError if weights to begin with would be lost, as old checkpoints of the run are."""
    cli.check_outputs(flags, "model_dir")
    for name in ("init_checkpoint", "teacher", "backbone_weights"):
        path = flags[name].value or ""
        if os.path.isfile(path) and os.path.dirname(os.path.realpath(path)) == os.path.realpath(flags.model_dir):
            raise UsageError(
                f"--{name}={path} is in --model_dir, where old checkpoints are removed: name another one"
            )


def _tell_of_warmup(flags):
    if flags.warmup_steps >= flags.steps:
        reached = flags.learning_rate * flags.steps / flags.warmup_steps
        print(
            f"--warmup_steps={flags.warmup_steps} is not below --steps={flags.steps}: the learning rate rises to "
            f"{reached:g} at the end, and never falls"
        )


def _of_weights(flags, system, weights, begun, given) -> dict:
    """What first weights say of the model: depth and image size, as far as no flag does, and for which anchors."""
    if weights is None:
        return {}
    trained_size = weights.config.trained_size if begun else weights.config.size_of_training
    names = ("depth", "image_size", "policy_prior") if flags.init_checkpoint else ()
    return {"trained_size": trained_size, **checkpoints.fields_of_weights(system, weights, given, names)}


def _batches(flags, source, config, processes, first_step):
    """The batches of optimizer step `first_step` and all later ones: this process's share of them."""
    distils = flags.stage == "distill"
    learned = flags.clip_frames or (1 if config.grid.is_whole_frame else 8)
    wanted = clips.ClipConfig(
        truth="nothing" if distils else get_task(config.task).truth,
        num_frames=learned + (flags.burn_in if distils else 0),
        image_size=config.image_size,
        stride=flags.stride,
        resize_mode=flags.resize_mode,
        seed=flags.seed,
        start=first_step * flags.batch_size,
        shard=(processes.index, processes.count),
    )
    share = distribution.share(flags.batch_size, processes, flags.accumulate)
    exploration = clips.Exploration(*_EXPLORING, clips=flags.steps // 2 * flags.batch_size)
    drawn = clips.BatchConfig(
        windows=flags.windows,
        warm_starts=flags.warm_starts,
        follows=_FOLLOWING if distils else 0.0,
        exploration=exploration if flags.stage == "policy" else None,
        augmented=flags.augment,
        seed=flags.seed,
    )
    return clips.training_batches(clips.training_clips(source, wanted), config.grid, share, drawn)


def _trainer(flags, model, is_folded, teacher):
    compute_in(model, flags.precision)
    if teacher:
        twin = twin_of(model, teacher.arrays, teacher.path)
        compute_in(twin, flags.precision)
        return ClipDistillation(model, twin, flags.burn_in)
    if flags.stage == "policy":
        return ClipPolicy(model, flags.discount, dropout=_MAP_DROPOUT)
    return ClipModel(model, statistics_stay=is_folded)


def _check_patchwork(flags, config):
    """Whether there are windows to look through, and a network to begin with."""
    if config.grid.is_whole_frame or config.memory != "features":
        raise UsageError(f"--stage={flags.stage}: {flags.system[0]} has no windows to choose")
    if not flags.init_checkpoint and not checkpoints.latest(flags.model_dir):
        raise UsageError(f"--stage={flags.stage} needs --init_checkpoint: a network that was trained to answer")


def _teacher(flags, system):
    """The checkpoint of the single-frame twin. Raises UsageError if it is none of this system."""
    name = "teacher" if flags.teacher else "init_checkpoint"
    if not flags[name].value:
        raise UsageError("--stage=distill needs --teacher, or --init_checkpoint: the single-frame twin")
    teacher = checkpoints.read(flags[name].value)
    for field in ("task", "heads", "backbone", "network"):
        theirs, ours = (getattr(config, field) for config in (teacher.config, system.model))
        if theirs != ours:
            raise UsageError(
                f"--{name}={flags[name].value}: its {field} is {theirs}, that of {system.name} {ours}"
            )
    return teacher


def _resume_point(flags, config, checkpoint):
    """The checkpoint to go on from; says which flags are not those that it was trained with.

    Raises UsageError if it is of another model, or of other flags on which the optimizer's state depends.
    """
    advice = "use another --model_dir, or the flags it was trained with"
    if checkpoint.config != config:
        old, new = dataclasses.asdict(checkpoint.config), dataclasses.asdict(config)
        text = ", ".join(f"{key} {old[key]} instead of {new[key]}" for key in old if old[key] != new[key])
        raise UsageError(f"{checkpoint.path} holds another model ({text}); {advice}")
    before, now = {**_OF_OPTIMIZER, **checkpoint.metadata.get("training", {})}, _settings(flags)
    for name in _OF_OPTIMIZER:
        if now[name] != before[name]:
            raise UsageError(f"{checkpoint.path} was trained with --{name}={before[name]}; {advice}")
    changed = [
        f"--{name}={now[name]} (was {before[name]})"
        for name in now
        if name in before.keys() - _OF_NO_CONSEQUENCE and now[name] != before[name]
    ]
    print(f"resuming from {checkpoint.path}" + (f", now with {', '.join(changed)}" if changed else ""))
    return checkpoint


def _settings(flags) -> dict:
    """The flags of a run in the form in which a checkpoint keeps them."""
    return {name: flags[name].value for name in flags if name not in ("model_dir", "image_size")}


def _backbone_weights(source, config) -> str | None:
    """Where backbone weights are: those of a folder or a pretrained system in a file, as --init_checkpoint's."""
    if not source:
        return None
    layer_weights.check_backbone_weights(config, source)
    return source if source == "imagenet" or source.endswith((".keras", ".npz")) else checkpoints.find(source)


def _initialise(flags, model, setup, backbone):
    """Sets the weights that a run begins with."""
    checkpoint, names = setup.weights, setup.names
    if checkpoint:
        arrays = checkpoint.arrays
        if list(checkpoint.class_names) != list(names):
            arrays, taken = layer_weights.carry_classes(model.variables, arrays, checkpoint.class_names, names)
            anew = [name for name in names if name not in taken]
            print(
                f"class predictors of {checkpoint.path}: {len(taken)} taken over ({', '.join(taken) or 'none'}), "
                f"{len(anew)} start anew ({', '.join(anew) or 'none'})"
            )
        layer_weights.assign_weights(model.variables, arrays, checkpoint.path)
    if backbone:
        layer_weights.load_backbone_weights(model, backbone)
    before = checkpoint.config.policy_prior if checkpoint else None
    if flags.stage == "policy" and model.attention.is_trained and before != flags.policy_prior:
        raise UsageError(
            f"{checkpoint.path} has learned a policy with --policy_prior={before}: "
            "go on with that, or start from weights without a policy"
        )
