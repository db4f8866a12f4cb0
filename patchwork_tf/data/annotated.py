"""Whole videos with the truth about every frame, as evaluation wants them."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from patchwork_tf.data import moving_objects


@dataclasses.dataclass(frozen=True)
class AnnotatedVideo:
    """A video of T frames and what is true of each.

    Attributes:
        name: of the video.
        frames: T images (h, w, 3) uint8, RGB.
        frame_names: T, as in the data set's files.
        boxes: of the objects, T arrays (G, 4) float32, ymin, xmin, ymax, xmax as fractions; or empty.
        labels: T arrays (G,) int32, classes from 0; or empty.
        crowds: T arrays (G,) bool, which boxes are around several objects (COCO); or empty, none is.
        areas: T arrays (G,) float, pixels of the objects where that is not their boxes' (COCO); or empty.
        masks: of the foreground, T arrays (h, w) bool; or empty.
    """

    name: str
    frames: Iterable[np.ndarray]
    frame_names: list[str]
    boxes: Iterable[np.ndarray] = ()
    labels: Iterable[np.ndarray] = ()
    crowds: Iterable[np.ndarray] = ()
    areas: Iterable[np.ndarray] = ()
    masks: Iterable[np.ndarray] = ()

    def renumbered(self, numbers: np.ndarray) -> "AnnotatedVideo":
        """With other classes: `numbers` has the new one of each, below 0 for those that are left out."""
        labels = [numbers[labels] for labels in self.labels]
        changed = {"labels": [new[new >= 0] for new in labels]}
        for name in ("boxes", "crowds", "areas"):
            values = getattr(self, name)
            changed[name] = (
                [each[new >= 0] for each, new in zip(values, labels, strict=True)] if len(values) else ()
            )
        return dataclasses.replace(self, **changed)


def moving_objects_videos(numbers, num_frames, size, split, seed=0, scenes="varied") -> Iterator[AnnotatedVideo]:
    """Generated clips of a split by their numbers, `size` pixels square."""
    for index in numbers:
        clip = moving_objects.render_clip(index, num_frames, size, split, seed, scenes)
        visible = clip.labels > 0
        yield AnnotatedVideo(
            name=f"{split}-{index:05d}",
            frames=clip.frames,
            frame_names=[f"{t:06d}" for t in range(num_frames)],
            boxes=[boxes[kept] for boxes, kept in zip(clip.boxes, visible, strict=True)],
            labels=[labels[kept] - 1 for labels, kept in zip(clip.labels, visible, strict=True)],
            masks=clip.instances > 0,
        )
