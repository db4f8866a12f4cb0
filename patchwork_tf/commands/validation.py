"""Scores checkpoints of a run while it trains, as patchwork-evaluate does; keeps the best, and shows answers."""

import csv
import itertools
import os
import shutil

import matplotlib
import tensorflow as tf
from matplotlib.figure import Figure

from patchwork_tf.commands.score_systems import Score
from patchwork_tf.data.datasets import Source, annotated_videos
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.files import atomic_file
from patchwork_tf.models.weights import assign_weights
from patchwork_tf.streaming.overlay import Style, advance_ages, draw, fresh_ages
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.streaming.stream import stream
from patchwork_tf.training.fit import HISTORY, append_row
from patchwork_tf.zoo import checkpoints

BEST = "best"  # folder of the best checkpoint, below --model_dir
SCORES = "scores.csv"
PLOT = "history.png"
_SHOWN = 8  # frames of a video, of which the last one's answer is shown


class Validator:
    """What scores checkpoints of a run, with --eval_video against its teacher, the single-frame twin.

    The best one so far is kept, in a folder of its own.
    """

    def __init__(self, flags, system, names, teacher=None):
        self.flags, self.system, self.names, self.teacher = flags, system, names, teacher
        self.path = os.path.join(flags.model_dir, SCORES)
        self.step = self.reference = None

    def __call__(self, path: str, number: int, events):
        """Scores the checkpoint at `path`, of step `number`; `events` is a tf.summary writer."""
        checkpoint = checkpoints.read(path)
        if self.step is None:  # compiled once
            self.step = KerasStep(checkpoints.build_from(self.system, checkpoint), self.system.stream)
        else:
            assign_weights(self.step.model.variables, checkpoint.arrays, path)
        scores = self._agreement() if self.teacher else self._scores()
        main = next(iter(scores))
        before = [float(row[main]) for row in _rows(self.path) if row[main]]
        append_row(self.path, {"step": number, **scores})
        if scores[main] is not None and scores[main] > max(before, default=-1.0):
            self._keep(path)
        with events.as_default(step=number):
            for name, value in scores.items():
                if value is not None:
                    tf.summary.scalar(f"scores/{name}", value)
            tf.summary.image("scores/answer", self._picture()[None])

    def _scores(self) -> dict:
        """The paper's measures, in [0, 1], of the run's own system and policy."""
        step, flags = self.step, self.flags
        score = Score(step.task.metric(self.names, False))
        videos, _ = self._videos(flags.num_videos)
        for number, video in enumerate(videos):
            score.add(step, video, None, seed=flags.seed + number)
        return step.task.accuracy(score.metric.result())

    def _videos(self, count):
        flags = self.flags
        source = Source(flags.dataset, flags.data_dir, flags.eval_split, flags.config)
        size = max(self.step.config.image_size)
        return annotated_videos(source, count=count, num_frames=flags.max_frames, size=size, seed=flags.seed)

    def _agreement(self) -> dict:
        """How well the answers of --eval_video agree with the teacher's to whole frames."""
        if self.reference is None:
            single = checkpoints.system_of(self.system.reference, self.teacher.path)
            size = {"image_size": self.step.config.image_size}
            self.reference = KerasStep(checkpoints.build_from(single, self.teacher, **size), single.stream)
        metric = self.step.task.agreement_metric(self.names)
        for frames in self._clips():
            frames = list(frames)
            answers = zip(stream(self.step, frames), stream(self.reference, frames), strict=True)
            for frame, (answer, truth) in zip(frames, answers, strict=True):
                metric.add_frame(answer, truth, frame.shape[:2])
        return {"agreement": metric.result()}

    def _clips(self):
        for path in self.flags.eval_video:
            yield itertools.islice(iter(Video(path)), self.flags.max_frames)

    def _picture(self):
        """The answer to a frame of the first video, as patchwork-demo draws it."""
        frames = next(self._clips()) if self.teacher else next(iter(self._videos(1)[0])).frames
        frames = list(itertools.islice(frames, _SHOWN))
        step = self.step
        style, ages = Style(step.task, tuple(self.names)), fresh_ages(step.grid)
        for answer in stream(step, frames):
            ages = advance_ages(ages, step.grid, answer)
        return draw(frames[-1], answer, ages, style)

    def _keep(self, path):
        """Takes a checkpoint for the best one."""
        folder = os.path.join(self.flags.model_dir, BEST)
        os.makedirs(folder, exist_ok=True)
        kept = os.path.join(folder, os.path.basename(path))
        with open(path, "rb") as source, atomic_file(kept) as file:
            shutil.copyfileobj(source, file)
        for name in os.listdir(folder):
            if name != os.path.basename(path):
                os.remove(os.path.join(folder, name))


def check(flags):
    """Raises UsageError if --eval_every does not go with other flags."""
    if flags.num_processes > 1:
        raise UsageError("--eval_every is for one process: score checkpoints by patchwork-evaluate meanwhile")
    if flags.eval_video and flags.stage != "distill":
        raise UsageError("--eval_video is scored by agreement with a teacher: --stage=distill has one")
    if flags.stage == "distill":
        if not flags.eval_video:
            raise UsageError(
                "--eval_every with --stage=distill needs --eval_video: other clips than it learns from"
            )
        for path in flags.eval_video:
            next(iter(Video(path)))  # says so if it cannot be read
        return
    source = Source(flags.dataset, flags.data_dir, flags.eval_split, flags.config)
    next(iter(annotated_videos(source, count=1, num_frames=1, size=64, seed=flags.seed)[0]))


def plot(model_dir: str):
    """Writes a picture of the losses, and the scores if there are any, over the steps."""
    panels = [
        (_rows(os.path.join(model_dir, name)), title) for name, title in ((HISTORY, "loss"), (SCORES, "score"))
    ]
    panels = [(rows, title) for rows, title in panels if rows]
    if not panels:
        return
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7, 2.6 * len(panels)), layout="constrained")
        for axes, (rows, title) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
            for name in rows[0].keys() - {"step", "learning_rate"}:
                points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
                axes.plot(*(zip(*points, strict=True) if points else ([], [])), label=name)
            axes.set_xlabel("step")
            axes.set_ylabel(title)
            axes.legend()
            axes.grid(alpha=0.3)
        with atomic_file(os.path.join(model_dir, PLOT)) as file:
            figure.savefig(file, format="png", dpi=120)


def _rows(path) -> list[dict]:
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
