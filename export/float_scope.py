"""What stays in floating point when the rest of a file is quantized: all that is computed in a scope of names."""

import functools

import tensorflow as tf

FLOAT_SCOPE = "in_float"


def in_float(method):
    """Puts what a method computes into FLOAT_SCOPE."""

    @functools.wraps(method)
    def scoped(*args, **kwargs):
        with tf.name_scope(f"{FLOAT_SCOPE}/"):
            return method(*args, **kwargs)

    return scoped
