"""The pictures and videos in a folder of one's own, and the names by which annotations call them."""

import collections
import dataclasses
import functools
import os
import re
import unicodedata
from collections.abc import Iterator

from patchwork_tf.data.video_file import VIDEOS
from patchwork_tf.errors import DataError
from patchwork_tf.pictures import EXTENSIONS, natural_order

# Folders of masks, and of pictures of objects, which CVAT writes beside those of classes.
_MASKS = {"annotations", "annotation", "mask", "masks", "segmentationclass", "gt", "labels", "instance_maps"}
_IGNORED = {"segmentationobject", "__macosx"}
_MASK_NAME = re.compile(r"[._-]?mask$", re.IGNORECASE)
_SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture, or a frame of a video file."""

    name: str  # its path below the folder, without extension, composed (NFC); of a video <video>/<number>
    path: str  # of the file
    number: int | None = None  # in the video file, from 0; None of a picture

    @property
    def place(self) -> str:
        """The folder of its picture, or its video file."""
        return os.path.dirname(self.path) if self.number is None else self.path


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video."""

    name: str  # of the folder of its pictures, or of its file without extension, below the root
    frames: list[Frame]  # its pictures; of a video file those that are known to be wanted
    path: str | None = None  # of the video file, if it is one

    @property
    def place(self) -> str:
        """That of its frames."""
        return self.path or self.frames[0].place

    @property
    def split(self) -> str:
        """The part of the data set that it belongs to, which a folder in its path names; else 'train'."""
        name = self.frames[0].name if self.frames else self.name
        file = name.rpartition("/")[0] if self.frames and self.path else name
        words = (re.split(r"\d", part.lower())[0] for part in file.split("/")[:-1])
        return next((_SPLITS[word] for word in words if word in _SPLITS), "train")

    def numbered(self, number: int, where: str) -> Frame:
        """Frame `number`, from 1, as MOT counts: by the numbers in the frames' names, else by their order."""
        if self.path:
            return frame_of_video(self, number - 1)
        if number not in self._by_number:
            raise DataError(f"{where} is of frame {number}, which is not in {self.name}")
        return self._by_number[number]

    @functools.cached_property
    def _by_number(self) -> dict[int, Frame]:
        numbers = [re.search(r"\d+$", frame.name) for frame in self.frames]
        by_number = {int(n[0]): frame for n, frame in zip(numbers, self.frames, strict=True) if n}
        if len(by_number) < len(self.frames):
            return dict(enumerate(self.frames, start=1))
        return {number + (0 in by_number): frame for number, frame in by_number.items()}


