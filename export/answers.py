"""What the maps of a network mean that was read of a .tflite file: its task, and where the task's numbers are."""

import collections
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from flatbuffers import flexbuffers

from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export.reader import TfliteNetwork
from patchwork_tf.layers.imported import AlignedResizing, ChannelSlice, CornerResizing
from patchwork_tf.models.boxes import CODE_SCALES, SSD_ANCHORS
from patchwork_tf.models.heads import SCORES, SIGMOID, SOFTMAX
from patchwork_tf.models.segmenter import LOGITS
from patchwork_tf.streaming.stream import model_input

POSTPROCESS = "TFLite_Detection_PostProcess"
BACKGROUND_NAMES = ("???", "background", "unlabeled", "n/a")
SSD, YOLOX, MEDIAPIPE = "ssd", "yolox", "mediapipe"  # published rules of anchors
_CORNERED = (AlignedResizing, CornerResizing)
_SSD_COUNTS = tuple(map(len, SSD_ANCHORS))
_ACTIVATIONS = {"LOGISTIC": SIGMOID, "SOFTMAX": SOFTMAX}
# Operators that put rows together and leave numbers as they are.
_MOVES = ("RESHAPE", "CONCATENATION", "QUANTIZE", "DEQUANTIZE", "SQUEEZE", "EXPAND_DIMS", *_ACTIVATIONS)


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a task makes its answer of."""

    task: str
    outputs: Callable  # of the network, at any size, to the symbolic outputs that are wanted, by name
    answer: dict  # as `Network.answer` has it
    num_classes: int  # without the background
    said: str  # in words, for whoever imports it


def meaning_of(source: TfliteNetwork, task: str | None = None, anchors: str | None = None, labels=None) -> Meaning:
    """What a file answers.

    Args:
        source: the network.
        task: 'detection', 'segmentation' or 'maps'; None takes what the file's last operators say.
        anchors: of detectors without post-processing, SSD, YOLOX, MEDIAPIPE or the path of a file, see
            `read_anchors`; None takes the rule that fits the shapes of the file's outputs.
        labels: names of its classes, perhaps with the background, or None.
    """
    task = task or _guessed(source)
    if task == "detection":
        return _detection(source, anchors, labels)
    if anchors:
        raise UsageError(f"--anchors are of detectors; it is taken for {task}, --task=detection says otherwise")
    return {"segmentation": _segmentation, "maps": _maps}[task](source)


def _guessed(source) -> str:
    if POSTPROCESS in source.cut:
        return "detection"
    ends = [peeled(x) for x in source.network.output.values()]
    if len(ends) == 1 and ("ARG_MAX" in source.cut or ends[0].activation):
        return "segmentation"
    try:
        _detection(source, None, None)
    except (UsageError, DataError):
        return "maps"
    return "detection"


def _maps(source) -> Meaning:
    outputs = ", ".join(f"{name} {'x'.join(map(str, x.shape[1:]))}" for name, x in source.network.output.items())
    return Meaning("maps", lambda network: network.output, {}, 1, f"maps: {outputs}")


def _segmentation(source) -> Meaning:
    network = source.network
    found = {name: peeled(x) for name, x in network.output.items()}
    if len(found) > 1:
        found = {name: end for name, end in found.items() if end.activation}
    if len(found) != 1:
        raise UsageError(
            f"{len(network.output)} outputs ({', '.join(network.output)}), of which it is not known which are "
            "masks: --task=maps answers with all of them"
        )
    ((name, end),) = found.items()
    channels, kind = end.symbol.shape[3], end.activation
    if (channels > 1 and kind == "sigmoid") or (channels == 1 and kind == "softmax"):
        raise UsageError(f"{name} has {channels} channels behind a {kind}: no classes of which one is true")
    classes = max(1, channels - 1)
    said = f"masks of {classes} {'class' if classes == 1 else 'classes'} and background, of {name}"
    if not kind:
        said += ", taken for logits"
    return Meaning(
        "segmentation",
        lambda other: {LOGITS: peeled(other.output[name]).symbol},
        {"corners": end.corners},
        classes,
        said,
    )


def same_class(source) -> float | None:
    """How often a file and the network that was read say the same class, where either sees one.

    On generated frames; None if neither sees any, or there are other outputs than masks.
    """
    if len(source.outputs) > 1:
        return None
    (name,) = source.outputs
    same, seen = 0, 0
    for image in render_clip(1, 3, max(source.image_size), "validation").frames:
        frame = model_input(image, source.image_size)
        theirs, ours = source.answers(frame)[name], np.asarray(source.network(frame, training=False)[name])
        theirs, ours = (x.argmax(-1) if x.shape[-1] > 1 else x > 0.5 for x in (theirs, ours))
        either = (theirs > 0) | (ours > 0)
        same, seen = same + np.count_nonzero(either & (theirs == ours)), seen + np.count_nonzero(either)
    return same / seen if seen else None


class Peeled(NamedTuple):
    """What an output is made of before it is enlarged and its logits become probabilities."""

    symbol: keras.KerasTensor
    activation: str | None  # SIGMOID, SOFTMAX
    corners: bool  # whether it is enlarged so that its pixels are at multiples of the factor


def peeled(x) -> Peeled:
    """Takes what enlarges, and one activation, off an output."""
    kind, enlarging = None, []
    while True:
        layer = x._keras_history.operation
        if kind is None and _activation_in(layer):
            kind = _activation_in(layer)
        elif isinstance(layer, _CORNERED) or getattr(layer, "interpolation", None) == "bilinear":
            enlarging.append(layer)
        else:
            return Peeled(x, kind, bool(enlarging) and isinstance(enlarging[0], _CORNERED))
        x = layer.input


def _activation_in(layer) -> str | None:
    if isinstance(layer, keras.layers.Softmax):
        return SOFTMAX
    is_activation = isinstance(layer, keras.layers.Activation)
    return SIGMOID if is_activation and layer.activation is keras.activations.sigmoid else None


# Detectors


@dataclasses.dataclass(frozen=True)
class _Rows:
    """How the file puts a map's predictions into rows, one per anchor."""

    output: str  # of the network
    size: tuple[int, int]  # of the map
    columns: int  # numbers per row
    anchors: int  # rows per pixel
    joined: int  # the tensor in which rows of several maps are
    place: int  # among these
    activation: str | None  # SIGMOID or SOFTMAX, of what comes after the map
    goes_to: int | None  # which input of the post-processing it is, if there is one

    @property
    def count(self) -> int:
        """Of its anchors."""
        return self.anchors * self.size[0] * self.size[1]


