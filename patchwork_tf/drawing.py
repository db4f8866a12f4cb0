"""Drawing onto pictures (H, W, 3) uint8 RGB: boxes, masks and captions. What draws does so in place."""

import colorsys

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MASK_COLOUR = (60, 200, 255)


def tint(image, mask, colour=_MASK_COLOUR, text="") -> np.ndarray:
    """A new image in which the foreground, mask (h, w) bool, is coloured and outlined, a text in its midst."""
    mask = cv2.resize(mask.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    tinted = (0.5 * image + 0.5 * np.array(colour)).astype(np.uint8)
    image = np.where(mask[..., None] > 0, tinted, image)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outlines, -1, colour, thickness(image), cv2.LINE_AA)
    if text and outlines:
        left, top, width, height = cv2.boundingRect(max(outlines, key=cv2.contourArea))
        x, y = left + width // 2, top + height // 2
        _label(image, text, colour, lambda width, height: (x - width // 2 - 2, y - height // 2 - 3))
    return image


def _label(image, text, colour, place):
    """A text within the image; `place` is a function of its width and height to where it is wanted."""
    scale = 0.4 * thickness(image) ** 0.5
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    left, top = place(width, height)
    left = int(np.clip(left, 0, max(0, image.shape[1] - width - 4)))
    top = int(np.clip(top, 0, max(0, image.shape[0] - height - 6)))
    cv2.rectangle(image, (left, top), (left + width + 4, top + height + 6), colour, -1)
    cv2.putText(image, text, (left + 2, top + height + 2), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)


def draw_box(image, box, text, colour):
    """A box (4,), as fractions of the image, with a text on it."""
    height, width = image.shape[:2]
    ymin, xmin, ymax, xmax = (box * [height, width, height, width]).round().astype(int).tolist()
    cv2.rectangle(image, (xmin, ymin), (xmax - 1, ymax - 1), colour, thickness(image), cv2.LINE_AA)
    _label(image, text, colour, lambda _, height: (xmin, ymin - height - 6))


def caption(image, text):
    """A text along the bottom."""
    height, width = image.shape[:2]
    scale = 0.45 * thickness(image) ** 0.5
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    scale = min(scale, scale * (width - 12) / text_width)
    cv2.rectangle(image, (0, height - text_height - 12), (width, height), (0, 0, 0), -1)
    cv2.putText(image, text, (6, height - 6), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def thickness(image) -> int:
    """Of lines, in pixels."""
    return max(1, round(min(image.shape[:2]) / 360))


def class_colour(label: int, count: int) -> tuple[int, int, int]:
    """The colour of one of `count` classes."""
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(label / max(1, count), 0.65, 1.0))
