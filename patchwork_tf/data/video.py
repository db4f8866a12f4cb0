"""Reading any video that FFmpeg decodes, or a folder of frames; writing mp4 and GIF."""

import os
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from PIL import Image

from patchwork_tf.errors import DataError, UsageError

IMAGE_EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
FOLDER_FPS = 25.0  # of a folder of frames, which does not say


class Video:
    """Frames of a video file or folder, decoded as they are needed.

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
            self._images = _image_files(path)
            self.fps, self.num_frames = FOLDER_FPS, len(self._images)
        elif os.path.exists(path):
            self._images = None
            with _open(path) as container:
                video = container.streams.video[0]
                self.fps = float(video.average_rate or FOLDER_FPS)
                self.num_frames = video.frames or None
        else:
            raise DataError(f"{path}: no such file or folder")

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (H, W, 3) uint8 RGB frames; raises DataError at the first that is corrupt."""
        return self._read_images() if self._images is not None else self._decode()

    def _read_images(self):
        for path in self._images:
            image = cv2.imread(path, cv2.IMREAD_COLOR)
            if image is None:
                raise DataError(f"{path}: not a readable image, or corrupt")
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def _decode(self):
        count = 0
        with _open(self.path) as container:
            try:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="rgb24")
                    count += 1
            except av.FFmpegError as error:
                raise DataError(f"{self.path}: corrupt after {count} frames ({error.strerror})") from None
        if count == 0:
            raise DataError(f"{self.path}: no frame could be decoded")


def _image_files(folder: str) -> list[str]:
    names = [name for name in os.listdir(folder) if name.lower().endswith(IMAGE_EXTENSIONS)]
    if not names:
        raise DataError(f"{folder}: no images in this folder ({', '.join(IMAGE_EXTENSIONS)})")
    # frame10 comes after frame9, zero-padded or not
    names.sort(key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])
    return [os.path.join(folder, name) for name in names]


def _open(path: str):
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


def write_video(path: str, frames: Iterable[np.ndarray], fps: float):
    """Writes RGB frames (H, W, 3) uint8, all of one size, as H.264 mp4 or as GIF, by extension.

    The file appears under its name only when it is complete. mp4 frames of odd size lose
    their last row or column.
    """
    check_output(path)
    stem, extension = os.path.splitext(path)
    folder = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(folder, f".{os.path.basename(stem)}.{os.getpid()}{extension}")
    try:
        os.makedirs(folder, exist_ok=True)
        (_write_gif if extension.lower() == ".gif" else _write_mp4)(temporary, frames, fps)
        os.replace(temporary, path)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot write ({error.strerror or error})") from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _write_mp4(path, frames, fps):
    with av.open(path, "w") as container:
        track = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        track.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            height, width = (side // 2 * 2 for side in frame.shape[:2])
            if number == 0:
                track.height, track.width = height, width
            image = np.ascontiguousarray(frame[:height, :width])
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(track.encode())


def _write_gif(path, frames, fps):
    images = [Image.fromarray(frame).quantize(128, dither=Image.Dither.NONE) for frame in frames]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=max(20, round(1000 / fps)), loop=0, optimize=True
    )
