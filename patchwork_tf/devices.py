"""Several devices of one machine on TensorFlow: each runs its part of a batch. On JAX all run the whole one."""

import keras


def count() -> int:
    """How many parts a batch is run in."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def mean(x):
    """The mean of what the devices have found, each of its part; `x` is a tensor or a list of tensors."""
    if count() == 1:
        return x
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, x)
