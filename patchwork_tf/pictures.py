"""One way to read a picture, for preparation, training, scoring, the demo and streams.

A picture is (h, w, 3) uint8 RGB, upright: what a camera noted about its orientation (EXIF) is applied. Files that
are cut off are errors, and hidden files (macOS' ._name.png) are none of ours.
"""

import io
import re

import numpy as np
import PIL.Image
import PIL.ImageOps
from etils import epath

from patchwork_tf.errors import DataError
from patchwork_tf.runtime.frames import as_rgb

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_QUALITY = {"quality": 95, "subsampling": 0}  # of JPEGs that have to be written anew
_OF_MANY = ("MPO", "TIFF")  # formats of pictures that may bring views and previews with them; the first counts
_OPAQUE = 128  # alpha from here on


def natural_order(name: str):
    """Sorting key: frame10 comes after frame9, zero-padded or not."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part) for part in re.split(r"(\d+)", name)]


def list_folder(path: str) -> list[str]:
    """Names of what is in a folder, in natural order, without hidden files; none if it is missing."""
    folder = epath.Path(path)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted((name for name in names if not name.startswith(".")), key=natural_order)


def list_pictures(path: str) -> list[str]:
    """Names of the pictures in a folder, in natural order."""
    return [name for name in list_folder(path) if name.lower().endswith(EXTENSIONS)]


def read_picture(path: str) -> np.ndarray:
    """An image file as (h, w, 3) uint8 RGB, upright. Raises DataError if it is missing, cut off or no image."""
    return _rgb(path, _opened(path, _content(path)))


def read_stored(path: str) -> tuple[bytes, tuple[int, int]]:
    """An image file as data sets keep it: a JPEG or PNG file's bytes, and (height, width).

    They are the file's own wherever every decoder makes the same upright RGB picture of them; else it is written
    anew. Raises DataError as `read_picture` does.
    """
    content = _content(path)
    image = _opened(path, content)
    if image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L") and _is_upright(image):
        return content, (image.height, image.width)
    picture = _rgb(path, image)
    return encode(picture, "JPEG" if image.format in ("JPEG", "MPO") else "PNG"), picture.shape[:2]


def encode(picture: np.ndarray, kind: str = "JPEG") -> bytes:
    """A picture as the bytes of a JPEG or PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, format=kind, **(_QUALITY if kind == "JPEG" else {}))
    return file.getvalue()


def read_classes(path: str) -> np.ndarray:
    """A picture of the numbers of classes (h, w) uint8, palette or grey, as they are. Raises DataError."""
    image = _opened(path, _content(path, "mask"))
    if image.mode not in ("L", "P"):
        raise DataError(f"{path}: numbers of classes are 8 bits, grey or of a palette; it is {image.mode}")
    return np.asarray(image)


def read_mask(path: str) -> np.ndarray:
    """A mask file as instance numbers (h, w) uint8, 0 for background, upright. Raises DataError.

    Palette images, as in DAVIS 2017, hold one number per object, and 255 where the official code sees background;
    others are foreground where they are not black. Where alpha varies, it is the mask, and what is transparent
    is background.
    """
    image = _upright(_opened(path, _content(path, "mask")))
    if image.mode in ("RGBA", "LA", "PA"):
        return _mask_with_alpha(path, np.asarray(image.convert("RGBA")))
    if image.mode not in ("1", "L", "P", "I", "I;16"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if values.ndim == 3:
        return values.max(axis=-1)
    values = np.minimum(values, 255).astype(np.uint8)
    if image.mode == "P" and np.max(values, where=values < 255, initial=0) > 0:
        return np.where(values == 255, 0, values).astype(np.uint8)
    return values


def _mask_with_alpha(path, image):
    foreground, opaque = image[..., :3].max(axis=-1), image[..., 3] >= _OPAQUE
    if opaque.all() or not opaque.any() or foreground[opaque].min() > 0:
        return np.where(opaque, foreground, 0).astype(np.uint8)
    raise DataError(
        f"{path}: colour and transparency say different things of what the object is; save the mask without "
        "alpha, black where there is no object"
    )


def _content(path, what="frame") -> bytes:
    try:
        return epath.Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: this {what} is missing") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read it ({error.strerror or error})") from None


def _opened(path, content) -> PIL.Image.Image:
    """The image, proven to decode."""
    try:
        image = PIL.Image.open(io.BytesIO(content))
        image.load()
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        reason = str(error).partition(" <")[0]  # the rest is about our own buffer
        raise DataError(f"{path}: not a readable image, or cut off ({reason})") from None
    if getattr(image, "is_animated", False) and image.format not in _OF_MANY:
        raise DataError(
            f"{path}: an animation of {image.n_frames} frames, not a picture; make it a folder of pictures, such "
            "as by ImageMagick's `magick FILE FOLDER/%04d.png`, or a video"
        )
    return image


def _is_upright(image) -> bool:
    return image.getexif().get(0x0112, 1) in (0, 1)


def _upright(image) -> PIL.Image.Image:
    return image if _is_upright(image) else PIL.ImageOps.exif_transpose(image)


def _rgb(path, image) -> np.ndarray:
    image = _upright(image)
    if image.mode in ("I", "F"):
        raise DataError(f"{path}: pixels of {image.mode} are not colours; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return as_rgb(np.asarray(image).astype(np.uint16), path)
    return np.asarray(image.convert("RGB"))
