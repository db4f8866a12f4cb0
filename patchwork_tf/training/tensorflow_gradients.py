"""The one gradient that TensorFlow lacks for training through the memory: of a dynamic update slice.

`keras.ops.slice_update`, which a cell uses for single streams, is this operator there.
"""

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

_OPERATOR = "XlaDynamicUpdateSlice"


def _gradient(op, gradient):
    """Zero where the memory was overwritten for the memory, that very part for the update."""
    update, start = op.inputs[1], op.inputs[2]
    hole = xla.dynamic_update_slice(gradient, tf.zeros_like(update), start)
    return hole, tf.slice(gradient, start, tf.shape(update, out_type=start.dtype)), None


def register():
    """Makes the gradient known, unless it is already."""
    try:
        tf.RegisterGradient(_OPERATOR)(_gradient)
    except KeyError:
        return
