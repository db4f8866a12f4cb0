"""How frames of any shape get to the model's: stretched, or letterboxed.

Stretching wastes no window on black bars, and is what the paper's square inputs suggest; a
letterbox keeps the shape of things. Boxes are fractions of the frame: stretching leaves them as they are.
"""

import cv2
import numpy as np
import tensorflow as tf


def letterbox(size, image_size):
    """Where a frame of `size` (h, w) lies in an image of `image_size` (H, W): its (ymin, xmin, height, width)
    as fractions of the image, float32 numpy.
    """
    size, image_size = np.asarray(size, np.float32), np.asarray(image_size, np.float32)
    inner = np.maximum(np.round(size * np.min(image_size / size)), 1)
    return np.concatenate([(image_size - inner) // 2, inner]) / np.tile(image_size, 2)


def resize_frame(frame: np.ndarray, image_size, resize_mode: str) -> np.ndarray:
    """An image (h, w, C) uint8 at `image_size` (H, W), by OpenCV."""
    shrinks = frame.shape[0] > image_size[0] or frame.shape[1] > image_size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if resize_mode == "stretch":
        same = frame.shape[:2] == tuple(image_size)
        return frame if same else cv2.resize(frame, image_size[::-1], interpolation=method)
    top, left, height, width = _pixels(letterbox(frame.shape[:2], image_size), image_size)
    image = np.zeros((*image_size, frame.shape[2]), np.uint8)
    image[top : top + height, left : left + width] = cv2.resize(frame, (width, height), interpolation=method)
    return image


def restore_boxes(boxes: np.ndarray, size, image_size, resize_mode: str) -> np.ndarray:
    """Boxes (D, 4) as fractions of the model's image, as fractions of the frame (h, w)."""
    if resize_mode == "stretch":
        return boxes
    inner = letterbox(size, image_size)
    return np.clip((boxes - np.tile(inner[:2], 2)) / np.tile(inner[2:], 2), 0, 1).astype(np.float32)


def restore_map(values: np.ndarray, size, resize_mode: str) -> np.ndarray:
    """A map (H, W) over the model's image, at the frame's size (h, w): float32, or uint8 numbers of classes."""
    if resize_mode == "letterbox":
        top, left, height, width = _pixels(letterbox(size, values.shape), values.shape)
        values = values[top : top + height, left : left + width]
    method = cv2.INTER_NEAREST if values.dtype == np.uint8 else cv2.INTER_LINEAR
    return cv2.resize(values, size[::-1], interpolation=method)


def _pixels(inner, image_size):
    return np.round(inner * np.tile(image_size, 2)).astype(int).tolist()


def resize_images(images, image_size, resize_mode: str, method: str = "area"):
    """Images (T, h, w, C) uint8 at `image_size` (H, W), in the graph; 'nearest' for masks."""
    if resize_mode == "stretch" and images.shape[1:3] == tuple(image_size):
        return images
    resize = {"method": "nearest"} if method == "nearest" else {"method": "bilinear", "antialias": True}
    if resize_mode == "stretch":
        resized = tf.image.resize(images, image_size, **resize)
    else:
        resized = tf.image.resize_with_pad(images, *image_size, **resize)
    rounded = tf.cast(tf.round(tf.clip_by_value(tf.cast(resized, tf.float32), 0, 255)), tf.uint8)
    return tf.ensure_shape(rounded, (images.shape[0], *image_size, images.shape[-1]))


def resize_boxes(boxes, size, image_size, resize_mode: str):
    """Boxes (..., 4) as fractions of frames of `size` (2,) float32, as fractions of the image, in the graph."""
    if resize_mode == "stretch":
        return boxes
    image_size = tf.constant(image_size, tf.float32)
    inner = size * tf.reduce_min(image_size / size) / image_size  # what resize_with_pad fills, but for rounding
    return boxes * tf.tile(inner, (2,)) + tf.tile((1 - inner) / 2, (2,))
