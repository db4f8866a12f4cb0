"""patchwork-evaluate on annotated videos: every frame's full answer against the truth."""

import collections
import dataclasses
import functools
import itertools
import os

import numpy as np

from patchwork_tf import cli
from patchwork_tf.bars import progress
from patchwork_tf.choices import POLICIES
from patchwork_tf.commands import beam
from patchwork_tf.commands.score_file import ScoreFile, code_digest, file_digest, folder_digest
from patchwork_tf.commands.systems import LoadedSystem, load_systems, policies_of, policy_name
from patchwork_tf.data.datasets import COCO_IDS, Source, annotated_videos, class_names, dataset_info, open_prepared
from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.streaming.stream import stream
from patchwork_tf.task import get_task


def run(flags) -> tuple:
    """Scores what --system or --tflite name, by every policy; returns a score or a list of them, and a table."""
    beam.shared_folder(flags)  # UsageError, before anything is scored
    systems = load_systems(flags, **cli.override(memory=flags.memory))
    task = get_task(systems[0].task)
    names = class_names(_source(flags), task.truth)
    if flags.every_class and task.name != "detection":
        raise UsageError("--every_class is of detectors: masks have no candidates")
    for system in systems:  # all of them, before any is scored
        check_classes(system.task, system.weights, system.class_names, names, flags.dataset)
        _counted_classes(flags, system)
        if flags.beam_runner and not system.source:
            raise UsageError(f"--beam_runner: each worker would have random weights of its own for {system.name}")
    file = ScoreFile(flags.json, _made_of_run(flags))
    several = len(systems) > 1 or len(flags.policy) > 1
    for number, system in enumerate(systems):
        step = system.make_step() if system.class_names else system.make_step(num_classes=len(names))
        for policy in policies_of(flags, step):
            folder = flags.save_predictions
            if folder and several:
                folder = os.path.join(folder, f"{system.name}-{policy_name(policy, step).replace(' ', '-')}")
            scorer = _Scorer(flags, system, step, policy, folder, names)
            file.add(_made_of(scorer), functools.partial(_score, scorer, number))
    return file.done[0] if len(file.done) == 1 else file.done, _table(file.done, task)


def _made_of_run(flags) -> dict:
    """What all rows of a command depend on."""
    source, names = _source(flags), ("dataset", "split", "config")
    data = {} if source.is_generated else {"files": folder_digest(open_prepared(source).data_path)}
    settings = ("seed", "num_videos", "max_frames", "start", "coco", "foreground")
    return {
        "code": code_digest(["patchwork_tf", "patchwork_tf.export"]),
        "data": {**{name: flags[name].value for name in names}, **data},
        "settings": {name: flags[name].value for name in settings},
    }


def _made_of(scorer) -> dict:
    """What one row depends on beside. Weights at random are never the same."""
    system, step, policy, folder = scorer.system, scorer.step, scorer.policy, scorer.folder
    return {
        "system": {"name": system.name, **dataclasses.asdict(step.config), **dataclasses.asdict(step.info.stream)},
        "policy": policy_name(policy, step),
        "plugins": code_digest(scorer.flags.plugins) if _takes_plugins(scorer) else None,
        "weights": file_digest(system.source) if system.source else None,
        "predictions": folder and os.path.abspath(folder),
    }


def _takes_plugins(scorer) -> bool:
    """Whether anything that a row depends on is not the project's own."""
    step = scorer.step
    parts = (type(step.task), dataset_info(scorer.flags.dataset).builder or Source)
    is_ours = scorer.policy in (None, *POLICIES) and step.config.backbone == ModelConfig.backbone
    return not is_ours or not all(part.__module__.startswith("patchwork_tf.") for part in parts)


def _source(flags) -> Source:
    return Source(flags.dataset, flags.data_dir, flags.split, flags.config)


def check_classes(task, weights, learned, names, dataset):
    """Raises UsageError if weights know other classes than a data set; `learned` is None if they know none."""
    if task == "segmentation":  # whatever it tells apart is foreground
        return
    if learned is not None and list(learned) != list(names):
        raise UsageError(
            f"{weights} knows {len(learned)} classes ({learned[0]}, ...), "
            f"{dataset} has {len(names)} ({names[0]}, ...)"
        )


def _counted_classes(flags, system) -> dict:
    """The setting of the metric that --foreground names, if it does. Raises UsageError if a class is unknown."""
    wanted, known = flags.foreground, system.class_names or ()
    if not wanted:
        return {}
    if system.task != "segmentation" or len(known) < 2 or set(wanted) - set(known):
        raise UsageError(
            f"--foreground={','.join(wanted)}: {system.name} tells these apart: {', '.join(known) or 'nothing'}"
        )
    return {"counted": [1 + known.index(name) for name in wanted]}


