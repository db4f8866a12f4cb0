"""Checkpoints: one .npz file with weights by layer name, the optimizer's state, and what they belong to.

A file holds `<layer>/<variable>` and `optimizer/<number>` arrays and one JSON text, `metadata`. It
is written under a temporary name first, so a file that has its name is complete.
"""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from patchwork_tf import provenance
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.files import atomic_file
from patchwork_tf.models.config import ModelConfig, StreamConfig
from patchwork_tf.models.networks import Network, register_network
from patchwork_tf.models.patch import PatchedModel
from patchwork_tf.models.patchwork_model import PatchworkModel
from patchwork_tf.models.weights import SCALE, assign_weights, get_weights, read_keras, read_npz
from patchwork_tf.zoo.build import build
from patchwork_tf.zoo.systems import System, get_system, is_ending, list_systems, run_as

_PRETRAINED = Path(__file__).parents[1] / "pretrained"  # what they are is in docs/systems.md
# Fields of a model that its weights decide.
_OF_WEIGHTS = ("depth", "num_classes", "image_size", "memory", "heads", "backbone", "network", "policy_prior")
_FLAGS = ("depth", "image_size")  # those that a flag sets
_LARGE = 5000  # numbers
_NAME = re.compile(r"checkpoint-(\d{8})\.npz$")


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that was read.

    Its metadata are 'step', 'system', 'model' (the fields of its ModelConfig), 'class_names', 'training', and of a
    system of one's own its 'stream' and 'reference', of a network of one's own 'network'.
    """

    path: str  # of its file
    arrays: dict[str, np.ndarray]  # weights and optimizer state
    metadata: dict

    @functools.cached_property
    def sha256(self) -> str:
        """Of its file."""
        return provenance.sha256(self.path)

    @property
    def step(self) -> int:
        return self.metadata["step"]

    @property
    def class_names(self) -> list[str]:
        return self.metadata["class_names"]

    @property
    def description(self) -> str:
        """What the weights are: imported from where, or trained on what and for how long."""
        training = self.metadata.get("training", {})
        if "imported" in self.metadata:
            return f"imported from {self.metadata['imported']}"
        return f"trained on {training.get('dataset')} as {self.metadata['system']}, step {self.step}"

    @property
    def resize_mode(self) -> str:
        """How frames got to the image size in training, one of `choices.RESIZE_MODES`."""
        return {**self.metadata, **self.metadata.get("training", {})}.get("resize_mode", "stretch")

    @property
    def config(self) -> ModelConfig:
        return ModelConfig(**self.metadata["model"])

    @property
    def system(self) -> System:
        """What was trained: a registered system or, if it is not, what the checkpoint says of it."""
        name = self.metadata["system"]
        if name in list_systems():
            return get_system(name)
        if self.config.network:
            return run_as(self._single, name)
        stream = StreamConfig(**self.metadata.get("stream", {}))
        return System(name, self.config, stream, self.metadata.get("reference"))

    @property
    def _single(self) -> System:
        """The system of a network of one's own on every whole frame."""
        return System("sf", dataclasses.replace(self.config, cells=1, window_cells=1))

    def system_named(self, name: str) -> System:
        """A system of the zoo or, of a network of one's own, what its name says."""
        own = self.config.network and self.metadata["system"] not in list_systems()
        return run_as(self._single, name) if own else get_system(name)


# What earlier versions called it; the shipped weights are of one.
_FORMERLY = {"model": {"window": "window_cells"}, "training": {"fit": "resize_mode"}}


def training_state(variables, optimizer) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint that training can go on from."""
    arrays = get_weights(variables)
    for number, variable in enumerate(optimizer.variables):
        arrays[optimizer_key(number)] = keras.ops.convert_to_numpy(variable)
    return arrays


def optimizer_key(number: int) -> str:
    """The array of an optimizer's variable."""
    return f"optimizer/{number:04d}"


def save(folder: str, step: int, arrays: dict[str, np.ndarray], metadata: dict, keep: int) -> str:
    """Writes checkpoint-<step>.npz and removes all but the newest `keep`; returns its path."""
    path = os.path.join(folder, f"checkpoint-{step:08d}.npz")
    write(path, arrays, {**metadata, "step": step})
    for old in _steps(folder)[:-keep]:
        os.remove(os.path.join(folder, f"checkpoint-{old:08d}.npz"))
    return path


