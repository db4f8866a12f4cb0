"""The data sets that can be trained and scored on, by name, and videos to score on."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from patchwork_tf.data import moving_objects, videos
from patchwork_tf.data.coco_scenes import SCENES, CocoScenes
from patchwork_tf.data.davis2016 import Davis2016
from patchwork_tf.data.folder import FORMS, Folder
from patchwork_tf.data.imagenet_vid import ImagenetVid
from patchwork_tf.data.moving_objects_builder import MovingObjects
from patchwork_tf.data.schema import FOREGROUND, MASKS, OBJECTS
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.pictures import natural_order

# COCO's own numbers of its classes skip some; these are in the order of TFDS' labels.
COCO_IDS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What the records of a data set do not say themselves. A prepared set that has no such rules needs no entry.

    The builder is a function of config and data_dir to its TFDS builder, whose videos have the features of
    `schema.video_features`; of manual_dir too if these depend on it (`from_folder`).
    """

    builder: Callable[..., tfds.core.DatasetBuilder] | None = None
    max_objects: int = 64  # G, more objects in one frame are left out of training
    empty_masks: str = "background"  # what masks without foreground say; or 'unknown': hidden, or nobody drew it
    configs: tuple[str | None, ...] = (None,)  # names of its TFDS configs, the default first
    manual: bool = False  # whether it is prepared from a folder, --manual_dir
    from_folder: bool = False  # whether its features depend on that
    beam: bool = False  # whether it is prepared through Apache Beam


def _coco(config, data_dir):
    return tfds.builder(f"coco/{config}", data_dir=data_dir)


DATASETS = {
    "moving_objects": DatasetInfo(
        MovingObjects,
        moving_objects.MAX_OBJECTS,
        configs=tuple(config.name for config in MovingObjects.BUILDER_CONFIGS),
    ),
    "folder": DatasetInfo(Folder, configs=FORMS, manual=True, from_folder=True),
    "imagenet_vid": DatasetInfo(ImagenetVid, 32, configs=("videos", "frames15"), manual=True, beam=True),
    "davis2016": DatasetInfo(Davis2016, empty_masks="unknown", manual=True),
    "coco_scenes": DatasetInfo(CocoScenes, configs=tuple(SCENES), manual=True, from_folder=True),
    "coco": DatasetInfo(_coco, configs=("2017",), beam=True),
}


def register_dataset(name: str, info: DatasetInfo):
    """Adds a data set of one's own: all commands take it by its name. Raises UsageError if the name is taken."""
    if DATASETS.setdefault(name, info) is not info:
        raise UsageError(f"there is a data set '{name}' already; choose another name")


def dataset_info(name: str) -> DatasetInfo:
    """What is registered under a name; what is true of others, if there is nothing."""
    return DATASETS.get(name, DatasetInfo())


@dataclasses.dataclass(frozen=True)
class Source:
    """Where examples come from."""

    dataset: str = "moving_objects"  # key of DATASETS, or the name of another set that was prepared in data_dir
    data_dir: str | None = None  # TFDS folder; without one, moving_objects is generated on the fly
    split: str = "train"  # or a part of one, as 'train[:26]'
    config: str | None = None  # form of the set, by default the first; of generated moving_objects kind of scenes
    skip_bad: bool = False  # of videos without truth, whether those that cannot be read are left out
    photos: str | None = None  # folder of photos that join videos without truth

    @property
    def is_generated(self) -> bool:
        return self.dataset == "moving_objects" and not self.data_dir


def class_names(source: Source, truth: str) -> list[str]:
    """The classes that a data set has for a kind of truth. Raises UsageError if it has no such truth."""
    known = truths(source)
    if truth not in known:
        raise UsageError(f"--dataset={source.dataset} has {' and '.join(known) or 'no truth at all'}, no {truth}")
    return known[truth]


def truths(source: Source) -> dict[str, list[str]]:
    """By kind of truth that a data set has, its classes. Errors are those of `open_prepared`."""
    if source.dataset == videos.NAME:
        return {}
    if source.dataset == "moving_objects":  # whatever the form
        return {OBJECTS: list(moving_objects.CLASSES), MASKS: [FOREGROUND]}
    return _described(open_prepared(source))


def _described(builder) -> dict[str, list[str]]:
    """`truths` of a prepared data set. Raises DataError if it is none of ours."""
    features = builder.info.features
    labels = features[OBJECTS].feature["label"] if OBJECTS in features else None
    if ("frames" not in features and "image" not in features) or (labels and not getattr(labels, "names", None)):
        raise DataError(
            f"{builder.data_path}: not in the form of this version, docs/extending.md; prepare it again"
        )
    return {**({MASKS: [FOREGROUND]} if MASKS in features else {}), **({OBJECTS: labels.names} if labels else {})}


