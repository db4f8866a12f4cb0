"""The systems of the paper's Table 4: a model, and a way to run it over a stream."""

import dataclasses

from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class StreamConfig:
    """How a model is run over the frames of a stream.

    Attributes:
        interval: K, only every K-th frame (the key frames) is processed; others get the last answer.
        delay: frames by which an answer is late; K - 1 spreads one inference over K frames.
        flip: also run the mirrored frame as a second stream, and merge both.
    """

    interval: int = 1
    delay: int = 0
    flip: bool = False


@dataclasses.dataclass(frozen=True)
class System:
    """A named entry of the zoo.

    Attributes:
        name: as in `list_systems()`.
        task: 'detection'.
        model: the ModelConfig.
        stream: the StreamConfig.
    """

    name: str
    task: str
    model: ModelConfig
    stream: StreamConfig = StreamConfig()


def _vid(name, model=None, **stream):
    model = ModelConfig(**(model or {}))
    return System(f"vid-{name}", model.task, model, StreamConfig(**stream))


_M4N2 = {"cells": 4, "window": 2}

# Table 4 (ImageNet VID detection), row by row, and Patchwork M=2 N=1, which Table 3 describes.
_SYSTEMS = (
    _vid("sf"),
    _vid("sf-int4", interval=4),
    _vid("sf-int16", interval=16),
    _vid("pw-m4n2-d1.4-flip", {**_M4N2, "depth": 1.4}, flip=True),
    _vid("pw-m4n2-d1.4", {**_M4N2, "depth": 1.4}),
    _vid("sf-d0.5", {"depth": 0.5}),
    _vid("sf-r0.25", {"image_size": (192, 192)}),  # half the side, a quarter of the pixels
    _vid("sf-int4-delay3", interval=4, delay=3),
    _vid("pw-m4n2", _M4N2),
    _vid("sf-int16-delay15", interval=16, delay=15),
    _vid("pw-m4n1", {"cells": 4, "window": 1}),
    _vid("pw-m2n1", {"cells": 2, "window": 1}),
)
_BY_NAME = {system.name: system for system in _SYSTEMS}


def list_systems() -> list[str]:
    """Names of all systems, in the order of the paper's tables."""
    return list(_BY_NAME)


def get_system(name: str) -> System:
    """The system of a name.

    Raises:
        UsageError: if there is none; names them all.
    """
    if name not in _BY_NAME:
        raise UsageError(f"unknown system '{name}'; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