def _level(number, shapes, offset=0.5, stride=None) -> dict:
    """A level of `Network.answer`."""
    names = {"classes": f"classes_{number}", "boxes": f"boxes_{number}"}
    return {**names, "shapes": shapes, "offset": offset, "stride": stride}


def _rows_of(source, name, tensor) -> _Rows:
    """Follows a map through the operators that were cut off. Raises UsageError if they are no rows."""
    activation, joined, place, columns, goes_to = None, None, 0, None, None
    _, *size, channels = source.shape(tensor)
    while True:
        takers = [operator for operator in source.operators if tensor in operator.inputs]
        kind = source.name(takers[0]) if takers else None
        if kind == POSTPROCESS:
            goes_to = list(takers[0].inputs).index(tensor)
        if len(takers) != 1 or kind not in _MOVES:
            break
        (operator,) = takers
        activation = _ACTIVATIONS.get(kind, activation)
        if kind == "CONCATENATION" and joined is None:
            joined, place = operator.outputs[0], list(operator.inputs).index(tensor)
            columns = source.shape(tensor)[-1]
        tensor = operator.outputs[0]
    if joined is None:
        joined, columns = tensor, source.shape(tensor)[-1]
    if channels % columns:
        raise UsageError(f"{name} ({'x'.join(map(str, size))}x{channels}) is not put into rows of anchors")
    return _Rows(name, tuple(size), columns, channels // columns, joined, place, activation, goes_to)


def _detection(source, rule, labels) -> Meaning:
    maps = {name: tensor for name, tensor in source.outputs.items() if len(source.shape(tensor)) == 4}
    groups = collections.defaultdict(list)
    for name, tensor in maps.items():
        rows = _rows_of(source, name, tensor)
        groups[rows.joined].append(rows)
    groups = [sorted(rows, key=lambda row: row.place) for rows in groups.values()]
    if len(groups) == 1 and rule in (None, YOLOX) and groups[0][0].columns > 5:
        return _yolox(source, groups[0])
    if len(groups) != 2 or [row.size for row in groups[0]] != [row.size for row in groups[1]]:
        raise UsageError(
            f"no detector that is known: its {len(maps)} maps ({', '.join(maps)}) are not rows of boxes and of "
            "classes in one order"
        )
    boxes, classes = _told_apart(groups)
    if [row.anchors for row in boxes] != [row.anchors for row in classes]:
        raise UsageError("its maps have not as many boxes as classes")
    post = next((x for x in source.operators if source.name(x) == POSTPROCESS), None)
    coder, levels, background, said = _anchors(source, rule, post, boxes, classes, labels)
    kinds = {peeled(source.network.output[row.output]).activation or row.activation for row in classes}
    if len(kinds) != 1:
        raise UsageError("its maps of classes have different activations")
    activation = kinds.pop() or (SCORES if post else SIGMOID)

    def outputs(network):
        found = {}
        for number, pair in enumerate(zip(classes, boxes, strict=True)):
            found[f"classes_{number}"], found[f"boxes_{number}"] = (
                peeled(network.output[row.output]).symbol for row in pair
            )
        return found

    num_classes = classes[0].columns - background
    answer = {"levels": levels, "activation": activation, "background": bool(background), "coder": coder}
    total = sum(row.count for row in boxes)
    said = f"boxes of {num_classes} {'class' if num_classes == 1 else 'classes'}, {total} anchors {said}"
    return Meaning("detection", outputs, answer, num_classes, said)


def _told_apart(groups) -> tuple:
    """Rows of boxes and rows of classes."""
    if all(group[0].goes_to is not None for group in groups):
        return tuple(sorted(groups, key=lambda group: group[0].goes_to))
    columns = [group[0].columns for group in groups]
    for boxes, classes in (groups, groups[::-1]):
        if boxes[0].columns == 4 != classes[0].columns or (boxes[0].columns > 4 and classes[0].columns == 1):
            return boxes, classes
    raise UsageError(
        f"its maps have rows of {columns[0]} and of {columns[1]} numbers: which are boxes is not known"
    )


def _anchors(source, rule, post, boxes, classes, labels) -> tuple:
    """The BoxCoder's fields, levels, how many columns are the background's, and where all that is from."""
    columns, counts = classes[0].columns, tuple(row.anchors for row in boxes)
    if post:
        options = flexbuffers.Loads(bytes(post.customOptions))
        scales = [float(options[f"{side}_scale"]) for side in "yxhw"]
        background = columns - int(options["num_classes"])
        if background not in (0, 1):
            raise DataError(f"its {POSTPROCESS} has {options['num_classes']} classes, its maps have {columns}")
        table = post.inputs[2]
        rounded = source.rounding(table)
        levels = _levels_of_table(source, source.constants[table], boxes, rounded)
        return {"scales": scales}, levels, background, "of its post-processing"
    if rule is None:
        if columns == 1 and boxes[0].columns > 4:
            rule = MEDIAPIPE
        elif counts == _SSD_COUNTS and boxes[0].columns == 4:
            rule = SSD
        else:
            raise UsageError(f"its anchors are not in the file: --anchors={SSD}, {MEDIAPIPE}, {YOLOX} or a file")
    if rule == MEDIAPIPE:
        sides = list(source.image_size)
        coder = {"scales": 2 * sides, "exponential": False, "numbers": boxes[0].columns, "places": [1, 0, 3, 2]}
        levels = [_level(number, [sides] * row.anchors) for number, row in enumerate(boxes)]
        return coder, levels, 0, "as MediaPipe's SsdAnchorsCalculator has them"
    coder = {"scales": list(CODE_SCALES)}
    if rule == SSD:
        if counts != _SSD_COUNTS:
            raise UsageError(f"--anchors={SSD}: these are {_SSD_COUNTS} at a place, its maps have {counts}")
        shapes = [(np.float32(shapes) * min(source.image_size)).tolist() for shapes in SSD_ANCHORS]
        levels = [_level(number, of_level) for number, of_level in enumerate(shapes)]
        return coder, levels, int(columns > 1), "as ssd_anchor_generator has them"
    has_background = labels is None or len(labels) == columns - 1 or labels[0].lower() in BACKGROUND_NAMES
    levels = _levels_of_table(source, read_anchors(rule), boxes)
    return coder, levels, int(columns > 1 and has_background), f"of {rule}"


def read_anchors(path: str) -> np.ndarray:
    """Anchors (A, 4), ycenter, xcenter, height and width as fractions of the frame, of .npy or lines of text."""
    try:
        if path.endswith(".npy"):
            found = np.load(path)
        else:
            found = np.loadtxt(Path(path).read_text("utf-8").replace(",", " ").splitlines())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no anchors ({error})") from None
    if found.ndim != 2 or found.shape[1] != 4:
        raise DataError(f"{path}: anchors are lines of ycenter, xcenter, height, width; it has {found.shape}")
    return found.astype(np.float32)


def _levels_of_table(source, table, boxes, rounded: float = 0.0) -> list[dict]:
    """Levels, of anchors that a file has one by one, rounded to so much. Raises DataError if on no grid."""
    image, levels, first = np.float32(source.image_size), [], 0
    total = sum(row.count for row in boxes)
    if len(table) != total:
        raise DataError(f"there are {len(table)} anchors, but its maps have {total}")
    for number, row in enumerate(boxes):
        anchors = table[first : first + row.count].reshape(*row.size, row.anchors, 4)
        first += row.count
        shapes = anchors[0, 0, :, 2:] * image
        offset, stride = _grid_of(anchors, row.size, image, rounded)
        if np.abs(anchors[..., 2:] * image - shapes).max() > 1e-2 or offset is None:
            raise DataError(f"anchors of the map {row.output} are not the same at every pixel, in a grid")
        levels.append(_level(number, shapes.tolist(), offset, stride))
    return levels


def _grid_of(anchors, size, image, rounded) -> tuple:
    """Offset in pixels of a map and, if the frame is no multiple of it, stride in pixels of the frame."""
    pixels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)[:, :, None]
    strides = 2 ** np.round(np.log2(image / size))
    for scale, stride in ((np.float32(size), None), (image / strides, float(strides[0]))):
        offsets = anchors[..., :2] * scale - pixels
        offset = float(np.round(2 * offsets.mean()) / 2 if rounded else np.round(offsets.mean(), 4))
        if np.abs(offsets - offset).max() < 1e-2 + rounded * np.max(scale):
            return offset, stride
    return None, None


