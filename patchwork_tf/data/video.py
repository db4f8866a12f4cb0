"""Reading any video that FFmpeg decodes, or a folder of frames; writing mp4 and GIF."""

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from patchwork_tf import pictures
from patchwork_tf.data.video_file import VideoFile, upright
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.files import atomic_file
from patchwork_tf.runtime.frames import check_size

FOLDER_FPS = 25.0  # of a folder of frames, which does not say
_CLOCK = 90_000  # ticks per second of files that are written


class Video:
    """Frames of a video file, a folder of pictures, or one picture, upright, decoded as they are needed.

    Raises DataError if there is nothing there, or no frame in it, or a file is cut off. Later, at the first frame
    that is corrupt or of another size than those before.
    """

    def __init__(self, path: str):
        self.path = path
        self._pictures = _pictures(path)
        self._file = None if self._pictures else VideoFile(path)
        self.fps = self._file.fps if self._file and self._file.fps else FOLDER_FPS
        # As far as is known before decoding, else None.
        self.num_frames = self._file.num_frames if self._file else len(self._pictures)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (h, w, 3) uint8 RGB frames."""
        return (frame for frame, _ in self.shown())

    def shown(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yields every frame and for how many seconds it is shown."""
        return self._decode() if self._file else self._read_pictures()

    def read(self, choose) -> np.ndarray:
        """Some of the frames (T, h, w, 3). The first time all of a file is decoded.

        `choose` is a function of how many frames there are to the numbers (T,) that are wanted, rising.
        """
        if self._file:
            return np.stack(self._file.read(choose(self._file.count())))
        return np.stack([frame for frame, _ in self._read_pictures(choose(len(self._pictures)))])

    def _read_pictures(self, numbers=None):
        first = None
        for number in range(len(self._pictures)) if numbers is None else numbers:
            frame = pictures.read_picture(self._pictures[number])
            first = first or frame.shape[:2]
            check_size(frame.shape[:2], first, f"{self.path}: frame {number}")
            yield frame, 1 / self.fps

    def _decode(self):
        """Frames are shown until the next one's time; the last one for as long as it says.

        Where there is no time, or one that is not later than the last, frames follow each other at the usual rate.
        """
        before, start, seconds = None, 0.0, 1 / self.fps
        for frame in self._file.frames():
            time = frame.time
            if before is not None:
                time = time if time is not None and time > start else start + 1 / self.fps
                yield before, time - start
            before, start = upright(frame, self.path), time or 0.0
            if frame.duration and frame.time_base:
                seconds = float(frame.duration * frame.time_base)
        yield before, seconds


def _pictures(path):
    """The paths of the pictures that a folder, or one picture, is; None of anything else."""
    if not os.path.isdir(path):
        return [path] if path.lower().endswith(pictures.EXTENSIONS) and os.path.isfile(path) else None
    names = pictures.list_pictures(path)
    if not names:
        raise DataError(f"{path}: no images in this folder ({', '.join(pictures.EXTENSIONS)})")
    return [os.path.join(path, name) for name in names]


def check_output(path: str):
    """Raises UsageError unless `write_video` can write a file of this name."""
    if os.path.splitext(path)[1].lower() not in (".mp4", ".gif"):
        raise UsageError(f"{path}: the output must be a .mp4 or a .gif file")


def write_video(path: str, frames: Iterable[np.ndarray], seconds: float | Iterable[float]):
    """Writes RGB frames (h, w, 3) uint8, all of one size, as H.264 mp4 or as GIF, by extension.

    Each is shown for so many `seconds`, one number for all or one each. The file appears under its name only when
    it is complete. mp4 frames of odd size lose their last row or column.
    """
    check_output(path)
    shown = zip(frames, itertools.repeat(seconds) if isinstance(seconds, float | int) else seconds, strict=False)
    try:
        with atomic_file(path) as file:
            (_write_gif if path.lower().endswith(".gif") else _write_mp4)(file, shown)
    except av.FFmpegError as error:
        raise DataError(f"{path}: cannot write there ({error.strerror or error})") from None


def _write_mp4(file, shown):
    with av.open(file, "w", format="mp4") as container:
        track, time, lasting = container.add_stream("libx264", rate=25), 0.0, {}
        track.pix_fmt, track.codec_context.time_base = "yuv420p", Fraction(1, _CLOCK)
        for number, (picture, seconds) in enumerate(shown):
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            if number == 0:
                track.height, track.width = height, width
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            frame.pts, frame.time_base = round(time * _CLOCK), Fraction(1, _CLOCK)
            time += seconds
            lasting[frame.pts] = round(time * _CLOCK) - frame.pts
            _mux(container, track.encode(frame), lasting)
        _mux(container, track.encode(), lasting)


def _mux(container, packets, lasting):
    """Writes packets with how long each lasts, which encoders do not know of the last one."""
    for packet in packets:
        packet.duration = lasting.pop(packet.pts)
        container.mux(packet)


def _write_gif(file, shown):
    images, milliseconds = [], []
    for picture, seconds in shown:
        images.append(Image.fromarray(picture).quantize(128, dither=Image.Dither.NONE))
        milliseconds.append(max(20, round(1000 * seconds)))
    options = {"append_images": images[1:], "duration": milliseconds, "loop": 0, "optimize": True}
    images[0].save(file, "GIF", save_all=True, **options)
