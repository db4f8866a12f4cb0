"""ImageNet VID as a TFDS data set, from the folders of ILSVRC2015.

manual_dir is the folder that holds Data, Annotations and ImageSets, or the one above it,
ILSVRC2015. Frames stay the JPEG files they are; objects keep track ids and flags.
"""

import tensorflow_datasets as tfds

from patchwork_tf.data.annotations import read_voc
from patchwork_tf.data.schema import VideoExample, find_folder, read_list, video_features
from patchwork_tf.data.things import Thing
from patchwork_tf.errors import DataError
from patchwork_tf.pictures import list_folder, read_stored

# WordNet id and name of the 30 classes, in the order of the devkit's ids 1 to 30.
_TABLE = """
n02691156 airplane, n02419796 antelope, n02131653 bear, n02834778 bicycle, n01503061 bird, n02924116 bus,
n02958343 car, n02402425 cattle, n02084071 dog, n02121808 domestic_cat, n02503517 elephant, n02118333 fox,
n02510455 giant_panda, n02342885 hamster, n02374451 horse, n02129165 lion, n01674464 lizard, n02484322 monkey,
n03790512 motorcycle, n02324045 rabbit, n02509815 red_panda, n02411705 sheep, n01726692 snake,
n02355227 squirrel, n02129604 tiger, n04468005 train, n01662784 turtle, n04530566 watercraft, n02062744 whale,
n02391049 zebra
"""
WORDNET_IDS, CLASSES = zip(*(entry.split() for entry in _TABLE.split(",")), strict=True)

# Frames per video in the usual training list (Flow-Guided Feature Aggregation, Section 5).
LISTED_FRAMES = 15
FRAME_LIST = "VID_train_15frames.txt"


class ImagenetVid(tfds.core.GeneratorBasedBuilder):
    """Videos of ImageNet VID. See imagenet_vid.py."""

    VERSION = tfds.core.Version("2.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012  TFDS' own convention
        tfds.core.BuilderConfig(name="videos", description="All frames of all videos."),
        tfds.core.BuilderConfig(
            name="frames15",
            description=f"{LISTED_FRAMES} frames of each training video: those of {FRAME_LIST}, or evenly spaced.",
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Request ILSVRC2015_VID.tar.gz at image-net.org and unpack it."
    skip_bad = False
    listed = ()  # names of all videos that should be there, once their folders were read

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, description=__doc__, features=video_features(CLASSES), disable_shuffling=False
        )

    def _split_generators(self, dl_manager):
        root = str(dl_manager.manual_dir)
        data = find_folder(root, "Data/VID", "ILSVRC2015/Data/VID", "ILSVRC/Data/VID", what="ImageNet VID")
        root = data.removesuffix("/Data/VID")
        videos = {
            "train": _training_videos(root, self.builder_config.name),
            "validation": _validation_videos(root),
        }
        if not any(videos.values()):
            raise DataError(f"{root}/Data/VID: no videos in train or val")
        self.listed = [_name(video) for some in videos.values() for video, _ in some]
        return {split: self._generate_examples(root, some) for split, some in videos.items() if some}

    def _generate_examples(self, root, videos):
        """A Beam transform: videos are read in parallel, on whatever runner."""
        beam = tfds.core.lazy_imports.apache_beam
        return beam.Create(videos) | beam.Map(_read_video, root, self.skip_bad) | beam.Filter(lambda pair: pair[1])


def _training_videos(root, config) -> list[tuple[str, list[str]]]:
    """Name ('train/part/video') and frames of every training video; no frames stands for all."""
    folder = f"{root}/Data/VID/train"
    parts = list_folder(folder)
    videos = [f"train/{part}/{video}" for part in parts for video in list_folder(f"{folder}/{part}")]
    if config == "videos":
        return [(video, []) for video in videos]
    path = f"{root}/ImageSets/VID/{FRAME_LIST}"
    if FRAME_LIST not in list_folder(f"{root}/ImageSets/VID"):
        return [(video, _evenly_spaced(_frames_in(root, video))) for video in videos]
    frames = {}
    for number, line in enumerate(read_list(path), start=1):
        words = line.split()
        if len(words) != 4 or not words[2].isdecimal():
            raise DataError(f"{path}:{number}: expected 'video 1 frame frames', found '{line}'")
        frames.setdefault(words[0], []).append(f"{int(words[2]):06d}")
    return list(frames.items())


def _evenly_spaced(frames: list[str]) -> list[str]:
    """The middle frame of each of 15 equal parts: the usual list's, up to its rounding (one frame)."""
    numbers = {(2 * k + 1) * len(frames) // (2 * LISTED_FRAMES) for k in range(LISTED_FRAMES)}
    return [frames[number] for number in sorted(numbers)]


def _validation_videos(root) -> list[tuple[str, list[str]]]:
    """Of ImageSets/VID/val.txt ('video/frame number' per line) if it is there, else of the folder."""
    path = f"{root}/ImageSets/VID/val.txt"
    if "val.txt" not in list_folder(f"{root}/ImageSets/VID"):
        return [(f"val/{video}", []) for video in list_folder(f"{root}/Data/VID/val")]
    frames = {}
    for number, line in enumerate(read_list(path), start=1):
        video, slash, frame = line.split()[0].rpartition("/")
        if not slash:
            raise DataError(f"{path}:{number}: expected 'video/frame number', found '{line}'")
        frames.setdefault(f"val/{video}", []).append(frame)
    return list(frames.items())


def _frames_in(root, video) -> list[str]:
    names = list_folder(f"{root}/Data/VID/{video}")
    return [name.removesuffix(".JPEG") for name in names if name.endswith(".JPEG")]


def _name(video: str) -> str:
    """A video's name as the devkit's lists have it: without the folder of its split."""
    return video.partition("/")[2]


def _read_video(item, root, skip_bad):
    """(key, example) of one video; the example is empty if no frame of it can be used."""
    video, names = item
    collected = VideoExample(_name(video), skip_bad)
    for name in names or _frames_in(root, video):
        collected.add(name, lambda name=name: _read_frame(root, video, name))
    if not collected.example["frames"] and not skip_bad:
        raise DataError(f"{root}/Data/VID/{video}: no frames in this video")
    return video, collected.example if collected.example["frames"] else {}


def _read_frame(root, video, name):
    image, size = read_stored(f"{root}/Data/VID/{video}/{name}.JPEG")
    objects = read_annotation(f"{root}/Annotations/VID/{video}/{name}.xml", size)
    return (image, size), None, [described for _, described in objects]


def read_annotation(path: str, size: tuple[int, int] | None = None) -> list[tuple[Thing, dict]]:
    """The objects of one VOC XML file: each as it is there, and as records of a frame of `size` (h, w) have it.

    Raises DataError if it is missing, no VOC XML, says another size, names an unknown class, or a box is outside.
    """
    things, said = read_voc(path)
    size = size or said
    if size is None:
        raise DataError(f"{path}: does not say how large the frame is")
    if said and size != said:
        raise DataError(f"{path}: says {said[1]}x{said[0]}, but the frame has {size[1]}x{size[0]} pixels")
    for thing in things:
        if thing.name not in WORDNET_IDS:
            raise DataError(
                f"{thing.where}: unknown class '{thing.name}'; ImageNet VID has 30, from {WORDNET_IDS[0]} on"
            )
    return [(thing, thing.described(size, WORDNET_IDS.index(thing.name))) for thing in things]
