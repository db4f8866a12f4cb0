"""Reading any video that FFmpeg decodes, or a folder of frames; writing mp4 and GIF."""

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from patchwork_tf import pictures
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.files import atomic_file

FOLDER_FPS = 25.0  # of a folder of frames, which does not say
_CLOCK = 90_000  # ticks per second of files that are written
_STATES_DURATION = ("matroska", "mov", "avi")  # formats whose headers do; of others FFmpeg guesses
_TS_PACKETS = (188, 192, 204)  # bytes; a whole MPEG transport stream is so many of one of them


class Video:
    """Frames of a video file or folder, upright, decoded as they are needed.

    Attributes:
        path: of the file or folder.
        fps: frames per second.
        num_frames: as far as is known before decoding, else None.

    Raises:
        DataError: if there is nothing there, or no frame in it.
    """

    def __init__(self, path: str):
        self.path = path
        if os.path.isdir(path):
            self._images = image_files(path)
            self.fps, self.num_frames = FOLDER_FPS, len(self._images)
        elif os.path.exists(path):
            self._images = None
            with open_container(path) as container:
                video = container.streams.video[0]
                self.fps = float(video.average_rate or FOLDER_FPS)
                self.num_frames = video.frames or None
        else:
            raise DataError(f"{path}: no such file or folder")

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (h, w, 3) uint8 RGB frames. Raises DataError as `shown` does."""
        return (frame for frame, _ in self.shown())

    def shown(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yields every frame (h, w, 3) uint8 RGB and for how many seconds it is shown.

        Raises:
            DataError: at the first frame that is corrupt or of another size than those before, and where a file
                ends before its header says.
        """
        timed = self._read_images() if self._images is not None else self._decode()
        first = None
        for number, (frame, seconds) in enumerate(timed):
            first = first or frame.shape[:2]
            pictures.check_size(frame.shape[:2], first, f"{self.path}: frame {number}")
            yield frame, seconds

    def _read_images(self):
        for path in self._images:
            yield pictures.read_picture(path), 1 / self.fps

    def _decode(self):
        """Frames are shown until the next one's time; the last one until its own, or the stream's, end."""
        before, start, seconds = None, 0.0, 1 / self.fps
        with open_container(self.path) as container:
            for count, frame in enumerate(_frames(container, self.path)):
                time = start + seconds if frame.time is None else frame.time
                if before is not None:
                    seconds = max(time - start, 0.0)
                    yield before, seconds
                before, start = upright(frame, f"{self.path}: frame {count}"), time
                if frame.duration and frame.time_base:
                    seconds = float(frame.duration * frame.time_base)
            if before is None:
                raise DataError(f"{self.path}: no frame could be decoded")
            yield before, seconds


def upright(frame, where) -> np.ndarray:
    """The picture, turned as the file says that it is to be shown."""
    picture, quarters = frame.to_ndarray(format="rgb24"), frame.rotation / 90
    if quarters != int(quarters):
        raise DataError(f"{where} is to be turned by {frame.rotation} degrees; only quarter turns are known")
    return np.ascontiguousarray(np.rot90(picture, int(quarters))) if quarters else picture


def _frames(container, path):
    """The decoded frames of a file that is whole. Raises DataError where it is not."""
    count, end, video = 0, 0.0, container.streams.video[0]
    try:
        for packet in container.demux():
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != video.index:
                continue
            if packet.is_corrupt:
                raise DataError(f"{path}: corrupt or cut off after {count} frames")
            for frame in packet.decode():
                yield frame
                count += 1
    except av.FFmpegError as error:
        raise DataError(f"{path}: corrupt after {count} frames ({error.strerror})") from None
    if _is_cut_off(container, path, end):
        raise DataError(f"{path}: cut off after {count} frames; its header says that there are more")


def _is_cut_off(container, path, end) -> bool:
    """Whether a file, whose last packet ends at `end` seconds, is shorter than it should be."""
    kind = container.format.name
    if kind == "mpegts":
        return all(os.path.getsize(path) % size for size in _TS_PACKETS)
    if not container.duration or not kind.startswith(_STATES_DURATION):
        return False
    frame = 1 / float(container.streams.video[0].average_rate or FOLDER_FPS)
    return container.duration / av.time_base - end > 1.5 * frame


def image_files(folder: str) -> list[str]:
    names = pictures.list_pictures(folder)
    if not names:
        raise DataError(f"{folder}: no images in this folder ({', '.join(pictures.EXTENSIONS)})")
    return [os.path.join(folder, name) for name in names]


def open_container(path: str):
    try:
        container = av.open(path)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: not a readable video ({error.strerror or error})") from None
    if not container.streams.video:
        container.close()
        raise DataError(f"{path}: there is no video stream in it")
    return container


def check_output(path: str):
    """Raises UsageError unless `write_video` can write a file of this name."""
    if os.path.splitext(path)[1].lower() not in (".mp4", ".gif"):
        raise UsageError(f"{path}: the output must be a .mp4 or a .gif file")


def write_video(path: str, frames: Iterable[np.ndarray], seconds: float | Iterable[float]):
    """Writes RGB frames (h, w, 3) uint8, all of one size, as H.264 mp4 or as GIF, by extension.

    The file appears under its name only when it is complete. mp4 frames of odd size lose
    their last row or column.

    Args:
        path: of the file.
        frames: the pictures.
        seconds: for how long each is shown, one number for all or one each.
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
