"""How frames of any shape get to the model's, by OpenCV, and in the graph; runtime.resizing has the way back."""

import cv2
import numpy as np
import tensorflow as tf

from patchwork_tf.runtime.resizing import inner_pixels


def resize_frame(frame: np.ndarray, image_size, resize_mode: str) -> np.ndarray:
    """An image (h, w, C) uint8 at `image_size` (H, W), by OpenCV."""
    shrinks = frame.shape[0] > image_size[0] or frame.shape[1] > image_size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if resize_mode == "stretch":
        same = frame.shape[:2] == tuple(image_size)
        return frame if same else cv2.resize(frame, image_size[::-1], interpolation=method)
    top, left, height, width = inner_pixels(frame.shape[:2], image_size, resize_mode)
    image = np.zeros((*image_size, frame.shape[2]), np.uint8)
    image[top : top + height, left : left + width] = cv2.resize(frame, (width, height), interpolation=method)
    return image


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
