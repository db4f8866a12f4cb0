"""Writes golden vectors, by which whoever runs a file elsewhere proves that all is right: see runtime.golden."""

import itertools
import os
from pathlib import Path

import cv2
import numpy as np

from patchwork_tf import files
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.data.video import Video
from patchwork_tf.runtime import metadata
from patchwork_tf.runtime.golden import FRAMES, TEXT, lines

_COUNT = 10
_CLIP = str(Path(__file__).parents[1] / "docs" / "photos.mp4")  # of the checkout, or installed below patchwork_tf
_LARGER = 1.5  # frames than the network's, and wider
_LEVELS = 0xE0  # of every channel: few, so that frames are packed well


def write(path: str, folder: str):
    """Golden vectors of an exported file. The folder is made; files of the same names are replaced."""
    facts = metadata.read(path)
    height, width = (int(_LARGER * side) // 2 * 2 for side in facts["input"]["image_size"])
    if facts["task"] == "segmentation" and len(facts["labels"]) > 1:  # they see nothing in generated scenes
        clip = np.stack([cv2.resize(frame, (width, height)) for frame in itertools.islice(Video(_CLIP), _COUNT)])
    else:
        clip = render_clip(7, _COUNT, max(height, width), "validation").frames[:, :height, :width]
    frames = np.ascontiguousarray(clip & _LEVELS)
    files.make_folder(folder)
    with files.atomic_file(os.path.join(folder, FRAMES)) as file:
        file.write(frames.tobytes())
    with files.atomic_file(os.path.join(folder, TEXT), "w") as file:
        file.writelines(f"{line}\n" for line in lines(path, frames))
