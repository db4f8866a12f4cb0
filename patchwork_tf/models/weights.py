"""Weights by layer name: the form of checkpoints, of published MobileNetV2 files, and between them."""

import os
import zipfile
from collections.abc import Sequence

import keras
import numpy as np

from patchwork_tf.errors import DataError, UsageError

# keras.applications' width multipliers for which ImageNet weights are published.
IMAGENET_DEPTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SCALE = "_scale"  # ends the name of what a packed kernel is multiplied by
_ATTENTION = "attention_"  # its layers' names start with this
_ATTENTION_OUTPUT = "attention_value/"  # all zero until it is trained
CLASS_PREDICTOR = "_classes"  # layers' names that end so predict classes, the background first
_OLD_NAMES = {"depthwise_kernel": "kernel"}  # Keras 2 -> Keras 3


def variable_key(variable) -> str:
    """`<layer>/<variable>`, for example 'block_1_expand_BN/gamma'."""
    return "/".join(variable.path.split("/")[-2:])


def get_weights(variables) -> dict[str, np.ndarray]:
    """Values of variables by `<layer>/<variable>`."""
    return {variable_key(v): keras.ops.convert_to_numpy(v) for v in variables}


def assign_weights(variables, arrays: dict[str, np.ndarray], source: str):
    """Sets variables from arrays by `<layer>/<variable>`; arrays without a variable are ignored.

    The attention network stays as it is if the arrays have none, as those of a single-frame
    network, or an untrained one for another grid or image size.

    Raises DataError, and sets nothing, if an array is missing or has another shape, a trained attention network's
    included.
    """
    shapes = {key: tuple(array.shape) for key, array in arrays.items()}
    attention = [v for v in variables if variable_key(v).startswith(_ATTENTION)]
    if any(shapes.get(variable_key(v)) != tuple(v.shape) for v in attention):
        if any(np.any(array) for key, array in arrays.items() if key.startswith(_ATTENTION_OUTPUT)):
            raise DataError(
                f"{source}: it has learned a policy for windows, which fits only the system and the image size "
                "that it was trained for; use those, or the checkpoint that the policy was trained from"
            )
        variables = [v for v in variables if not variable_key(v).startswith(_ATTENTION)]
    for variable in variables:
        key = variable_key(variable)
        if key not in shapes:
            raise DataError(f"{source}: no weights for layer {key}; it belongs to another architecture")
        if shapes[key] != tuple(variable.shape):
            raise DataError(
                f"{source}: {key} has shape {shapes[key]}, the model needs "
                f"{tuple(variable.shape)}; depth or number of classes differ"
            )
    for variable in variables:
        variable.assign(arrays[variable_key(variable)].astype("float32"))


def carry_classes(variables, arrays, before: Sequence[str], now: Sequence[str]) -> tuple[dict, list[str]]:
    """Weights of a detector of some classes, for one of others: class predictors of equal names are taken over.

    Case, spaces and underscores of names do not count. Predictors of other classes are those of the variables.
    `variables` and `now` are of the new model, `arrays` and `before` of the old one.

    Returns:
        The arrays for `assign_weights`, and the names in `now` that were taken over.
    """
    old = {_plain(name): number for number, name in enumerate(before, start=1)}  # 0 is the background
    pairs = [(number, old[_plain(name)]) for number, name in enumerate(now, start=1) if _plain(name) in old]
    kept, taken = (list(numbers) for numbers in zip((0, 0), *pairs, strict=True))
    arrays = dict(arrays)
    for variable in variables:
        key = variable_key(variable)
        if not key.split("/")[0].endswith(CLASS_PREDICTOR) or key not in arrays:
            continue
        new = keras.ops.convert_to_numpy(variable).copy()
        per_anchor = new.reshape(*new.shape[:-1], -1, 1 + len(now))
        source = arrays[key].reshape(*arrays[key].shape[:-1], -1, 1 + len(before))
        if per_anchor.shape[:-1] == source.shape[:-1]:  # else assign_weights tells what is wrong
            per_anchor[..., kept] = source[..., taken]
            arrays[key] = new
    return arrays, [now[number - 1] for number in kept[1:]]


def _plain(name) -> str:
    return name.lower().replace("_", " ").strip()


def are_folded(arrays: dict[str, np.ndarray]) -> bool:
    """Whether weights come from a file of another framework, in which batch normalisation is part of convolutions.

    Its mean is 0 and its variance 1 then, and the statistics of a batch are not: to normalise by these would undo
    what was learned.
    """
    arrays = {key: array for key, array in arrays.items() if not key.startswith(_ATTENTION)}
    means = [array for key, array in arrays.items() if key.endswith("/moving_mean")]
    variances = [array for key, array in arrays.items() if key.endswith("/moving_variance")]
    # A network that was not trained has means of 0, too, but variances of 1: these are short of it by epsilon.
    return bool(means) and not any(map(np.any, means)) and all(np.all(variance < 1) for variance in variances)


def read_npz(path: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, packed kernels as they were. Raises DataError if it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        for key in [key for key in arrays if key.endswith(SCALE)]:
            scale = arrays.pop(key)
            arrays[key.removesuffix(SCALE)] = arrays[key.removesuffix(SCALE)] * scale
        return arrays
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz file, or corrupt ({error})") from None


def load_backbone_weights(model, source: str):
    """Loads weights into a model's backbone by layer name.

    The source is 'imagenet' to download what keras.applications publishes for the model's depth, or the path of an
    .npz file (`<layer>/<variable>` arrays) or a .keras model.
    """
    check_backbone_weights(model.config, source)
    assign_weights(model.backbone.network.variables, _backbone_arrays(source, model.config.depth), source)


def check_backbone_weights(config, source: str):
    """Raises UsageError for ImageNet weights of a backbone that keras.applications has none of."""
    if source == "imagenet" and config.backbone != "mobilenet_v2":
        raise UsageError(
            f"imagenet weights are mobilenet_v2's; the backbone is {config.backbone}, give a file of it"
        )


def _backbone_arrays(source: str, depth: float) -> dict[str, np.ndarray]:
    if source.endswith(".npz"):
        arrays = read_npz(source)
    elif source == "imagenet":
        arrays = _layer_arrays(_imagenet_model(depth))
    elif source.endswith(".keras"):
        arrays = _layer_arrays(read_keras(source))
    else:
        raise DataError(f"{source}: backbone weights are 'imagenet', a .npz or a .keras file")
    renamed = {}
    for key, array in arrays.items():
        layer, _, variable = key.rpartition("/")
        renamed[f"{layer}/{_OLD_NAMES.get(variable, variable)}"] = array
    return renamed


def _imagenet_model(depth):
    if depth not in IMAGENET_DEPTHS:
        raise DataError(f"no ImageNet weights are published for depth {depth}; there are {IMAGENET_DEPTHS}")
    try:
        return keras.applications.MobileNetV2(
            input_shape=(224, 224, 3), alpha=depth, include_top=False, weights="imagenet"
        )
    except Exception as error:  # keras wraps network errors in a bare Exception
        raise DataError(f"could not download ImageNet weights: {error}") from None


def read_keras(path: str) -> keras.Model:
    """The model in a .keras file. Raises DataError if it cannot be read."""
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises anything from ValueError to KeyError here
        own = "; import what defines its layers first" if "deserialize" in str(error) else ""
        raise DataError(f"{path}: not a readable .keras model ({str(error).splitlines()[0]}){own}") from None


def _layer_arrays(model) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.variables
    }