class Frames:
    """What is in a folder. Raises DataError if there is neither a picture nor a video."""

    def __init__(self, root: str):
        self.root = root.rstrip("/")
        self.clips = {}  # by name, every folder of pictures, in natural order, and every video file
        self.masks = {}  # path of every picture that is a mask, to the name of its frame, as far as it is known
        self._others = []
        for folder, names in _walk(root):
            self._add_folder(folder, names)
        if not self.clips:
            raise DataError(
                f"{root}: neither pictures ({', '.join(EXTENSIONS)}) nor videos ({', '.join(VIDEOS)}) there"
            )
        self._videos = [clip for clip in self.clips.values() if clip.path]
        self._folders = {part for clip in self._videos for part in clip.name.split("/")}
        self._by_end = collections.defaultdict(list)  # end of a name, from some folder on -> frames
        for frame in self.pictures():
            parts = frame.name.split("/")
            self._folders.update(parts[:-1])
            for start in range(len(parts)):
                self._by_end["/".join(parts[start:])].append(frame)

    def _add_folder(self, folder, names):
        below = self.relative(folder)
        is_of_masks, there, clip = bool(_MASKS & set(below.lower().split("/"))), set(map(_composed, names)), []
        for name in names:
            stem, extension = os.path.splitext(name)
            path, extension = os.path.join(folder, name), extension.lower()
            called = self.relative(os.path.join(folder, stem))
            if extension in VIDEOS:
                self.clips[called] = Clip(called, [], path)
            elif extension not in EXTENSIONS:
                if not os.path.exists(path):
                    raise DataError(f"{path}: a link to what is not there; mend or remove it")
                self._others.append(path)
            elif is_of_masks or _MASK_NAME.search(stem) or _is_beside(_composed(name), there):
                self.masks[path] = _MASK_NAME.sub("", called)
            else:
                clip.append(Frame(called, path))
        if clip:
            name = below or _composed(os.path.basename(os.path.abspath(self.root)))
            self.clips[name] = Clip(name, clip)

    def pictures(self) -> list[Frame]:
        """All frames that are files of their own."""
        return [frame for clip in self.clips.values() for frame in clip.frames]

    def relative(self, path: str) -> str:
        """A path below the folder, as names of frames are."""
        below = _composed(os.path.relpath(path, self.root).replace(os.sep, "/"))
        return "" if below == "." else below

    def others(self, *endings: str) -> list[str]:
        """The paths of files that are neither pictures nor videos and end so."""
        return [path for path in self._others if path.lower().endswith(endings)]

    def find(self, name: str, where: str, folders: tuple[str, ...] = ()) -> Frame:
        """The frame that an annotation calls `name`, a path of which the end counts, with or without extension.

        Folders in the path count: where frames are in one of that name, it is none that is elsewhere. So do
        `folders`, which the frame is in, whether the name says so or not. Raises DataError, which `where` begins,
        if there is none, or more than one.
        """
        parts = _parts("/".join((*folders, name)))
        found = self._pictures_called(parts) or self._frames_of_videos(parts)
        if len(found) > 1:
            raise DataError(f"{where} is of {name}, which may be {found[0].path} or {found[1].path}")
        if not found:
            raise DataError(f"{where} is of {name}, which is not among the pictures below {self.root}")
        return found[0]

    def knows(self, name: str) -> bool:
        """Whether a file of this name, in whatever folder, may be about a frame."""
        parts = _parts(name)
        return parts[-1] in self._by_end or bool(self._frames_of_videos(parts))

    def _pictures_called(self, parts) -> list[Frame]:
        """The picture at a path, or those whose names share the longest end with it."""
        folders = self._folders.intersection(parts[:-1])
        for start in range(len(parts)):
            path = "/".join(parts[start:])
            found = [frame for frame in self._by_end.get(path, ()) if folders.issubset(frame.name.split("/"))]
            if found:
                return [frame for frame in found if not start and frame.name == path] or found
        return []

    def _frames_of_videos(self, parts) -> list[Frame]:
        """What <video file>/<name with a number> is, or <name with a number> of the only video file."""
        number = re.search(r"\d+$", parts[-1]) if parts else None
        if not number:
            return []
        folders = self._folders.intersection(parts[:-1])
        videos = [clip for clip in self._videos if folders.issubset(clip.name.split("/"))]
        called = [clip for clip in videos if clip.name.split("/")[-1] in folders]
        found = called or (videos if len(self.clips) == 1 else [])
        return [frame_of_video(clip, int(number[0])) for clip in found]

    def clip_of(self, folder: str, where: str) -> Clip:
        """The one clip that is in a folder, or is called like it. Raises DataError if there is none, or more."""
        name = self.relative(folder)
        below = [n for n in self.clips if n == name or n.startswith(f"{name}/") or not name]
        if len(below) != 1:
            found = f"{len(below)} of them, {below[0]} and {below[1]}" if below else "none"
            raise DataError(f"{where}: it is about the one video in {folder}, but there is {found}")
        return self.clips[below[0]]


def frame_of_video(clip: Clip, number: int) -> Frame:
    """Frame `number`, from 0, of a video file."""
    return Frame(f"{clip.name}/{number:06d}", clip.path, number)


def _walk(root) -> Iterator[tuple[str, list[str]]]:
    """Every folder, by links too, and the names of its files, in natural order, without what is hidden."""
    seen = {}
    for folder, below, names in os.walk(root, followlinks=True, onerror=_cannot_read):
        other = seen.setdefault(os.path.realpath(folder), folder)
        if other != folder:
            raise DataError(f"{folder} and {other} are one folder, by a link; remove one of them")
        below[:] = sorted((b for b in below if b[0] != "." and b.lower() not in _IGNORED), key=natural_order)
        yield folder, sorted((name for name in names if name[0] != "."), key=natural_order)


def _cannot_read(error):
    raise DataError(f"{error.filename}: {error.strerror}")


def _composed(name: str) -> str:
    """A name in Unicode's composed form: macOS writes u and two dots where others write one letter."""
    return unicodedata.normalize("NFC", name)


def _parts(path: str) -> list[str]:
    """Folders and the name, without its extension, of a path with / or \\."""
    path = os.path.splitext(path.replace("\\", "/"))[0]
    return [part for part in _composed(path).split("/") if part not in ("", ".", "..")]


def _is_beside(name, names) -> bool:
    """Whether a .png is the mask of the frame that has its name, a .jpg."""
    stem, extension = os.path.splitext(name)
    return extension.lower() == ".png" and any(
        f"{stem}{other}" in names for other in (".jpg", ".jpeg", ".JPG", ".JPEG")
    )