def scenes_of(config: str | None) -> str:
    """What --config says of generated moving_objects: the kind of scenes. Raises UsageError if unknown."""
    if config and config not in moving_objects.SCENES:
        kinds = ", ".join(moving_objects.SCENES)
        raise UsageError(f"--config={config}: without --data_dir moving_objects is generated as {kinds}")
    return config or "varied"


def builder_of(dataset: str, data_dir: str, config: str | None = None, **options) -> tfds.core.DatasetBuilder:
    """The TFDS builder of a data set, to prepare it. Raises UsageError if there is none, or no such config."""
    if dataset not in DATASETS:
        raise UsageError(f"--dataset={dataset}: there are {', '.join(DATASETS)}")
    info = DATASETS[dataset]
    config = config or info.configs[0]
    if config not in info.configs:
        choices = ", ".join(str(name) for name in info.configs if name) or "none to choose from"
        raise UsageError(f"--config={config}: {dataset} has {choices}")
    return info.builder(config=config, data_dir=data_dir, **options)


def tfds_name(builder) -> str:
    """Name and config of a builder."""
    return builder.name + (f"/{builder.builder_config.name}" if builder.builder_config else "")


def open_prepared(source: Source):
    """The builder of a data set that was prepared, with that split in it. DataError says how to prepare it."""
    dataset, data_dir, config = source.dataset, source.data_dir, source.config
    if not data_dir:
        if dataset not in DATASETS:
            raise UsageError(f"--dataset={dataset}: there are {', '.join(DATASETS)}, and what is in a --data_dir")
        raise UsageError(f"--data_dir is required for {dataset}: the TFDS folder it was prepared in")
    folder = _newest_version(epath.Path(data_dir) / dataset / (config or dataset_info(dataset).configs[0] or ""))
    if folder is None:
        raise DataError(_how_to_prepare(source))
    builder = tfds.builder_from_directory(folder)
    try:
        count = builder.info.splits[source.split].num_examples
    except (KeyError, ValueError, AssertionError):
        count = 0
    if not count:
        splits = ", ".join(name for name, info in builder.info.splits.items() if info.num_examples) or "none"
        raise DataError(f"{builder.data_path}: nothing in the split '{source.split}'; there is {splits}")
    return builder


def _newest_version(folder):
    """The folder of the newest version that was prepared, or None."""
    found = [path.parent for path in folder.glob("*/dataset_info.json")] if folder.is_dir() else []
    return max(found, key=lambda path: natural_order(path.name), default=None)


def _how_to_prepare(source: Source) -> str:
    dataset, prepared, config = source.dataset, epath.Path(source.data_dir), source.config
    if dataset not in DATASETS:
        names = ", ".join(sorted(p.name for p in prepared.iterdir() if p.is_dir())) if prepared.is_dir() else ""
        return (
            f"{source.data_dir}: no data set {dataset}{f'/{config}' if config else ''} was prepared there; "
            f"there is {names or 'nothing'}, and patchwork-prepare knows {', '.join(DATASETS)}"
        )
    info = DATASETS[dataset]
    config = config or info.configs[0]
    name = f"{dataset}/{config}" if config else dataset
    others = [other for other in info.configs if other and _newest_version(prepared / dataset / other)]
    if others:
        return f"{source.data_dir}: {name} was not prepared there, but --config={' or '.join(others)}"
    chosen = f" --config={source.config}" if source.config else ""
    manual = " --manual_dir=FOLDER" if info.manual else ""
    return (
        f"{source.data_dir}: {name} was not prepared there; run patchwork-prepare "
        f"--dataset={dataset}{chosen}{manual} --data_dir={source.data_dir}"
    )


@dataclasses.dataclass(frozen=True)
class AnnotatedVideo:
    """A video of T frames and what is true of each; what a data set does not have is empty."""

    name: str
    frames: Iterable[np.ndarray]  # T images (h, w, 3) uint8, RGB
    frame_names: list[str]  # T, as in the data set's files
    # Of the objects, T arrays (G, 4) float32, ymin, xmin, ymax, xmax as fractions.
    boxes: Iterable[np.ndarray] = ()
    labels: Iterable[np.ndarray] = ()  # T arrays (G,) int32, classes from 0
    crowds: Iterable[np.ndarray] = ()  # T arrays (G,) bool, which boxes are around several objects; empty: none is
    areas: Iterable[np.ndarray] = ()  # T arrays (G,) float, pixels of the objects where that is not their boxes'
    masks: Iterable[np.ndarray] = ()  # of the foreground, T arrays (h, w) bool

    def renumbered(self, numbers: np.ndarray) -> "AnnotatedVideo":
        """With other classes: `numbers` has the new one of each, below 0 for those that are left out."""
        labels = [numbers[labels] for labels in self.labels]
        changed = {"labels": [new[new >= 0] for new in labels]}
        for name in ("boxes", "crowds", "areas"):
            values = getattr(self, name)  # there may be none
            changed[name] = [each[new >= 0] for each, new in zip(values, labels, strict=False)]
        return dataclasses.replace(self, **changed)


