"""The systems of the paper's Tables 4 and 5, and of Open Images: a model, and a way to run it over a stream."""

import dataclasses

from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import EVERY_FRAME, ModelConfig, StreamConfig


@dataclasses.dataclass(frozen=True)
class System:
    """A named entry of the zoo.

    Attributes:
        name: as in `list_systems()`.
        task: 'detection' or 'segmentation'.
        model: the ModelConfig.
        stream: the StreamConfig.
    """

    name: str
    task: str
    model: ModelConfig
    stream: StreamConfig = EVERY_FRAME


def _systems(prefix: str, task: str, variants, **common) -> list[System]:
    return [
        System(f"{prefix}-{name}", task, ModelConfig(task=task, **common, **model), StreamConfig(**stream))
        for name, model, stream in variants
    ]


_M4N2 = {"cells": 4, "window": 2}
_M4N1 = {"cells": 4, "window": 1}
_M2N1 = {"cells": 2, "window": 1}

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
_OPEN_IMAGES = tuple(
    row for row in _TABLE_4 if row[0] in ("sf", "sf-int4", "sf-int16", "pw-m4n2", "pw-m4n1", "pw-m2n1")
)
_OPEN_IMAGES_CLASSES = 23

_BY_NAME = {
    system.name: system
    for system in (
        *_systems("vid", "detection", _TABLE_4),
        *_systems("davis", "segmentation", _TABLE_5),
        *_systems("oid", "detection", _OPEN_IMAGES, heads="ssd", num_classes=_OPEN_IMAGES_CLASSES),
    )
}


def list_systems() -> list[str]:
    """Names of all systems, in the order of the paper's tables, then those of Open Images."""
    return list(_BY_NAME)


def get_system(name: str) -> System:
    """The system of a name.

    Raises:
        UsageError: if there is none; names them all.
    """
    if name not in _BY_NAME:
        raise UsageError(f"unknown system '{name}'; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
