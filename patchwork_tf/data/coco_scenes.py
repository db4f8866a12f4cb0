"""coco_scenes as a TFDS data set: things cut out of COCO's photos by their masks, moving over other photos.

Boxes are those of what is visible of the things that move; what little COCO marks in the photo behind is painted
over. Two kinds: 'still', a camera that stands still before small things, and 'moving', one that pans, nears and
rolls over larger ones.

manual_dir is the folder of COCO: annotations/instances_*.json, and photos under their names at any depth. A photo
is of one split alone. What is made is a function of these files, the kind and the seed.
"""

import contextlib
import copy
import dataclasses
import io
import os
import re

import cv2
import numpy as np
import tensorflow_datasets as tfds
from pycocotools.coco import COCO

from patchwork_tf.data.scenes import MARGIN, Kind, render
from patchwork_tf.data.schema import rendered_example, video_features
from patchwork_tf.data.videos import walk
from patchwork_tf.errors import DataError
from patchwork_tf.pictures import read_picture

SCENES = {
    "still": Kind(0, 6, sizes=(0.08, 0.25), speeds=(0.008, 0.04), places=(0, 1), camera=0, turns=0.2, outside=0.1),
    "moving": Kind(2, 6, sizes=(0.12, 0.4), speeds=(0.008, 0.04), places=(0, 1), turns=0.2, outside=0.1),
}
_SPLITS = ("train", "validation")
_FEWEST_PIXELS = 48**2  # of a thing that is cut out
_LARGEST = 256  # pixels of its look's side
_WHOLE = 0.9  # of its pixels hang together: what others hide in part is left out
_MOST_MARKED = 0.05  # of a photo behind, which is painted over
_AROUND = 9  # pixels that go with it


@dataclasses.dataclass
class CocoScenesConfig(tfds.core.BuilderConfig):
    """How many clips of how many frames and pixels."""

    image_size: int = 384
    clip_frames: int = 48
    clips: int = 40
    seed: int = 0


class CocoScenes(tfds.core.GeneratorBasedBuilder):
    """Cut-outs of COCO that move over other photos. See coco_scenes.py."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [CocoScenesConfig(name=name) for name in SCENES]  # noqa: RUF012  TFDS' own convention
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Download photos and instances of COCO from cocodataset.org and unpack them."

    def __init__(self, *, manual_dir=None, **options):
        # The classes are those of the annotations; a set that is prepared says them itself.
        self._photos = _Photos(manual_dir) if manual_dir else None
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        names = self._photos.class_names if self._photos else ["thing"]
        return tfds.core.DatasetInfo(builder=self, description=__doc__, features=video_features(names))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split):
        config, number = self.builder_config, _SPLITS.index(split)
        kind, photos = SCENES[config.name], self._photos.of_split(number)
        for index in range(config.clips):
            rngs = [np.random.default_rng([config.seed, number, index, kind.stream + k]) for k in range(2)]
            clip = render(*rngs, kind, photos.look, photos.background, config.clip_frames, config.image_size)
            yield index, rendered_example(f"{config.name}-{split}-{index:03d}", clip)


class _Photos:
    """COCO's photos, or those of a split, and what is marked in them."""

    def __init__(self, folder: str):
        files = [os.path.join(top, name) for top, names in walk(folder) for name in names]
        self._paths = {os.path.basename(path): path for path in files}
        self._sets = [_read(path) for path in sorted(files) if re.search(r"/instances[^/]*\.json$", path)]
        if not self._sets:
            raise DataError(f"{folder}: not the folder of COCO: no annotations/instances_*.json in it")
        categories = [one.cats for one in self._sets]
        if any(other != categories[0] for other in categories):
            raise DataError(f"{folder}: its instances_*.json tell other categories apart")
        self._numbers = {key: number for number, key in enumerate(sorted(categories[0]), start=1)}
        self.class_names = [categories[0][key]["name"] for key in self._numbers]
        self._things = self._behind = ()

    def of_split(self, number: int) -> "_Photos":
        """Those of one split: every other photo, by their names in order."""
        found = copy.copy(self)
        photos = sorted(
            (image["file_name"], key, one)
            for one in self._sets
            for key, image in one.imgs.items()
            if os.path.basename(image["file_name"]) in self._paths
        )
        photos = [(key, one) for _, key, one in photos[number :: len(_SPLITS)]]
        marked = [(one, one.imgToAnns[key]) for key, one in photos]
        found._things = [(one, thing) for one, things in marked for thing in things if _is_whole(one, thing)]
        found._behind = [(one, key) for key, one in photos if _is_quiet(one, key)]
        if not found._things or not found._behind:
            raise DataError(f"{_SPLITS[number]}: too few photos of these annotations are there")
        return found

    def _read(self, one, key):
        return read_picture(self._paths[os.path.basename(one.imgs[key]["file_name"])])

    def look(self, rng) -> tuple[int, np.ndarray]:
        """A thing: its class, from 1, and its look, see `render`."""
        while True:
            one, thing = self._things[rng.integers(len(self._things))]
            mask = one.annToMask(thing)
            _, _, parts, _ = cv2.connectedComponentsWithStats(mask)
            if len(parts) > 1 and parts[1:, cv2.CC_STAT_AREA].max() >= _WHOLE * np.count_nonzero(mask):
                return self._numbers[thing["category_id"]], cut_out(self._read(one, thing["image_id"]), mask)

    def background(self, side, rng) -> np.ndarray:
        """A photo (side, side, 3) float32 that is cut square at random; what is marked in it is painted over."""
        one, key = self._behind[rng.integers(len(self._behind))]
        photo, place = self._read(one, key), rng.uniform(size=2)
        marked = np.zeros(photo.shape[:2], np.uint8)
        for thing in one.imgToAnns[key]:
            marked |= one.annToMask(thing)
        marked = cv2.dilate(marked, np.ones((_AROUND, _AROUND), np.uint8))
        return square(cv2.inpaint(photo, marked, _AROUND, cv2.INPAINT_TELEA), side, place).astype(np.float32)


