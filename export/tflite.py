"""Conversion of a model's step to one TFLite file with explicit state tensors.

The file has a signature `step`:
    inputs   frame [1, H, W, 3] float32 in [-1, 1], window [2] int32 (row, column), state_NN_*
    outputs  boxes [100, 4], scores [100], classes [100] int32, count [] int32, or mask [H, W];
             next_window [2] int32, state_NN_* under the same names; if windows are chosen also need
             [1, M, M, 1] and rule_values [1, windows] float32, and, if a policy was learned, q_values
and, if it has a state, a signature `whole_frame` for the first frame, which is looked at as a whole: the same
outputs from the frame alone. Both share their weights. Feed the states that come out back as inputs. Who
starts with a `step` begins with states of zero. Only operators that are built into LiteRT are used.
"""

import functools
import tempfile

import keras
import tensorflow as tf

from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata
from patchwork_tf.export.detector import DetectorLowering
from patchwork_tf.export.lowering import MapsLowering
from patchwork_tf.export.memory import STRIPS_FROM, FirstMemory, Memory
from patchwork_tf.export.segmenter import SegmenterLowering
from patchwork_tf.models.detector import PatchworkDetector
from patchwork_tf.models.maps import PatchworkMaps
from patchwork_tf.models.segmenter import PatchworkSegmenter

# The converter sorts them, and what comes first is what tools run that know no signatures: it must be the step.
SIGNATURE, START = "step", "whole_frame"
_LOWERINGS = {
    PatchworkDetector: DetectorLowering,
    PatchworkSegmenter: SegmenterLowering,
    PatchworkMaps: MapsLowering,
}


class Step:
    """A model's step as a function of TensorFlow, in the form that is exported.

    Args:
        model: as from `build`, on the TensorFlow backend.
        suppression: of detectors, whether it is in the graph.
        strips_from: maps of so many rows and more are remembered as strips.
        **options: of the Lowering.

    Attributes:
        state_shapes: shape (1, h, w, C) of every state tensor by its name in the file, which is numbered, so
            that sorting keeps the order.
        predictions: names in the file of the tensors that make up 'boxes' and 'scores' of all anchors, in
            their order, if suppression does not; else empty.
    """

    def __init__(self, model, suppression: bool = True, strips_from: int = STRIPS_FROM, **options):
        if keras.backend.backend() != "tensorflow":
            raise UsageError("export needs the TensorFlow backend: set KERAS_BACKEND=tensorflow")
        self.model = model
        lowerings = [lowering for kind, lowering in _LOWERINGS.items() if isinstance(model, kind)]
        if not lowerings:
            raise UsageError(f"{type(model).__name__} cannot be exported: there is no lowering of it")
        self._lower = lowerings[0]
        self._options = {**options, "suppression": suppression}
        self._frame = tf.TensorSpec((1, *model.config.image_size, 3), name="frame")
        self._new_memory = functools.partial(FirstMemory, model.grid, strips_from)
        self._first = self._new_memory()
        _traced(lambda frame: self._run(self._first, frame, tf.zeros(2, tf.int32), starts=True), self._frame)
        shapes = self._first.state_shapes
        self._names = {name: f"state_{number:02d}_{name}" for number, name in enumerate(shapes)}
        self.state_shapes = {self._names[name]: shape for name, shape in shapes.items()}
        self.predictions = {
            key: [self._names.get(name, name) for name in names]
            for key, names in self._lower(model, None, **self._options).predictions.items()
        }

    def __call__(self, frame, window, **states):
        """Outputs and new states by their names in the file."""
        # The runtime would clamp a window off the grid slice by slice, each to another place.
        window = tf.clip_by_value(window, 0, self.model.grid.positions - 1)
        states = {name: states[self._names[name]] for name in self._names}
        memory = Memory(self._first, window, states)
        return self._run(memory, frame, window) | self._named(memory.finish())

    def start(self, frame):
        """The same of a first frame, looked at as a whole."""
        memory = self._new_memory()
        outputs = self._run(memory, frame, tf.zeros(2, tf.int32), starts=True)
        return outputs | self._named(memory.finish())

    def _named(self, states) -> dict:
        return {self._names[name]: value for name, value in states.items()}

    @functools.cached_property
    def signatures(self) -> dict:
        """The traced functions by their names in the file."""
        window = tf.TensorSpec((2,), tf.int32)
        states = {name: tf.TensorSpec(shape) for name, shape in self.state_shapes.items()}
        signatures = {SIGNATURE: _traced(self, frame=self._frame, window=window, **states)}
        if states:
            signatures[START] = _traced(self.start, frame=self._frame)
        return signatures

    def _run(self, memory, frame, window, **options):
        return self._lower(self.model, memory, **self._options, **options).run(frame, window)


def _traced(function, *args, **kwargs):
    return tf.function(function, autograph=False).get_concrete_function(*args, **kwargs)


def convert(step: Step, facts: dict, float16: bool = False) -> bytes:
    """The TFLite file of a step, with facts as its metadata.

    With `float16` weights have 16 bits, half the file, and are computed in half precision where the processor can.
    """
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures=step.signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(step.signatures))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
            # By which XNNPACK knows that it may compute in half precision; its documentation names this attribute.
            converter.target_spec._experimental_supported_accumulation_type = tf.float16
        return metadata.insert(converter.convert(), facts)
