"""The systems of the paper's Tables 4 and 5, and of Open Images: a model, and a way to run it over a stream."""

import dataclasses
import re

from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import EVERY_FRAME, ModelConfig, StreamConfig


@dataclasses.dataclass(frozen=True)
class System:
    """A named entry of the zoo."""

    name: str  # as in `list_systems()`
    model: ModelConfig
    stream: StreamConfig = EVERY_FRAME
    reference: str | None = None  # name of the single-frame system that it is held against; by default its own
    weights: str | None = None  # name of the pretrained weights that fit it

    def __post_init__(self):
        object.__setattr__(self, "reference", self.reference or self.name)

    @property
    def task(self) -> str:
        return self.model.task

    @property
    def is_single_frame(self) -> bool:
        """Whether it looks at all of every frame, so that others can be held against it."""
        return self.model.grid.is_whole_frame and self.stream == EVERY_FRAME


def _systems(prefix: str, variants, **common) -> list[System]:
    return [
        System(
            f"{prefix}-{name}",
            ModelConfig(**common, **model),
            StreamConfig(**stream),
            reference=f"{prefix}-sf",
            # Pretrained weights are of one depth, for frames of full resolution.
            weights=None if {"depth", "resolution"} & model.keys() else prefix,
        )
        for name, model, stream in variants
    ]


_M4N2 = {"cells": 4, "window_cells": 2}
_M4N1 = {"cells": 4, "window_cells": 1}
_M2N1 = {"cells": 2, "window_cells": 1}

# Rows of Table 4 (ImageNet VID detection), and Patchwork M=2 N=1, which Table 3 describes:
# name, model, stream.
_TABLE_4 = (
    ("sf", {}, {}),
    ("sf-int4", {}, {"interval": 4}),
    ("sf-int16", {}, {"interval": 16}),
    ("pw-m4n2-d1.4-flip", {**_M4N2, "depth": 1.4}, {"flip": True}),
    ("pw-m4n2-d1.4", {**_M4N2, "depth": 1.4}, {}),
    ("sf-d0.5", {"depth": 0.5}, {}),
    ("sf-r0.25", {"resolution": 0.25}, {}),
    ("sf-int4-delay3", {}, {"interval": 4, "delay": 3}),
    ("pw-m4n2", _M4N2, {}),
    ("sf-int16-delay15", {}, {"interval": 16, "delay": 15}),
    ("pw-m4n1", _M4N1, {}),
    ("pw-m2n1", _M2N1, {}),
)
# Rows of Table 5 (DAVIS 2016 segmentation), and Patchwork M=2 N=1.
_TABLE_5 = tuple(row for row in _TABLE_4 if "d1.4" not in row[0])
# Detectors with the heads of the Object Detection API's SSD MobileNetV2, for the 23 Open Images classes that the
# shipped one knows.
_PRETRAINED = tuple(
    row for row in _TABLE_4 if row[0] in ("sf", "sf-int4", "sf-int16", "pw-m4n2", "pw-m4n1", "pw-m2n1")
)
_OPEN_IMAGES_CLASSES = 23
# DeepLabV3 MobileNetV2, 20 classes of PASCAL VOC.
_PASCAL_VOC = {"task": "segmentation", "network": "voc", "num_classes": 20, "image_size": (512, 512)}

_BY_NAME = {
    system.name: system
    for system in (
        *_systems("vid", _TABLE_4),
        *_systems("davis", _TABLE_5, task="segmentation"),
        *_systems("oid", _PRETRAINED, heads="ssd", num_classes=_OPEN_IMAGES_CLASSES),
        *_systems("voc", _PRETRAINED, **_PASCAL_VOC),
    )
}
# What a system's name ends in says how its network is run.
_ENDING = re.compile(r"sf(-int(?P<interval>[1-9]\d*)(-delay(?P<delay>\d+))?)?|pw-m(?P<cells>\d+)n(?P<window>\d+)")
ENDINGS = "sf, sf-int3, sf-int3-delay2, pw-m4n2"


def register(system: System) -> System:
    """Adds a system of one's own to the zoo: all commands and functions take it by its name from then on.

    Raises UsageError if the name is taken, or its reference is no system that sees all of every frame.
    """
    if system.name in _BY_NAME:
        raise UsageError(f"there is a system '{system.name}' already; choose another name")
    reference = system if system.reference == system.name else get_system(system.reference)
    if not reference.is_single_frame:
        raise UsageError(
            f"{system.name}: name a reference that sees all of every frame, reference='vid-sf' perhaps; "
            f"{reference.name} does not"
        )
    _BY_NAME[system.name] = system
    return system


def list_systems() -> list[str]:
    """Names of all systems: those of the paper's tables, of Open Images, of PASCAL VOC, and of one's own."""
    return list(_BY_NAME)


def get_system(name: str) -> System:
    """The system of a name: one of `list_systems`, or the network of one run otherwise, as 'vid-sf-int3'.

    Raises UsageError, which names them all, if there is none.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    family, _, ending = name.partition("-")
    if is_ending(ending) and f"{family}-sf" in _BY_NAME:
        return run_as(_BY_NAME[f"{family}-sf"], name)
    if is_ending(name):
        raise UsageError(f"{name} of which network? Name what patchwork-import has made, --checkpoint=FOLDER")
    raise UsageError(f"unknown system '{name}'; there are {', '.join(_BY_NAME)}")


def is_ending(name: str) -> bool:
    """Whether a name says how a network is run, and not which."""
    return bool(_ENDING.fullmatch(name))


def run_as(single: System, name: str) -> System:
    """A single-frame system's network run as a name ends: windows, or every K-th frame, perhaps late."""
    prefix = single.name.removesuffix("sf")
    found = _ENDING.fullmatch(name.removeprefix(prefix))
    if not found:
        raise UsageError(f"unknown system '{name}'; those of {single.name} end in {ENDINGS} or other numbers")
    cells, window, interval, delay = (int(found[part] or 0) for part in ("cells", "window", "interval", "delay"))
    model = dataclasses.replace(single.model, cells=cells or 1, window_cells=window or 1)
    stream = StreamConfig(interval=interval or 1, delay=delay)
    return dataclasses.replace(single, name=name, model=model, stream=stream, reference=single.name)
