"""A folder of one's own pictures, videos and annotations as a TFDS data set: `--dataset=folder`.

manual_dir is the folder. `annotations` lists the formats; folders called train, val and test are the splits, all
else is train.
"""

import collections
import dataclasses
import functools

import tensorflow_datasets as tfds

from patchwork_tf.data import annotations
from patchwork_tf.data.media import Clip, Frames, frame_of_video
from patchwork_tf.data.schema import VideoExample, video_features
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError
from patchwork_tf.pictures import encode, read_mask, read_stored

CLIPS, PHOTOS = FORMS = ("clips", "photos")
_MOST_BYTES = 2**31 - 2**24  # in one record


class Folder(tfds.core.GeneratorBasedBuilder):
    """Videos, or photos, of a folder. See folder.py."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in FORMS]  # noqa: RUF012  TFDS' own convention
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Any folder of pictures or videos, with annotations."
    skip_bad = False

    def __init__(self, *, manual_dir: str, **options):
        self._frames = Frames(manual_dir)
        self._found = annotations.read(self._frames)
        super().__init__(**options)

    @functools.cached_property
    def _clips(self) -> list[Clip]:
        if self.builder_config.name == PHOTOS:
            return [Clip(frame.name, [frame]) for frame in self._frames.pictures()]
        if self._found.clips:
            return [
                Clip(name, listed, None if listed[0].number is None else listed[0].path)
                for name, listed in self._found.clips.items()
            ]
        return _short_names(list(self._frames.clips.values()))

    @property
    def listed(self) -> list[str]:
        """Names of all videos that should be there."""
        return [clip.name for clip in self._clips]

    def _info(self) -> tfds.core.DatasetInfo:
        features = video_features(self._found.class_names, masks=bool(self._found.masks))
        return tfds.core.DatasetInfo(builder=self, description=__doc__, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        self.unknown = []  # names of the frames that no annotation is about, and which are left out
        self.cut = []  # places of the boxes that reach beyond their frames, and are cut off there
        if self._found.bad and not self.skip_bad:  # before pictures are read
            raise next(iter(self._found.bad.values()))
        splits = collections.defaultdict(list)
        for clip in self._clips:
            if clip.path or any(map(self._found.knows, clip.frames)):
                splits[clip.split].append(clip)
            else:
                self.unknown += [frame.name for frame in clip.frames]
        return {split: self._generate_examples(split, clips) for split, clips in splits.items()}

    def _generate_examples(self, split, clips):
        count, why = 0, ""
        for number, clip in enumerate(clips):
            example = self._example(clip)
            why = why or next(iter(example["skipped"]), "")
            if example["frames"]:
                count += 1
                yield number, example
        if not count:
            raise DataError(f"no frame of {split} can be used: {why or 'no annotation is about one'}")

    def _example(self, clip) -> dict:
        collected = VideoExample(clip.name, self.skip_bad)
        for frame, image in self._pictures(clip):
            if self._found.knows(frame):
                collected.add(frame.name.split("/")[-1], functools.partial(self._read, frame, image))
            else:
                self.unknown.append(frame.name)
        if sum(map(len, collected.example["frames"])) > _MOST_BYTES:
            raise DataError(f"{clip.name}: more than 2 GB of frames in one clip; cut it into several")
        return collected.example

    def _pictures(self, clip):
        """Frames of a clip, each with a function to its stored picture and size."""
        if not clip.path:
            yield from ((frame, functools.partial(read_stored, frame.path)) for frame in clip.frames)
            return
        found, number = self._found, -1
        wanted = {frame.number: frame for frame in (*found.things, *found.masks) if frame.path == clip.path}
        for number, picture in enumerate(Video(clip.path)):
            frame = wanted.pop(number, None) or frame_of_video(clip, number)
            yield frame, lambda picture=picture: (encode(picture), picture.shape[:2])
        for missing, frame in wanted.items():
            found.bad.setdefault(frame, DataError(f"{clip.path}: no frame {missing}, it has {number + 1} frames"))
            yield frame, None

    def _read(self, frame, image):
        """What `VideoExample.add` wants of a frame."""
        found = self._found
        if frame in found.bad:
            raise found.bad[frame]
        image, size = image()
        if found.sizes.get(frame, size) != size:
            said = found.sizes[frame]
            raise DataError(
                f"{frame.path}: upright it has {size[1]}x{size[0]} pixels, its annotation says {said[1]}x{said[0]}"
            )
        mask = (read_mask(found.masks[frame]) > 0).astype("uint8") if found.masks else None
        if not found.class_names:
            return (image, size), mask, None
        things = found.things.get(frame, ())
        objects = [thing.described(size, found.class_names.index(thing.name)) for thing in things]
        self.cut += [thing.where for thing in things if thing.sticks_out(size)]
        return (image, size), mask, objects


def _short_names(clips: list[Clip]) -> list[Clip]:
    """Clips without what their names have in common: frames/bear and frames/bus are bear and bus."""
    names = [clip.name.split("/") for clip in clips]
    if len(names) > 1:
        for end in (0, -1):
            while min(map(len, names)) > 1 and len({name[end] for name in names}) == 1:
                names = [name[1:] if end == 0 else name[:-1] for name in names]
    return [dataclasses.replace(clip, name="/".join(name)) for clip, name in zip(clips, names, strict=True)]
