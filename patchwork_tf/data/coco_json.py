"""COCO's instances as JSON, with videos (CocoVID) or without."""

import contextlib
import os

from patchwork_tf import files
from patchwork_tf.data.class_lists import checked_name
from patchwork_tf.data.media import Frame, Frames
from patchwork_tf.data.schema import number, whole_number
from patchwork_tf.data.things import Annotations, Thing
from patchwork_tf.errors import DataError


def read_coco(frames: Frames) -> Annotations | None:
    """What the COCO files of a folder say; None if there are none. Raises DataError."""
    result = Annotations("COCO")
    for path in frames.others(".json"):
        content = files.read_json(path)
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            with _form(path):
                _add(result, content, path, frames)
    return result if result.things else None


@contextlib.contextmanager
def _form(where):
    """What reading another form raises, as DataError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: not COCO's format ({type(error).__name__}: {error})") from None


def _add(result, content, path, frames):
    names = _names(content["categories"], path, "category")
    videos = _names(content.get("videos") or (), path, "video")
    if len(set(videos.values())) < len(videos):
        raise DataError(f"{path}: two videos have the same name")
    images = _by_id(content["images"], path, "image")
    found = _find_images(result, images, videos, path, frames)
    if videos:
        _add_clips(result, images, videos, found, path)
    used = set()
    for key, annotation in _by_id(content["annotations"], path, "annotation").items():
        where = f"{path}: annotation {key}"
        with _form(where):
            if annotation["image_id"] not in found:
                raise DataError(f"{where} is of image {annotation['image_id']!r:.60}, which is not listed")
            frame = found[annotation["image_id"]]
        with result.reading(frame), _form(where):
            result.things[frame].append(_thing(annotation, names, where))
            used.add(annotation["category_id"])
    _check_used(names, used, path)
    result.add_classes(names[key] for key in sorted(names))


def _names(items, path, kind) -> dict[int | str, str]:
    named = _by_id(items, path, kind).items()
    return {key: checked_name(item["name"], f"{path}: {kind} {key}") for key, item in named}


def _by_id(items, path, kind) -> dict:
    found = {}
    for item in items:
        key = item["id"]
        if type(key) not in (int, str):
            raise DataError(f"{path}: {kind} {key!r:.60}: an id is a whole number or a text")
        if key in found:
            raise DataError(f"{path}: {kind} {key} is there twice")
        found[key] = item
    return found


def _find_images(result, images, videos, path, frames) -> dict[int | str, Frame]:
    """The frames of images, which are sought beside the file, or in the folder of their video, by their names."""
    found, beside = {}, os.path.dirname(frames.relative(path))
    for key, image in images.items():
        where = f"{path}: image {key}"
        with _form(where):
            video = videos[image["video_id"]] if videos else ""
            found[key] = frame = frames.find(image["file_name"], where, (beside, video))
        result.note(frame, where)
        with result.reading(frame), _form(where):
            if image.get("height") and image.get("width"):
                result.sizes[frame] = tuple(whole_number(image[side], where) for side in ("height", "width"))
    return found


def _add_clips(result, images, videos, found, path):
    """Adds the images of every video, in the order of their `frame_id`, or else their `id`."""
    places = {key: number(image["frame_id"], path) for key, image in images.items() if "frame_id" in image}
    for key in sorted(found, key=lambda key: places[key] if places else key):
        name = videos[images[key]["video_id"]]
        if result.told_by.setdefault(name, path) != path:  # another file has a video of this name
            name = os.path.dirname(found[key].name)
        result.clips.setdefault(name, []).append(found[key])


def _check_used(names, used, path):
    """Refuses two classes of one name, if both have objects: Roboflow lists one without any."""
    keys = {}
    for key in sorted(used):
        if keys.setdefault(names[key], key) != key:
            raise DataError(f"{path}: categories {keys[names[key]]} and {key} are both called {names[key]}")


def _thing(annotation, names, where) -> Thing:
    if annotation["category_id"] not in names:
        raise DataError(f"{where} is of category {annotation['category_id']!r:.60}, which there is not")
    xmin, ymin, width, height = (number(value, where) for value in annotation["bbox"])
    track = annotation.get("instance_id", annotation.get("track_id"))
    track = (annotation.get("attributes") or {}).get("track_id", 0) if track is None else track
    crowd = annotation.get("iscrowd") or 0
    if crowd not in (0, 1):
        raise DataError(f"{where}: iscrowd is 0 or 1, not {crowd!r:.60}")
    box = (ymin, xmin, ymin + height, xmin + width)
    return Thing(
        names[annotation["category_id"]], box, where, track_id=whole_number(track, where), crowd=bool(crowd)
    )
