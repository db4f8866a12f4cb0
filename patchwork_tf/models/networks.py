"""Networks that were imported: each is described in full by the graph that its checkpoint holds."""

import copy
import dataclasses
import json
from collections.abc import Callable

import keras

from patchwork_tf.errors import UsageError
from patchwork_tf.layers import imported  # noqa: F401  makes their layers known


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of one's own."""

    name: str  # ModelConfig(network=name) has it, once it is registered
    graph: dict  # of the functional Keras model, frames (H, W, 3) in [-1, 1] in, as Keras serializes it
    image_size: tuple[int, int]  # of the frames that it was made for
    # What a detector makes its answer of, see `heads.described_levels` and `heads.described_decoder`; of other
    # tasks nothing: a segmenter's output is `segmenter.LOGITS`.
    answer: dict

    def build(self, image_size) -> keras.Model:
        """The network for frames of (H, W), weights at random. Raises UsageError if it has no such size."""
        graph = copy.deepcopy(self.graph)
        (frame,) = (layer for layer in graph["config"]["layers"] if layer["class_name"] == "InputLayer")
        sides = "x".join(map(str, image_size))
        made_for = frame["config"]["batch_shape"][1:3]
        if any((side - made) % 2 for side, made in zip(image_size, made_for, strict=True)):
            raise UsageError(
                f"{self.name} is padded for frames of {'x'.join(map(str, made_for))}; for {sides} import it "
                f"again, --image_size={sides}"
            )
        frame["config"]["batch_shape"] = [None, *image_size, 3]
        try:
            return keras.saving.deserialize_keras_object(graph)
        except ValueError:
            file = "x".join(map(str, self.image_size))
            raise UsageError(f"{self.name} cannot run on frames of {sides}; it was made for {file}") from None

    @classmethod
    def from_json(cls, fields: dict) -> "Network":
        """Of its fields, once JSON. Raises TypeError if some are missing."""
        network = cls(**fields)
        return dataclasses.replace(network, image_size=tuple(network.image_size))


def describe(network: keras.Model, name: str, image_size, answer: dict) -> Network:
    """The description of a functional Keras model."""
    graph = keras.saving.serialize_keras_object(network)
    graph = json.loads(json.dumps(graph, default=lambda number: number.item()))  # of NumPy
    return Network(name, graph, tuple(image_size), answer)


_KNOWN: dict[str, Network | Callable[[], Network]] = {}


def register_network(name: str, network: Network | Callable[[], Network]):
    """Makes a network known by its name: itself, or a function that reads it when it is first asked for."""
    _KNOWN[name] = network


def get_network(name: str) -> Network:
    """The network of a name. Raises UsageError if there is none."""
    if name not in _KNOWN:
        raise UsageError(f"network {name} is described in its checkpoint: name that, --checkpoint=FOLDER")
    if not isinstance(_KNOWN[name], Network):
        _KNOWN[name] = _KNOWN[name]()
    return _KNOWN[name]
