"""What annotation tools write about pictures: COCO, MOT, YOLO, VOC, and masks as pictures.

Each reader takes the files of its format and the frames that are there (`media.Frames`), and says what is where.
Nothing is checked against a picture here, that is done when it is read: `Thing.described`.
"""

import contextlib
import os
import xml.etree.ElementTree as ElementTree

from etils import epath

from patchwork_tf import files
from patchwork_tf.data.class_lists import checked_name, read_class_list
from patchwork_tf.data.media import Frame, Frames
from patchwork_tf.data.schema import number, numbered_lines, read_list, whole_number
from patchwork_tf.data.things import Annotations, Thing
from patchwork_tf.errors import DataError
from patchwork_tf.pictures import natural_order

# MOT16, 17 and 20 number their classes so; other sets have labels.txt beside gt.txt, as CVAT writes it.
_MOT_CLASSES = """pedestrian, person on vehicle, car, bicycle, motorbike, non motorized vehicle, static person,
distractor, occluder, occluder on the ground, occluder full, reflection""".replace("\n", " ").split(", ")


def read(frames: Frames) -> Annotations:
    """What the files beside the pictures and videos of a folder say.

    Raises DataError if that is nothing, or in two formats, or something is wrong with it. What is wrong with the
    annotation of one frame is not raised, but in `bad`.
    """
    readers = (_read_coco, _read_mot, _read_yolo, _read_voc, _read_masks)
    found = [annotations for annotations in (reader(frames) for reader in readers) if annotations]
    if not found:
        raise DataError(
            f"{frames.root}: no annotations there: neither COCO (.json with images, annotations, categories), "
            "nor MOT (gt.txt), YOLO (.txt, with classes.txt, obj.names or data.yaml), VOC (.xml) or masks (.png "
            "in a folder called masks or Annotations)"
        )
    if len(found) > 1:
        raise DataError(f"{frames.root}: both {found[0].format} and {found[1].format} are there; keep one of them")
    return found[0]


def _read_coco(frames):
    """COCO's instances as JSON, with videos (CocoVID) or without."""
    result = Annotations("COCO")
    for path in frames.others(".json"):
        content = files.read_json(path)
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            with _in_coco_format(path):
                _add_coco(result, content, path, frames)
    return result if result.things else None


@contextlib.contextmanager
def _in_coco_format(where):
    """What reading another form raises, as DataError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: not COCO's format ({type(error).__name__}: {error})") from None


def _add_coco(result, content, path, frames):
    names = _coco_names(content["categories"], path, "category")
    videos = _coco_names(content.get("videos") or (), path, "video")
    if len(set(videos.values())) < len(videos):
        raise DataError(f"{path}: two videos have the same name")
    images = _by_id(content["images"], path, "image")
    found = _find_images(result, images, videos, path, frames)
    if videos:
        _add_coco_clips(result, images, videos, found, path)
    used = set()
    for key, annotation in _by_id(content["annotations"], path, "annotation").items():
        where = f"{path}: annotation {key}"
        with _in_coco_format(where):
            if annotation["image_id"] not in found:
                raise DataError(f"{where} is of image {annotation['image_id']!r:.60}, which is not listed")
            frame = found[annotation["image_id"]]
        with result.reading(frame), _in_coco_format(where):
            result.things[frame].append(_coco_thing(annotation, names, where))
            used.add(annotation["category_id"])
    keys = {}  # of names; Roboflow lists one twice, once without any object
    for key in sorted(used):
        if keys.setdefault(names[key], key) != key:
            raise DataError(f"{path}: categories {keys[names[key]]} and {key} are both called {names[key]}")
    result.add_classes(names[key] for key in sorted(names))


def _coco_names(items, path, kind) -> dict[int | str, str]:
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
        with _in_coco_format(where):
            video = videos[image["video_id"]] if videos else ""
            found[key] = frame = frames.find(image["file_name"], where, (beside, video))
        result.note(frame, where)
        with result.reading(frame), _in_coco_format(where):
            if image.get("height") and image.get("width"):
                result.sizes[frame] = tuple(whole_number(image[side], where) for side in ("height", "width"))
    return found


def _add_coco_clips(result, images, videos, found, path):
    """Adds the images of every video, in the order of their `frame_id`, or else their `id`."""
    places = {key: number(image["frame_id"], path) for key, image in images.items() if "frame_id" in image}
    for key in sorted(found, key=lambda key: places[key] if places else key):
        name = videos[images[key]["video_id"]]
        if result.told_by.setdefault(name, path) != path:  # another file has a video of this name
            name = os.path.dirname(found[key].name)
        result.clips.setdefault(name, []).append(found[key])


def _coco_thing(annotation, names, where) -> Thing:
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


def _read_mot(frames):
    """gt.txt of the MOT challenge: lines frame,id,left,top,width,height,considered,class,visibility."""
    result = Annotations("MOT")
    for path in (path for path in frames.others(".txt") if os.path.basename(path) == "gt.txt"):
        folder = os.path.dirname(path)
        clip = frames.clip_of(os.path.dirname(folder) if os.path.basename(folder) == "gt" else folder, path)
        result.note(clip.name, path)
        result.told.add(clip.place)
        labels = os.path.join(folder, "labels.txt")
        listed = list(read_class_list(labels).values()) if os.path.exists(labels) else []
        used = set()
        for where, words in numbered_lines(path, ","):
            if len(words) < 8:
                raise DataError(f"{where}: expected frame,id,left,top,width,height,considered,class")
            frame = clip.numbered(whole_number(words[0], where), where)
            with result.reading(frame):
                things = _mot_things(where, words, listed or _MOT_CLASSES)
                result.things[frame] += things
                used.update(thing.name for thing in things)
        result.add_classes(listed or sorted(used, key=_MOT_CLASSES.index))
    return result if result.class_names else None


def _mot_things(where, words, names) -> list[Thing]:
    """The object of a line; none if it is not to be considered."""
    track = whole_number(words[1], where)
    left, top, width, height, considered = (number(word, where) for word in words[2:7])
    label = whole_number(words[7], where)
    if not 0 <= considered <= 1:
        raise DataError(f"{where}: the seventh number says whether to consider it, 0 or 1, not {considered:g}")
    if not considered:
        return []
    if not 1 <= label <= len(names):
        raise DataError(f"{where}: class {label}; there are 1 to {len(names)}, {names[0]} to {names[-1]}")
    box = (top, left, top + height, left + width)
    return [Thing(names[label - 1], box, where, is_whole=True, track_id=track)]


def _read_yolo(frames):
    """Text files of lines class x y width height [track] in fractions, x y the centre, and names beside them."""
    names, source = _yolo_names(frames)
    result = Annotations("YOLO", list(names.values()))
    for path in frames.others(".txt") if names else ():
        if not _is_of_labels(path, frames):
            continue
        frame = frames.find(frames.relative(path), path)
        result.note(frame, path)
        result.told.add(frame.place)
        with result.reading(frame):
            result.things[frame] = [
                _yolo_thing(where, words, names, source) for where, words in numbered_lines(path)
            ]
    return result if result.things else None


def _yolo_names(frames) -> tuple[dict[int, str], str]:
    """The classes by number, and the file that says so; two that differ are refused."""
    lists = [path for path in frames.others("classes.txt") if os.path.basename(path) == "classes.txt"]
    found = {path: read_class_list(path) for path in (*frames.others(".yaml", ".yml", ".names"), *lists)}
    found = {path: names for path, names in found.items() if names}
    source = next(iter(found), "")
    for path, names in found.items():
        if names != found[source]:
            raise DataError(f"{path}: it has other classes than {source}; keep one of them")
    return found.get(source, {}), source


def _is_of_labels(path, frames) -> bool:
    """Whether a text is about a frame: it has a frame's name, or a line of numbers as labels have; else a note."""
    if os.path.basename(path) == "classes.txt":
        return False
    if frames.knows(frames.relative(path)):
        return True
    try:
        return any(_are_numbers(words) for _, words in numbered_lines(path))
    except DataError:
        return False


