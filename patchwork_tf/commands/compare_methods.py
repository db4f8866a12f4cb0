"""The methods of patchwork-compare, on the same frames in turn: what each says, and how long it takes."""

import collections
import copy
import dataclasses
import functools
import itertools
import operator
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from patchwork_tf import provenance
from patchwork_tf.bars import progress
from patchwork_tf.benchmarks import native
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.commands.compare_files import TRIED, ratios, timed
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export.reference import FileStep
from patchwork_tf.metrics.flicker import flicker_of
from patchwork_tf.runtime import Model
from patchwork_tf.streaming.stream import model_input
from patchwork_tf.task import Task
from patchwork_tf.truth import BELIEVED

_BLOCK, _WARM = 64, 3  # frames in a turn, and before it, of which none counts
_FEWEST, _ROOM = 8, 300_000_000  # frames in a turn of large answers, bytes of them
_LONGEST = 64  # frames between two that are looked at, where a window costs next to nothing


@dataclasses.dataclass
class Method:
    """What one says and takes, frame by frame."""

    task: dataclasses.InitVar[Task]
    names: dataclasses.InitVar[Sequence[str]]  # of the classes
    has_truth: dataclasses.InitVar[bool]
    title: str  # in the table
    kind: str  # as of a File; or 'own', 'swept', 'no memory'; or 'skip' or 'late', of every k-th frame
    file: str  # title of the File that is run
    interval: int = 1  # of 'skip' and 'late', frames
    late: int = 0
    rival_of: dict = dataclasses.field(default_factory=dict)  # titles of windows whose 'mean' and 'worst' it costs

    def __post_init__(self, task, names, has_truth):
        self.milliseconds = []  # of every frame
        self.agreement, self.flicker = task.agreement_metric(names), flicker_of(task.name)
        self.metric = task.metric(names, False) if has_truth else None

    def take(self, video, number, size, answer, milliseconds, reference):
        """Takes note of the answer to a frame."""
        self.milliseconds.append(milliseconds)
        self.agreement.add_frame(answer, reference, size)
        if self.metric:
            self.metric.add_frame(video, number, answer, size)
        if self.flicker:
            self.flicker.add_frame(answer, reference, number == self.late)

    def merge(self, other: "Method"):
        """Adds what was said of videos that come after. What it took elsewhere, beside others, counts nothing."""
        for name in ("agreement", "metric", "flicker"):
            if own := getattr(self, name):
                own.merge(getattr(other, name))

    def facts(self, file, task) -> dict:
        """What JSON has of it and its file; numbers in per cent are in [0, 1]."""
        share = 1 / self.interval if self.kind in ("skip", "late") else 1
        accuracy = {}
        if self.metric:
            score = self.metric.result()
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


