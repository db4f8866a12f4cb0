"""The files that patchwork-compare runs: which ones, how they are exported, and what they cost."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import time

import numpy as np

from patchwork_tf import cli
from patchwork_tf.bars import progress
from patchwork_tf.choices import QUANTIZATIONS
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export import importer
from patchwork_tf.export.exporting import export
from patchwork_tf.export.quantize import load_quantizer
from patchwork_tf.runtime import Model
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system, is_ending, list_systems

WINDOWS = ("pw-m4n2", "pw-m4n1", "pw-m2n1")
_STRIDE = 32  # sides of smaller frames divide by it
TRIED, _ROUNDS = 10, 2  # frames by which rivals are chosen, and how often
_CALIBRATING = 16  # frames
_STEPS = 2  # of a file's verification: Keras has answered as the file in tests


@dataclasses.dataclass(frozen=True)
class File:
    """An exported file that is run."""

    title: str  # in the table
    system: str  # its name, as `checkpoints.system_of` takes it
    source: str  # of its weights
    kind: str  # 'every', 'smaller', 'half' or 'patchwork'
    quantization: str = "none"  # as for `export`
    image_size: tuple[int, int] | None = None  # (H, W); None as the weights have it
    depth: float | None = None  # None as the system has it
    rival_of: tuple[str, ...] = ()  # of smaller frames, titles of the windows that cost the same

    @property
    def sets_costs(self) -> bool:
        """Whether rivals are chosen by its cost."""
        return self.kind == "every" or (self.kind == "patchwork" and self.quantization == "none")


def wanted_files(flags, folder) -> tuple[checkpoints.Checkpoint, list[File]]:
    """The reference's checkpoint, and the files whose cost is not known before."""
    source = _source(flags, folder)
    systems = flags.system or (list(WINDOWS) if source else [])
    if source:
        checkpoint = checkpoints.read(source)
        is_own = checkpoint.config.network and checkpoint.metadata["system"] not in list_systems()
        prefix = "" if is_own else checkpoint.system.reference.removesuffix("sf")
        systems = [prefix + name if is_ending(name) else name for name in systems]
    else:
        families = {get_system(name).reference for name in cli.non_empty("system", systems)}
        if len(families) > 1:
            raise UsageError(f"--system={','.join(systems)}: name windows of one network")
        prefix = families.pop().removesuffix("sf")
        for name in (f"{prefix}sf", *systems):
            if not checkpoints.find_pretrained(name):
                raise UsageError(f"no weights of {name} are shipped: name some, --checkpoint=FOLDER")
        checkpoint = checkpoints.read(f"{prefix}sf")
    # Of a checkpoint of half the depth all are; a system's name says nothing of it.
    about = {"image_size": flags.image_size, "depth": checkpoint.config.depth if source else None}
    files = [File("every frame", f"{prefix}sf", source or f"{prefix}sf", "every", **about)]
    # In float32 in any case: rivals are chosen by its cost.
    types = list(dict.fromkeys(["none", *flags.types]))
    if unknown := set(types) - set(QUANTIZATIONS):
        raise UsageError(f"--types: {unknown.pop()} is none of {', '.join(QUANTIZATIONS)}")
    if "int8" in types:
        load_quantizer()  # if it is missing, that is said before minutes of work
    for name, kind in itertools.product(dict.fromkeys(systems), types):
        if checkpoints.system_of(name, source).is_single_frame:
            raise UsageError(f"{name}: rivals are chosen by their cost; name windows, such as {prefix}pw-m4n2")
        title = name.removeprefix(prefix) + ("" if kind == "none" else f", {kind}")
        files.append(File(title, name, source or name, "patchwork", kind, **about))
    half = f"{prefix}sf-d0.5"
    if not source and checkpoints.find_pretrained(half):
        files.append(File("half the depth", half, half, "half", image_size=flags.image_size))
    read = functools.cache(checkpoints.read)
    for file in files:  # whether weights fit, before minutes of work
        system = checkpoints.system_of(file.system, file.source)
        checkpoints.fields_of_weights(system, read(file.source), cli.override(depth=file.depth))
    return checkpoint, files