def _are_numbers(words) -> bool:
    try:
        return len([number(word, "") for word in words]) >= 5
    except DataError:
        return False


def _yolo_thing(where, words, names, source) -> Thing:
    if len(words) not in (5, 6):
        raise DataError(
            f"{where}: expected class x y width height and perhaps a track, found {' '.join(words)!r:.60}"
        )
    label, x, y, width, height = (number(word, where) for word in words[:5])
    track = whole_number(words[5], where) if len(words) > 5 else 0
    if label not in names:
        raise DataError(f"{where}: class {label:g}, which {source} does not name")
    box = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
    return Thing(names[label], box, where, in_fractions=True, track_id=track)


def _read_voc(frames):
    """One XML file per frame."""
    result = Annotations("VOC")
    for path in frames.others(".xml"):
        frame = frames.find(frames.relative(path), path)
        result.note(frame, path)
        with result.reading(frame):
            result.things[frame], size = read_voc(path)
            if size:
                result.sizes[frame] = size
    for path in frames.others("labelmap.txt"):
        listed = [line.split(":")[0] for line in read_list(path) if not line.startswith("#")]
        result.add_classes(checked_name(name, path) for name in listed if name != "background")
    result.add_classes(
        sorted({thing.name for things in result.things.values() for thing in things}, key=natural_order)
    )
    return result if result.things else None


def read_voc(path: str) -> tuple[list[Thing], tuple[int, int] | None]:
    """Objects of a VOC XML file, and the (height, width) it states, if it does. Raises DataError if it is none."""
    try:
        root = ElementTree.fromstring(epath.Path(path).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: this annotation is missing") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path}: not a VOC annotation ({error})") from None
    if root.tag != "annotation":
        raise DataError(f"{path}: not a VOC annotation, which begins with <annotation>, but <{root.tag:.60}>")
    things = [_voc_thing(node, f"{path}: object {k}") for k, node in enumerate(root.iter("object"), start=1)]
    size = [whole_number(root.findtext(f"size/{side}") or 0, path) for side in ("height", "width")]
    return things, tuple(size) if all(size) else None


def _voc_thing(node, where) -> Thing:
    edges = ("ymin", "xmin", "ymax", "xmax")
    ymin, xmin, ymax, xmax = (number(node.findtext(f"bndbox/{edge}"), f"{where}, {edge}") for edge in edges)
    return Thing(
        checked_name(node.findtext("name"), where),
        (ymin, xmin, ymax + 1, xmax + 1),  # the file's last pixel is included
        where,
        track_id=whole_number(node.findtext("trackid") or 0, where),
        occluded=node.findtext("occluded") == "1",
        generated=node.findtext("generated") == "1",
    )


def _read_masks(frames):
    """Pictures of masks, in folders of their own or beside the frames."""
    result = Annotations("masks")
    for path, name in frames.masks.items():
        frame = frames.find(name, path)
        result.note(frame, path)
        result.masks[frame] = path
    return result if result.masks else None
