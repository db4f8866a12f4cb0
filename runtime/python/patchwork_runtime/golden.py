"""Golden vectors: frames, windows and answers by which whoever runs a file can prove that all is right.

  python -m patchwork_runtime.golden FOLDER pw.tflite        # holds this runtime against them
  runtime/c/examples/golden.c                                # does so in C

FOLDER has frames.rgb, raw frames of another size than the network's, so that scaling is tried too, and golden.txt:

  golden COUNT HEIGHT WIDTH
  frame 0 whole                        or 'window ROW COLUMN'; then of a detector, the best first,
  box YMIN XMIN YMAX XMAX SCORE LABEL
  pixel Y X VALUE                      or of a segmenter, probabilities at places of the frame, fractions; or
  pixel Y X VALUE CLASS                of one of several classes, as in `classes`, where no border is near

`patchwork-export --golden=FOLDER` writes them.
"""

import itertools
import os
import sys
from collections.abc import Iterator

import numpy as np

from .errors import DataError, UsageError
from .quiet import python_only_stderr
from .resizing import inner_pixels

FRAMES, TEXT = "frames.rgb", "golden.txt"
TOLERANCE = 1e-3  # of all numbers
_PLACES = (np.arange(8) + 0.5) / 8  # of pixels, down and across
_NEAR = 4  # pixels of the frame: beside a border of classes the last bits decide, which processors differ in


def lines(path: str, frames: np.ndarray) -> Iterator[str]:
    """What a file says of frames (T, h, w, 3), as in golden.txt."""
    yield f"golden {len(frames)} {frames.shape[1]} {frames.shape[2]}"
    for head, answer in _answers(path, frames):
        yield head
        yield from _boxes(answer) if hasattr(answer, "boxes") else _pixels(answer)


def _answers(path, frames):
    """Of each frame the line before its answer, and the answer."""
    from .stream import Model  # LiteRT takes a moment

    model = Model(path)
    stream = model.stream()
    for number, frame in enumerate(frames):
        answer = stream.push(frame)
        whole = answer.window is None or model.cells == model.window_cells
        yield f"frame {number} " + ("whole" if whole else f"window {answer.window[0]} {answer.window[1]}"), answer


def _boxes(answer):
    for box, score, label in zip(answer.boxes, answer.scores, answer.classes, strict=True):
        yield f"box {' '.join(f'{value:.6f}' for value in (*box, score))} {label}"


def _pixels(answer):
    for y, x in itertools.product(_PLACES, _PLACES):
        if answer.numbers is None or np.ptp(_around(answer.mask, y, x)) == 0:
            yield _pixel(answer, y, x)


def _pixel(answer, y, x) -> str:
    top, left, height, width = inner_pixels(answer.size, answer.probability.shape, answer.resize_mode)
    probability = answer.probability[top : top + height, left : left + width]
    text = f"pixel {y} {x} {probability[_place(y, x, probability)]:.6f}"
    return text if answer.numbers is None else f"{text} {answer.mask[_place(y, x, answer.mask)]}"


def _place(y, x, image) -> tuple[int, int]:
    return int(y * image.shape[0]), int(x * image.shape[1])


def _around(mask, y, x):
    row, column = _place(y, x, mask)
    return mask[max(row - _NEAR, 0) : row + _NEAR + 1, max(column - _NEAR, 0) : column + _NEAR + 1]


def check(folder: str, path: str) -> float:
    """Holds a file, run here, against golden vectors; returns the largest difference.

    Raises:
        DataError: at the first line that differs by more than TOLERANCE, or if there are no golden vectors.
    """
    try:
        with open(os.path.join(folder, TEXT), encoding="utf-8") as file:
            first, *expected = file.read().splitlines()
        size = (*map(int, first.split()[1:]), 3)
        frames = np.fromfile(os.path.join(folder, FRAMES), np.uint8).reshape(size)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{folder}: no golden vectors ({error})") from None
    worst, number = 0.0, 0
    for head, answer in _answers(path, frames):
        wanted = list(itertools.takewhile(lambda line: not line.startswith("frame"), expected[number + 1 :]))
        if hasattr(answer, "boxes"):
            found = [head, *_boxes(answer)]
        else:  # at the places that they name: beside borders of classes the last bits decide
            found = [head, *(_pixel(answer, *map(float, line.split()[1:3])) for line in wanted)]
        for line in found:
            said = expected[number] if number < len(expected) else "nothing more"
            worst = max(worst, _difference(said, line, f"{folder}/{TEXT}:{number + 2}"))
            number += 1
    if number != len(expected):
        raise DataError(f"{folder}/{TEXT} has {len(expected)} lines, the file gives {number}")
    return worst


def _difference(expected, found, where) -> float:
    words, worst = list(zip(expected.split(), found.split(), strict=False)), 0.0
    same = len(expected.split()) == len(found.split())
    try:
        for a, b in words:
            if a.isalpha() or b.isalpha():
                same &= a == b
            else:
                worst = max(worst, abs(float(a) - float(b)))
    except ValueError:
        same = False
    if not same or worst > TOLERANCE:
        raise DataError(f"{where}: expected '{expected}', found '{found}'")
    return worst


def main() -> int:
    """The command."""
    if len(sys.argv) != 3:
        print("usage: python -m patchwork_runtime.golden FOLDER MODEL.tflite", file=sys.stderr)
        return 2
    try:
        with python_only_stderr(to_the_end=True):
            worst = check(*sys.argv[1:])
        print(f"all agrees; the largest difference is {worst:.1e}")
    except (DataError, UsageError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
