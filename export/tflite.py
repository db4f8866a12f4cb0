"""Conversion of a model's step to one TFLite file with explicit state tensors.

The file has one signature, `step`:
    inputs   frame [1, H, W, 3] float32 in [-1, 1], window [2] int32 (row, column), state_NN_*
    outputs  boxes [100, 4], scores [100], classes [100] int32, count [] int32, or mask [H, W];
             next_window [2] int32, state_NN_* under the same names
State is zero before the first frame; feed the outputs back as inputs. Only operators that are
built into LiteRT are used. Single-frame models have no state.
"""

import tempfile

import keras
import tensorflow as tf

from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata
from patchwork_tf.models.suppression import suppress

SIGNATURE = "step"


def state_names(model) -> dict[str, str]:
    """Name in the file of every state tensor; numbered, so that sorting keeps the model's order."""
    return {name: f"state_{number:02d}_{name}" for number, name in enumerate(model.memory_shapes())}


def convert(model, facts: dict, suppression: bool = True) -> bytes:
    """Converts a model.

    Args:
        model: as from `build`, on the TensorFlow backend.
        facts: metadata to put into the file.
        suppression: False leaves out per-class suppression: boxes [A, 4] and scores
            [A, classes] of all anchors are the output then. Segmenters have none.

    Returns:
        The TFLite file.
    """
    if keras.backend.backend() != "tensorflow":
        raise UsageError("export needs the TensorFlow backend: set KERAS_BACKEND=tensorflow")
    module = tf.Module()
    module.step = tf.function(_step_function(model, suppression))
    height, width = model.config.image_size
    names = state_names(model)
    specs = {names[name]: tf.TensorSpec((1, *shape)) for name, shape in model.memory_shapes().items()}
    concrete = module.step.get_concrete_function(
        frame=tf.TensorSpec((1, height, width, 3)), window=tf.TensorSpec((2,), tf.int32), **specs
    )
    with tempfile.TemporaryDirectory() as folder:
        module.weights = [variable.value for variable in model.variables]  # for the saver to find
        tf.saved_model.save(module, folder, signatures={SIGNATURE: concrete})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return metadata.insert(converter.convert(), facts)


def _step_function(model, suppression):
    names = state_names(model)

    def step(frame, window, **states):
        # The runtime would clamp a window off the grid layer by layer, each to another place.
        window = tf.clip_by_value(window, 0, model.grid.positions - 1)
        state = {name: states[names[name]] for name in names}
        outputs, state = model.step(frame, window[None], state)
        results = {key: value[0] for key, value in outputs.items() if key != "q_values"}
        if "boxes" in results and suppression:
            found = suppress(results.pop("boxes"), results.pop("scores"))
            results |= dict(zip(("boxes", "scores", "classes", "count"), found, strict=True))
        return {**results, **{names[name]: state[name] for name in names}}

    return step
