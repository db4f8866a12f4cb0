"""Scenes: things that move over a background before a camera, with exact boxes, masks and track ids.

What things look like, and the background, come from elsewhere: drawn shapes (moving_objects.py), or cut-outs of
photographs (coco_scenes.py).
"""

import dataclasses
import functools
from collections.abc import Callable

import cv2
import numpy as np

# A thing is annotated while this many pixels of it, and this part of its silhouette, are visible.
MIN_VISIBLE_PIXELS = 16
MIN_VISIBLE_PART = 0.2
MARGIN = 1 / 24  # of a look's side: transparent on all four, so that a warped edge is antialiased

_CANVAS = 1.6  # the background's side, relative to the frame's
_SHUTTER = 0.5  # how much of the time between two frames the shutter is open


@dataclasses.dataclass(frozen=True)
class Kind:
    """What scenes of one kind show: ranges that are drawn from, lengths in sides of the frame."""

    stream: int  # keeps the random numbers of the kinds apart
    objects: int  # at most
    sizes: tuple[float, float] = (0.09, 0.65)  # of things, their larger side
    speeds: tuple[float, float] = (0.002, 0.08)  # per frame
    places: tuple[float, float] = (-0.1, 1.1)  # of the centres in the first frame
    camera: float = 1.0  # how lively, 0 if it stands still
    turns: float = 1.0  # how much things turn and change their speed, 0 if they neither do
    outside: float = 0.3  # how far beyond the frame their centres go before they turn back


@dataclasses.dataclass
class Clip:
    """A generated clip of T frames with up to G objects."""

    frames: np.ndarray  # (T, S, S, 3) uint8, RGB
    instances: np.ndarray  # (T, S, S) uint8, 1 + object index of the object seen at each pixel, 0 for none
    boxes: np.ndarray  # (T, G, 4) float32, ymin, xmin, ymax, xmax of the visible pixels, as fractions
    labels: np.ndarray  # (T, G) int32, 1 + class where the object is annotated, else 0
    track_ids: np.ndarray  # (G,) int32, the same for an object throughout its clip

    def objects(self, t: int) -> list[dict]:
        """Those of a frame, as `schema.video_features` has them."""
        return [
            {
                "box": self.boxes[t, g],
                "label": self.labels[t, g] - 1,
                "track_id": self.track_ids[g],
                "occluded": False,
                "generated": True,
            }
            for g in self.labels[t].nonzero()[0]
        ]


@dataclasses.dataclass
class _Body:
    """One object: its look and its motion, in fractions of the frame and frames of time."""

    label: int
    mipmaps: list
    size: float
    growth: float
    position: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    angle: float
    spin: float
    outside: float

    def place(self, t):
        """Position (2,), size and angle at time t. Bodies turn back some way outside of the frame."""
        path = self.position + self.velocity * t + 0.5 * self.acceleration * t * t
        reach = 1 + 2 * self.outside
        folded = np.abs((path + self.outside) % (2 * reach) - reach)  # triangle wave: out and back again
        size = np.clip(self.size * np.exp(self.growth * np.sin(t / 12)), 0.05, 0.95)
        return 1 + self.outside - folded, size, self.angle + self.spin * t


def render(
    rng,
    noise_rng,
    kind: Kind,
    draw_look: Callable,
    draw_background: Callable,
    num_frames: int,
    size: int,
    slots=None,
) -> Clip:
    """Renders a clip of T frames, S pixels square; the first ones do not depend on how many there are.

    Args:
        rng, noise_rng: np.random.Generator, of the scene and of the noise.
        draw_look: function of rng; returns a class, from 1, and a look: square RGBA float32, colours in [0, 255]
            times alpha, alpha in [0, 1], with a margin of MARGIN.
        draw_background: function of a side in pixels and rng; returns a picture (side, side, 3) float32.
        slots: G, of the clip's arrays; by default as many as there are things.
    """
    bodies = [_random_body(rng, kind, draw_look) for _ in range(rng.integers(1, kind.objects + 1))]
    camera = _Camera(rng, kind.camera)
    canvas = draw_background(int(size * _CANVAS), rng)
    noise_level = rng.uniform(1, 9)
    slots = slots or len(bodies)
    clip = Clip(
        frames=np.zeros((num_frames, size, size, 3), np.uint8),
        instances=np.zeros((num_frames, size, size), np.uint8),
        boxes=np.zeros((num_frames, slots, 4), np.float32),
        labels=np.zeros((num_frames, slots), np.int32),
        track_ids=np.arange(1, slots + 1, dtype=np.int32),
    )
    for t in range(num_frames):
        image = _render_frame(t, bodies, camera, canvas, clip)
        top, left = noise_rng.integers(0, size, 2)
        image += noise_level * _noise_plate(size)[top : top + size, left : left + size]
        clip.frames[t] = np.clip(image, 0, 255)
    return clip


