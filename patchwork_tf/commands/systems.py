"""The systems that a command runs: of the zoo, with weights, or exported files."""

import dataclasses
import functools
from collections.abc import Callable

from patchwork_tf import cli, provenance
from patchwork_tf.errors import UsageError
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.streaming.policies import policy_names
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.zoo import checkpoints

_OVERRIDES = ("image_size", "depth")  # flags that win over what weights say


@dataclasses.dataclass(frozen=True)
class LoadedSystem:
    """A system with its weights."""

    name: str  # of the system
    task: str  # its name
    make_step: Callable  # makes what is run, a KerasStep or ExportedStep
    source: str | None = None  # path of the checkpoint or exported file; None if the weights are random
    at_step: int = 0  # of training
    class_names: tuple[str, ...] | None = None  # that the weights know; None if they are random

    @property
    def weights(self) -> str:
        """Where they come from, in words."""
        return self.source or "random weights"

    def facts(self, step) -> dict:
        """What JSON says of what was run, the step that `make_step` made."""
        return {
            "system": self.name,
            "depth": step.config.depth,
            "image_size": list(step.config.image_size),
            "grid": dataclasses.asdict(step.grid),
            "every_class": step.info.stream.every_class,
            "weights": {"name": self.weights, "sha256": self.source and provenance.sha256(self.source)},
            "version": provenance.version(),
        }


def load_systems(flags, shipped: bool = False, mixed: bool = False, **overrides) -> list[LoadedSystem]:
    """What --tflite, or --system and --checkpoint, name: of one task, or mixed.

    If `shipped`, systems without a checkpoint take the weights that are shipped, where there are some. `overrides`
    are ModelConfig fields.
    """
    if unknown := [policy for policy in flags.policy if policy not in policy_names()]:
        raise UsageError(f"unknown policy '{unknown[0]}'; there are {', '.join(policy_names())}")
    systems = _exported(flags) if flags.tflite else _built(flags, shipped, **overrides)
    if not mixed and len({system.task for system in systems}) > 1:
        raise UsageError("detectors and segmenters cannot be compared: give them in two runs")
    return systems


def _exported(flags) -> list[LoadedSystem]:
    named = [name for name in ("system", "checkpoint", *_OVERRIDES) if flags[name].present]
    if named:
        raise UsageError(f"--tflite: the file says what it is; leave out --{named[0]}")
    systems = []
    for path in dict.fromkeys(flags.tflite):
        step = ExportedStep(path)
        if _every_class(flags):
            step.consider_every_class()
        info = step.info
        systems.append(
            LoadedSystem(info.system, step.task.name, lambda step=step: step, path, class_names=info.class_names)
        )
    return systems


def _every_class(flags) -> bool:
    return "every_class" in flags and flags.every_class


def _built(flags, shipped, **overrides) -> list[LoadedSystem]:
    read = functools.cache(checkpoints.read)  # each once
    sources = flags.checkpoint
    if sources and not flags["system"].present:  # a checkpoint says what it is of
        systems = [read(source).system for source in sources]
    else:
        names = cli.non_empty("system", flags.system)
        sources = cli.one_per_item("checkpoint", flags.checkpoint, names)
        systems = [checkpoints.system_of(name, source) for name, source in zip(names, sources, strict=True)]
    overrides |= cli.override(**{name: flags[name].value for name in _OVERRIDES})
    loaded, makers = [], {}
    for system, source in zip(systems, sources, strict=True):
        if shipped and not source and checkpoints.find_pretrained(system.name):
            source = system.name
        checkpoint, about = None, ()
        if source:
            checkpoint = read(source)
            checkpoints.fields_of_weights(system, checkpoint, overrides)  # before any system is run
            about = (checkpoint.path, checkpoint.step, tuple(checkpoint.class_names))
        if _every_class(flags):
            system = dataclasses.replace(system, stream=dataclasses.replace(system.stream, every_class=True))
        # Compiling takes seconds: systems that run one model share it.
        make = functools.cache(functools.partial(_step, system, checkpoint, overrides))
        make = makers.setdefault((system.model, system.stream.flip, source), make)
        loaded.append(LoadedSystem(system.name, system.task, functools.partial(_run_as, system, make), *about))
    return loaded


def _step(system, checkpoint, overrides, **more) -> KerasStep:
    return KerasStep(checkpoints.build_from(system, checkpoint, **overrides, **more), system.stream)


def _run_as(system, make, **more) -> KerasStep:
    return make(**more).run_as(system=system.name, stream=system.stream, reference=system.reference)


def policies_of(flags, step) -> list[str | None]:
    """The policies of --policy for a step; None is the model's own."""
    return [None] if step.grid.is_whole_frame else flags.policy or [None]


def policy_name(policy: str | None, step) -> str:
    """What a policy is called in tables; one that was learned without the rule, 'learned alone'."""
    name = "whole frame" if step.grid.is_whole_frame else policy or step.policy
    return "learned alone" if name == "learned" and step.config.policy_prior == "none" else name