def _read(path) -> COCO:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return COCO(path)
    except Exception as error:  # whatever JSON and pycocotools make of it
        raise DataError(f"{path}: not COCO's instances ({type(error).__name__}: {error})") from None


def _is_whole(one, thing) -> bool:
    """Whether a thing is large enough, and the photo does not cut it."""
    image, (left, top, width, height) = one.imgs[thing["image_id"]], thing["bbox"]
    inside = left > 1 and top > 1 and left + width < image["width"] - 1 and top + height < image["height"] - 1
    return inside and not thing.get("iscrowd") and thing["area"] >= _FEWEST_PIXELS


def _is_quiet(one, key) -> bool:
    """Whether next to nothing is marked in a photo."""
    image, things = one.imgs[key], one.imgToAnns[key]
    marked = sum(thing["area"] for thing in things)
    return not any(t.get("iscrowd") for t in things) and marked <= _MOST_MARKED * image["width"] * image["height"]


def cut_out(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The look, see `scenes.render`, of what a mask (h, w) uint8 of 0 and 1 shows of a photo (h, w, 3) uint8."""
    left, top, width, height = cv2.boundingRect(mask)
    alpha = cv2.blur(mask[top : top + height, left : left + width].astype(np.float32), (3, 3))
    colours = photo[top : top + height, left : left + width].astype(np.float32)
    look = np.dstack([colours * alpha[..., None], alpha])
    scale = min(1.0, _LARGEST * (1 - 2 * MARGIN) / max(width, height))
    if scale < 1:
        look = cv2.resize(look, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = look.shape[:2]
    side = round(max(height, width) / (1 - 2 * MARGIN))
    square = np.zeros((side, side, 4), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = look
    return square


def square(picture: np.ndarray, side: int, place) -> np.ndarray:
    """A square of a picture (h, w, ...), as large as it can be, scaled to `side`; `place` (2,) in [0, 1]."""
    shortest = min(picture.shape[:2])
    top, left = (int(part * (whole - shortest)) for part, whole in zip(place, picture.shape[:2], strict=True))
    cut = np.ascontiguousarray(picture[top : top + shortest, left : left + shortest])
    method = cv2.INTER_AREA if side < shortest else cv2.INTER_LINEAR
    return cv2.resize(cut, (side, side), interpolation=method)
