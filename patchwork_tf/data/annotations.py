"""What annotation tools write about pictures: COCO, MOT, YOLO, VOC, and masks as pictures.

Each reader takes the files of its format and the frames that are there (`media.Frames`), and says what is where.
Nothing is checked against a picture here, that is done when it is read: `Thing.fractions`.
"""

import dataclasses
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np
import yaml
from etils import epath

from patchwork_tf import files
from patchwork_tf.data.media import Frame, Frames, numbered
from patchwork_tf.data.schema import numbered_lines, read_list
from patchwork_tf.errors import DataError
from patchwork_tf.pictures import natural_order

_TOLERANCE = 1  # pixels that a box may stick out of its frame: inclusive edges are sometimes the width
# MOT16, 17 and 20 number their classes so; other sets have labels.txt beside gt.txt, as CVAT writes it.
_MOT_CLASSES = """pedestrian, person on vehicle, car, bicycle, motorbike, non motorized vehicle, static person,
distractor, occluder, occluder on the ground, occluder full, reflection""".replace("\n", " ").split(", ")


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object in a frame.

    Attributes:
        name: of its class.
        box: ymin, xmin, ymax, xmax in pixels, the maxima exclusive; or in fractions of the frame.
        where: the file and the place in it that says so.
        in_fractions: whether the box is.
        track_id: 0 if it has none.
        crowd: whether it is around several objects.
        occluded, generated: as ImageNet VID has them.
    """

    name: str
    box: Sequence[float]
    where: str
    in_fractions: bool = False
    track_id: int = 0
    crowd: bool = False
    occluded: bool = False
    generated: bool = False

    def fractions(self, size) -> np.ndarray:
        """Its box (4,) float32 in fractions of a frame of `size` (h, w), cut off at the frame.

        Raises:
            DataError: if it has no area, or is outside by more than a pixel.
        """
        unit = np.tile(size, 2).astype(float)
        box = np.asarray(self.box, float) / (1 if self.in_fractions else unit)
        outside = max(0, -box.min(), box.max() - 1, *(-box * unit), *((box - 1) * unit))
        clipped = np.clip(box, 0, 1)
        if not np.isfinite(box).all() or outside > _TOLERANCE + 1e-3:
            ymin, xmin, ymax, xmax = (f"{edge:.4g}" for edge in self.box)
            raise DataError(
                f"{self.where}: box {xmin},{ymin},{xmax},{ymax} is not inside of the {size[1]}x{size[0]} frame"
            )
        if (clipped[2:] <= clipped[:2]).any():
            raise DataError(f"{self.where}: the box has no area")
        return clipped.astype(np.float32)

    def described(self, size, label: int) -> dict:
        """What records have of it, see `schema.video_features`. Raises DataError as `fractions` does."""
        return {
            "box": self.fractions(size),
            "label": label,
            "track_id": self.track_id,
            "occluded": self.occluded,
            "generated": self.generated,
            "crowd": self.crowd,
        }


@dataclasses.dataclass
class Annotations:
    """What was found about frames.

    Attributes:
        format: its name.
        class_names: of things, in the order of the files.
        things: by frame; a frame that is a key and has none is empty.
        masks: by frame, the path of its mask.
        sizes: (h, w) that files say that frames have.
        clips: by name, the frames of videos, where files say what these are.
        tells_all: whether frames that are not mentioned have no things; else nobody knows.
    """

    format: str
    class_names: list[str] = dataclasses.field(default_factory=list)
    things: dict[Frame, list[Thing]] = dataclasses.field(default_factory=dict)
    masks: dict[Frame, str] = dataclasses.field(default_factory=dict)
    sizes: dict[Frame, tuple[int, int]] = dataclasses.field(default_factory=dict)
    clips: dict[str, list[Frame]] = dataclasses.field(default_factory=dict)
    tells_all: bool = False

    def add_classes(self, names):
        """Adds names that are new."""
        self.class_names += [name for name in dict.fromkeys(names) if name not in self.class_names]


def read(frames: Frames) -> Annotations:
    """What the files beside the pictures and videos of a folder say.

    Raises:
        DataError: if that is nothing, or in two formats, or something is wrong with it.
    """
    found = [
        a for a in (reader(frames) for reader in (_read_coco, _read_mot, _read_yolo, _read_voc, _read_masks)) if a
    ]
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
    """COCO's instances, with videos (CocoVID) or without."""
    result = Annotations("COCO")
    for path in frames.others(".json"):
        content = files.read_json(path)
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            try:
                _add_coco(result, content, path, frames)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{path}: not COCO's format ({type(error).__name__}: {error})") from None
    return result if result.things else None


