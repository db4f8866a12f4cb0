"""patchwork-compare: a network as Patchwork, and what else its cost would buy, on the same frames in turn."""

import collections
import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import os
import subprocess
import tempfile
import time

import numpy as np

from patchwork_tf import cli, provenance
from patchwork_tf.bars import progress
from patchwork_tf.benchmarks import host, native
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.data.annotated import AnnotatedVideo
from patchwork_tf.data.datasets import Source, annotated_videos
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export.exporting import export
from patchwork_tf.export.quantize import load_quantizer
from patchwork_tf.export.reference import FileStep
from patchwork_tf.metrics.flicker import flicker_of
from patchwork_tf.runtime import Model
from patchwork_tf.streaming.stream import model_input
from patchwork_tf.task import get_task
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system, is_ending, list_systems

WINDOWS = ("pw-m4n2", "pw-m4n1", "pw-m2n1")
_STRIDE = 32  # sides of smaller frames divide by it
_TRIED, _ROUNDS = 10, 2  # frames by which rivals are chosen, and how often
_BLOCK, _WARM = 64, 3  # frames in a turn, and before it, of which none counts
_LONGEST = 64  # frames between two that are looked at, where a window costs next to nothing
_CALIBRATING = 16  # frames
_STEPS = 2  # of a file's verification: Keras has answered as the file in tests


@dataclasses.dataclass(frozen=True)
class File:
    """An exported file that is run.

    Attributes:
        title: in the table.
        system: its name, as `checkpoints.system_of` takes it.
        source: of its weights.
        kind: 'every', 'smaller', 'half', 'patchwork' or 'no memory'.
        quantization: as for `export`.
        image_size: (H, W); None as the weights have it.
    """

    title: str
    system: str
    source: str
    kind: str
    quantization: str = "none"
    image_size: tuple[int, int] | None = None


class Row:
    """A method: what it said and took, frame by frame.

    Attributes:
        title, kind: as of a File; the kind may also be 'skip' or 'late'.
        file: title of the File that is run.
        interval, late: of 'skip' and 'late', frames.
        milliseconds: of every frame.
        rival_of: titles of the windows whose 'mean' and 'worst' cost it was chosen for.
    """

    def __init__(self, title, kind, file, task, names, interval=1, late=0):
        self.title, self.kind, self.file, self.interval, self.late = title, kind, file, interval, late
        self.milliseconds = []
        self.agreement, self.flicker = task.agreement_metric(names), flicker_of(task.name)
        self.metric, self.rival_of = None, {}

    def take(self, video, number, size, answer, milliseconds, reference):
        """Takes note of the answer to a frame."""
        self.milliseconds.append(milliseconds)
        self.agreement.add_frame(answer, reference, size)
        if self.metric:
            self.metric.add_frame(video, number, answer, size)
        if self.flicker:
            self.flicker.add_frame(answer, reference, number == self.late)

    def facts(self, files, task) -> dict:
        """What JSON has of it; numbers in per cent are in [0, 1]."""
        file = files[self.file]
        share = 1 / self.interval if self.kind in ("skip", "late") else 1
        agreement = self.agreement.result()
        accuracy = task.accuracy(self.metric.result()) if self.metric else {}
        if self.metric and task.name == "detection":
            accuracy = {"AP50": self.metric.result()["mAP_50"]}
        return {
            "title": self.title,
            "kind": self.kind,
            "rival_of": self.rival_of,
            "interval": self.interval,
            "late": self.late,
            "mean_ms": float(np.mean(self.milliseconds)),
            "p99_ms": float(np.percentile(self.milliseconds, 99)),
            "max_ms": float(np.max(self.milliseconds)),
            "mflops": file["mflops"] * share,
            "agreement": agreement,
            "accuracy": accuracy,
            "flicker": self.flicker.result() if self.flicker else None,
            "peak_mb": file["peak_mb"],
            "file_mb": file["bytes"] / 1e6,
            "samples": [round(ms, 3) for ms in self.milliseconds],
        }


