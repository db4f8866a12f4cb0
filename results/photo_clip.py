"""Makes the clip of `make demo`: photographs in the public domain that move before a still background.

  python results/photo_clip.py --photos=FOLDER --output=docs/photos.mp4

The folder holds chelsea.png (a cat; CC0, Stefan van der Walt), coffee.png (a cup; CC0, Rachel Michetti) and
gravel.png (CC0, CC0Textures), as `skimage/data` of scikit-image does.
"""

import sys

import cv2
import numpy as np
from absl import flags

from patchwork_tf import cli
from patchwork_tf.data.video import write_video
from patchwork_tf.errors import DataError, UsageError

HEIGHT, WIDTH = 384, 512  # pixels
FRAMES, FPS = 192, 24
# File, width and height in pixels, pixels per frame to the right and down, where it starts as a part of its way.
CARDS = (("chelsea.png", 240, 160, 8.0, 3.0, 0.0, 0.3), ("coffee.png", 180, 120, 10.4, 7.2, 0.8, 0.9))
BACKGROUND = "gravel.png"

_FLAGS = flags.FlagValues()
_PHOTOS = flags.DEFINE_string("photos", None, "Folder with the photographs. Required.", flag_values=_FLAGS)
_OUTPUT = flags.DEFINE_string("output", "docs/photos.mp4", "The .mp4 to write.", flag_values=_FLAGS)


def frames(background, photos):
    """Frames (H, W, 3) uint8."""
    ones = [np.ones(photo.shape[:2], np.float32) for photo in photos]
    for number in range(FRAMES):
        image = background
        for photo, inside, (_, width, height, right, down, x, y) in zip(photos, ones, CARDS, strict=True):
            left = (WIDTH - width) * _to_and_fro(x + right / (WIDTH - width) * number)
            top = (HEIGHT - height) * _to_and_fro(y + down / (HEIGHT - height) * number)
            place = np.float32([[1, 0, left], [0, 1, top]])
            card, there = (cv2.warpAffine(picture, place, (WIDTH, HEIGHT)) for picture in (photo, inside))
            image = np.where(there[..., None] > 0.5, card, image)
        yield image


def _to_and_fro(way: float) -> float:
    return 1 - abs(way % 2 - 1)


def _photo(name, width, height):
    photo = cv2.imread(f"{_PHOTOS.value}/{name}", cv2.IMREAD_COLOR)
    if photo is None:
        raise DataError(f"{_PHOTOS.value}/{name}: no such photo")
    return cv2.resize(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), (width, height), interpolation=cv2.INTER_AREA)


def _run():
    if not _PHOTOS.value:
        raise UsageError("--photos is required: the folder with the photographs")
    photos = [_photo(name, width, height) for name, width, height, *_ in CARDS]
    write_video(_OUTPUT.value, frames(_photo(BACKGROUND, WIDTH, HEIGHT), photos), 1 / FPS)


if __name__ == "__main__":
    sys.exit(cli.run(_run, _FLAGS, "photo_clip", __doc__))
