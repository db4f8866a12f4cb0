"""How a video is stored in every TFDS data set of ours, so that one reader serves all."""

import io

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from etils import epath

from patchwork_tf.errors import DataError


def video_features(encoding: str) -> tfds.features.FeaturesDict:
    """One example is one video of T frames.

    'video': its name; 'frames': T images as they were found; 'frame_names': T; 'masks': T maps of
    instance numbers, 0 for background, or none; 'objects': of all frames in one list, each with the
    'frame' it is in (from 0), 'box' (ymin, xmin, ymax, xmax as fractions), 'label' from 0, 'track_id',
    'occluded', 'generated'; 'skipped': what was left out of the video, and why.

    Args:
        encoding: of the frames, 'jpeg' or 'png'.
    """
    features = tfds.features
    return features.FeaturesDict(
        {
            "video": features.Text(),
            "frames": features.Sequence(features.Image(shape=(None, None, 3), encoding_format=encoding)),
            "frame_names": features.Sequence(features.Text()),
            "masks": features.Sequence(features.Image(shape=(None, None, 1), encoding_format="png")),
            "objects": features.Sequence(
                {
                    "frame": np.int32,
                    "box": features.Tensor(shape=(4,), dtype=np.float32),
                    "label": np.int32,
                    "track_id": np.int32,
                    "occluded": np.bool_,
                    "generated": np.bool_,
                }
            ),
            "skipped": features.Sequence(features.Text()),
        }
    )


class VideoExample:
    """Collects the frames of one video into an example; bad ones stop it, or are left out and noted.

    Args:
        name: of the video.
        skip_bad: whether a frame that cannot be used is left out, instead of raising DataError.
    """

    def __init__(self, name: str, skip_bad: bool):
        self.skip_bad = skip_bad
        self.example = {
            "video": name,
            "frames": [],
            "frame_names": [],
            "masks": [],
            "objects": [],
            "skipped": [],
        }

    def add(self, name: str, read):
        """Adds a frame.

        Args:
            name: of the frame.
            read: function without arguments that returns the frame's image, its mask (h, w, 1) uint8 of instance
                numbers or None, and its objects, with all that `video_features` has of them but their 'frame';
                raises DataError that names the bad file.
        """
        try:
            image, mask, objects = read()
        except DataError as error:
            if not self.skip_bad:
                raise
            self.example["skipped"].append(str(error))
            return
        if mask is not None and (mask.dtype != np.uint8 or mask.ndim != 3 or mask.shape[2] != 1):
            raise DataError(f"{name}: a mask is (h, w, 1) uint8, instance numbers, not {mask.shape} {mask.dtype}")
        number = len(self.example["frames"])
        self.example["frames"].append(image)
        self.example["frame_names"].append(name)
        if mask is not None:
            self.example["masks"].append(mask)
        self.example["objects"] += [{"frame": number, **thing} for thing in objects]


def read_jpeg(path: str) -> tuple[bytes, tuple[int, int]]:
    """The bytes of an image file, proven to decode, and its (height, width). Raises DataError."""
    try:
        content = epath.Path(path).read_bytes()
        with PIL.Image.open(io.BytesIO(content)) as image:
            image.load()
            return content, (image.height, image.width)
    except FileNotFoundError:
        raise DataError(f"{path}: this frame is missing") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a readable image, or cut off ({error})") from None


def read_mask(path: str) -> np.ndarray:
    """A mask file as instance numbers (H, W) uint8, 0 for background. Raises DataError.

    Palette images, as in DAVIS 2017, hold one number per object; others are foreground where
    they are not black.
    """
    try:
        with PIL.Image.open(io.BytesIO(epath.Path(path).read_bytes())) as image:
            image.load()
            if image.mode not in ("1", "L", "P"):
                image = image.convert("RGB")
            values = np.asarray(image)
    except FileNotFoundError:
        raise DataError(f"{path}: this mask is missing") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a readable image, or cut off ({error})") from None
    return values.max(axis=-1) if values.ndim == 3 else values.astype(np.uint8)


def read_list(path: str) -> list[str]:
    """The lines of a list file that are not blank. Raises DataError if it is missing or empty."""
    try:
        lines = [line.strip() for line in epath.Path(path).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read this list ({error})") from None
    if not lines:
        raise DataError(f"{path}: the list is empty")
    return lines


def is_folder(path: str) -> bool:
    """Whether a folder is there, on disk or in a bucket."""
    return epath.Path(path).is_dir()


def list_folder(path: str) -> list[str]:
    """Sorted names of what is in a folder; none if it is missing."""
    return sorted(entry.name for entry in epath.Path(path).iterdir()) if is_folder(path) else []


def find_folder(root: str, *candidates: str, what: str) -> str:
    """The first of the folders below `root` that exists. Raises DataError that says what was expected."""
    for candidate in candidates:
        if is_folder(f"{root}/{candidate}"):
            return f"{root}/{candidate}"
    raise DataError(f"{root}: not the folder of {what}: there is no {' or '.join(candidates)} in it")