def _random_body(rng, kind: Kind, draw_look) -> _Body:
    label, look = draw_look(rng)
    mipmaps = [look]
    while mipmaps[-1].shape[0] > 12:
        half = mipmaps[-1].shape[0] // 2
        mipmaps.append(cv2.resize(mipmaps[-1], (half, half), interpolation=cv2.INTER_AREA))
    direction = rng.uniform(0, 2 * np.pi)
    speed = np.exp(rng.uniform(*np.log(kind.speeds)))
    heading = np.array([np.sin(direction), np.cos(direction)])
    return _Body(
        label=label,
        mipmaps=mipmaps,
        size=float(np.exp(rng.uniform(*np.log(kind.sizes)))),
        growth=rng.uniform(-0.3, 0.3),
        position=rng.uniform(*kind.places, 2),
        velocity=heading * speed,
        acceleration=kind.turns * rng.normal(0, 0.05, 2) * speed,
        angle=kind.turns * rng.uniform(-25, 25),
        spin=kind.turns * rng.normal(0, 2),
        outside=kind.outside,
    )


class _Camera:
    """Pan, shake, zoom and roll over the background canvas."""

    def __init__(self, rng, liveliness):
        self.amplitude = liveliness * rng.uniform(0, 0.1, 2)
        self.rate = rng.uniform(0.02, 0.25, 2)
        self.phase = rng.uniform(0, 2 * np.pi, 4)
        self.zoom = liveliness * rng.uniform(0, 0.08)
        self.roll = liveliness * rng.uniform(0, 4)

    def at(self, t):
        """Shift (2,) as a fraction of the frame, zoom factor and roll in degrees."""
        shift = self.amplitude * np.sin(self.rate * t + self.phase[:2])
        zoom = 1 + self.zoom * np.sin(0.07 * t + self.phase[2])
        return shift, zoom, self.roll * np.sin(0.05 * t + self.phase[3])


def _render_frame(t, bodies, camera, canvas, clip):
    """Draws frame t (S, S, 3) float32 back to front, without noise, and writes its annotation to `clip`."""
    size = clip.frames.shape[1]
    shift, zoom, roll = camera.at(t)
    shift_before, _, _ = camera.at(t - _SHUTTER)
    center = canvas.shape[0] / 2
    matrix = cv2.getRotationMatrix2D((center, center), roll, zoom)
    matrix[:, 2] += (shift[::-1]) * size - center + size / 2
    image = cv2.warpAffine(canvas, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    image = _motion_blur(image, (shift - shift_before) * size)
    areas = np.zeros(len(bodies))
    for number, body in enumerate(bodies):
        now = _seen(body, t, shift, zoom, size)
        before = _seen(body, t - _SHUTTER, shift_before, zoom, size)
        areas[number] = _draw(image, clip.instances[t], number + 1, body, now, now[0] - before[0])
    _annotate(clip, t, bodies, areas)
    return image


@functools.lru_cache(maxsize=4)
def _noise_plate(size):
    """Noise of a sensor, of which a random part is in every frame: drawing it anew would take longer than that."""
    return np.random.default_rng(0).standard_normal((2 * size, 2 * size, 3), dtype=np.float32)


def _seen(body, t, shift, zoom, frame_size):
    """Centre (y, x) in pixels, size in pixels and angle of a body as the camera sees it."""
    position, size, angle = body.place(t)
    return ((position - 0.5) * zoom + 0.5 + shift) * frame_size, size * zoom * frame_size, angle


def _draw(image, instances, number, body, place, motion):
    """Paints a body, blurred along its motion (2,) in pixels; returns its whole silhouette's area."""
    center, size, angle = place
    look = next((m for m in body.mipmaps[::-1] if m.shape[0] >= size), body.mipmaps[0])
    half = int(np.ceil(size * 0.75 + np.abs(motion).max())) + 2
    top, left = np.floor(center).astype(int) - half
    scale = size / (look.shape[0] * (1 - 2 * MARGIN))
    middle = (look.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), angle, scale)
    matrix[:, 2] += center[::-1] - (left, top) - middle
    patch = cv2.warpAffine(look, matrix, (2 * half, 2 * half), borderValue=0)
    solid = patch[..., 3] > 0.5
    area = np.count_nonzero(solid)
    frame_size = image.shape[0]
    rows = slice(max(top, 0), min(top + 2 * half, frame_size))
    columns = slice(max(left, 0), min(left + 2 * half, frame_size))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return area
    part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    patch = _motion_blur(patch, motion)[part]
    image[rows, columns] *= 1 - patch[..., 3:]
    image[rows, columns] += patch[..., :3]
    instances[rows, columns][solid[part]] = number
    return area


def _motion_blur(image, motion):
    """Averages an image along a motion (dy, dx) in pixels."""
    length = int(np.ceil(np.abs(motion).max()))
    if length < 2:
        return image
    steps = np.linspace(-0.5, 0.5, 2 * length + 1)[:, None] * motion
    kernel = np.zeros((length | 1, length | 1), np.float32)
    middle = kernel.shape[0] // 2
    cells = np.clip(np.round(steps).astype(int) + middle, 0, 2 * middle)
    np.add.at(kernel, (cells[:, 0], cells[:, 1]), 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _annotate(clip, t, bodies, areas):
    """Boxes of what is visible of each body, from the instance map: exact by construction."""
    size = clip.instances.shape[1]
    for index, body in enumerate(bodies):
        mask = (clip.instances[t] == index + 1).view(np.uint8)
        visible = cv2.countNonZero(mask)
        if visible < MIN_VISIBLE_PIXELS or visible < MIN_VISIBLE_PART * areas[index]:
            continue
        x, y, width, height = cv2.boundingRect(mask)
        clip.boxes[t, index] = np.array([y, x, y + height, x + width], np.float32) / size
        clip.labels[t, index] = body.label
