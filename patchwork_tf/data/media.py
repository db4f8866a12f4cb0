"""The pictures and videos in a folder of one's own, and the names by which annotations call them."""

import collections
import dataclasses
import os
import re

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
    """A picture, or a frame of a video file.

    Attributes:
        name: its path below the folder, without extension; of a video file's frame <video>/<number>.
        path: of the file.
        number: in the video file, from 0; None of a picture.
    """

    name: str
    path: str
    number: int | None = None


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video.

    Attributes:
        name: of the folder of its pictures, or of its file without extension, below the root.
        frames: its pictures; of a video file those that are known to be wanted.
        path: of the video file, if it is one.
    """

    name: str
    frames: list[Frame]
    path: str | None = None

    @property
    def split(self) -> str:
        """The part of the data set that it belongs to, which a folder in its path names; else 'train'."""
        path = self.frames[0].name if self.frames else self.name
        words = (re.split(r"\d", part.lower())[0] for part in path.split("/"))
        return next((_SPLITS[word] for word in words if word in _SPLITS), "train")


def without_extension(path: str) -> str:
    """A path with / and without the extension of its file."""
    return os.path.splitext(path.replace("\\", "/"))[0]


class Frames:
    """What is in a folder.

    Attributes:
        root: the folder.
        clips: by name, every folder of pictures, in natural order, and every video file.
        masks: path of every picture that is a mask, to the name of its frame, as far as it is known.

    Raises:
        DataError: if there is neither a picture nor a video.
    """

    def __init__(self, root: str):
        self.root = root.rstrip("/")
        self.clips, self.masks, self._others = {}, {}, []
        for folder, below, names in os.walk(root):
            below[:] = sorted((b for b in below if b[0] != "." and b.lower() not in _IGNORED), key=natural_order)
            self._add_folder(folder, sorted((name for name in names if name[0] != "."), key=natural_order))
        if not self.clips:
            raise DataError(
                f"{root}: neither pictures ({', '.join(EXTENSIONS)}) nor videos ({', '.join(VIDEOS)}) there"
            )
        self._folders = {part for name in self.clips for part in name.split("/")}
        self._by_end = collections.defaultdict(list)  # end of a name, from some folder on -> frames
        for frame in self.pictures():
            parts = frame.name.split("/")
            for start in range(len(parts)):
                self._by_end["/".join(parts[start:])].append(frame)

    def _add_folder(self, folder, names):
        below = self.relative(folder)
        is_of_masks, there, clip = bool(_MASKS & set(below.lower().split("/"))), set(names), []
        for name in names:
            stem, extension = os.path.splitext(name)
            path, extension = os.path.join(folder, name), extension.lower()
            called = self.relative(os.path.join(folder, stem))
            if extension in VIDEOS:
                self.clips[called] = Clip(called, [], path)
            elif extension not in EXTENSIONS:
                self._others.append(path)
            elif is_of_masks or _MASK_NAME.search(stem) or _is_beside(name, there):
                self.masks[path] = _MASK_NAME.sub("", called)
            else:
                clip.append(Frame(called, path))
        if clip:
            name = below or os.path.basename(self.root)
            self.clips[name] = Clip(name, clip)

    def pictures(self) -> list[Frame]:
        """All frames that are files of their own."""
        return [frame for clip in self.clips.values() for frame in clip.frames]

    def relative(self, path: str) -> str:
        """A path below the folder."""
        below = os.path.relpath(path, self.root).replace(os.sep, "/")
        return "" if below == "." else below

    def others(self, *endings: str) -> list[str]:
        """The paths of files that are neither pictures nor videos and end so."""
        return [path for path in self._others if path.lower().endswith(endings)]

    def find(self, name: str, where: str, folder: str = "") -> Frame:
        """The frame that an annotation calls `name`, a path of which the end counts.

        Args:
            name: the path, with or without extension.
            where: what the message of an error begins with.
            folder: that the name is below, if it does not say so.

        Raises:
            DataError: if there is none, or more than one.
        """
        called = without_extension(name)
        path = called if folder in called.split("/") else f"{folder}/{called}"
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            found = self._by_end.get("/".join(parts[start:]), ())
            if len(found) == 1:
                return found[0]
            if found:
                raise DataError(f"{where} is of {name}, which may be {found[0].path} or {found[1].path}")
            if parts[start] in self._folders:  # what is missing in it is not looked for elsewhere
                break
        if frame := self._frame_of_video(parts):
            return frame
        raise DataError(f"{where} is of {name}, which is not among the pictures below {self.root}")

    def _frame_of_video(self, parts):
        """The frame that <video file>/<name with a number> is, or <name with a number> of the only video file."""
        number = re.search(r"\d+$", parts[-1])
        if not number:
            return None
        videos = [clip for clip in self.clips.values() if clip.path]
        of_folder = [clip for clip in videos if clip.name.split("/")[-1] in parts[:-1]]
        found = of_folder or (videos if len(videos) == len(self.clips) else [])
        return frame_of_video(found[0], int(number[0])) if len(found) == 1 else None

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


def numbered(clip: Clip, number: int, where: str) -> Frame:
    """Frame `number`, from 1, of a clip, as MOT counts: by the numbers in the frames' names, else by their order.

    Raises:
        DataError: if there is none.
    """
    if clip.path:
        return frame_of_video(clip, number - 1)
    numbers = [re.search(r"\d+$", frame.name) for frame in clip.frames]
    by_number = {int(n[0]): frame for n, frame in zip(numbers, clip.frames, strict=True) if n}
    if len(by_number) < len(clip.frames):
        by_number = dict(enumerate(clip.frames, start=1))
    found = by_number.get(number - 1 if 0 in by_number else number)
    if found is None:
        raise DataError(f"{where} is of frame {number}, which is not in {clip.name}")
    return found


def _is_beside(name, names) -> bool:
    """Whether a .png is the mask of the frame that has its name, a .jpg."""
    stem, extension = os.path.splitext(name)
    return extension.lower() == ".png" and any(
        f"{stem}{other}" in names for other in (".jpg", ".jpeg", ".JPG", ".JPEG")
    )