def _add_coco(result, content, path, frames):
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    result.add_classes(names[number] for number in sorted(names))
    images, videos = {}, {video["id"]: str(video["name"]) for video in content.get("videos") or ()}
    for image in content["images"]:
        where = f"{path}: image {image['id']}"
        if image["id"] in images:
            raise DataError(f"{where} is there twice")
        folder = videos.get(image.get("video_id"), "")
        images[image["id"]] = frame = frames.find(image["file_name"], where, folder=folder)
        result.things.setdefault(frame, [])
        if image.get("height") and image.get("width"):
            result.sizes[frame] = (int(image["height"]), int(image["width"]))
    if videos:
        listed = sorted(content["images"], key=lambda image: image.get("frame_id", image["id"]))
        for image in listed:
            result.clips.setdefault(videos[image["video_id"]], []).append(images[image["id"]])
    ids = set()
    for annotation in content["annotations"]:
        where = f"{path}: annotation {annotation['id']}"
        if annotation["id"] in ids:
            raise DataError(f"{where} is there twice")
        ids.add(annotation["id"])
        if annotation["image_id"] not in images:
            raise DataError(f"{where} is of image {annotation['image_id']}, which is not listed")
        if annotation["category_id"] not in names:
            raise DataError(f"{where} is of category {annotation['category_id']}, which there is not")
        xmin, ymin, width, height = (float(value) for value in annotation["bbox"])
        track = annotation.get("instance_id", annotation.get("track_id"))
        track = (annotation.get("attributes") or {}).get("track_id", 0) if track is None else track
        thing = Thing(
            names[annotation["category_id"]],
            (ymin, xmin, ymin + height, xmin + width),
            where,
            track_id=int(track),
            crowd=bool(annotation.get("iscrowd", 0)),
        )
        result.things[images[annotation["image_id"]]].append(thing)


def _read_mot(frames):
    """gt.txt of the MOT challenge: lines frame,id,left,top,width,height,considered,class,visibility."""
    result = Annotations("MOT", tells_all=True)
    for path in (path for path in frames.others(".txt") if os.path.basename(path) == "gt.txt"):
        folder = os.path.dirname(path)
        labels = os.path.join(folder, "labels.txt")
        names = read_list(labels) if os.path.exists(labels) else _MOT_CLASSES
        clip = frames.clip_of(os.path.dirname(folder) if os.path.basename(folder) == "gt" else folder, path)
        used = []
        for where, words in numbered_lines(path, ","):
            try:
                frame, track, left, top, width, height, considered, label = (float(word) for word in words[:8])
            except ValueError:
                raise DataError(f"{where}: expected frame,id,left,top,width,height,considered,class") from None
            if not considered:
                continue
            if not 1 <= label <= len(names):
                raise DataError(
                    f"{where}: class {label:g}; there are 1 to {len(names)}, {names[0]} to {names[-1]}"
                )
            used.append(names[int(label) - 1])
            thing = Thing(used[-1], (top, left, top + height, left + width), where, track_id=int(track))
            result.things.setdefault(numbered(clip, int(frame), where), []).append(thing)
        result.add_classes(sorted(set(used), key=names.index) if names is _MOT_CLASSES else names)
    return result if result.class_names else None


