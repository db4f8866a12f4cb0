"""The one reader of video files: all frames from the start on, or any few of these."""

import contextlib
import dataclasses
import functools
import itertools
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence

import av
import numpy as np

from patchwork_tf.data.cut_off import is_cut_off
from patchwork_tf.errors import DataError
from patchwork_tf.runtime.frames import check_size

# Endings of the files that count as videos in a folder. One that is named by itself may have any.
VIDEOS = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
_TRIES = 2  # key frames to begin at before decoding from the start; in .ts and .mts the first one is often missed


class VideoFile:
    """A video in a file, or out of a pipe, which is copied to a temporary file first.

    Raises DataError if it is missing, no video, or cut off. `fps` and `num_frames` are None if it does not say.
    """

    def __init__(self, path: str):
        self.path = path
        self._copy = None if os.path.isfile(path) else _copied(path)
        with self._open() as (container, stream):
            if is_cut_off(self._file, container.format.name):
                raise DataError(f"{path}: cut off; it says itself that it is longer")
            self.fps = float(stream.average_rate) if stream.average_rate else None
            self.num_frames = stream.frames or None

    @property
    def _file(self) -> str:
        return self._copy.name if self._copy else self.path

    @contextlib.contextmanager
    def _open(self):
        try:
            # As file: lest FFmpeg take clip:30.mp4 for an address; titles may be in any encoding.
            container = av.open(f"file:{self._file}", metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{self.path}: not a readable video ({error.strerror or error})") from None
        with container:
            stream = container.streams.best("video")
            if stream is None:
                raise DataError(f"{self.path}: there is no video stream in it")
            yield container, stream

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yields all frames as they are shown. Raises DataError at the first bad one, or if there is none."""
        number, size = -1, None
        with self._open() as (container, stream):
            for number, frame in enumerate(self._decoded(container, stream)):
                size = size or (frame.height, frame.width)
                if frame.is_corrupt:  # and what is missing in it is anything
                    raise DataError(f"{self.path}: corrupt after {number} frames")
                check_size((frame.height, frame.width), size, f"{self.path}: frame {number}")
                yield frame
        if number < 0:
            raise DataError(f"{self.path}: no frame could be decoded")

    def _decoded(self, container, stream):
        """The frames from where the container is on."""
        count, has_begun, failed = 0, False, av.FFmpegError  # held: a generator may end after the module
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise DataError(f"{self.path}: corrupt or cut off after {count} frames")
                has_begun = has_begun or packet.is_keyframe or count > 0
                for frame in packet.decode() if has_begun else _decoded_if_complete(packet):
                    yield frame
                    count += 1
        except failed as error:
            raise DataError(f"{self.path}: cannot be decoded after {count} frames ({error.strerror})") from None

    @functools.cached_property
    def _index(self) -> "_Index":
        """What `frames` gives. It takes a pass over the whole file."""
        marks = [(frame.pts, frame.key_frame, zlib.crc32(upright(frame, self.path))) for frame in self.frames()]
        times, are_keys, checksums = zip(*marks, strict=True)
        rise = None not in times and all(before < time for before, time in itertools.pairwise(times))
        return _Index(np.array(times) if rise else None, np.flatnonzero(are_keys), np.array(checksums, np.uint32))

    def count(self) -> int:
        return len(self._index.checksums)

    def read(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Some of the frames, (h, w, 3) uint8 RGB, upright.

        They are decoded from a key frame before them on, if what comes of that is what comes of decoding from the
        start: in some formats seeking leads elsewhere, and not all that is called a key frame is one. Numbers
        rise, some may be equal.
        """
        wanted = sorted(set(numbers))
        for start in self._index.starts(wanted[0]):
            if found := self._read_from(start, wanted):
                break
        else:
            numbered = zip(range(wanted[-1] + 1), self.frames(), strict=False)
            found = {number: upright(frame, self.path) for number, frame in numbered if number in wanted}
        return [found[number] for number in numbers]

    def _read_from(self, start, wanted):
        """The wanted frames by their numbers; None if they are not what follows after seeking the time `start`."""
        found = {}
        with self._open() as (container, stream), contextlib.suppress(DataError, av.FFmpegError):
            container.seek(start, stream=stream, backward=True)
            for frame in self._decoded(container, stream):
                number = wanted[len(found)]
                if frame.pts is None or frame.pts > self._index.times[number]:
                    return None
                if frame.pts == self._index.times[number]:
                    found[number] = upright(frame, self.path)
                    if zlib.crc32(found[number]) != self._index.checksums[number]:
                        return None
                if len(found) == len(wanted):
                    return found
        return None


@dataclasses.dataclass(frozen=True)
class _Index:
    """What tells the T frames of a file apart."""

    times: np.ndarray | None  # (T,) when they are shown, in ticks; None if they have no times that rise
    keys: np.ndarray  # (K,) numbers of the key frames
    checksums: np.ndarray  # (T,) uint32, of the pictures

    def starts(self, number: int) -> list[int]:
        """Times of key frames at or before a frame, from which it may be decoded, the best first."""
        keys = self.keys[(self.keys > 0) & (self.keys <= number)]
        return [] if self.times is None else [int(self.times[key]) for key in keys[::-1][:_TRIES]]


def _decoded_if_complete(packet):
    """What precedes the first key frame, where a video was cut out of another, may need what is not there."""
    try:
        return packet.decode()
    except av.InvalidDataError:
        packet.stream.codec_context.flush_buffers()
        return []


def upright(frame: av.VideoFrame, where: str) -> np.ndarray:
    """The picture (h, w, 3) uint8 RGB, turned as the file says that it is to be shown."""
    quarters = frame.rotation / 90
    if quarters != int(quarters):
        raise DataError(f"{where}: it is to be turned by {frame.rotation} degrees; only quarter turns are known")
    try:
        picture = frame.to_ndarray(format="rgb24")
    except av.FFmpegError as error:
        raise DataError(f"{where}: its colours cannot be made RGB ({error.strerror})") from None
    return np.ascontiguousarray(np.rot90(picture, int(quarters)))


def _copied(path):
    """A temporary file of what comes out of a pipe; it is gone when nobody has it any more."""
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder")
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        raise DataError(f"{path}: neither a file, a folder nor a pipe")
    copy = tempfile.NamedTemporaryFile()  # noqa: SIM115  it lives as long as the VideoFile
    with open(path, "rb") as pipe:
        shutil.copyfileobj(pipe, copy)
    copy.flush()
    if not copy.tell():
        raise DataError(f"{path}: nothing comes out of this pipe; a pipe can be read only once")
    return copy