def write(path: str, arrays: dict[str, np.ndarray], metadata: dict, compressed: bool = False):
    """Writes a checkpoint file; compressed ones take seconds longer."""
    with atomic_file(path) as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays, metadata=np.array(json.dumps(metadata)))


def save_weights(folder: str, config: ModelConfig, arrays: dict[str, np.ndarray], metadata: dict) -> str:
    """Writes weights that were trained elsewhere as the checkpoint of step 0; returns its path."""
    path = os.path.join(folder, "checkpoint-00000000.npz")
    write(path, arrays, {**metadata, "step": 0, "model": dataclasses.asdict(config)}, compressed=True)
    return path


def system_of(name: str, source: str | None) -> System:
    """The system of a name; one that says only how a network is run, of the network in a checkpoint."""
    return read(source).system_named(name) if source and is_ending(name) else get_system(name)


def pack(checkpoint: Checkpoint, path: str, bits: int = 8):
    """Writes what a checkpoint's model needs: kernels with 16 bits, large ones with 8 and scales per channel."""
    arrays = {}
    for key, array in checkpoint.arrays.items():
        if key.startswith("optimizer/"):
            continue
        if key.endswith("/kernel") and array.size > _LARGE and bits == 8:
            scale = np.maximum(np.abs(array).max(axis=tuple(range(array.ndim - 1))), 1e-12) / 127
            arrays[key + SCALE] = scale.astype(np.float32)
            array = np.round(array / scale).astype(np.int8)
        elif key.endswith("/kernel"):
            array = array.astype(np.float16)
        arrays[key] = array
    write(path, arrays, checkpoint.metadata, compressed=True)


def latest(folder: str) -> str | None:
    """Path of the newest checkpoint in a folder, None if there is none."""
    steps = _steps(folder)
    return os.path.join(folder, f"checkpoint-{steps[-1]:08d}.npz") if steps else None


def _steps(folder: str) -> list[int]:
    if not os.path.isdir(folder):
        return []
    return sorted(int(match[1]) for name in os.listdir(folder) if (match := _NAME.match(name)))


def list_pretrained() -> list[str]:
    """Names of the systems that `load` has weights for."""
    return [name for name in list_systems() if find_pretrained(name)]


def find_pretrained(name: str) -> str | None:
    """Path of the weights that come with the package for a system, None if there are none."""
    weights = get_system(name).weights if name in list_systems() else None
    return str(_PRETRAINED / f"{weights}.npz") if weights else None


def read(source: str) -> Checkpoint:
    """Reads a checkpoint file, the newest one of a folder, or the weights of a name of `list_pretrained`.

    Raises DataError if there is none, or it is corrupt or of another kind.
    """
    path = find(source)
    arrays = read_npz(path)
    try:
        metadata = dict(json.loads(str(arrays.pop("metadata"))))
        for part, names in _FORMERLY.items():
            if isinstance(metadata.get(part), dict):
                metadata[part] = {names.get(name, name): value for name, value in metadata[part].items()}
        checkpoint = Checkpoint(path, arrays, metadata)
        if not {"step", "system", "class_names"} <= metadata.keys():
            raise KeyError("step, system or class_names")
        if "network" in metadata:
            network = Network.from_json(metadata["network"])
            register_network(network.name, network)
        checkpoint.config  # noqa: B018  raises if the model is not one of ours
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a Patchwork checkpoint ({error})") from None
    return checkpoint


def find(source: str) -> str:
    """Path of the checkpoint file that a source of `read` names. Raises DataError if there is none."""
    if os.path.isdir(source):
        path = latest(source)
        if path is None:
            raise DataError(f"{source}: no checkpoint-*.npz in this folder")
        return path
    path = source if os.path.exists(source) else find_pretrained(source)
    if path is None:
        raise DataError(
            f"{source}: no checkpoint file, no training folder, and not pretrained, as are "
            f"{', '.join(list_pretrained())}"
        )
    return path


