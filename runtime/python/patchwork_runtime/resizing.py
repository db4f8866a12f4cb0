"""How frames of any shape get to the network's: stretched, or letterboxed; and answers back.

Stretching wastes no window on black bars, and is what the paper's square inputs suggest; a
letterbox keeps the shape of things. Boxes are fractions of the frame: stretching leaves them as they are.

OpenCV's rules in numpy: areas where a frame shrinks, two pixels a side where it grows; runtime/c/patchwork.c has
them in C.
"""

import functools
import importlib

import numpy as np

_NO_OVERLAP = 1e-3  # of an input pixel with an output pixel, as OpenCV has it
_PARTS = 2048  # of its fixed point


def letterbox(size, image_size) -> np.ndarray:
    """Where a frame of `size` (h, w) lies in an image of `image_size` (H, W): its (ymin, xmin, height, width)
    as fractions of the image, float32.
    """
    size, image_size = np.asarray(size, np.float32), np.asarray(image_size, np.float32)
    inner = np.maximum(np.round(size * np.min(image_size / size)), 1)
    return np.concatenate([(image_size - inner) // 2, inner]) / np.tile(image_size, 2)


def inner_pixels(size, image_size, resize_mode: str) -> tuple[int, int, int, int]:
    """The same in pixels: (top, left, height, width); of `resize_mode` 'stretch' the whole image."""
    if resize_mode == "stretch":
        return (0, 0, *image_size)
    return tuple(np.round(letterbox(size, image_size) * np.tile(image_size, 2)).astype(int).tolist())


def restore_boxes(boxes: np.ndarray, size, image_size, resize_mode: str) -> np.ndarray:
    """Boxes (D, 4) as fractions of the network's image, as fractions of the frame (h, w)."""
    if resize_mode == "stretch":
        return boxes
    inner = letterbox(size, image_size)
    return np.clip((boxes - np.tile(inner[:2], 2)) / np.tile(inner[2:], 2), 0, 1).astype(np.float32)


def restore_map(values: np.ndarray, size, resize_mode: str) -> np.ndarray:
    """A map (H, W) over the network's image, at the frame's size (h, w): float32, or uint8 numbers of classes."""
    top, left, height, width = inner_pixels(size, values.shape, resize_mode)
    values = values[top : top + height, left : left + width]
    if (cv2 := _opencv()) is not None:
        method = cv2.INTER_NEAREST if values.dtype == np.uint8 else cv2.INTER_LINEAR
        return cv2.resize(values, size[::-1], interpolation=method)
    if values.dtype == np.uint8:
        rows, columns = (_nearest(a, b) for a, b in zip(values.shape, size, strict=True))
        return values[rows[:, None], columns]
    for axis in (0, 1):
        first, second, part = _between(values.shape[axis], size[axis])
        part = part[:, None] if axis == 0 else part
        values = np.take(values, first, axis) * (1 - part) + np.take(values, second, axis) * part
    return values


@functools.cache
def _opencv():
    """It brings maps to large frames ten times as fast as numpy; None where it is not installed."""
    try:
        return importlib.import_module("cv2")
    except ImportError:
        return None


class Resizer:
    """Brings frames of one size to the network's, or only what a window sees of them.

    Args:
        size: (h, w) of the frames.
        image_size: (H, W) of the network.
        resize_mode: 'stretch' or 'letterbox'.
    """

    def __init__(self, size, image_size, resize_mode: str):
        self.size, self._has_bars = tuple(size), resize_mode == "letterbox"
        self._top, self._left, *inner = inner_pixels(size, image_size, resize_mode)
        self._inner = tuple(inner)
        shrinks = size[0] > image_size[0] or size[1] > image_size[1]
        by_area = shrinks and size[0] >= inner[0] and size[1] >= inner[1]
        # Exactly to a half OpenCV rounds up what lies in between.
        self._halves = by_area and all(a == 2 * b for a, b in zip(size, inner, strict=True))
        sides = list(zip(size, inner, strict=True))
        self._axes = [_areas(*pair) if by_area else _pairs(*pair, sharp=shrinks) for pair in sides]
        self._blocks = functools.cache(self._make_blocks)  # of windows there are few
        self._resize = self._shrink if by_area else self._stretch

    def fill(self, frame: np.ndarray, part, image: np.ndarray):
        """Fills part of the network's image.

        Args:
            frame: (h, w, 3) uint8.
            part: (top, left, bottom, right) in pixels of the image, as a window's.
            image: (H, W, 3) float32, to be filled with values in [-1, 1] there, and nowhere else.
        """
        top, left, bottom, right = part
        if self._has_bars:
            image[top:bottom, left:right] = -1
        rows = slice(*(min(max(side - self._top, 0), self._inner[0]) for side in (top, bottom)))
        columns = slice(*(min(max(side - self._left, 0), self._inner[1]) for side in (left, right)))
        if rows.start == rows.stop or columns.start == columns.stop:
            return
        target = image[self._top + rows.start : self._top + rows.stop, self._left + columns.start :]
        target = target[:, : columns.stop - columns.start]
        same = self.size == self._inner
        np.divide(
            frame[rows, columns] if same else self._resize(frame, rows, columns), np.float32(127.5), out=target
        )
        target -= 1

    def _shrink(self, frame, rows, columns):
        """The mean of each pixel's area, float32 that is rounded, as networks learn from 8 bits."""
        across = self._blocks(1, columns.start, columns.stop)
        left, right = across[0][2], across[-1][3]
        lines = np.empty((rows.stop - rows.start, 3 * (right - left)), np.float32)
        for start, stop, first, end, weights in self._blocks(0, rows.start, rows.stop):
            pixels = frame[first:end, left:right].astype(np.float32)
            _multiply(weights, pixels.reshape(end - first, -1), lines[start:stop])
        resized = np.empty((len(lines), 3 * (columns.stop - columns.start)), np.float32)
        for start, stop, first, end, weights in across:
            part = lines[:, 3 * (first - left) : 3 * (end - left)]
            _multiply(part, weights, resized[:, 3 * start : 3 * stop])
        rounded = np.floor(resized + 0.5) if self._halves else np.rint(resized, out=resized)
        return rounded.reshape(len(lines), -1, 3)

    def _make_blocks(self, axis, start, stop):
        """Output pixels of an axis, few by few, as products of matrices.

        Returns:
            (start, stop) in the part, (first, end) of the input pixels, and their weights (out, in), or for
            columns (3 in, 3 out), as the three colours of a pixel lie side by side.
        """
        blocks = []
        for at in range(start, stop, _BLOCK):
            shares = self._axes[axis][at : min(at + _BLOCK, stop)]
            first, end = shares[0][0][0], shares[-1][-1][0] + 1
            weights = np.zeros((len(shares), end - first), np.float32)
            for number, of_pixel in enumerate(shares):
                for index, share in of_pixel:
                    weights[number, index - first] = share
            if axis == 1:
                weights = np.kron(weights, np.eye(3, dtype=np.float32)).T.copy()
            blocks.append((at - start, at - start + len(shares), first, end, weights))
        return blocks

    def _stretch(self, frame, rows, columns):
        """Between two pixels a side, in OpenCV's fixed point."""
        (top, bottom, upper, lower), (left, right, before, after) = (
            [x[part] for x in axis] for axis, part in zip(self._axes, (rows, columns), strict=True)
        )
        lines = {}
        for name, index in (("upper", top), ("lower", bottom)):
            line = frame[index].astype(np.int32)
            lines[name] = (line[:, left] * before[:, None] + line[:, right] * after[:, None]) >> 4
        upper = (lines["upper"] * upper[:, None, None]) >> 16
        lower = (lines["lower"] * lower[:, None, None]) >> 16
        return np.clip((upper + lower + 2) >> 2, 0, 255)


_BLOCK = 4  # output pixels of a product: more would multiply by zeros, fewer would call too often
_ALONE = 1 << 18  # multiplications, from which on OpenBLAS takes several threads, and waits for them


def _multiply(a, b, product):
    """The product of two matrices, in pieces that one thread does: an app has other work for the others."""
    rows = max(_ALONE // (a.shape[1] * b.shape[1]), 1)
    columns = max(_ALONE // (a.shape[1] * min(rows, len(a))), 1)
    for row in range(0, len(a), rows):
        for column in range(0, b.shape[1], columns):
            here = slice(row, row + rows), slice(column, column + columns)
            np.matmul(a[here[0]], b[:, here[1]], out=product[here])


def _areas(size, to):
    """Of each output pixel of an axis the input pixels, and by what part they count: [(index, part), ...]."""
    scale, shares = size / to, []
    for pixel in range(to):
        start = pixel * scale
        end, width = start + scale, min(scale, size - start)
        last = min(int(np.floor(end)), size - 1)
        first = min(int(np.ceil(start)), last)
        of_pixel = [(first - 1, (first - start) / width)] if first - start > _NO_OVERLAP else []
        of_pixel += [(index, 1 / width) for index in range(first, last)]
        if end - last > _NO_OVERLAP:
            of_pixel.append((last, min(end - last, 1, width) / width))
        shares.append(of_pixel)
    return shares


def _pairs(size, to, sharp):
    """The two input pixels around each output pixel's place, and their parts of 2048, as four arrays (to,) int32.

    Where the other side shrinks, OpenCV keeps pixels sharp that grow.
    """
    scale, pixels = size / to, np.arange(to)
    place = ((pixels + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int32)
    part = place - first
    if sharp:
        first = np.floor(pixels * scale).astype(np.int32)
        part = ((pixels + 1) - (first + 1) * (to / size)).astype(np.float32)
        part = np.where(part <= 0, 0, part - np.floor(part))
    part = np.where((first < 0) | (first >= size - 1), 0, part).astype(np.float32)
    first = np.clip(first, 0, size - 1)
    parts = [np.rint(x * np.float32(_PARTS)).astype(np.int32) for x in (1 - part, part)]
    return first, np.minimum(first + 1, size - 1), *parts


def _between(size, to):
    """The two input pixels around each output pixel's place, and the second one's part, float32."""
    place = np.maximum((np.arange(to) + 0.5) * size / to - 0.5, 0)
    first = np.minimum(place.astype(int), size - 1)
    return first, np.minimum(first + 1, size - 1), (place - first).astype(np.float32)


def _nearest(size, to):
    return np.minimum(np.arange(to) * size // to, size - 1)
