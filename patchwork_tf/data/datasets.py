"""The data sets that can be trained and scored on, by name."""

import dataclasses
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import tensorflow_datasets as tfds

from patchwork_tf.data import moving_objects
from patchwork_tf.data.annotated import AnnotatedVideo, moving_objects_videos
from patchwork_tf.data.davis2016 import Davis2016
from patchwork_tf.data.imagenet_vid import CLASSES, ImagenetVid
from patchwork_tf.data.moving_objects_builder import MovingObjects
from patchwork_tf.errors import DataError, UsageError

# In the order of TFDS' labels.
_COCO = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""
COCO_CLASSES = [name.strip() for name in _COCO.split(",")]
# COCO's own numbers of its classes skip some; these are in the order of COCO_CLASSES.
COCO_IDS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
UNDECODED = {"frames": tfds.decode.SkipDecoding(), "masks": tfds.decode.SkipDecoding()}


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What can be done with a data set.

    Attributes:
        class_names: by kind of truth, 'objects' or 'masks', that it has.
        max_objects: G, more objects in one frame are left out of training.
        is_video: False for still images.
        empty_masks: what a mask without any foreground says: 'background', or 'unknown', that the
            object is hidden or that nobody drew it.
        configs: names of its TFDS configs, the default first.
        manual: whether it is prepared from a folder that its makers publish, --manual_dir.
        beam: whether it is prepared through Apache Beam.
        builder: function of config and data_dir to its TFDS builder, whose videos have the features of
            `schema.video_features`.
    """

    builder: Callable[..., tfds.core.DatasetBuilder]
    class_names: dict[str, list[str]]
    max_objects: int
    is_video: bool = True
    empty_masks: str = "background"
    configs: tuple[str, ...] = (None,)
    manual: bool = False
    beam: bool = False


def _coco(config, data_dir):
    return tfds.builder(f"coco/{config}", data_dir=data_dir)


_FOREGROUND = ["foreground"]
DATASETS = {
    "moving_objects": DatasetInfo(
        MovingObjects,
        {"objects": list(moving_objects.CLASSES), "masks": _FOREGROUND},
        moving_objects.MAX_OBJECTS,
        configs=tuple(config.name for config in MovingObjects.BUILDER_CONFIGS),
    ),
    "imagenet_vid": DatasetInfo(
        ImagenetVid, {"objects": list(CLASSES)}, 32, configs=("videos", "frames15"), manual=True, beam=True
    ),
    "davis2016": DatasetInfo(Davis2016, {"masks": _FOREGROUND}, 0, empty_masks="unknown", manual=True),
    "coco": DatasetInfo(_coco, {"objects": COCO_CLASSES}, 64, is_video=False, configs=("2017",), beam=True),
}


def register_dataset(name: str, info: DatasetInfo):
    """Adds a data set of one's own: all commands take it by its name. Raises UsageError if the name is taken."""
    if DATASETS.setdefault(name, info) is not info:
        raise UsageError(f"there is a data set '{name}' already; choose another name")