def _yolox(source, rows) -> Meaning:
    """Boxes, objectness and classes in one row: centres from a pixel's corner on, sizes as logarithms."""
    num_classes = rows[0].columns - 5
    levels = []
    for number, row in enumerate(rows):
        strides = [side // own for side, own in zip(source.image_size, row.size, strict=True)]
        if row.anchors != 1:
            raise UsageError(f"{row.output} has {row.anchors} boxes at a pixel: YOLOX has one")
        levels.append(_level(number, [strides], 0.0))

    def outputs(network):
        found = {}
        for number, row in enumerate(rows):
            x = network.output[row.output]
            found[f"boxes_{number}"] = _channels(x, 0, 4, f"boxes_{number}")
            parts = [_channels(x, 4, 5, f"object_{number}"), _channels(x, 5, 5 + num_classes, f"kinds_{number}")]
            parts = [_probability(part, f"probability_{number}_{k}") for k, part in enumerate(parts)]
            found[f"classes_{number}"] = keras.layers.Multiply(name=f"scores_{number}")(parts)
        return found

    coder = {"scales": [1.0] * 4, "places": [1, 0, 3, 2]}
    answer = {"levels": levels, "activation": SCORES, "background": False, "coder": coder}
    total = sum(row.count for row in rows)
    said = f"boxes of {num_classes} classes, {total} pixels as YOLOX reads them"
    return Meaning("detection", outputs, answer, num_classes, said)


def _channels(x, start, stop, name):
    """Channels of a symbolic map; of one that was joined what was there before."""
    layer = x._keras_history.operation
    if isinstance(layer, keras.layers.Concatenate):
        first = 0
        for part in layer.input:
            if (first, first + part.shape[-1]) == (start, stop):
                return part
            first += part.shape[-1]
    return ChannelSlice(start, stop, name=f"{name}_channels")(x)


def _probability(x, name):
    is_there = _activation_in(x._keras_history.operation) == SIGMOID
    return x if is_there else keras.layers.Activation("sigmoid", name=name)(x)
