"""Import of a network that was trained elsewhere: out of a .tflite file into a checkpoint, proven by LiteRT."""

import dataclasses
import os
import zipfile

import keras

from patchwork_tf import files, provenance
from patchwork_tf.errors import DataError
from patchwork_tf.export import answers, reader
from patchwork_tf.models import networks
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.models.weights import get_weights
from patchwork_tf.zoo import checkpoints

# Sides of frames divide into so many pixels: 4 x 4 cells of whole pixels at stride 16.
FRAME_MULTIPLE = 64


@dataclasses.dataclass(frozen=True)
class Imported:
    """What was imported: a TfliteNetwork at the file's size, what it means, and the checkpoint of its network.

    `proof` says in words how near answers are to the file's.
    """

    source: reader.TfliteNetwork
    meaning: answers.Meaning
    path: str
    config: ModelConfig
    proof: str


def import_tflite(
    path: str,
    model_dir: str,
    labels=None,
    task=None,
    image_size=None,
    input_range=None,
    anchors=None,
    resize_mode="stretch",
) -> Imported:
    """Imports a network.

    Args:
        model_dir: folder that gets the checkpoint.
        labels: path of its class names; None for those in the file.
        image_size: (H, W) of the systems' frames; by default the nearest to the file's that cells divide.
        task, anchors, input_range: see `answers.meaning_of` and `reader.read`.
        resize_mode: how frames get to that size, one of `choices.RESIZE_MODES`.
    """
    if checkpoints.latest(model_dir):
        raise DataError(f"{model_dir}: there are checkpoints in it already; name another --model_dir")
    source = reader.read(path, input_range=input_range)
    given = read_labels(path, labels)
    meaning = answers.meaning_of(source, task, anchors, given)
    names = class_names(path, labels, given, meaning)
    proof = _in_words(source, meaning, reader.prove(source, path))
    size = image_size or default_size(source.image_size)
    read = reader.read(path, size, input_range).network
    sha256 = provenance.sha256(path)
    name = f"{os.path.splitext(os.path.basename(path))[0]}-{sha256[:8]}"
    outputs = meaning.outputs(read)
    network = networks.describe(
        keras.Model(read.inputs, outputs, name="network"), name, source.image_size, meaning.answer
    )
    networks.register_network(name, network)
    config = ModelConfig(meaning.task, image_size=size, num_classes=meaning.num_classes, network=name)
    metadata = {
        "system": "sf",
        "class_names": names,
        "imported": f"{os.path.basename(path)}, SHA-256 {sha256}",
        "import": {
            "sha256": sha256,
            "input_range": list(source.input_range),
            "task": meaning.task,
            "anchors": anchors,
        },
        "network": dataclasses.asdict(network),
        "resize_mode": resize_mode,
    }
    files.make_folder(model_dir)
    saved = checkpoints.save_weights(model_dir, config, get_weights(read.variables), metadata)
    return Imported(source, meaning, saved, config, proof)


def _in_words(source, meaning, proof) -> str:
    """How near answers are to the file's, see `reader.prove`."""
    worst = max(difference for difference, _ in proof.values())
    if not source.in_8_bits:
        return f"maps are LiteRT's, to {worst:.0e} of the largest number"
    least = min(correlation for _, correlation in proof.values())
    text = f"maps are LiteRT's but for the rounding of its activations, correlation {least:.3f} and more"
    same = answers.same_class(source) if meaning.task == "segmentation" else None
    if same is not None:
        text += (
            f", the same class in {100 * same:.1f} % of the pixels in which either sees one, on generated pictures"
        )
    return text


def default_size(file_size) -> tuple[int, int]:
    """The nearest sides to a file's that 4 x 4 cells divide; of two the larger."""
    return tuple(max(1, int(side / FRAME_MULTIPLE + 0.5)) * FRAME_MULTIPLE for side in file_size)


def read_labels(path: str, labels: str | None) -> list[str] | None:
    """The lines of a text file of class names, or of the one packed into a .tflite; None if there is none."""
    text = None
    if labels is not None:
        try:
            text = files.read_bytes(labels).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError(f"{labels}: not a text file") from None
    elif zipfile.is_zipfile(path):
        text = _packed_text(path)
    if text is None:
        return None
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise DataError(f"{labels or path}: there are no labels in it")
    return names


def class_names(path: str, labels: str | None, names: list[str] | None, meaning) -> list[str]:
    """Names of a network's foreground classes: those that were read, perhaps with the background first.

    Raises DataError if there are none, or not as many as classes.
    """
    count = meaning.num_classes
    if meaning.task == "maps":
        return ["map"]
    if names is None:
        if count == 1:
            return ["foreground" if meaning.task == "segmentation" else "object"]
        raise DataError(f"{path}: no labels are packed into it; name a text file, --labels=FILE")
    if len(names) == count + 1 and names[0].lower() in answers.BACKGROUND_NAMES:
        names = names[1:]
    if len(names) != count:
        raise DataError(
            f"{labels or f'the labels in {path}'}: {len(names)} labels, '{names[0]}' to '{names[-1]}', but the "
            f"network has {count} classes; "
            f"one per line, with or without the background ({', '.join(answers.BACKGROUND_NAMES)}) first"
        )
    return names


def _packed_text(path) -> str | None:
    """The first text that is packed into a file. Raises DataError if it is damaged."""
    try:
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if name.endswith(".txt")]
            return packed.read(names[0]).decode() if names else None
    except Exception as error:  # whatever zipfile and its decoders raise
        raise DataError(f"{path}: the labels in it are damaged ({error})") from None
