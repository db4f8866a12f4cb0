"""What is said about the frames of a folder: objects with a class and a box, and masks."""

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from patchwork_tf.data.media import Frame
from patchwork_tf.errors import DataError

_TOLERANCE = 1  # pixels that a box may stick out of its frame: inclusive edges are sometimes the width


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object in a frame."""

    name: str  # of its class
    box: Sequence[float]  # ymin, xmin, ymax, xmax in pixels, the maxima exclusive; or in fractions of the frame
    where: str  # the file and the place in it that says so
    in_fractions: bool = False
    is_whole: bool = False  # the box is also around what is outside of the frame, as MOT has it
    track_id: int = 0  # 0 if it has none
    crowd: bool = False  # the box is around several objects
    occluded: bool = False  # as ImageNet VID has it
    generated: bool = False

    def sticks_out(self, size) -> bool:
        """Whether its box is outside of a frame of `size` (h, w) by more than a pixel."""
        edges, pixel = self._edges(size), 1 / np.tile(size, 2)
        return not (np.abs(edges - 0.5) <= 0.5 + (_TOLERANCE + 1e-3) * pixel).all()

    def _edges(self, size) -> np.ndarray:
        return np.asarray(self.box, float) / (1 if self.in_fractions else np.tile(size, 2))

    def described(self, size, label: int) -> dict:
        """What records have of it, see `schema.video_features`; its box is cut off at the frame of `size` (h, w).

        Raises DataError if it has no area there, or is outside by more than a pixel and not `is_whole`.
        """
        edges = ",".join(f"{self.box[k]:.4g}" for k in (1, 0, 3, 2))
        if not self.is_whole and self.sticks_out(size):
            raise DataError(f"{self.where}: box {edges} is not inside of the {size[1]}x{size[0]} frame")
        box = np.clip(self._edges(size), 0, 1).astype(np.float32)
        if not (box[:2] < box[2:]).all():
            raise DataError(f"{self.where}: box {edges} has no area inside of the {size[1]}x{size[0]} frame")
        flags = {key: getattr(self, key) for key in ("track_id", "occluded", "generated", "crowd")}
        return {"box": box, "label": label, **flags}


@dataclasses.dataclass
class Annotations:
    """What was found about frames."""

    format: str
    class_names: list[str] = dataclasses.field(default_factory=list)  # in the order of the files
    things: dict[Frame, list[Thing]] = dataclasses.field(default_factory=dict)  # none: it is known to be empty
    masks: dict[Frame, str] = dataclasses.field(default_factory=dict)  # paths
    sizes: dict[Frame, tuple[int, int]] = dataclasses.field(default_factory=dict)  # (h, w), as files say
    clips: dict[str, list[Frame]] = dataclasses.field(default_factory=dict)  # where files say what is a video
    told_by: dict[Frame | str, str] = dataclasses.field(default_factory=dict)  # of a frame or clip, the place
    bad: dict[Frame, DataError] = dataclasses.field(default_factory=dict)  # what is wrong with its annotation
    # Places (`Frame.place`) where frames that are not mentioned have no things; elsewhere nobody knows.
    told: set[str] = dataclasses.field(default_factory=set)

    def add_classes(self, names: Iterable[str]):
        """Adds names that are new."""
        self.class_names += [name for name in dict.fromkeys(names) if name not in self.class_names]

    def knows(self, frame: Frame) -> bool:
        """Whether it is known what is in a frame."""
        return frame in self.things or frame in self.masks or frame.place in self.told

    def note(self, frame: Frame | str, where: str):
        """Notes which place tells about a frame, or a clip. Raises DataError if another one does, too."""
        if self.told_by.setdefault(frame, where) != where:
            name = getattr(frame, "path", frame)
            raise DataError(f"{where} is of {name}, and so is {self.told_by[frame]}; keep one of them")

    @contextlib.contextmanager
    def reading(self, frame: Frame):
        """What is wrong with a frame's annotation is kept: it may be left out."""
        self.things.setdefault(frame, [])
        try:
            yield
        except DataError as error:
            self.bad.setdefault(frame, error)