@dataclasses.dataclass(frozen=True)
class _Scorer:
    """One system by one policy: the score of any video is a function of its number."""

    flags: object
    system: LoadedSystem
    step: object
    policy: str | None
    folder: str | None
    names: list[str]

    def videos(self, only=None) -> tuple:
        """Those to score, or the one of a number; and how many there are."""
        flags, size = self.flags, max(self.step.config.image_size)
        counts = {"count": flags.num_videos, "num_frames": flags.max_frames}
        return annotated_videos(_source(flags), size=size, seed=flags.seed, only=only, **counts)

    def empty(self) -> "Score":
        """The score of no videos."""
        flags, task = self.flags, self.step.task
        coco_ids = COCO_IDS if flags.dataset == "coco" else None
        writer = task.writer(self.folder, coco_ids, len(self.step.info.class_names)) if self.folder else None
        return Score(task.metric(self.names, flags.coco, **_counted_classes(flags, self.system)), writer)

    def score(self, number, video) -> "Score":
        """That of one video."""
        score = self.empty()
        score.add(self.step, video, self.policy, seed=self.flags.seed + number, start=self.flags.start)
        return score

    def __call__(self, number) -> "Score":
        (video,), _ = self.videos(only=number)
        return self.score(number, video)


def _scorer_of(flags, number, policy, folder) -> _Scorer:
    """In a worker: the same of the system of a number."""
    cli.import_plugins(flags.plugins)
    system = load_systems(flags, **cli.override(memory=flags.memory))[number]
    names = class_names(_source(flags), get_task(system.task).truth)
    return _Scorer(flags, system, system.make_step(), policy, folder, names)


def _score(scorer, number) -> dict:
    """The row of a scorer, whose system has a number among all."""
    flags, system, step = scorer.flags, scorer.system, scorer.step
    shown, score = policy_name(scorer.policy, step), scorer.empty()
    videos, count = scorer.videos()
    with progress(total=count, unit="video", desc=f"{system.name}, {shown}") as bar:
        if flags.beam_runner:
            sent = beam.FlagsOfWorkers(flags)
            make = functools.partial(_scorer_of, sent, number, scorer.policy, scorer.folder)
            parts = beam.numbered(flags, make, count, bar)
        else:
            parts = itertools.starmap(scorer.score, enumerate(_counted(videos, bar)))
        for part in parts:
            score.merge(part)
    if score.writer:
        score.writer.close()
    config = f"{flags.config}, " if flags.config else ""
    return {
        **system.facts(step),
        "policy": shown,
        "start": flags.start,
        "step": system.at_step,
        "dataset": f"{flags.dataset}/{flags.split}, {config}seed {flags.seed}",
        **score.result(step.grid),
    }


def _counted(videos, bar):
    """The videos, each frame of which is counted."""

    def counted(frames):
        for number, frame in enumerate(frames, start=1):
            bar.set_postfix(frame=number, refresh=False)
            bar.update(0)
            yield frame

    for video in videos:
        yield dataclasses.replace(video, frames=counted(video.frames))
        bar.update()


class Score:
    """How good the answers to some videos are, by a `Task.metric`; a `Task.writer`, if any, gets them all."""

    def __init__(self, metric, writer=None):
        self.metric, self.writer = metric, writer
        self._videos, self._costs, self._visits = 0, [], collections.Counter()

    def add(self, step, video, policy, **options):
        """Runs a KerasStep or ExportedStep over an AnnotatedVideo; policy and options are as for `stream`."""
        video = dataclasses.replace(video, masks=list(video.masks))
        frames, shown = itertools.tee(video.frames)
        seen_in = {"image_size": step.config.image_size, "resize_mode": step.info.resize_mode}
        truth = functools.partial(step.task.frame_truth, video, **seen_in)
        answers = stream(step, frames, policy, truth=truth, **options)
        for t, (answer, frame, name) in enumerate(zip(answers, shown, video.frame_names, strict=True)):
            size = frame.shape[:2]
            self.metric.add_frame(video, t, answer, size)
            if self.writer:
                self.writer.add_frame(video.name, name, answer, size)
            self._costs.append(answer.mflops)
            if answer.window is not None:
                self._visits[answer.window] += 1
        self._videos += 1

    def merge(self, other: "Score"):
        """Adds that of the videos that come after."""
        self.metric.merge(other.metric)
        if self.writer:
            self.writer.merge(other.writer)
        self._videos += other._videos
        self._costs += other._costs
        self._visits += other._visits

    def result(self, grid) -> dict:
        """The metric's; 'videos' and 'frames'; 'mflops_max', 'mflops_avg' and 'cell_visits' of the frames.

        'cell_visits' (M, M) is the part of frames in which each cell of the grid was looked at.
        """
        visits = np.zeros((grid.cells, grid.cells))
        for (row, column), count in self._visits.items():
            visits[row : row + grid.window_cells, column : column + grid.window_cells] += count
        return {
            **self.metric.result(),
            "videos": self._videos,
            "frames": len(self._costs),
            "mflops_max": max(self._costs),
            "mflops_avg": float(np.mean(self._costs)),
            "cell_visits": (visits / len(self._costs)).round(4).tolist(),
        }


def _table(rows, task) -> str:
    first = rows[0]
    columns = [{key: cli.per_cent(value) for key, value in task.columns(row).items()} for row in rows]
    lines = []
    for row, numbers in zip(rows, columns, strict=True):
        name = f"{row['system']}, every class" if row["every_class"] else row["system"]
        size = "x".join(map(str, row["image_size"]))
        lines.append([name, row["policy"], *numbers.values(), f"{row['depth']:g}", size, row["weights"]["name"]])
    table = cli.table(["system", "policy", *columns[0], "depth", "pixels", "weights"], lines, left=(0, 1, -1))
    return f"{first['dataset']}: {first['videos']} videos, {first['frames']} frames\n{table}"
