"""Golden vectors: frames, windows and answers by which whoever runs a file elsewhere can prove that all is right.

  python -m patchwork_tf.export.golden FOLDER pw.tflite      # holds LiteRT in Python against them
  runtime/c/examples/golden.c                                # does so in C

FOLDER has frames.rgb, raw frames of another size than the network's, so that scaling is tried too, and golden.txt:

  golden COUNT HEIGHT WIDTH
  frame 0 whole                        or 'window ROW COLUMN'; then of a detector, the best first,
  box YMIN XMIN YMAX XMAX SCORE LABEL
  pixel Y X VALUE                      or of a segmenter, probabilities at places of the frame, fractions; or
  pixel Y X VALUE CLASS                of one of several classes, as in `classes`, where no border is near
"""

import itertools
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from patchwork_tf import files
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.runtime import quiet
from patchwork_tf.streaming.stream import stream

FRAMES, TEXT = "frames.rgb", "golden.txt"
TOLERANCE = 1e-3  # of all numbers
_COUNT = 10
_CLIP = str(Path(__file__).parents[1] / "docs" / "photos.mp4")  # of the checkout, or installed below patchwork_tf
_LARGER = 1.5  # frames than the network's, and wider
_LEVELS = 0xE0  # of every channel: few, so that frames are packed well
_PLACES = (np.arange(8) + 0.5) / 8  # of pixels, down and across
_NEAR = 4  # pixels of the frame: beside a border of classes the last bits decide, which processors differ in


def write(path: str, folder: str):
    """Golden vectors of an exported file. The folder is made; files of the same names are replaced."""
    step = ExportedStep(path)
    height, width = (int(_LARGER * side) // 2 * 2 for side in step.config.image_size)
    if step.config.num_classes > 1 and step.config.task == "segmentation":  # they see nothing in generated scenes
        clip = np.stack([cv2.resize(frame, (width, height)) for frame in itertools.islice(Video(_CLIP), _COUNT)])
    else:
        clip = render_clip(7, _COUNT, max(height, width), "validation").frames[:, :height, :width]
    frames = np.ascontiguousarray(clip & _LEVELS)
    files.make_folder(folder)
    with files.atomic_file(os.path.join(folder, FRAMES)) as file:
        file.write(frames.tobytes())
    with files.atomic_file(os.path.join(folder, TEXT), "w") as file:
        file.write(f"golden {_COUNT} {height} {width}\n")
        file.writelines(f"{line}\n" for line in _lines(step, frames))


def _lines(step, frames):
    for number, answer in enumerate(stream(step, frames)):
        whole = answer.window is None or step.grid.is_whole_frame
        window = "whole" if whole else f"window {answer.window[0]} {answer.window[1]}"
        yield f"frame {number} {window}"
        if hasattr(answer, "boxes"):
            for box, score, label in zip(answer.boxes, answer.scores, answer.classes, strict=True):
                yield f"box {' '.join(f'{value:.6f}' for value in (*box, score))} {label}"
            continue
        for y, x in itertools.product(_PLACES, _PLACES):
            pixel = f"pixel {y} {x} {answer.probability[_place(y, x, answer.probability)]:.6f}"
            if step.config.num_classes == 1:
                yield pixel
            elif (around := _around(answer.mask, y, x)).min() == around.max():
                yield f"{pixel} {around[0, 0]}"


def _place(y, x, image) -> tuple[int, int]:
    return int(y * image.shape[0]), int(x * image.shape[1])


def _around(mask, y, x):
    row, column = _place(y, x, mask)
    return mask[max(row - _NEAR, 0) : row + _NEAR + 1, max(column - _NEAR, 0) : column + _NEAR + 1]


def check(folder: str, path: str) -> float:
    """Holds a file, run by LiteRT here, against golden vectors; returns the largest difference.

    Raises:
        DataError: at the first line that differs by more than TOLERANCE, or if there are no golden vectors.
    """
    try:
        with open(os.path.join(folder, TEXT), encoding="utf-8") as file:
            expected = file.read().splitlines()
        word, count, height, width = expected[0].split()
        size = (int(count), int(height), int(width), 3)
        frames = np.fromfile(os.path.join(folder, FRAMES), np.uint8).reshape(size)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{folder}: no golden vectors ({error})") from None
    found, worst = [f"{word} {count} {height} {width}", *_lines(ExportedStep(path), frames)], 0.0
    for number, (a, b) in enumerate(zip(expected, found, strict=False), start=1):
        worst = max(worst, _difference(a, b, f"{folder}/{TEXT}:{number}"))
    if len(expected) != len(found):
        raise DataError(f"{folder}/{TEXT} has {len(expected)} lines, the file gives {len(found)}")
    return worst


def _difference(expected, found, where) -> float:
    words = list(zip(expected.split(), found.split(), strict=False))
    texts = [(a, b) for a, b in words if a.isalpha() or b.isalpha()]
    numbers = [abs(float(a) - float(b)) for a, b in words if not (a.isalpha() or b.isalpha())]
    worst = max(numbers, default=0.0)
    same_shape = len(expected.split()) == len(found.split()) and all(a == b for a, b in texts)
    if not same_shape or worst > TOLERANCE:
        raise DataError(f"{where}: expected '{expected}', found '{found}'")
    return worst


def main() -> int:
    """The command."""
    if len(sys.argv) != 3:
        print("usage: python -m patchwork_tf.export.golden FOLDER MODEL.tflite", file=sys.stderr)
        return 2
    try:
        with quiet.python_only_stderr(to_the_end=True):
            worst = check(*sys.argv[1:])
        print(f"all agrees; the largest difference is {worst:.1e}")
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
