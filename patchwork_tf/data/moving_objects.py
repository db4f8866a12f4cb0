"""moving_objects: generated video with exact boxes, masks and track ids; needs no download.

Textured objects of ten classes move over textured, moving backgrounds: small and large, slow and fast, turning,
accelerating, coming nearer, hiding each other, leaving and coming back, under camera motion, motion blur and
noise. Scenes are 'varied', which is all that, or 'sparse', what a doorbell camera sees: one or two objects, small
or middling and unhurried, before a camera that stands still, so that it matters where one looks. 'mixed' takes
turns.

Clip `index` of a split under a seed is always the same clip, whatever was drawn before it.
"""

import colorsys
import math

import cv2
import numpy as np

from patchwork_tf.data.scenes import MARGIN, Clip, Kind, render

SPLITS = ("train", "validation", "test")  # disjoint: the split is part of every clip's seed
MAX_OBJECTS = 6

_VARIED = Kind(stream=0, objects=MAX_OBJECTS)
_SPARSE = Kind(stream=2, objects=2, sizes=(0.12, 0.35), speeds=(0.002, 0.03), places=(0.1, 0.9), camera=0.0)
SCENES = {"varied": (_VARIED,), "sparse": (_SPARSE,), "mixed": (_VARIED, _SPARSE)}  # clips take turns


def render_clip(
    index: int, num_frames: int, size: int, split: str = "train", seed: int = 0, scenes: str = "varied"
) -> Clip:
    """Renders clip `index`, a function of the arguments alone; the first frames do not depend on `num_frames`.

    `size` is the side of the square frames in pixels, `split` one of SPLITS, the seed that of the whole data set,
    `scenes` a key of SCENES.
    """
    kind = SCENES[scenes][index % len(SCENES[scenes])]
    rng, noise_rng = (np.random.default_rng([seed, SPLITS.index(split), index, kind.stream + k]) for k in range(2))
    return render(rng, noise_rng, kind, _look, background, num_frames, size, MAX_OBJECTS)


def _look(rng):
    number = int(rng.integers(len(CLASSES)))
    return 1 + number, sprite(CLASSES[number], rng)


# Silhouettes and surfaces of the objects, drawn as square RGBA sprites.

SPRITE_SIZE = 96  # pixels; an object is a scaled, rotated, blurred copy of its sprite
_MARGIN = round(SPRITE_SIZE * MARGIN)
_OVERSAMPLING = 4  # silhouettes are drawn this much larger and averaged down


def _regular(corners: int, turn: float = 0.0, inner: float | None = None) -> np.ndarray:
    """A regular polygon, or with `inner` a star of that inner radius, in [-1, 1]^2 as (x, y)."""
    count = corners * 2 if inner else corners
    angle = np.arange(count) * 2 * np.pi / count + turn
    radius = np.where(np.arange(count) % 2 == 1, inner, 1.0) if inner else np.ones(count)
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 17


def _crescent() -> np.ndarray:
    outer = np.linspace(0.2 * np.pi, 1.8 * np.pi, 40)
    inner = outer[::-1]
    arc = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    bite = np.stack([0.36 + 0.75 * np.cos(inner), 0.78 * np.sin(inner)], axis=1)
    return np.concatenate([arc, bite])


_CROSS = np.array(
    [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)]
)
_ARROW = np.array([(0, -1), (0.9, 0), (0.4, 0), (0.4, 1), (-0.4, 1), (-0.4, 0), (-0.9, 0)])

# A class is an outline with its own kind of surface and a typical hue, as a zebra or a fire engine has;
# where hues overlap, and on what a network has not learned yet to tell by colour, the outline decides.
OUTLINES = {
    "disc": _regular(48),
    "square": _regular(4, np.pi / 4) * np.sqrt(2) * 0.85,
    "triangle": _regular(3),
    "star": _regular(5, inner=0.42),
    "hexagon": _regular(6),
    "cross": _CROSS / 3,
    "heart": _heart(),
    "crescent": _crescent(),
    "arrow": _ARROW,
    "ring": _regular(48),
}
SURFACES = ("stripes", "checks", "dots", "rays", "bricks", "waves", "shading", "speckles", "bands", "plain")
CLASSES = tuple(OUTLINES)
HUE_SPREAD = 0.5  # standard deviation, in steps from one class's hue to the next


