"""patchwork-compare: a network as Patchwork, and what else its cost would buy, on the same frames in turn."""

import collections
import concurrent.futures
import contextlib
import copy
import dataclasses
import functools
import itertools
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from patchwork_tf import cli, provenance
from patchwork_tf.bars import progress
from patchwork_tf.benchmarks import host, native
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.choices import QUANTIZATIONS
from patchwork_tf.commands.scoring import check_beam, check_classes
from patchwork_tf.commands.worker import Told
from patchwork_tf.data.datasets import AnnotatedVideo, Source, annotated_videos, class_names
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export.exporting import export
from patchwork_tf.export.quantize import load_quantizer
from patchwork_tf.export.reference import FileStep
from patchwork_tf.metrics.flicker import flicker_of
from patchwork_tf.runtime import Model
from patchwork_tf.streaming.stream import model_input
from patchwork_tf.task import get_task
from patchwork_tf.truth import BELIEVED
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system, is_ending, list_systems

WINDOWS = ("pw-m4n2", "pw-m4n1", "pw-m2n1")
_STRIDE = 32  # sides of smaller frames divide by it
_TRIED, _ROUNDS = 10, 2  # frames by which rivals are chosen, and how often
_BLOCK, _WARM = 64, 3  # frames in a turn, and before it, of which none counts
_FEWEST, _ROOM = 8, 300_000_000  # frames in a turn of large answers, bytes of them
_LONGEST = 64  # frames between two that are looked at, where a window costs next to nothing
_CALIBRATING = 16  # frames
_TIMED = 1000  # frames that are timed where workers answer: ten are above p99
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
        depth: None as the system has it.
    """

    title: str
    system: str
    source: str
    kind: str
    quantization: str = "none"
    image_size: tuple[int, int] | None = None
    depth: float | None = None


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

    def merge(self, other: "Row"):
        """Adds what was said of videos that come after. What it took elsewhere, beside others, counts nothing."""
        for name in ("agreement", "metric", "flicker"):
            if own := getattr(self, name):
                own.merge(getattr(other, name))

    def facts(self, files, task) -> dict:
        """What JSON has of it; numbers in per cent are in [0, 1]."""
        file = files[self.file]
        share = 1 / self.interval if self.kind in ("skip", "late") else 1
        score, accuracy = self.metric and self.metric.result(), {}
        if score:
            accuracy = {"AP50": score["AP_50"]} if task.name == "detection" else task.accuracy(score)
        return {
            "title": self.title,
            "kind": self.kind,
            "rival_of": self.rival_of,
            "interval": self.interval,
            "late": self.late,
            "mean_ms": float(np.mean(self.milliseconds)),
            "p99_ms": float(np.percentile(self.milliseconds, 99)),
            "max_ms": float(np.max(self.milliseconds)),
            "mflops": file["mflops"] and file["mflops"] * share,
            "agreement": self.agreement.result(),
            "accuracy": accuracy,
            "flicker": self.flicker.result() if self.flicker else None,
            "image_size": file["image_size"],
            "weights": file["weights"],
            "peak_mb": file["peak_mb"],
            "file_mb": file["bytes"] / 1e6,
            "samples": [round(ms, 3) for ms in self.milliseconds],
        }


def run(flags) -> dict:
    """All that the command measured; Ctrl-C ends it early, with what there is."""
    with tempfile.TemporaryDirectory(dir=_shared(flags)) as folder:
        reference, wanted = _wanted(flags, folder)
        videos = _videos(flags, reference)
        task = get_task(reference.config.task)
        read = functools.cache(checkpoints.read)
        for file in wanted:  # whether weights fit, before minutes of work
            system = checkpoints.system_of(file.system, file.source)
            checkpoints.fields_of_weights(system, read(file.source), cli.override(depth=file.depth))
        has_8_bits = any(file.quantization == "int8" for file in wanted)
        paths = _exported(wanted, folder, _calibration(videos) if has_8_bits else (), flags.plugins)
        costs = _costs(wanted, paths, videos[0])
        smaller = {}
        if task.name != "maps":  # of another size, they are held against nothing
            smaller = _smaller(wanted[0], costs, flags.image_size or reference.config.image_size)
        paths |= _exported(list(smaller), folder, (), flags.plugins)
        files = [*wanted, *smaller]
        comparison = _comparison(flags, reference, files, paths, costs)
        facts = comparison.file_facts()
        for row in comparison.rows:
            if row.kind == "smaller":
                windows = next(windows for file, windows in smaller.items() if file.title == row.title)
                row.rival_of = {"mean": windows, "worst": windows}
        if flags.beam_runner:
            make = functools.partial(_answering, Told(flags), files, paths, costs)
            comparison.measure_by_workers(flags, make, videos)
        finished = bool(flags.beam_runner) or comparison.measure(videos)
        return {
            "finished": finished,
            "reference": comparison.reference_title,
            "task": task.name,
            "videos": [video.name for video in videos],
            "frames": comparison.frames,
            "timed_frames": len(comparison.rows[0].milliseconds),  # the first ones
            "found": comparison.found,
            "machine": host.machine(),
            "version": provenance.version(),
            "rows": [row.facts(facts, task) for row in comparison.rows if row.milliseconds],
        }


def _shared(flags) -> str | None:
    """Where exported files have to lie for workers to find them; None if nobody else reads them."""
    folder = check_beam(flags)
    if folder and not os.path.isdir(folder):
        raise UsageError(
            f"--beam_options=temp_location={folder}: workers read exported files there: name a folder that all "
            "machines have mounted"
        )
    return folder


def _comparison(flags, reference, files, paths, costs) -> "_Comparison":
    task, names = get_task(reference.config.task), tuple(reference.class_names)
    comparison = _Comparison(files, paths, task, names, reference, flags)
    comparison.add_skips(costs)
    return comparison


def _answering(flags, files, paths, costs):
    """In a worker: the function that answers the video of a number."""
    cli.import_plugins(flags.plugins)
    reference = checkpoints.read(files[0].source)
    comparison = _comparison(flags, reference, files, paths, costs)

    def answer(number):
        with contextlib.redirect_stdout(None):  # which classes count is said once, not for every video
            (video,) = _videos(flags, reference, only=number)
        return comparison.of_video(video)

    return answer


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
    # Of a checkpoint of half the depth all are; a system's name says nothing of it.
    about = {"image_size": flags.image_size, "depth": checkpoint.config.depth if source else None}
    files = [File("every frame", f"{prefix}sf", source or f"{prefix}sf", "every", **about)]
    # In float32 in any case: rivals are chosen by its cost.
    types = list(dict.fromkeys(["none", *filter(None, flags.types)]))
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


def _videos(flags, checkpoint, only=None) -> list[AnnotatedVideo]:
    """Those of --video, without truth, or of --dataset; or the one of a number."""
    paths = [path for path in flags.video if path]
    if bool(paths) == flags["dataset"].present:
        raise UsageError("name videos, --video=FILE_OR_FOLDER,..., or a data set with truth, --dataset")
    if paths:
        opened = [Video(path) for path in (paths if only is None else [paths[only]])]
        return [AnnotatedVideo(video.path, _Limited(video, flags.max_frames), []) for video in opened]
    source = Source(flags.dataset, flags.data_dir, flags.split, flags.config)
    task = get_task(checkpoint.config.task)
    if not task.truth:
        raise UsageError(f"there is no truth of {task.name}: name --video, not --dataset")
    known = class_names(source, task.truth)
    numbers = _common(checkpoint, known, flags.dataset) if task.name == "detection" else None
    size = max(checkpoint.config.image_size)
    videos, _ = annotated_videos(
        source, count=flags.num_videos, num_frames=flags.max_frames, size=size, seed=flags.seed, only=only
    )
    return [video.renumbered(numbers) if numbers is not None else video for video in videos]


def _common(checkpoint, known, dataset) -> np.ndarray | None:
    """The network's number of each class of a data set by its name, -1 without; None if they are the same."""
    own = {name.casefold(): number for number, name in enumerate(checkpoint.class_names)}
    numbers = np.array([own.get(name.casefold(), -1) for name in known])
    if np.array_equal(numbers, np.arange(len(own))):
        return None
    if (numbers < 0).all():
        check_classes("detection", checkpoint.path, checkpoint.class_names, known, dataset)
    common = [name for name, number in zip(known, numbers, strict=True) if number >= 0]
    print(f"scored by the {len(common)} classes that {dataset} has, too: {', '.join(common)}", flush=True)
    return numbers


