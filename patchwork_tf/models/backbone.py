"""Backbones: functional Keras models with feature maps that heads ask for by their stride."""

import dataclasses
from collections.abc import Callable, Mapping

import keras

from patchwork_tf.errors import UsageError

STRIDE = 32  # of the last feature map


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A backbone that was made: its network, and by stride the names of the layers that heads look at."""

    network: keras.Model
    endpoints: Mapping[int, str]

    def map_of(self, stride: int) -> keras.KerasTensor:
        """The symbolic feature map of a stride. Raises UsageError if there is none."""
        if stride not in self.endpoints:
            raise UsageError(
                f"{self.network.name} has no feature map of stride {stride}, which these heads look at; it has "
                f"{', '.join(map(str, self.endpoints))}"
            )
        return self.network.get_layer(self.endpoints[stride]).output


_MAKERS: dict[str, tuple[Callable, Mapping[int, str]]] = {}


def register_backbone(name: str, make: Callable[..., keras.Model], endpoints: Mapping[int, str]):
    """Makes ModelConfig(backbone=name) known. Raises UsageError if the name is taken by another.

    Args:
        name: its name.
        make: function of (H, W) in pixels, depth, and the channels of the last map or None for its own number, to
            a functional Keras model, one of keras.applications for example.
        endpoints: stride -> name of the layer whose output heads of that stride look at; 32 is the last.
    """
    if _MAKERS.setdefault(name, (make, endpoints))[0] is not make:
        raise UsageError(f"there is a backbone '{name}' already; choose another name")


def make_backbone(name: str, image_size, depth: float, last_channels: int | None) -> Backbone:
    """A registered backbone. Raises UsageError if there is none of that name."""
    if name not in _MAKERS:
        raise UsageError(f"backbone must be one of {', '.join(_MAKERS)}, not {name}")
    make, endpoints = _MAKERS[name]
    return Backbone(make(image_size, depth, last_channels), endpoints)