def restore_optimizer(optimizer, checkpoint: Checkpoint):
    """Sets a built optimizer's variables. Raises DataError if they do not fit."""
    for number, variable in enumerate(optimizer.variables):
        array = checkpoint.arrays.get(optimizer_key(number))
        if array is None or tuple(array.shape) != tuple(variable.shape):
            raise DataError(f"{checkpoint.path}: its optimizer state does not fit this model")
        variable.assign(array)


def load(source: str, system: str | None = None):
    """A model with trained weights, which knows its system, its classes and how frames are resized.

    Args:
        source: a name of `list_pretrained`, a checkpoint file or a folder of training or of `patchwork-import`, or
            what `model.save` wrote, a .keras file.
        system: the name of another than the checkpoint's, such as 'pw-m4n2' of a network that was imported.

    Raises:
        DataError: if there is no such thing.
        UsageError: if the system is unknown, or of another network; or the source is a .tflite file.
    """
    if source.endswith(".keras"):
        if system:
            raise UsageError(f"{source}: it is the system that it was saved as; leave out system={system!r}")
        model = read_keras(source)
        if not isinstance(model, PatchworkModel | PatchedModel):
            raise DataError(f"{source}: a {type(model).__name__}, no model that Patchwork has built")
        return model
    if source.endswith(".tflite"):
        raise UsageError(
            f"{source}: exported files are run by pw.stream({source!r}, frames), other networks are read by "
            f"pw.read_tflite({source!r})"
        )
    checkpoint = read(source)
    if system:
        return build_from(checkpoint.system_named(system), checkpoint)
    return build_from(checkpoint.system if os.path.exists(source) else get_system(source), checkpoint)


def build_from(system: System, checkpoint: Checkpoint | None, **overrides):
    """A system's model with a checkpoint's weights, or fresh ones; fields in `overrides` win over both.

    Any system whose layers have the weights' shapes will do, not only the one that was trained:
    the single-frame and all Patchwork models of a task and depth share their layers. The system
    gives grid and resolution; see `fields_of_weights` for the rest. On images of another size anchors keep the
    pixels that they had in training.

    Raises:
        DataError: if the weights do not fit.
        UsageError: if the system is of another network, or the image does not divide into its grid.
    """
    if checkpoint is not None:
        trained = checkpoint.config
        if trained.task != system.task:
            raise DataError(
                f"{checkpoint.path}: weights for {trained.task}, but {system.name} is for {system.task}"
            )
        fields = fields_of_weights(system, checkpoint, overrides)
        overrides = {"trained_size": trained.size_of_training, **fields, **overrides}
    model = build(system, **overrides)
    if checkpoint is not None:
        assign_weights(model.variables, checkpoint.arrays, checkpoint.path)
        model.info = dataclasses.replace(
            model.info,
            class_names=tuple(checkpoint.class_names),
            resize_mode=checkpoint.resize_mode,
            weights=checkpoint.description,
            weights_sha256=checkpoint.sha256,
        )
    return model


def fields_of_weights(
    system: System, checkpoint: Checkpoint, overrides: dict, fields: Sequence[str] = _OF_WEIGHTS
) -> dict:
    """What a checkpoint says of the model that a system is run with: ModelConfig fields that nobody overrides.

    A checkpoint may differ from the system that it was trained as: `patchwork-train --system=vid-sf --depth=0.35`.
    Then it does for all systems that have the same there as that one. But what sets a system apart is never
    replaced, the depth of vid-sf-d0.5 by that of other weights: UsageError.
    """
    found = {field: getattr(checkpoint.config, field) for field in fields if field not in overrides}
    for field, value in found.items():
        wanted, trained_as = getattr(system.model, field), getattr(checkpoint.system.model, field)
        if value != wanted != trained_as:
            meant = f", or say --{field}={_plain(value)}" if field in _FLAGS else ""
            raise UsageError(
                f"{system.name} has {field} {_plain(wanted)}, the weights of {checkpoint.path} have "
                f"{_plain(value)}: name the system that they are of{meant}"
            )
    return found


def _plain(value) -> str:
    """As flags have it."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


register_network("voc", lambda: Network.from_json(read("voc-sf").metadata["network"]))