def annotated_videos(
    source: Source, *, count=None, num_frames=None, size=None, seed=0, only=None
) -> tuple[Iterator[AnnotatedVideo], int]:
    """Videos to score on, in their fixed order, and how many there are.

    There are at most `count`, of at most `num_frames`; generated ones, of a size and seed, by default 50 of 32. If
    not None, `only` is the number of the one to read, from 0.
    """
    if source.is_generated:
        count, num_frames, scenes = count or 50, num_frames or 32, scenes_of(source.config)
        numbers = range(count) if only is None else [only]
        return (_generated(number, num_frames, size, source.split, seed, scenes) for number in numbers), count
    builder = open_prepared(source)
    _described(builder)
    split = source.split if only is None else _single(builder, source.split, only)
    in_order = tfds.ReadConfig(interleave_cycle_length=1)  # one file after the other, as numbers count
    examples = builder.as_dataset(split=split, decoders=undecoded(builder), read_config=in_order).take(count or -1)
    total = builder.info.splits[source.split].num_examples
    is_video = "frames" in builder.info.features
    read = (_read_video(example, num_frames) if is_video else _read_still(example) for example in examples)
    return read, min(total, count or total)


def _generated(number, num_frames, size, split, seed, scenes) -> AnnotatedVideo:
    clip = moving_objects.render_clip(number, num_frames, size, split, seed, scenes)
    visible = clip.labels > 0
    return AnnotatedVideo(
        name=f"{split}-{number:05d}",
        frames=clip.frames,
        frame_names=[f"{t:06d}" for t in range(num_frames)],
        boxes=[boxes[kept] for boxes, kept in zip(clip.boxes, visible, strict=True)],
        labels=[labels[kept] - 1 for labels, kept in zip(clip.labels, visible, strict=True)],
        masks=clip.instances > 0,
    )


def _single(builder, split, number) -> tfds.core.ReadInstruction:
    """The part of a split, which may itself be a part or a sum of some, that is one example alone."""
    splits = builder.info.splits
    for part in tfds.core.ReadInstruction.from_spec(split).to_absolute(splits):
        first = (part.from_ or 0) + number
        end = splits[part.splitname].num_examples if part.to is None else part.to  # TFDS leaves out whole bounds
        if first < end:
            return tfds.core.ReadInstruction(part.splitname, from_=first, to=first + 1, unit="abs")
        number = first - end
    raise IndexError(number)


def undecoded(builder) -> dict:
    """TFDS' decoders that leave pictures compressed, until one is needed."""
    return {key: tfds.decode.SkipDecoding() for key in ("frames", MASKS) if key in builder.info.features}


def _read_video(example, num_frames) -> AnnotatedVideo:
    """An example in the schema of ours; frames are decoded as they are asked for."""
    count, truth = min(len(example["frames"]), num_frames or len(example["frames"])), {}
    if OBJECTS in example:
        objects = {key: value.numpy() for key, value in example[OBJECTS].items()}
        of_frame = [objects["frame"] == t for t in range(count)]
        truth = {
            "boxes": [objects["box"][kept] for kept in of_frame],
            "labels": [objects["label"][kept].astype(np.int32) for kept in of_frame],
            "crowds": [objects["crowd"][kept] for kept in of_frame],
        }
    if MASKS in example:
        truth["masks"] = _Decoded(example[MASKS].numpy()[:count], cv2.IMREAD_GRAYSCALE)
    return AnnotatedVideo(
        name=example["video"].numpy().decode(),
        frames=_Decoded(example["frames"].numpy()[:count], cv2.IMREAD_COLOR_RGB),
        frame_names=[name.decode() for name in example["frame_names"].numpy()[:count]],
        **truth,
    )


def _read_still(example) -> AnnotatedVideo:
    """An image of COCO as a video of one frame."""
    objects = {key: value.numpy() for key, value in example["objects"].items()}
    return AnnotatedVideo(
        name=str(int(example["image/id"])),
        frames=[example["image"].numpy()],
        frame_names=["000000"],
        boxes=[objects["bbox"]],
        labels=[objects["label"].astype(np.int32)],
        crowds=[objects["is_crowd"]],
        areas=[objects["area"].astype(float)],
    )


class _Decoded:
    """Compressed images, each decoded when iteration comes to it."""

    def __init__(self, images, mode):
        self.images = images
        self.mode = mode

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        for image in self.images:
            decoded = cv2.imdecode(np.frombuffer(image, np.uint8), self.mode)
            yield decoded > 0 if self.mode == cv2.IMREAD_GRAYSCALE else decoded
