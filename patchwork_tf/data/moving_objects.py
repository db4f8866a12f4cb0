"""moving_objects: generated video with exact boxes, masks and track ids; needs no download.

Textured objects of ten classes move over textured, moving backgrounds: small and large, slow
and fast, turning, accelerating, coming nearer, hiding each other, leaving and coming back,
under camera motion, motion blur and noise. A large object spans many windows and a fast one
crosses several between two looks, so that no still patch tells the whole answer.

Scenes come in two kinds. 'varied' ones are all that. 'sparse' ones are what a doorbell or a desk
camera sees: one or two objects, small or middling and unhurried, before a camera that stands still, so
that most of the frame is quiet and it matters where one looks. 'mixed' takes turns.

Clip `index` of a split under a seed is always the same clip, whatever was drawn before it.
"""

import numpy as np

from patchwork_tf.data import shapes
from patchwork_tf.data.scenes import Clip, Kind, render
from patchwork_tf.data.shapes import CLASSES

SPLITS = ("train", "validation", "test")  # disjoint: the split is part of every clip's seed
MAX_OBJECTS = 6

_VARIED = Kind(stream=0, objects=MAX_OBJECTS)
_SPARSE = Kind(stream=2, objects=2, sizes=(0.12, 0.35), speeds=(0.002, 0.03), places=(0.1, 0.9), camera=0.0)
SCENES = {"varied": (_VARIED,), "sparse": (_SPARSE,), "mixed": (_VARIED, _SPARSE)}  # clips take turns


def render_clip(
    index: int, num_frames: int, size: int, split: str = "train", seed: int = 0, scenes: str = "varied"
) -> Clip:
    """Renders clip `index` of a split: a function of the arguments alone, the first frames not of `num_frames`.

    Args:
        index: from 0.
        num_frames: T.
        size: S, side of the square frames in pixels.
        split: one of SPLITS.
        seed: of the whole data set.
        scenes: key of SCENES.
    """
    kind = SCENES[scenes][index % len(SCENES[scenes])]
    rng, noise_rng = (np.random.default_rng([seed, SPLITS.index(split), index, kind.stream + k]) for k in range(2))
    return render(rng, noise_rng, kind, _look, shapes.background, num_frames, size, MAX_OBJECTS)


def _look(rng):
    number = int(rng.integers(len(CLASSES)))
    return 1 + number, shapes.sprite(CLASSES[number], rng)