def _source(flags, folder) -> str | None:
    """The one checkpoint of --checkpoint, or what is imported of --tflite."""
    if len(flags.checkpoint) > 1:
        raise UsageError("--checkpoint takes one value here: its network is held against itself")
    if flags.checkpoint or not flags.tflite:
        return flags.checkpoint[0] if flags.checkpoint else None
    try:
        importer.import_tflite(flags.tflite, os.path.join(folder, "imported"), flags.labels)
    except UsageError as error:
        raise UsageError(
            f"{error}; or patchwork-import it first, then --checkpoint=FOLDER --tflite={flags.tflite}"
        ) from None
    return os.path.join(folder, "imported")


def export_files(files, folder, videos, plugins) -> dict[str, str]:
    """Exports files, two at a time; their paths by title. 8 bits are calibrated on the first frames of videos."""
    paths = {file.title: os.path.join(folder, f"{file.title}.tflite") for file in files}
    if not files:
        return paths
    calibration = None
    if any(file.quantization == "int8" for file in files):
        each = max(1, _CALIBRATING // len(videos))
        calibration = [frame for video in videos[:_CALIBRATING] for frame in itertools.islice(video.frames, each)]
    workers = min(len(files), 2, os.cpu_count() or 1)
    options = {"mp_context": multiprocessing.get_context("spawn"), "initializer": cli.import_plugins}
    with progress(total=len(files), unit="file", desc="exporting") as bar:
        pool = concurrent.futures.ProcessPoolExecutor(workers, initargs=(plugins,), **options)
        try:
            jobs = []
            for file in files:
                frames = calibration if file.quantization == "int8" else None
                jobs.append(pool.submit(_export, file, paths[file.title], frames))
            for job in concurrent.futures.as_completed(jobs):
                job.result()
                bar.update()
        except concurrent.futures.process.BrokenProcessPool:
            raise DataError("an export was killed: is there memory enough?") from None
        finally:
            pool.shutdown(cancel_futures=True)
    return paths


def _export(file: File, path: str, calibration):
    """In a process of its own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    system = checkpoints.system_of(file.system, file.source)
    overrides = cli.override(image_size=file.image_size, depth=file.depth)
    model = checkpoints.build_from(system, checkpoints.read(file.source), **overrides)
    steps = _STEPS if file.quantization == "none" else 0
    # Bars of two exports at once, and what a quantizer has to say, are nothing to read.
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
    ):
        export(model, path, verify_steps=steps, quantization=file.quantization, calibration=calibration)


def measure_costs(files, paths, video) -> dict[str, float]:
    """Milliseconds of a frame after the first, of the network and its windows, by title."""
    frames, found = list(itertools.islice(video.frames, TRIED)), collections.defaultdict(list)
    models = {file.title: Model(paths[file.title]) for file in files if file.sets_costs}
    for _, (title, model) in itertools.product(range(_ROUNDS), models.items()):
        stream = model.stream()
        took = [timed(stream, frame)[1] for frame in frames]
        found[title] += took[1:] or took
    return {title: float(np.median(took)) for title, took in found.items()}


def timed(stream, frame) -> tuple:
    """The answer to a frame, and its milliseconds."""
    start = time.perf_counter()
    answer = stream.push(frame)
    return answer, 1e3 * (time.perf_counter() - start)


def ratios(costs, whole="every frame") -> dict[str, float]:
    """What windows cost of a network on a whole frame, by title: of ours, or of somebody's 'own' file."""
    return {title: cost / costs[whole] for title, cost in costs.items() if title not in ("every frame", "own")}


def smaller_files(every: File, costs, size) -> list[File]:
    """Whole frames that are so small that they cost what windows do."""
    windows_of = collections.defaultdict(list)
    for windows, ratio in ratios(costs).items():
        sides = tuple(max(1, round(side * ratio**0.5 / _STRIDE)) * _STRIDE for side in size)
        if sides < tuple(size):
            windows_of[sides].append(windows)
    return [
        dataclasses.replace(
            every,
            title=f"frames of {sides[0]} x {sides[1]}",
            kind="smaller",
            image_size=sides,
            rival_of=tuple(windows),
        )
        for sides, windows in windows_of.items()
    ]
