"""Files to measure: exported from the zoo for the occasion, or exported earlier."""

import dataclasses
import os
import sys

import keras

from patchwork_tf import provenance
from patchwork_tf.benchmarks.plan import Workload
from patchwork_tf.benchmarks.report import ExportedFile, Run
from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata
from patchwork_tf.export.exporting import export
from patchwork_tf.export.inspect import state_bytes
from patchwork_tf.grid import Grid
from patchwork_tf.models.config import ModelConfig, StreamConfig
from patchwork_tf.runtime.quiet import hidden_stderr
from patchwork_tf.streaming.schedule import run_mflops
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.paper import PAPER
from patchwork_tf.zoo.systems import System, list_systems


def from_zoo(names: list[str], folder: str, checkpoint: str | None, seed: int, **overrides) -> dict[str, Workload]:
    """Exports systems, or 'all', and those that they refer to, one file for all that run the same network.

    All take the weights of the checkpoint; if it is None random ones, the same whenever `seed` is.
    """
    names = list_systems() if names == ["all"] else names
    weights = checkpoints.read(checkpoint) if checkpoint else None
    systems = {name: checkpoints.system_of(name, checkpoint) for name in names}
    references = [system.reference for system in systems.values()]
    systems = {name: checkpoints.system_of(name, checkpoint) for name in references} | systems
    networks, workloads = {}, {}
    for system in systems.values():
        if system.model not in networks:
            print(f"exporting {system.name}", file=sys.stderr)
            keras.utils.set_random_seed(seed)
            network = checkpoints.build_from(system, weights, **overrides)
            path = os.path.join(folder, f"{system.name}.tflite")
            with hidden_stderr():  # LiteRT has much to say
                export(network, path, verify_steps=10)
            networks[system.model] = path
        path = networks[system.model]
        workloads[system.name] = _workload(system, path, metadata.read(path))
    return workloads


def from_files(paths: list[str]) -> dict[str, Workload]:
    """Exported files, which say what their systems are.

    If they are of several types of numbers, those in 16 and 8 bits are called 'vid-sf.float16' and 'vid-sf.int8',
    and their ratios refer to the reference in the same type, if that is there.
    Raises DataError if one was not exported by us, UsageError if there are two of a system in one type, or one is
    missing that another refers to.
    """
    facts = [metadata.read(path) for path in paths]
    kinds = [about.get("quantization", "none") for about in facts]
    several = len(set(kinds)) > 1

    def name(system, kind):
        return f"{system}.{kind}" if several and kind != "none" else system

    names = [name(about["system"], kind) for about, kind in zip(facts, kinds, strict=True)]
    workloads = {}
    for system, kind, path, about in zip(names, kinds, paths, facts, strict=True):
        if system in workloads:
            raise UsageError(f"--tflite: two files of {system}; measure one of them")
        workload = from_file(path)
        alike = name(about["reference"], kind)
        reference = alike if alike in names else about["reference"]
        paper = workload.run.paper if system == about["system"] else None  # its row stands once, beside floats
        run = dataclasses.replace(workload.run, system=system, reference=reference, paper=paper)
        workloads[system] = dataclasses.replace(workload, run=run)
    if missing := {workload.run.reference for workload in workloads.values()} - workloads.keys():
        raise UsageError(f"--tflite: ratios refer to {', '.join(sorted(missing))}; name a file of it too")
    return workloads


def from_file(path: str) -> Workload:
    """An exported file. Raises DataError if it is something else."""
    about = metadata.read(path)
    config, stream = ModelConfig(**about["model"]), StreamConfig(**about["stream"])
    system = System(about["system"], config, stream, about["reference"])
    return _workload(system, path, about)


def _workload(system, path, about) -> Workload:
    """What is known of a system without measuring it."""
    most, average, average_of_run = run_mflops(system.stream, (1 + system.stream.flip) * about["mflops"]["step"])
    grid = Grid(**about["grid"])
    weights = about["weights"], about.get("weights_sha256")
    file = ExportedFile(provenance.sha256(path), os.path.getsize(path), state_bytes(about), *weights)
    run = Run(
        system=system.name,
        task=system.task,
        reference=system.reference,
        stream=system.stream,
        patchwork=not grid.is_whole_frame,
        depth=about["model"]["depth"],
        image_size=tuple(about["input"]["image_size"]),
        grid=about["grid"],
        mflops_max=most,
        mflops_avg=average,
        mflops_avg_run=average_of_run,
        file=file,
        paper=PAPER.get(system.name),
    )
    return Workload(run, path, grid)
