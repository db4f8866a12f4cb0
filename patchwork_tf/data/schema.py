"""How a video is stored in every TFDS data set of ours, so that one reader serves all."""

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from patchwork_tf.errors import DataError
from patchwork_tf.runtime.frames import check_size

FOREGROUND = "foreground"  # the class of masks
MASKS, OBJECTS = "masks", "objects"  # kinds of truth
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)  # float() reads 1_0, too


def video_features(classes: Sequence[str] = (), masks: bool = False, encoding: str = "jpeg"):
    """One example is one video of T frames, and says itself what is in it.

    'video': its name; 'frames': T images, upright, those that come as arrays in an `encoding`, 'jpeg' or 'png';
    'frame_names': T; 'skipped': what was left out of the video, and why. With `masks`, 'masks': T maps of instance
    numbers, 0 for background. Of a set with `classes`, 'objects': of all frames in one list, each with the 'frame'
    it is in (from 0), 'box' (ymin, xmin, ymax, xmax as fractions), 'label' (a ClassLabel), 'track_id', 'occluded',
    'generated', and 'crowd' for a box around several objects.
    """
    features = tfds.features
    described = {
        "video": features.Text(),
        "frames": features.Sequence(features.Image(shape=(None, None, 3), encoding_format=encoding)),
        "frame_names": features.Sequence(features.Text()),
        "skipped": features.Sequence(features.Text()),
    }
    if masks:
        described[MASKS] = features.Sequence(features.Image(shape=(None, None, 1), encoding_format="png"))
    if classes:
        described[OBJECTS] = features.Sequence(
            {
                "frame": np.int32,
                "box": features.Tensor(shape=(4,), dtype=np.float32),
                "label": features.ClassLabel(names=list(classes)),
                "track_id": np.int32,
                "occluded": np.bool_,
                "generated": np.bool_,
                "crowd": np.bool_,
            }
        )
    return features.FeaturesDict(described)


class VideoExample:
    """Collects the frames of one video into an example; with `skip_bad` bad ones are left out and noted."""

    def __init__(self, name: str, skip_bad: bool):
        self.skip_bad = skip_bad
        self.size = None
        self.example = {"video": name, "frames": [], "frame_names": [], "skipped": []}

    def add(self, name: str, read):
        """Adds a frame. DataError if it is unreadable, or of another size than its mask or those before it.

        `read` is a function without arguments that returns the frame, as `pictures.read_stored` does or as an
        array (h, w, 3); its mask (h, w) uint8 of instance numbers, or None in a set without; and its objects, with
        all that `video_features` has of them but their 'frame' and what is False, or None in a set without.
        """
        where = f"{self.example['video']}: frame {name}"
        try:
            image, mask, objects = read()
            image, size = (image, image.shape[:2]) if isinstance(image, np.ndarray) else image
            check_size(size, self.size or size, where)
            if mask is not None and (mask.dtype != np.uint8 or mask.shape != tuple(size)):
                raise DataError(f"{where} has {size[1]}x{size[0]} pixels, its mask is {mask.shape} {mask.dtype}")
            for thing in objects or ():
                _check_object(thing, where)
        except DataError as error:
            if not self.skip_bad:
                raise
            self.example["skipped"].append(str(error))
            return
        self.size, number = size, len(self.example["frames"])
        self.example["frames"].append(image)
        self.example["frame_names"].append(name)
        if mask is not None:
            self.example.setdefault(MASKS, []).append(mask[..., None])
        if objects is not None:
            flags = {"track_id": 0, "occluded": False, "generated": False, "crowd": False}
            self.example.setdefault(OBJECTS, []).extend({"frame": number, **flags, **thing} for thing in objects)


def rendered_example(name: str, clip, masks: bool = False) -> dict:
    """The example of a generated `scenes.Clip`."""
    collected = VideoExample(name, skip_bad=False)
    for t, frame in enumerate(clip.frames):
        read = (frame, clip.instances[t] if masks else None, clip.objects(t))
        collected.add(f"{t:06d}", lambda read=read: read)
    return collected.example


def _check_object(thing, where):
    if not {"box", "label"} <= thing.keys():
        raise DataError(f"{where}: an object has a 'box' and a 'label', not only {', '.join(thing)}")
    ymin, xmin, ymax, xmax = thing["box"]
    if not (0 <= ymin < ymax <= 1 and 0 <= xmin < xmax <= 1):
        raise DataError(
            f"{where}: box {list(map(float, thing['box']))} is not ymin < ymax and xmin < xmax in 0 to 1"
        )
    if thing["label"] < 0:
        raise DataError(f"{where}: label {thing['label']}; labels count from 0")


def read_text(path: str) -> str:
    """What is in a text file. Raises DataError if it cannot be read, or is none."""
    try:
        return epath.Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read this text ({error})") from None


def read_lines(path: str) -> list[str]:
    """The lines of a text file. Raises DataError as `read_text` does."""
    return re.split(r"\r\n|\r|\n", read_text(path))


def read_list(path: str) -> list[str]:
    """The lines of a list file that are not blank. Raises DataError if it is missing or empty."""
    lines = [line.strip() for line in read_lines(path) if line.strip()]
    if not lines:
        raise DataError(f"{path}: the list is empty")
    return lines


def numbered_lines(path: str, separator: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """'path:number', from 1, and the words of every line that is not blank. Raises DataError without a file."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", line.strip().split(separator)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read these lines ({error})") from None


def number(value, where: str) -> float:
    """The number that a text is, or a value of JSON. Raises DataError for all else: 0,5, nan, true."""
    text = str(value).strip()
    found = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(found):
        raise DataError(f"{where}: {value!r:.60} is not a finite number")
    return found


def whole_number(value, where: str) -> int:
    """Likewise, of 32 bits and without a fraction."""
    found = number(value, where)
    if found != int(found) or abs(found) >= 2**31:
        raise DataError(f"{where}: {value!r:.60} is not a whole number of 32 bits")
    return int(found)


def find_folder(root: str, *candidates: str, what: str) -> str:
    """The first of the folders below `root` that exists. Raises DataError that says what was expected."""
    for candidate in candidates:
        if epath.Path(f"{root}/{candidate}").is_dir():
            return f"{root}/{candidate}"
    raise DataError(f"{root}: not the folder of {what}: there is no {' or '.join(candidates)} in it")
