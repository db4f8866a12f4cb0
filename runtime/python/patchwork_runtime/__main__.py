"""Answers clips and cameras by an exported file, and says how fast.

python -m patchwork_runtime pw.tflite clip.mp4 --json > answers.jsonl     # a line of JSON per frame
python -m patchwork_runtime pw.tflite --camera 0 --camera 1               # many cameras by turns
"""

import argparse
import json
import sys
import time

import numpy as np

from .errors import DataError, UsageError
from .frames import STARTS
from .quiet import python_only_stderr

_EVERY = 1.0  # seconds between two lines of progress


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code: 1 for files and cameras that cannot be read, 2 for wrong usage."""
    flags = _parser().parse_args(arguments)
    with python_only_stderr(to_the_end=__name__ == "__main__"):
        return _main(flags)


def _main(flags) -> int:
    sources = []
    try:
        if not flags.sources and not flags.camera:
            raise UsageError("name a clip, or a camera by --camera")
        sources = _opened(flags)
        _run(sources, flags)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    except (DataError, UsageError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"cannot write: {error.strerror or error}", file=sys.stderr)
        return 1
    finally:
        for source in sources:
            print(source.summary(), file=sys.stderr)
    return 0


def _parser():
    parser = argparse.ArgumentParser("python -m patchwork_runtime", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a file of patchwork-export")
    parser.add_argument("sources", nargs="*", metavar="clip", help="a video file; several are answered by turns")
    parser.add_argument(
        "--camera", action="append", default=[], help="a camera's number, or its device; again for more"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for every frame")
    parser.add_argument("--min_score", type=float, default=0.3, help="leave out detections below (default 0.3)")
    parser.add_argument("--max_frames", type=int, help="of each clip or camera; by default all")
    parser.add_argument("--start", choices=STARTS, default="whole", help="sweep: no first frame that costs more")
    parser.add_argument(
        "--threads", type=int, default=1, help="of inference (default 1, fastest for small windows)"
    )
    return parser


class _Source:
    """A clip or a camera, and its stream."""

    def __init__(self, name, frames, stream):
        self.name, self.stream = name, stream
        self._frames, self._began, self._seconds = iter(frames), time.monotonic(), []

    def answer(self):
        """To the next frame, (answer, (h, w)); None at the end."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        start = time.perf_counter()
        answer = self.stream.push(frame)
        self._seconds.append(time.perf_counter() - start)
        return answer, frame.shape[:2]

    @property
    def count(self) -> int:
        return len(self._seconds)

    def rate(self) -> str:
        return f"{self.name}: {self.count} frames, {self.count / (time.monotonic() - self._began):.1f} a second"

    def summary(self) -> str:
        if not self._seconds:
            return f"{self.name}: no frame"
        middle, late = np.percentile(np.array(self._seconds) * 1e3, [50, 95])
        return (
            f"{self.rate()}; a frame takes {middle:.1f} ms, p95 {late:.1f}, at most {max(self._seconds) * 1e3:.1f}"
        )


def _opened(flags) -> list[_Source]:
    from . import stream, video  # LiteRT takes a moment that --help need not take

    model = stream.Model(flags.model, flags.threads)
    named = [(path, lambda path=path: video.frames(path)) for path in flags.sources]
    named += [(f"camera {x}", lambda x=x: video.Camera(int(x) if x.isdecimal() else x)) for x in flags.camera]
    sources = [_Source(name, opened(), model.stream(flags.start)) for name, opened in named]
    for source in sources:
        source.labels = model.labels
    return sources


def _run(sources, flags):
    told, left = time.monotonic(), list(sources)
    while left:
        for source in list(left):
            answered = source.answer() if flags.max_frames is None or source.count < flags.max_frames else None
            if answered is None:
                left.remove(source)
            elif flags.json:
                print(json.dumps(_record(source, *answered, flags.min_score)), flush=True)
        if time.monotonic() - told > _EVERY and not flags.json:
            told = time.monotonic()
            print(" | ".join(source.rate() for source in left), file=sys.stderr)


def _record(source, answer, size, min_score) -> dict:
    """An answer in JSON: boxes as fractions (ymin, xmin, ymax, xmax), or a mask as COCO's run lengths."""
    found = {"source": source.name, "frame": source.count - 1, "window": answer.window}
    if hasattr(answer, "boxes"):
        shown = answer.scores >= min_score
        return found | {
            "boxes": answer.boxes[shown].round(5).tolist(),
            "scores": answer.scores[shown].round(5).tolist(),
            "classes": [source.labels[label] for label in answer.classes[shown]],
        }
    if hasattr(answer, "probability"):
        numbers = np.unique(answer.mask[answer.mask > 0]).tolist()
        masks = {source.labels[number - 1]: _run_lengths(answer.mask == number) for number in numbers}
        return found | {"size": list(size), "masks": masks}
    return found | {
        "maps": {name: {"mean": float(x.mean()), "max": float(x.max())} for name, x in answer.maps.items()}
    }


def _run_lengths(mask) -> dict:
    """COCO's, not compressed: how many pixels are out, in, out, ..., column by column."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return {"size": list(mask.shape), "counts": np.diff(edges, prepend=0).tolist()}


if __name__ == "__main__":
    sys.exit(main())
