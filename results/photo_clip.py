"""Makes the clip of `make demo`: a cat, a cup and an astronaut, cut out of photographs, move before another.

  python results/photo_clip.py --photos=FOLDER --output=docs/photos.mp4

The folder holds chelsea.png (a cat; CC0, Stefan van der Walt), coffee.png (a cup; CC0, Rachel Michetti),
astronaut.png (public domain, NASA) and rocket.jpg (public domain, SpaceX), as `skimage/data` of scikit-image does.
It is a scene as those of coco_scenes are, with a camera that moves a little.
"""

import sys

import cv2
import numpy as np
from absl import flags

from patchwork_tf import cli
from patchwork_tf.data.coco_scenes import cut_out, square
from patchwork_tf.data.scenes import Kind, render
from patchwork_tf.data.video import write_video
from patchwork_tf.errors import UsageError
from patchwork_tf.pictures import read_picture

HEIGHT, WIDTH = 384, 512  # pixels, of the scene's middle
FRAMES, FPS = 192, 24
# Outlines of things in their photographs: x, y in pixels.
CAT = """45,0 385,0 400,15 362,70 358,110 366,140 355,170 330,200 298,225 290,265 250,290 200,299 60,299 30,270
    20,200 35,150 30,90 38,40"""
CUP = """175,120 180,75 205,43 245,22 290,17 335,24 375,45 400,75 406,105 440,130 466,165 478,205 474,250 455,295
    420,335 375,365 325,382 270,386 215,375 165,352 125,320 95,280 79,235 80,190 95,155 125,125 150,112"""
WOMAN = """152,90 155,60 172,32 195,20 225,14 265,15 290,35 301,75 295,115 280,135 262,155 270,185 303,215 303,240
    345,262 357,300 360,352 400,342 440,352 475,395 495,450 500,511 22,511 25,440 45,300 70,258 110,225 116,190
    145,157 186,148 188,128 165,117"""
THINGS = {"chelsea.png": CAT, "coffee.png": CUP, "astronaut.png": WOMAN}
BACKGROUND = "rocket.jpg"
KIND = Kind(0, 4, sizes=(0.2, 0.35), speeds=(0.006, 0.03), places=(0, 1), camera=0.5, turns=0.0, outside=0.0)
SEED = 4

_FLAGS = flags.FlagValues()
_PHOTOS = flags.DEFINE_string("photos", None, "Folder with the photographs. Required.", flag_values=_FLAGS)
_OUTPUT = flags.DEFINE_string("output", "docs/photos.mp4", "The .mp4 to write.", flag_values=_FLAGS)


def _mask(photo, outline):
    points = np.array([point.split(",") for point in outline.split()], np.int32)
    return cv2.fillPoly(np.zeros(photo.shape[:2], np.uint8), [points], 1)


def _run():
    if not _PHOTOS.value:
        raise UsageError("--photos is required: the folder with the photographs")
    photos = {name: read_picture(f"{_PHOTOS.value}/{name}") for name in (*THINGS, BACKGROUND)}
    looks = iter([(1, cut_out(photos[name], _mask(photos[name], outline))) for name, outline in THINGS.items()])
    behind = square(photos[BACKGROUND], int(1.6 * WIDTH), (0.5, 0.5)).astype(np.float32)
    rngs = [np.random.default_rng([SEED, k]) for k in range(2)]
    clip = render(*rngs, KIND, lambda _: next(looks), lambda side, _: behind, FRAMES, WIDTH)
    top = (WIDTH - HEIGHT) // 2
    write_video(_OUTPUT.value, clip.frames[:, top : top + HEIGHT], 1 / FPS)


if __name__ == "__main__":
    sys.exit(cli.run(_run, _FLAGS, "photo_clip", __doc__))
