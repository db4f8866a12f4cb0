"""A .tflite file of somebody's as it runs today: on every whole frame, at its own size, by LiteRT."""

import dataclasses

import keras
from keras import ops

from patchwork_tf import provenance
from patchwork_tf.errors import UsageError
from patchwork_tf.export import answers, reader
from patchwork_tf.models import networks
from patchwork_tf.streaming.step import KerasStep, compiled
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.build import build


class FileStep(KerasStep):
    """What `patchwork-import` has read of a file, with the file itself in the place of the network.

    LiteRT computes the maps, in the file's own numbers; boxes or masks are made of them as ours are. The
    checkpoint must have been made of this file.
    """

    def __init__(self, path: str, checkpoint: checkpoints.Checkpoint):
        about = checkpoint.metadata.get("import")
        if not about or about["sha256"] != provenance.sha256(path):
            raise UsageError(f"{checkpoint.path} was not imported from {path}: patchwork-import makes such a one")
        self._source = reader.read(path, input_range=tuple(about["input_range"]))
        meaning = answers.meaning_of(self._source, about["task"], about["anchors"], list(checkpoint.class_names))
        self._wanted = meaning.outputs(self._source.network)
        # What makes answers of the maps. The checkpoint's network is padded for frames of another size.
        size, name = self._source.image_size, f"{checkpoint.config.network} as it is"
        network = keras.Model(self._source.network.input, self._wanted, name="network")
        networks.register_network(name, networks.describe(network, name, size, meaning.answer))
        super().__init__(build(dataclasses.replace(checkpoint.config, network=name, image_size=size)))
        self.info = dataclasses.replace(
            self.info, system=path, class_names=tuple(checkpoint.class_names), resize_mode=checkpoint.resize_mode
        )
        self._fetched = _fetched(self._source, self._wanted)
        self._runner = self._source.runner(list(self._fetched), fast=True)
        self._conclude = compiled(self._concluded)

    def __call__(self, frame, window, state):
        """As `KerasStep`'s; the window is the whole frame."""
        found = self._runner(self._source.as_input(frame))
        outputs = self._conclude([ops.convert_to_tensor(found[tensor]) for tensor in self._fetched])
        return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}, state

    def _concluded(self, tensors):
        known = {id(x): tensor for x, tensor in zip(self._fetched.values(), tensors, strict=True)}
        outputs, _ = self.model.conclude_outputs({name: _made(x, known) for name, x in self._wanted.items()})
        return self._answer(outputs, None)


def _made(x, known: dict):
    """What a symbol stands for, of the tensors of others by their `id`."""
    if id(x) not in known:
        layer = x._keras_history.operation
        known[id(x)] = layer(keras.tree.map_structure(lambda each: _made(each, known), layer.input))
    return known[id(x)]


def _fetched(source, wanted: dict) -> dict:
    """Tensors of the file, and the symbols that stand for them, of which all that is wanted can be made."""
    known = {id(x): (tensor, x) for tensor, x in source.symbols.items() if tensor not in source.unproven}
    found, waiting = {}, list(wanted.values())
    while waiting:
        x = waiting.pop()
        if id(x) in known:
            tensor, symbol = known[id(x)]
            found[tensor] = symbol
        else:
            waiting += keras.tree.flatten(x._keras_history.operation.input)
    return found