def _read_yolo(frames):
    """Text files of lines class x y width height [track] in fractions, x y the centre, and names beside them."""
    names = _yolo_names(frames)
    if not names:
        return None
    result = Annotations("YOLO", class_names=names, tells_all=True)
    for path in frames.others(".txt"):
        rows = list(numbered_lines(path))
        if not rows or not all(_are_numbers(words) for _, words in rows):
            continue  # a list of files, of classes, or a note
        frame = frames.find(frames.relative(path), path)
        result.things[frame] = [_yolo_thing(where, words, names) for where, words in rows]
    return result


def _yolo_names(frames) -> list[str]:
    for path in frames.others(".yaml", ".yml"):
        try:
            with open(path, encoding="utf-8-sig") as file:
                content = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
        names = content.get("names") if isinstance(content, dict) else None
        if names:
            return [str(names[key]) for key in sorted(names)] if isinstance(names, dict) else list(map(str, names))
    lists = [*frames.others(".names"), *(p for p in frames.others(".txt") if os.path.basename(p) == "classes.txt")]
    return read_list(lists[0]) if lists else []


def _are_numbers(words) -> bool:
    try:
        return len(list(map(float, words))) > 1
    except ValueError:
        return False


def _yolo_thing(where, words, names) -> Thing:
    if len(words) not in (5, 6):
        raise DataError(
            f"{where}: expected class x y width height and perhaps a track, found {len(words)} numbers"
        )
    label, x, y, width, height, *track = map(float, words)
    if not 0 <= label < len(names) or label != int(label):
        raise DataError(f"{where}: class {label:g}; there are 0 to {len(names) - 1}, {names[0]} to {names[-1]}")
    box = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
    return Thing(names[int(label)], box, where, in_fractions=True, track_id=int(track[0]) if track else 0)


def _read_voc(frames):
    """One XML file per frame."""
    result = Annotations("VOC")
    for path in frames.others(".xml"):
        things, size = read_voc(path)
        frame = frames.find(frames.relative(path), path)
        result.things[frame], result.sizes[frame] = things, size
    maps = [line for path in frames.others("labelmap.txt") for line in read_list(path) if not line.startswith("#")]
    listed = [line.split(":")[0] for line in maps]
    result.add_classes(name for name in listed if name != "background")
    result.add_classes(
        sorted({thing.name for things in result.things.values() for thing in things}, key=natural_order)
    )
    return result if result.things else None


def read_voc(path: str) -> tuple[list[Thing], tuple[int, int]]:
    """Objects of a VOC XML file, and the (height, width) it states. Raises DataError if it is none."""
    try:
        root = ElementTree.fromstring(epath.Path(path).read_bytes())
        size = (int(root.findtext("size/height")), int(root.findtext("size/width")))
        return [_voc_thing(node, path) for node in root.iter("object")], size
    except FileNotFoundError:
        raise DataError(f"{path}: this annotation is missing") from None
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a VOC annotation ({error})") from None


def _voc_thing(node, path) -> Thing:
    ymin, xmin, ymax, xmax = (float(node.findtext(f"bndbox/{key}")) for key in ("ymin", "xmin", "ymax", "xmax"))
    return Thing(
        node.findtext("name"),
        (ymin, xmin, ymax + 1, xmax + 1),  # the file's last pixel is included
        path,
        track_id=int(node.findtext("trackid") or 0),
        occluded=node.findtext("occluded") == "1",
        generated=node.findtext("generated") == "1",
    )


def _read_masks(frames):
    """Pictures of masks, in folders of their own or beside the frames."""
    result = Annotations("masks")
    for path, name in frames.masks.items():
        frame = frames.find(name, path)
        if frame in result.masks:
            raise DataError(f"{path}: the frame has another mask, {result.masks[frame]}; keep one")
        result.masks[frame] = path
    return result if result.masks else None
