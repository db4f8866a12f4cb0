"""Frames of clips and cameras, by PyAV or else OpenCV, whichever is installed."""

import importlib
import threading
from collections.abc import Iterator

import numpy as np

from .errors import DataError, UsageError

_PATIENCE = 10  # seconds


def frames(source: str) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) uint8 RGB, upright, of a clip, or whatever else of that name FFmpeg reads.

    Raises:
        DataError: if it cannot be read.
        UsageError: if neither library is installed.
    """
    if (av := _module("av")) is not None:
        return _by_pyav(av, source)
    return _by_opencv(_opencv(), source, source)


class Camera:
    """The newest frame of a camera, read in the background: whoever is slower than it misses frames, not time.

    Args:
        number: of the camera, from 0, or a device or address that OpenCV opens.

    Raises:
        DataError: if it cannot be opened.
        UsageError: without OpenCV.
    """

    def __init__(self, number: int | str):
        cv2 = _module("cv2")
        if cv2 is None:
            raise UsageError("cameras take OpenCV: pip install opencv-python-headless")
        self._name, self._error = f"camera {number}", None
        self._frames = _by_opencv(cv2, number, self._name)
        self._new, self._latest = threading.Condition(), next(self._frames, None)
        if self._latest is None:
            raise DataError(f"{self._name}: no frame comes; is it in use elsewhere?")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for frame in self._frames:
                with self._new:
                    self._latest = frame
                    self._new.notify()
        except Exception as error:  # told by the thread that reads
            self._error = error
        with self._new:
            self._frames = None
            self._new.notify()

    def __iter__(self):
        return self

    def __next__(self) -> np.ndarray:
        with self._new:
            if not self._new.wait_for(lambda: self._latest is not None or self._frames is None, _PATIENCE):
                raise DataError(f"{self._name}: no frame for {_PATIENCE} seconds")
            frame, self._latest = self._latest, None
        if frame is not None:
            return frame
        if self._error:
            raise self._error
        raise StopIteration


def _by_pyav(av, source):
    try:
        with av.open(source) as file:
            for frame in file.decode(video=0):
                turned = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise
                yield np.rot90(frame.to_ndarray(format="rgb24"), turned)
    except (OSError, IndexError, ValueError, av.error.FFmpegError) as error:
        raise DataError(f"{source}: cannot read it ({error or 'no video in it'})") from None


def _by_opencv(cv2, source, name):
    video = cv2.VideoCapture(source)
    try:
        if not video.isOpened():
            raise DataError(f"{name}: cannot open it")
        while True:
            there, frame = video.read()
            if not there:
                return
            yield frame[..., ::-1]
    finally:
        video.release()


def _opencv():
    cv2 = _module("cv2")
    if cv2 is None:
        raise UsageError("clips take PyAV or OpenCV: pip install av")
    return cv2


def _module(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