def dataset_info(name: str) -> DatasetInfo:
    """What is registered under a name. Raises UsageError if there is nothing."""
    if name not in DATASETS:
        raise UsageError(f"--dataset={name}: there are {', '.join(DATASETS)}")
    return DATASETS[name]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where examples come from.

    Attributes:
        dataset: key of DATASETS.
        data_dir: TFDS folder it was prepared in; without one, moving_objects is generated on the fly.
        split: 'train', or a part of one as 'train[:26]'.
        config: which form of the data set; by default the first. Of generated moving_objects the kind of scenes.
    """

    dataset: str = "moving_objects"
    data_dir: str | None = None
    split: str = "train"
    config: str | None = None

    @property
    def is_generated(self) -> bool:
        return self.dataset == "moving_objects" and not self.data_dir


def class_names(dataset: str, truth: str) -> list[str]:
    """The classes that a data set has for a kind of truth. Raises UsageError if it has none, or is unknown."""
    names = dataset_info(dataset).class_names
    if truth not in names:
        fitting = [name for name, info in DATASETS.items() if truth in info.class_names]
        raise UsageError(f"--dataset={dataset} has no {truth}; there are some in {', '.join(fitting)}")
    return names[truth]


def scenes_of(config: str | None) -> str:
    """What --config says of generated moving_objects: the kind of scenes. Raises UsageError if unknown."""
    if config and config not in moving_objects.SCENES:
        kinds = ", ".join(moving_objects.SCENES)
        raise UsageError(f"--config={config}: without --data_dir moving_objects is generated as {kinds}")
    return config or "varied"


def builder_of(dataset: str, data_dir: str, config: str | None = None) -> tfds.core.DatasetBuilder:
    """The TFDS builder of a data set, prepared or not. Raises UsageError for an unknown config."""
    info = dataset_info(dataset)
    config = config or info.configs[0]
    if config not in info.configs:
        choices = ", ".join(str(name) for name in info.configs if name) or "none to choose from"
        raise UsageError(f"--config={config}: {dataset} has {choices}")
    return info.builder(config=config, data_dir=data_dir)


def tfds_name(builder) -> str:
    """Name and config of a builder."""
    return builder.name + (f"/{builder.builder_config.name}" if builder.builder_config else "")


def open_prepared(source: Source):
    """The builder of a data set that was prepared, with that split, or part of one as train[:26], in it.

    Raises:
        DataError: if it was not prepared; says how to.
        UsageError: if there is no data_dir.
    """
    dataset, data_dir, split, config = dataclasses.astuple(source)
    if not data_dir:
        raise UsageError(f"--data_dir is required for {dataset}: the TFDS folder it was prepared in")
    builder = builder_of(dataset, data_dir, config)
    manual = " --manual_dir=FOLDER" if dataset_info(dataset).manual else ""
    if not builder.is_prepared():
        chosen = f" --config={config}" if config else ""
        raise DataError(
            f"{data_dir}: {tfds_name(builder)} was not prepared there; run patchwork-prepare "
            f"--dataset={dataset}{chosen}{manual} --data_dir={data_dir}"
        )
    splits = [name for name, info in builder.info.splits.items() if info.num_examples]
    try:
        count = builder.info.splits[split].num_examples
    except (KeyError, ValueError, AssertionError):
        count = 0
    if not count:
        raise DataError(
            f"{builder.data_path}: nothing in the split '{split}'; there is {', '.join(splits) or 'none'}"
        )
    return builder


def annotated_videos(
    source: Source, *, count=None, num_frames=None, size=None, seed=0
) -> tuple[Iterator[AnnotatedVideo], int]:
    """Videos to score on, in their fixed order, and how many there are.

    Args:
        source: Source.
        count: at most so many videos; None for all.
        num_frames: frames per video of generated ones, and at most of others if not None.
        size: side of generated frames.
        seed: of generated videos.
    """
    if source.is_generated:
        count, num_frames, scenes = count or 50, num_frames or 32, scenes_of(source.config)
        return moving_objects_videos(count, num_frames, size, source.split, seed, scenes), count
    builder = open_prepared(source)
    is_video = DATASETS[source.dataset].is_video
    videos = builder.as_dataset(split=source.split, decoders=UNDECODED if is_video else None)
    read = _read_video if is_video else _read_still
    total = builder.info.splits[source.split].num_examples
    return (read(example, num_frames) for example in videos.take(count or -1)), min(total, count or total)


def _read_video(example, num_frames) -> AnnotatedVideo:
    """An example in the schema of ours; frames are decoded as they are asked for."""
    count = min(len(example["frames"]), num_frames or len(example["frames"]))
    objects = {key: value.numpy() for key, value in example["objects"].items()}
    of_frame = [objects["frame"] == t for t in range(count)]
    masks = example["masks"].numpy()[:count]
    return AnnotatedVideo(
        name=example["video"].numpy().decode(),
        frames=_Decoded(example["frames"].numpy()[:count], cv2.IMREAD_COLOR_RGB),
        frame_names=[name.decode() for name in example["frame_names"].numpy()[:count]],
        boxes=[objects["box"][kept] for kept in of_frame],
        labels=[objects["label"][kept] for kept in of_frame],
        masks=_Decoded(masks, cv2.IMREAD_GRAYSCALE),
    )


def _read_still(example, num_frames) -> AnnotatedVideo:
    """An image of COCO as a video of one frame."""
    del num_frames
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
