"""Videos without truth: a folder of video files and folders of frames, of which any few frames can be read.

Photos may join them.
"""

import functools
import os
from contextlib import contextmanager

import cv2

from patchwork_tf import pictures
from patchwork_tf.data.video import Video
from patchwork_tf.data.video_file import VIDEOS
from patchwork_tf.errors import DataError

NAME = "video"  # of the data set


def find(folder: str) -> list[str]:
    """Video files and folders of frames in a folder and below, in natural order. DataError if there are none."""
    found = []
    for path, files in walk(folder):
        if pictures.list_pictures(path):
            found.append(path)
        found += [os.path.join(path, n) for n in files if n.lower().endswith(VIDEOS) and not n.startswith(".")]
    if not found:
        kinds = ", ".join(VIDEOS)
        raise DataError(f"{folder}: no videos in this folder or below ({kinds}), and no folders of frames")
    return sorted(found, key=pictures.natural_order)


def find_photos(folder: str) -> list[str]:
    """Pictures in a folder and all below it, in natural order. Raises DataError if there are none."""
    found = [os.path.join(path, name) for path, _ in walk(folder) for name in pictures.list_pictures(path)]
    if not found:
        raise DataError(f"{folder}: no photos in this folder or below ({', '.join(pictures.EXTENSIONS)})")
    return sorted(found, key=pictures.natural_order)


def walk(folder):
    """(path, names of files) of a folder and all below it, by links too, but for hidden ones, each once."""
    seen = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:  # links may go round in a circle
            seen.add(real)
            yield path, files


class Videos:
    """Videos to cut clips from, and photos. What cannot be opened is found at once, the rest when it is read.

    What cannot be read raises DataError or, with `skip_bad`, is named and left out. So does an empty folder.
    """

    def __init__(self, folder: str, skip_bad: bool = False, photos: str | None = None):
        self.skip_bad = skip_bad
        self._error = None  # that reading ended with
        self._bad = set()  # found so while reading
        self.photos = find_photos(photos) if photos else []
        opened = ((path, self._tried(Video, path)) for path in find(folder))
        self._videos = {path: video for path, video in opened if video}
        self.paths = list(self._videos)
        if not self.paths:
            raise DataError(f"{folder}: none of the videos in it can be read")

    def read(self, number: int, choose):
        """Frames (T, h, w, 3) of a video, see `Video.read`; if bad ones are skipped, of the next good one."""
        return self._first_good(self.paths, number, lambda path: self._videos[path].read(choose))

    def read_photo(self, number: int, max_side: int):
        """A photo (h, w, 3), at most `max_side` pixels a side; if bad ones are skipped, the next good one."""
        return self._first_good(self.photos, number, _read_reduced, max_side)

    def _first_good(self, paths, number, read, *arguments):
        for path in (paths[(number + offset) % len(paths)] for offset in range(len(paths))):
            found = None if path in self._bad else self._tried(read, path, *arguments)
            if found is not None:
                return found
            self._bad.add(path)
        self._error = DataError(f"none of the {len(paths)} videos or photos can be read to its end")
        raise self._error

    @contextmanager
    def errors_told(self):
        """Raises the DataError that reading ended with, which a pipeline hides in one of its own."""
        try:
            yield
        except Exception:
            if self._error is None:
                raise
            raise self._error from None

    def _tried(self, read, path, *arguments):
        """What a function reads of a video; None if it cannot and bad ones are skipped."""
        try:
            return read(path, *arguments)
        except DataError as error:
            if not self.skip_bad:
                self._error = error
                raise
            print(f"skipped: {error}")
            return None


open_videos = functools.cache(Videos)  # a folder is looked through once


def _read_reduced(path, max_side):
    photo = pictures.read_picture(path)
    scale = max_side / max(photo.shape[:2])
    return photo if scale >= 1 else cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
