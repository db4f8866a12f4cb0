"""What a task is: all that detection and segmentation differ in, but for their networks."""

import abc
import importlib

import numpy as np

from patchwork_tf.errors import UsageError
from patchwork_tf.runtime.answers import Answer


class Task(abc.ABC):
    """A task of the zoo. Its object is in `tasks/NAME.py`, and is made known by `register_task`.

    Attributes:
        name: as in ModelConfig.
        truth: what it is learned from and scored on, a key of `data.clips.TRUTHS`: 'objects' or 'masks'.
        num_classes: foreground classes of a model by default.
        losses: names of what `clip_losses` returns.
        imitation: names of what `imitation_losses` returns.
        measures: names of the paper's measures of accuracy, in per cent in reports.
        agreement: what agreement with a reference is measured by, in words.
        stride: of the smallest map of a network that runs on windows; frames divide into cells of so many pixels.

    A task without truth leaves out what is about that.
    """

    name: str
    truth: str
    num_classes: int
    losses: tuple[str, ...]
    imitation: tuple[str, ...]
    measures: tuple[str, ...]
    agreement: str
    stride: int = 32

    @abc.abstractmethod
    def build(self, config, info):
        """The PatchworkModel of a ModelConfig and a ModelInfo, without weights."""

    def class_names(self, config) -> list[str]:
        """Names of the classes of a model that has not learned any yet."""
        return [f"class {number}" for number in range(config.num_classes)]

    def check(self, config):  # noqa: B027  most have nothing to check
        """Raises UsageError if a ModelConfig does not suit the task."""

    def _without_truth(self) -> UsageError:
        return UsageError(f"there is no truth of {self.name}: they cannot be trained or scored")

    # What a step puts out

    @abc.abstractmethod
    def outputs(self) -> dict[str, str]:
        """What an exported file says in its metadata of the answer, by output."""

    @abc.abstractmethod
    def merged(self, outputs, weights, stream) -> dict:
        """The answer of one stream, or of two of which the second is mirrored, for a batch of one.

        Args:
            outputs: of `model.step`, of 1 or 2 streams.
            weights: of `model.answer_weights`, or None.
            stream: the StreamConfig; with its `flip` there are two.
        """

    @abc.abstractmethod
    def answer(self, outputs, size, image_size, resize_mode) -> Answer:
        """Outputs of a step, None if there are none yet, as an answer for a frame.

        Args:
            outputs: numpy arrays, as `merged` returns them, without the axis of the batch.
            size: (h, w) of the frame in pixels.
            image_size: (H, W) of the model.
            resize_mode: how the frame was brought to that size.
        """

    # How good an answer is, cell by cell: rewards of windows, and the oracle

    def frame_truth(self, video, number: int, size, image_size, resize_mode: str) -> dict:
        """The truth of one frame of an AnnotatedVideo, for a batch of one, in the model's image."""
        raise self._without_truth()

    @abc.abstractmethod
    def believed_truth(self, outputs) -> dict:
        """What a KerasStep said of a whole frame, as if it were the truth, for a batch of one."""

    def count_cells(self, model, answer, truth):
        """Counts (B, cells, n) of what windows renew of an answer, outputs of `model.step`, in each cell."""
        raise self._without_truth()

    def count_map(self, answer, truth):
        """The same (B, 1 or 0, n) of what the map of the full frame shows, see `PatchworkModel.map_answer`."""
        raise self._without_truth()

    def score_of(self, counts, truth):
        """The score (B,) of answers whose counts, (B, rows, n), are those of `count_cells` and `count_map`."""
        raise self._without_truth()

    # Training

    def clip_losses(self, network, clip, truth, predictions) -> list:
        """The losses named by `losses`, scalars.

        Args:
            network: the model that is trained.
            clip: 'frames' (B, T, H, W, 3), 'windows' (B, T, 2), perhaps 'warm' (B,), see `training.ClipModel`.
            truth: of the frames, see `data.clips`.
            predictions: list over T of what `network.predict_window` predicts.
        """
        raise self._without_truth()

    def imitation_losses(self, network, windows, predictions, taught) -> list:
        """The losses named by `imitation`, scalars: how far a model is from its teacher in the windows looked at.

        Args:
            network: the model that is trained.
            windows: (T, B, 2) int32.
            predictions: what `network.look` predicts, each tensor (T, B, ...).
            taught: the same of its single-frame twin, for full frames.
        """
        raise self._without_truth()

    # Scoring, writing and showing answers

    def metric(self, class_names, coco: bool = True):
        """What collects answers by `add_frame(video, t, answer, size)`, and has a `result()`.

        Each video has one of its own; `merge(other)` adds what that of the next has collected. It can be pickled.
        """
        raise self._without_truth()

    @abc.abstractmethod
    def agreement_metric(self, class_names):
        """The same of answers and a reference's, by `add_frame(answer, reference, size)`."""

    def writer(self, folder: str, coco_ids=None, classes: int = 1):
        """What writes answers to files, by `add_frame(video, frame, answer, size)`, `merge(other)` and `close()`.

        Each video has one of its own, as of `metric`; one that is closed, and what it has merged, is in files.
        """
        raise self._without_truth()

    def accuracy(self, score: dict) -> dict:
        """The paper's measures, by their names, in [0, 1] or None, of what `metric` results in."""
        raise self._without_truth()

    def columns(self, score: dict) -> dict:
        """The same as `patchwork-evaluate` prints it, by title of a column."""
        raise self._without_truth()

    @abc.abstractmethod
    def draw(self, image, answer, class_names, min_score: float) -> np.ndarray:
        """An answer drawn onto an image (H, W, 3) uint8."""

    @abc.abstractmethod
    def record(self, answer, class_names, min_score: float) -> dict:
        """An answer in JSON."""


# Where the zoo's own tasks are; loaded when first asked for, as they need all that a task is made of.
_MODULES = {name: f"patchwork_tf.tasks.{name}" for name in ("detection", "segmentation", "maps")}
_TASKS: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Makes a task known by its name. Raises UsageError if the name is taken by another."""
    if type(_TASKS.setdefault(task.name, task)) is not type(task):
        raise UsageError(f"there is a task '{task.name}' already; choose another name")
    return task


def get_task(name: str) -> Task:
    """The task of a name. Raises UsageError if there is none."""
    if name not in _TASKS:
        if name not in _MODULES:
            raise UsageError(f"task must be one of {', '.join({**_MODULES, **_TASKS})}, not {name}")
        importlib.import_module(_MODULES[name])
    return _TASKS[name]