class _Limited:
    """The first frames of a video, as often as it is asked for them."""

    def __init__(self, video, limit):
        self._video, self._limit = video, limit

    def __iter__(self):
        return itertools.islice(iter(self._video), self._limit)

    def number(self) -> int | None:
        """Of frames, if it is known."""
        known = self._video.num_frames
        return known and min(known, self._limit or known)


def _calibration(videos) -> list[np.ndarray]:
    """Frames to calibrate 8 bits on: the first ones of these videos."""
    each = max(1, _CALIBRATING // len(videos))
    return [frame for video in videos[:_CALIBRATING] for frame in itertools.islice(video.frames, each)]


def _exported(wanted, folder, calibration, plugins) -> dict[str, str]:
    """Exports files, two at a time; their paths by title."""
    paths = {file.title: os.path.join(folder, f"{file.title}.tflite") for file in wanted}
    if not wanted:
        return paths
    workers = min(len(wanted), 2, os.cpu_count() or 1)
    options = {"mp_context": multiprocessing.get_context("spawn"), "initializer": cli.import_plugins}
    with progress(total=len(wanted), unit="file", desc="exporting") as bar:
        pool = concurrent.futures.ProcessPoolExecutor(workers, initargs=(plugins,), **options)
        try:
            jobs = {}
            for file in wanted:
                frames = calibration if file.quantization == "int8" else None
                jobs[pool.submit(_export, file, paths[file.title], frames)] = file
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
    checkpoint = checkpoints.read(file.source)
    system = checkpoints.system_of(file.system, file.source)
    overrides = cli.override(image_size=file.image_size, depth=file.depth)
    model = checkpoints.build_from(system, checkpoint, **overrides)
    steps = _STEPS if file.quantization == "none" else 0
    # Bars of two exports at once, and what a quantizer has to say, are nothing to read.
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
    ):
        export(model, path, verify_steps=steps, quantization=file.quantization, calibration=calibration)


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
        rows: of all methods.
        frames: that were answered.
        found: whether the reference found anything to agree with.
    """

    def __init__(self, files, paths, task, names, checkpoint, flags):
        self._task, self._names, self._files = task, names, files
        self._models = {file.title: Model(paths[file.title]) for file in files}
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
            if task.name == "maps" and self._own.image_size != tuple(self._models["every frame"].image_size):
                raise UsageError(
                    f"{flags.tflite}: maps are compared at one size; import it at "
                    f"--image_size={'x'.join(map(str, self._own.image_size))}, or leave out --tflite"
                )
            self.rows.insert(0, Row(self.reference_title, "own", self.reference_title, task, names))
        self.frames, self.found = 0, False
        self._metric = (lambda: task.metric(names, False)) if flags["dataset"].present else None
        for row in self.rows:
            row.metric = self._metric and self._metric()

    def _add_other(self, file, kind, words, make):
        row = Row(f"{file.title} {words}", kind, file.title, self._task, self._names)
        self._others[row.title] = file.title, make
        self.rows.append(row)

    def file_facts(self) -> dict[str, dict]:
        """What JSON has of files, by title."""
        facts = {file.title: _file_facts(file.source, self._models[file.title]) for file in self._files}
        return facts | ({self._own_title: self._own.facts()} if self._own else {})

    def measure(self, videos) -> bool:
        """Runs all; False if it was interrupted."""
        try:
            self._run(videos, "comparing")
            return True
        except KeyboardInterrupt:
            if not self.frames:
                raise
            return False

    def measure_by_workers(self, flags, make, videos):
        """Times the first frames, nobody beside, then has workers answer all; `make` as of `beam.numbered`."""
        from patchwork_tf.commands import beam  # an extra

        timed = self._without_frames()  # it scores them, too, which are few: the same code runs everywhere
        timed._run(videos, "timing", _TIMED)
        with progress(total=len(videos), unit="video", desc="comparing") as bar:
            for rows, frames, found in beam.numbered(flags, make, len(videos), bar):
                for row, more in zip(self.rows, rows, strict=True):
                    row.merge(more)
                self.frames, self.found = self.frames + frames, self.found or found
        for row, more in zip(self.rows, timed.rows, strict=True):
            row.milliseconds = more.milliseconds

    def of_video(self, video) -> tuple[list[Row], int, bool]:
        """Rows, frames and found of one video, in a worker."""
        found = self._without_frames()
        found._measure(video, lambda: None)
        return found.rows, found.frames, found.found

    def _without_frames(self) -> "_Comparison":
        """The same before anything was answered, by the same models."""
        other = copy.copy(self)
        other.rows = copy.deepcopy(self.rows)
        return other

    def add_skips(self, costs):
        """Every k-th frame at the mean cost of windows; k - 1 late at their dearest frame."""
        of_interval = collections.defaultdict(list)
        for windows, ratio in _ratios(costs).items():
            for interval in {int(1 / ratio), int(1 / ratio) + 1}:
                if 2 <= interval <= _LONGEST:
                    of_interval[interval].append(windows)
        for interval, windows in sorted(of_interval.items()):
            every = f"every {interval}{ {2: 'nd', 3: 'rd'}.get(interval, 'th') } frame"
            late = f"{every}, {interval - 1} late"
            self._add(Row(every, "skip", "every frame", self._task, self._names, interval), {"mean": windows})
            row = Row(late, "late", "every frame", self._task, self._names, interval, interval - 1)
            self._add(row, {"worst": windows})

    def _add(self, row, rival_of):
        row.rival_of, row.metric = rival_of, self._metric and self._metric()
        self.rows.append(row)

    def _run(self, videos, desc, most=sys.maxsize):
        """Runs all on the first frames, at most so many."""
        total = [_number_of(video.frames) for video in videos]
        known = min(sum(total), most) if all(total) else None
        with progress(total=known, unit="frame", desc=desc) as bar:
            for video in videos:
                frames = itertools.islice(video.frames, most - self.frames)
                self._measure(dataclasses.replace(video, frames=frames), bar.update)
                if self.frames == most:
                    break

    def _measure(self, video, count):
        """Each file in turn answers many frames: by turns of one, none would find its weights in a cache."""
        streams = {title: model.stream() for title, model in self._models.items()}
        streams |= {title: make(self._models[file]) for title, (file, make) in self._others.items()}
        if self._own:
            streams = {self._own_title: self._own, **streams}
        video = dataclasses.replace(video, masks=list(video.masks))
        longest = max(row.interval + row.late for row in self.rows)
        frames, every, number = iter(video.frames), [], 0
        while block := list(itertools.islice(frames, self._turn(len(streams)))):
            answered = {}
            for title, stream in streams.items():
                self._warm_up(title, block[0])
                answered[title] = [_timed(stream, frame) for frame in block]
            if self._own:
                answers = [answer for answer, _ in answered[self._own_title]]
                answered[self._own_title] = list(zip(answers, self._own.milliseconds(), strict=True))
            every += answered["every frame"]
            for t, frame in enumerate(block):  # frame by frame: all rows are of the same ones if it is interrupted
                self._take(
                    video, number + t, frame.shape[:2], {k: found[t] for k, found in answered.items()}, every
                )
                count()
            number += len(block)
            old = max(0, number - longest)
            every[:old] = [None] * old

    def _turn(self, streams) -> int:
        """Frames in a turn: fewer where answers are large."""
        if self._task.name == "detection":
            return _BLOCK
        height, width = self._models["every frame"].image_size
        return min(_BLOCK, max(_FEWEST, _ROOM // (streams * height * width * 5)))

    def _take(self, video, number, size, answered, every):
        reference, _ = answered[self.reference_title]
        self.found = self.found or _finds(reference)
        for row in self.rows:
            key = number - row.late - (number - row.late) % row.interval
            if key < 0:  # nothing is known yet
                continue
            answer, took = every[key] if row.kind in ("skip", "late") else answered[row.title]
            if row.kind == "late":
                took /= row.interval
            elif row.kind == "skip" and number % row.interval:
                took = 0.0
            row.take(video, number, size, answer, took, reference)
        self.frames += 1

    def _warm_up(self, title, frame):
        """Another stream of the file, whose frames nobody asked for."""
        model = self._models.get(self._others.get(title, (title,))[0])
        stream = model.stream() if model else self._own
        for _ in range(_WARM):
            stream.push(frame)
        if not model:
            self._own.milliseconds()


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
        self.image_size, self._path = tuple(self._step.config.image_size), path

    def _timed(self, *arguments):
        start = time.perf_counter()
        found = self._runner(*arguments)
        self._took.append(1e3 * (time.perf_counter() - start))
        return found

    def facts(self) -> dict:
        """As `_file_facts`."""
        return {
            "image_size": list(self.image_size),
            "weights": _weights(self._path, provenance.sha256(self._path)),
            "mflops": None,
            "bytes": os.path.getsize(self._path),
            "peak_mb": None,
        }

    def milliseconds(self) -> list[float]:
        """Of the frames since it was last asked."""
        took, self._took = self._took, []
        return took

    def push(self, frame):
        step = self._step
        size, mode = step.config.image_size, step.info.resize_mode
        outputs, _ = step(model_input(frame, size, mode), None, {})
        return step.task.answer(outputs, frame.shape[:2], size, mode)


def _file_facts(source, model) -> dict:
    return {
        "image_size": list(model.image_size),
        "weights": _weights(source, model.facts["weights_sha256"]),
        "mflops": model.facts["mflops"]["step"],
        "bytes": os.path.getsize(model.path),
        "peak_mb": _peak_mb(model.path),
    }


def _weights(name, sha256) -> dict:
    return {"name": name, "sha256": sha256}


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


def _number_of(frames) -> int | None:
    """Of frames, if it is known."""
    if isinstance(frames, _Limited):
        return frames.number()
    return len(frames) if hasattr(frames, "__len__") else None


def _finds(answer) -> bool:
    """Whether there is something in it to agree with."""
    if hasattr(answer, "scores"):
        return bool(np.any(answer.scores >= BELIEVED))
    if hasattr(answer, "probability"):
        return bool(answer.mask.any())
    return True