def silhouette(name: str) -> np.ndarray:
    """Coverage of a class's outline, (96, 96) float32 in [0, 1]."""
    side = SPRITE_SIZE * _OVERSAMPLING
    radius = (SPRITE_SIZE / 2 - _MARGIN) * _OVERSAMPLING
    mask = np.zeros((side, side), np.uint8)
    points = np.round(OUTLINES[name] * radius + side / 2).astype(np.int32)
    cv2.fillPoly(mask, [points], 255)
    if name == "ring":
        cv2.circle(mask, (side // 2, side // 2), int(0.5 * radius), 0, thickness=-1)
    mask = cv2.resize(mask, (SPRITE_SIZE, SPRITE_SIZE), interpolation=cv2.INTER_AREA)
    return mask.astype(np.float32) / 255


_SILHOUETTES = {name: silhouette(name) for name in CLASSES}
_Y, _X = (np.mgrid[:SPRITE_SIZE, :SPRITE_SIZE].astype(np.float32) + 0.5) / SPRITE_SIZE - 0.5


def _pattern(kind: str, rng: np.random.Generator) -> np.ndarray:
    """How much of the second colour a surface shows where, (96, 96) float32 in [0, 1]."""
    x, y = _X, _Y
    turn = rng.uniform(0, math.pi)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    n = rng.uniform(3, 6)
    if kind == "stripes":
        wave = np.sin(2 * math.pi * n * u)
    elif kind == "checks":
        wave = np.sin(2 * math.pi * n * u) * np.sin(2 * math.pi * n * v) * 4
    elif kind == "dots":
        wave = np.cos(2 * math.pi * n * u) + np.cos(2 * math.pi * n * v) - 0.8
    elif kind == "rays":
        wave = np.sin(round(2 * n) * np.arctan2(y, x))
    elif kind == "bricks":
        row = np.floor(n * v * 2)
        wave = np.minimum(np.abs(n * v * 2 - row - 0.5), np.abs((n * u + row / 2) % 1 - 0.5) * 2) * 8 - 1
    elif kind == "waves":
        wave = np.sin(2 * math.pi * (n * u + 0.3 * np.sin(4 * math.pi * v)))
    elif kind == "shading":
        return u / 1.4 + 0.5
    elif kind == "speckles":
        small = rng.random((16, 16), dtype=np.float32)
        wave = cv2.resize(small, (SPRITE_SIZE, SPRITE_SIZE), interpolation=cv2.INTER_CUBIC) * 6 - 3
    elif kind == "bands":
        wave = np.sin(2 * math.pi * n * np.hypot(x, y) * 1.5)
    else:
        return np.zeros_like(x)
    return np.clip(wave * 2 + 0.5, 0, 1)


def sprite(name: str, rng: np.random.Generator) -> np.ndarray:
    """One object's look: (96, 96, 4) float32, colours in [0, 255] times alpha, alpha in [0, 1]."""
    surface = SURFACES[CLASSES.index(name)]
    hue = (CLASSES.index(name) + rng.normal(0, HUE_SPREAD)) / len(CLASSES)
    first = np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.5, 1), rng.uniform(0.5, 1))) * 255
    second = first * rng.uniform(0.1, 0.5) if rng.random() < 0.5 else 255 - (255 - first) * rng.uniform(0.1, 0.5)
    pattern = _pattern(surface, rng)
    alpha = _SILHOUETTES[name]
    channels = [(float(a) + float(b - a) * pattern) * alpha for a, b in zip(first, second, strict=True)]
    return np.dstack([*channels, alpha])


def background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A cluttered surface, (size, size, 3) float32 in [0, 255]: noise of several scales, strokes, patches."""
    image = np.full((size, size, 3), rng.uniform(40, 215, 3), np.float32)
    for cells, strength in ((3, 50), (8, 35), (24, 25), (64, 15)):
        noise = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        grey = noise.mean(axis=2, keepdims=True)
        noise = strength * rng.uniform(0.4, 1.2) * (0.5 * noise + grey)
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    for _ in range(rng.integers(4, 16)):
        ends = rng.integers(0, size, 4)
        colour = rng.uniform(0, 255, 3).tolist()
        start, end = tuple(int(v) for v in ends[:2]), tuple(int(v) for v in ends[2:])
        if rng.random() < 0.5:
            cv2.line(image, start, end, colour, thickness=int(rng.integers(1, 1 + size // 40)))
        else:
            axes = tuple(int(v) for v in rng.integers(2, size // 8, 2))
            cv2.ellipse(image, start, axes, float(rng.uniform(0, 180)), 0, 270, colour, thickness=2)
    return np.clip(image, 0, 255)