class Comparison:
    """All methods on the same frames, of Files whose paths are by their titles, and names of the task's classes.

    `own` is the path of somebody's file, which is the reference then, and the checkpoint made of it; or None.
    """

    def __init__(self, files, paths, task, names, own=None, has_truth=False):
        self._task, self._files = task, files
        self._make = functools.partial(Method, task, names, has_truth)
        self._models = {file.title: Model(paths[file.title]) for file in files}
        # Title -> of which file, and what makes a stream of its model.
        self._streams = {file.title: (file.title, Model.stream) for file in files}
        self.methods = []
        for file in files:
            rival_of = dict.fromkeys(("mean", "worst") if file.rival_of else (), file.rival_of)
            self.methods.append(self._make(file.title, file.kind, file.title, rival_of=rival_of))
        for file in files:
            for kind, words, make in _KINDS_OF_STREAMS if file.kind == "patchwork" and file.sets_costs else ():
                title = f"{file.title} {words}"
                self._streams[title] = file.title, make
                self.methods.append(self._make(title, kind, file.title))
        self._own, self.reference = own and _OwnFile(*own), "every frame"  # title of what others are to agree with
        if own:
            self.reference = os.path.basename(self._own.path)
            if task.name == "maps" and self._own.image_size != tuple(self._models["every frame"].image_size):
                raise UsageError(
                    f"{self._own.path}: maps are compared at one size; import it at "
                    f"--image_size={'x'.join(map(str, self._own.image_size))}, or leave out --tflite"
                )
            self.methods.insert(0, self._make(self.reference, "own", self.reference))
        self.frames, self.found = 0, False  # answered, and whether the reference found anything to agree with

    def own_cost(self, video) -> dict[str, float]:
        """Milliseconds of a frame after the first of somebody's file, as 'own'; nothing without one."""
        if not self._own:
            return {}
        for frame in itertools.islice(video.frames, _WARM + TRIED):
            self._own.push(frame)
        took = self._own.milliseconds()
        return {"own": float(np.median(took[_WARM:] or took))}

    def add_skips(self, costs):
        """Every k-th frame at the mean cost of windows; k - 1 late at their dearest frame: of both networks."""
        of_file = collections.defaultdict(list)
        for file, key in (("every frame", "every frame"), (self.reference, "own")):
            for windows, ratio in ratios(costs, key).items() if key in costs else ():
                for interval in {int(1 / ratio), int(1 / ratio) + 1}:
                    if 2 <= interval <= _LONGEST:
                        of_file[file, interval].append(windows)
        for (file, k), windows in sorted(of_file.items()):
            title = f"every {k}{ {2: 'nd', 3: 'rd'}.get(k, 'th') } frame"
            title = title if file == "every frame" else f"{file}, {title}"
            late = f"{title}, {k - 1} late"
            self.methods += [
                self._make(title, "skip", file, k, rival_of={"mean": windows}),
                self._make(late, "late", file, k, k - 1, rival_of={"worst": windows}),
            ]

    def file_facts(self) -> dict[str, dict]:
        """What JSON has of files, by title."""
        facts = {file.title: _file_facts(file.source, self._models[file.title]) for file in self._files}
        return facts | ({self.reference: self._own.facts()} if self._own else {})

    def measure(self, videos) -> bool:
        """Runs all; False if it was interrupted."""
        try:
            self.run(videos, "comparing")
            return True
        except KeyboardInterrupt:
            if not self.frames:
                raise
            return False

    def run(self, videos, desc, most=sys.maxsize):
        """Runs all on the first frames, at most so many."""
        total = [operator.length_hint(video.frames) for video in videos]
        known = min(sum(total), most) if all(total) else None
        with progress(total=known, unit="frame", desc=desc) as bar:
            for video in videos:
                frames = itertools.islice(video.frames, most - self.frames)
                self._answer(dataclasses.replace(video, frames=frames), bar.update)
                if self.frames == most:
                    break

    def merge(self, methods, frames, found):
        """Adds what `of_video` says elsewhere."""
        for method, more in zip(self.methods, methods, strict=True):
            method.merge(more)
        self.frames, self.found = self.frames + frames, self.found or found

    def of_video(self, video) -> tuple[list[Method], int, bool]:
        """Methods, frames and found of one video, of which nothing is noted here."""
        other = self.anew()
        other._answer(video, lambda: None)
        return other.methods, other.frames, other.found

    def anew(self) -> "Comparison":
        """The same before anything was answered, by the same models."""
        other = copy.copy(self)
        other.methods = copy.deepcopy(self.methods)
        return other

    def _answer(self, video, count):
        """Each file in turn answers many frames: by turns of one, none would find its weights in a cache."""
        streams = {title: make(self._models[file]) for title, (file, make) in self._streams.items()}
        if self._own:
            streams = {self.reference: self._own, **streams}
        video = dataclasses.replace(video, masks=list(video.masks))
        longest = max(method.interval + method.late for method in self.methods)
        frames, number = iter(video.frames), 0
        past = {"every frame": [], self.reference: []}  # of the frames so far, what whoever skips some repeats
        while block := list(itertools.islice(frames, self._turn(len(streams)))):
            answered = {}
            for title, stream in streams.items():
                self._warm_up(title, block[0])
                answered[title] = [timed(stream, frame) for frame in block]
            if self._own:
                answers = [answer for answer, _ in answered[self.reference]]
                answered[self.reference] = list(zip(answers, self._own.milliseconds(), strict=True))
            for title, answers in past.items():
                answers += answered[title]
            for t, frame in enumerate(block):  # frame by frame: all are of the same ones if it is interrupted
                of_frame = {title: found[t] for title, found in answered.items()}
                self._take(video, number + t, frame.shape[:2], of_frame, past)
                count()
            number += len(block)
            old = max(0, number - longest)
            for answers in past.values():
                answers[:old] = [None] * old

    def _turn(self, streams) -> int:
        """Frames in a turn: fewer where answers are large."""
        if self._task.name == "detection":
            return _BLOCK
        height, width = self._models["every frame"].image_size
        return min(_BLOCK, max(_FEWEST, _ROOM // (streams * height * width * 5)))

    def _warm_up(self, title, frame):
        """Another stream of the file, whose frames nobody asked for."""
        stream = self._models[self._streams[title][0]].stream() if title in self._streams else self._own
        for _ in range(_WARM):
            stream.push(frame)
        if stream is self._own:
            self._own.milliseconds()

    def _take(self, video, number, size, answered, past):
        reference, _ = answered[self.reference]
        self.found = self.found or _finds(reference)
        for method in self.methods:
            key = number - method.late - (number - method.late) % method.interval
            if key < 0:  # nothing is known yet
                continue
            repeats = method.kind in ("skip", "late")
            answer, took = past[method.file][key] if repeats else answered[method.title]
            if method.kind == "late":
                took /= method.interval
            elif method.kind == "skip" and number % method.interval:
                took = 0.0
            method.take(video, number, size, answer, took, reference)
        self.frames += 1


def _finds(answer) -> bool:
    """Whether there is something in it to agree with."""
    if hasattr(answer, "scores"):
        return bool(np.any(answer.scores >= BELIEVED))
    return not hasattr(answer, "probability") or bool(answer.mask.any())


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


# Other ways to run windows: kind, end of the title, what makes a stream of a model. Of one from a sweep no frame
# costs more than a window.
_KINDS_OF_STREAMS = (
    ("no memory", "without memory", _Memoryless),
    ("swept", "from a sweep", lambda model: model.stream("sweep")),
)


class _OwnFile:
    """Somebody's file as it runs today; the time is LiteRT's."""

    def __init__(self, path, checkpoint):
        self._step, self._took = FileStep(path, checkpoint), []
        self._runner, self._step._runner = self._step._runner, self._timed
        self.image_size, self.path = tuple(self._step.config.image_size), path

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

    def facts(self) -> dict:
        """As `_file_facts`."""
        return {
            "image_size": list(self.image_size),
            "weights": {"name": self.path, "sha256": provenance.sha256(self.path)},
            "mflops": None,
            "bytes": os.path.getsize(self.path),
            "peak_mb": None,
        }


def _file_facts(source, model) -> dict:
    return {
        "image_size": list(model.image_size),
        "weights": {"name": source, "sha256": model.facts["weights_sha256"]},
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