def run(flags) -> dict:
    """All that the command measured; Ctrl-C ends it early, with what there is."""
    with tempfile.TemporaryDirectory() as folder:
        reference, wanted = _wanted(flags, folder)
        videos = _videos(flags, reference)
        names, task = tuple(reference.class_names), get_task(reference.config.task)
        if not hasattr(task, "agreement_metric"):
            raise UsageError(f"{task.name} cannot be compared")
        has_8_bits = any(file.quantization == "int8" for file in wanted)
        paths = _exported(wanted, folder, _calibration(videos) if has_8_bits else ())
        costs = _costs(wanted, paths, videos[0])
        smaller = _smaller(wanted[0], costs, flags.image_size or reference.config.image_size)
        paths |= _exported(list(smaller), folder, ())
        comparison = _Comparison([*wanted, *smaller], paths, task, names, reference, flags)
        comparison.add_skips(costs)
        for row in comparison.rows:
            if row.kind == "smaller":
                windows = next(windows for file, windows in smaller.items() if file.title == row.title)
                row.rival_of = {"mean": windows, "worst": windows}
        finished = comparison.measure(videos)
        return {
            "finished": finished,
            "reference": comparison.reference_title,
            "task": task.name,
            "videos": [video.name for video in videos],
            "frames": comparison.frames,
            "found": comparison.found,
            "machine": host.machine(),
            "version": provenance.version(),
            "rows": [row.facts(comparison.files, task) for row in comparison.rows if row.milliseconds],
        }


def _wanted(flags, folder) -> tuple[checkpoints.Checkpoint, list[File]]:
    """The reference's checkpoint, and the files whose cost is not known before."""
    source = _source(flags, folder)
    systems = [name for name in flags.system if name] or (list(WINDOWS) if source else [])
    if source:
        checkpoint = checkpoints.read(source)
        is_own = checkpoint.config.network and checkpoint.metadata["system"] not in list_systems()
        prefix = "" if is_own else checkpoint.system.reference.removesuffix("sf")
        systems = [prefix + name if is_ending(name) else name for name in systems]
    else:
        cli.non_empty("system", systems)
        families = {get_system(name).reference for name in systems}
        if len(families) > 1:
            raise UsageError(f"--system={','.join(systems)}: name windows of one network")
        prefix = families.pop().removesuffix("sf")
        for name in (f"{prefix}sf", *systems):
            if not checkpoints.find_pretrained(name):
                raise UsageError(f"no weights of {name} are shipped: name some, --checkpoint=FOLDER")
        checkpoint = checkpoints.read(f"{prefix}sf")
    every = File("every frame", f"{prefix}sf", source or f"{prefix}sf", "every", image_size=flags.image_size)
    files, types = [every], [kind for kind in flags.types if kind]
    if "int8" in types:
        load_quantizer()  # if it is missing, that is said before minutes of work
    for name, kind in itertools.product(systems, types):
        if checkpoints.system_of(name, source).is_single_frame:
            raise UsageError(f"{name}: rivals are chosen by their cost; name windows, such as {prefix}pw-m4n2")
        title = name.removeprefix(prefix) + ("" if kind == "none" else f", {kind}")
        files.append(File(title, name, source or name, "patchwork", kind, flags.image_size))
    half = f"{prefix}sf-d0.5"
    if not source and checkpoints.find_pretrained(half):
        files.append(File("half the depth", half, half, "half", image_size=flags.image_size))
    return checkpoint, files


def _source(flags, folder) -> str | None:
    """The one checkpoint of --checkpoint, or what is imported of --tflite."""
    sources = [source for source in flags.checkpoint if source]
    if len(sources) > 1:
        raise UsageError("--checkpoint takes one value here: its network is held against itself")
    if not sources and flags.tflite:
        from patchwork_tf.export import importer

        try:
            importer.import_tflite(flags.tflite, os.path.join(folder, "imported"), flags.labels)
        except UsageError as error:
            raise UsageError(
                f"{error}; or patchwork-import it first, then --checkpoint=FOLDER --tflite={flags.tflite}"
            ) from None
        return os.path.join(folder, "imported")
    return sources[0] if sources else None


def _videos(flags, checkpoint) -> list[AnnotatedVideo]:
    """Those of --video, without truth, or of --dataset."""
    paths = [path for path in flags.video if path]
    if bool(paths) == flags["dataset"].present:
        raise UsageError("name videos, --video=FILE_OR_FOLDER,..., or a data set with truth, --dataset")
    if paths:
        opened = [Video(path) for path in paths]
        return [AnnotatedVideo(video.path, _Limited(video, flags.max_frames), []) for video in opened]
    source = Source(flags.dataset, flags.data_dir, flags.split, flags.config)
    size = max(checkpoint.config.image_size)
    videos, _ = annotated_videos(
        source, count=flags.num_videos, num_frames=flags.max_frames, size=size, seed=flags.seed
    )
    return list(videos)


class _Limited:
    """The first frames of a video, as often as it is asked for them."""

    def __init__(self, video, limit):
        self._video, self._limit = video, limit
        self.count = video.num_frames and min(video.num_frames, limit or video.num_frames)

    def __iter__(self):
        return itertools.islice(iter(self._video), self._limit)


def _calibration(videos) -> list[np.ndarray]:
    """Frames to calibrate 8 bits on: of these videos, spread over them."""
    each = max(1, _CALIBRATING // len(videos))
    return [frame for video in videos[:_CALIBRATING] for frame in itertools.islice(video.frames, each)]


def _exported(wanted, folder, calibration) -> dict[str, str]:
    """Exports files, two at a time; their paths by title."""
    paths = {file.title: os.path.join(folder, f"{file.title}.tflite") for file in wanted}
    if not wanted:
        return paths
    context = multiprocessing.get_context("spawn")
    workers = min(len(wanted), 2, os.cpu_count() or 1)
    with (
        progress(total=len(wanted), unit="file", desc="exporting") as bar,
        concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        jobs = {pool.submit(_export, file, paths[file.title], calibration): file for file in wanted}
        for job in concurrent.futures.as_completed(jobs):
            try:
                job.result()
            except concurrent.futures.process.BrokenProcessPool:
                raise DataError(f"the export of {jobs[job].title} was killed: is there memory enough?") from None
            bar.update()
    return paths


def _export(file: File, path: str, calibration):
    """In a process of its own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    checkpoint = checkpoints.read(file.source)
    system = checkpoints.system_of(file.system, file.source)
    model = checkpoints.build_from(system, checkpoint, **cli.override(image_size=file.image_size))
    frames = calibration if file.quantization == "int8" else None
    with open(os.devnull, "w") as nowhere:
        import sys

        sys.stderr = nowhere  # bars of several exports at once
        try:
            steps = _STEPS if file.quantization == "none" else 0
            export(model, path, verify_steps=steps, quantization=file.quantization, calibration=frames)
        finally:
            sys.stderr = sys.__stderr__


def _costs(wanted, paths, video) -> dict[str, float]:
    """Milliseconds of a frame after the first, of the network and its windows, by title."""
    frames, found = list(itertools.islice(video.frames, _TRIED)), collections.defaultdict(list)
    models = {file.title: Model(paths[file.title]) for file in wanted if _sets_costs(file)}
    for _, (title, model) in itertools.product(range(_ROUNDS), models.items()):
        stream = model.stream()
        took = [_timed(stream, frame)[1] for frame in frames]
        found[title] += took[1:] or took
    return {title: float(np.median(took)) for title, took in found.items()}


def _timed(stream, frame) -> tuple:
    """The answer to a frame, and its milliseconds."""
    start = time.perf_counter()
    answer = stream.push(frame)
    return answer, 1e3 * (time.perf_counter() - start)


def _sets_costs(file) -> bool:
    return file.kind == "every" or (file.kind == "patchwork" and file.quantization == "none")


def _ratios(costs) -> dict[str, float]:
    """What windows cost of the network on a whole frame, by title."""
    return {title: cost / costs["every frame"] for title, cost in costs.items() if title != "every frame"}


def _smaller(every, costs, size) -> dict[File, list[str]]:
    """Whole frames that are so small that they cost what windows do, and which."""
    found = {}
    for windows, ratio in _ratios(costs).items():
        sides = tuple(max(1, round(side * ratio**0.5 / _STRIDE)) * _STRIDE for side in size)
        if sides < tuple(size):
            title = f"frames of {sides[0]} x {sides[1]}"
            file = dataclasses.replace(every, title=title, kind="smaller", image_size=sides)
            found.setdefault(file, []).append(windows)
    return found


class _Comparison:
    """All methods on the same frames.

    Attributes:
        files: facts of files by title.
        rows: of all methods.
        frames: that were answered.
        found: whether the reference found anything to agree with.
    """

    def __init__(self, files, paths, task, names, checkpoint, flags):
        self._task, self._names = task, names
        self._models = {file.title: Model(paths[file.title]) for file in files}
        self.files = {file.title: _file_facts(self._models[file.title]) for file in files}
        self.rows = [Row(file.title, file.kind, file.title, task, names) for file in files]
        # Of windows in float32, streams of another kind: title -> (file, what makes one of its model).
        self._others = {}
        for file in filter(_sets_costs, files):
            if file.kind == "patchwork":
                self._add_other(file, "no memory", "without memory", _Memoryless)
                self._add_other(file, "swept", "from a sweep", _swept)
        self._own = self._own_title = None
        self.reference_title = "every frame"
        if flags.tflite:
            self.reference_title = self._own_title = os.path.basename(flags.tflite)
            self._own = _Own(flags.tflite, checkpoint)
            self.files[self.reference_title] = {
                "mflops": float("nan"),
                "bytes": os.path.getsize(flags.tflite),
                "peak_mb": None,
            }
            self.rows.insert(0, Row(self.reference_title, "own", self.reference_title, task, names))
        self.frames, self.found = 0, False
        self._metric = (lambda: task.metric(names, False)) if flags["dataset"].present else None
        for row in self.rows:
            row.metric = self._metric and self._metric()

    def _add_other(self, file, kind, words, make):
        row = Row(f"{file.title} {words}", kind, file.title, self._task, self._names)
        self._others[row.title] = file.title, make
        self.rows.append(row)

    def measure(self, videos) -> bool:
        """Runs all; False if it was interrupted."""
        total = [getattr(video.frames, "count", None) or _length(video.frames) for video in videos]
        try:
            with progress(total=sum(total) if all(total) else None, unit="frame", desc="comparing") as bar:
                for video in videos:
                    self._measure(video, bar)
            return True
        except KeyboardInterrupt:
            if not self.frames:
                raise
            return False

    def add_skips(self, costs):
        """Every k-th frame at the mean cost of windows; k - 1 late at their dearest frame."""
        of_interval = collections.defaultdict(list)
        for windows, ratio in _ratios(costs).items():
            of_interval[min(max(2, round(1 / ratio)), _LONGEST)].append(windows)
        for interval, windows in sorted(of_interval.items()):
            every = f"every {interval}{ {2: 'nd', 3: 'rd'}.get(interval, 'th') } frame"
            late = f"{every}, {interval - 1} late"
            self._add(Row(every, "skip", "every frame", self._task, self._names, interval), {"mean": windows})
            row = Row(late, "late", "every frame", self._task, self._names, interval, interval - 1)
            self._add(row, {"worst": windows})

    def _add(self, row, rival_of):
        row.rival_of, row.metric = rival_of, self._metric and self._metric()
        self.rows.append(row)

    def _measure(self, video, bar):
        """Each file in turn answers many frames: by turns of one, none would find its weights in a cache."""
        streams = {title: model.stream() for title, model in self._models.items()}
        streams |= {title: make(self._models[file]) for title, (file, make) in self._others.items()}
        if self._own:
            streams = {self.reference_title: self._own, **streams}
        frames, every, number = iter(video.frames), [], 0
        while block := list(itertools.islice(frames, _BLOCK)):
            references = []
            for title, stream in streams.items():
                self._warm_up(title, block[0])
                answered = [_timed(stream, frame) for frame in block]
                if title == self.reference_title:
                    references = [answer for answer, _ in answered]
                    self.found = self.found or any(map(_finds, references))
                if title == self._own_title:
                    answered = list(zip(references, self._own.milliseconds(), strict=True))
                if title == "every frame":
                    every += answered
                self._take(title, video, number, block, answered, references)
            for row in self.rows:
                if row.kind in ("skip", "late"):
                    self._take_skipped(row, video, number, block, every, references)
            number += len(block)
            self.frames += len(block)
            bar.update(len(block))
            every[: max(0, number - 2 * _LONGEST)] = [None] * max(0, number - 2 * _LONGEST)

    def _warm_up(self, title, frame):
        """Another stream of the file, whose frames nobody asked for."""
        model = self._models.get(self._others.get(title, (title,))[0])
        if model:
            stream = model.stream()
            for _ in range(_WARM):
                stream.push(frame)

    def _take(self, title, video, number, block, answered, references):
        for row in self.rows:
            if row.title == title:
                for t, (frame, (answer, took), reference) in enumerate(
                    zip(block, answered, references, strict=True)
                ):
                    row.take(video, number + t, frame.shape[:2], answer, took, reference)

    def _take_skipped(self, row, video, number, block, every, references):
        for t, (frame, reference) in enumerate(zip(block, references, strict=True), start=number):
            key = t - row.late - (t - row.late) % row.interval
            if key < 0:  # nothing is known yet
                continue
            answer, took = every[key]
            if row.kind == "late":
                took /= row.interval
            elif t % row.interval:
                took = 0.0
            row.take(video, t, frame.shape[:2], answer, took, reference)


def _swept(model):
    """A stream of which no frame costs more than a window."""
    return model.stream("sweep")


class _Memoryless:
    """A stream that forgets its features, and remembers answers and what is on the map of the full frame."""

    def __init__(self, model):
        self._stream = model.stream()

    def push(self, frame):
        memory = self._stream.memory
        for name in memory.buffers:
            if "_rows_" in name or "_columns_" in name:
                memory.forget(name)
        return self._stream.push(frame)


class _Own:
    """Somebody's file as it runs today; the time is LiteRT's."""

    def __init__(self, path, checkpoint):
        self._step, self._took = FileStep(path, checkpoint), []
        self._runner, self._step._runner = self._step._runner, self._timed

    def _timed(self, *arguments):
        start = time.perf_counter()
        found = self._runner(*arguments)
        self._took.append(1e3 * (time.perf_counter() - start))
        return found

    def milliseconds(self) -> list[float]:
        """Of the frames since it was last asked."""
        took, self._took = self._took, []
        return took

    def push(self, frame):
        step = self._step
        size, mode = step.config.image_size, step.info.resize_mode
        outputs, _ = step(model_input(frame, size, mode), None, {})
        return step.task.answer(outputs, frame.shape[:2], size, mode)


def _file_facts(model) -> dict:
    return {
        "mflops": model.facts["mflops"]["step"],
        "bytes": os.path.getsize(model.path),
        "peak_mb": _peak_mb(model.path),
    }


def _peak_mb(path) -> float | None:
    """Of a process that runs the file alone; None without a C compiler."""
    try:
        runner = native.runner_path()
    except DataError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        samples = os.path.join(folder, "samples.txt")
        flags = [f"--library={native.library_path()}", f"--model={path}", f"--samples={samples}"]
        done = subprocess.run([runner, *flags, "--steps=3", "--warmup=1"], capture_output=True, check=False)
        return read_samples(samples).facts["peak_kb"] / 1000 if done.returncode == 0 else None


def _length(frames) -> int | None:
    return len(frames) if hasattr(frames, "__len__") else None


def _finds(answer) -> bool:
    """Whether there is something in it to agree with."""
    if hasattr(answer, "scores"):
        return bool(np.any(answer.scores >= 0.4))
    if hasattr(answer, "probability"):
        return bool(answer.mask.any())
    return True
