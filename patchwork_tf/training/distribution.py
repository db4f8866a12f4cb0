"""Training on several devices, or hosts, at once: data parallelism.

Every process and device takes its share of each batch, and the gradients are those of the whole batch. So N
learn what one would, batch statistics included. All devices of one machine are used on TensorFlow and JAX; several
hosts on JAX alone, for Keras 3 does not work under TensorFlow's MultiWorkerMirroredStrategy (keras issue 20585).
"""

import atexit
import dataclasses
import os
import sys
from contextlib import contextmanager, suppress

import keras

from patchwork_tf import devices
from patchwork_tf.errors import DataError, UsageError

_SILENCE = 30  # seconds without a sign of life after which JAX gives a process up for lost
_FAREWELL = 10  # seconds to wait for the others at the end


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which of how many processes this is."""

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this one writes checkpoints and logs."""
        return self.index == 0


def prepare(deterministic: bool):
    """How TensorFlow uses the machine: memory of GPUs as it needs it, and none if JAX is to train on them.

    Raises UsageError if it is to be deterministic, and does not train.
    """
    import tensorflow as tf

    on_jax = keras.backend.backend() == "jax"
    if deterministic and on_jax:
        raise UsageError(
            "--deterministic is TensorFlow's; on JAX and GPUs set XLA_FLAGS=--xla_gpu_deterministic_ops=true"
        )
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    with suppress(RuntimeError):  # a program that has used them already has made its choice
        if on_jax:
            tf.config.set_visible_devices([], "GPU")
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


def join(coordinator: str | None, count: int, index: int, mirrors: bool = True) -> Processes:
    """Waits for the other processes, then spreads batches over all devices of them all.

    The `coordinator` is host:port of process 0, which all can reach; None if there is one process. `mirrors` says
    whether more than one device of TensorFlow is of use to what is trained. Raises UsageError if the flags do not
    go together, or the backend is not JAX, DataError if the others do not come.
    """
    if count == 1 and not coordinator:
        _use_all_devices(mirrors)
        return Processes()
    if not coordinator or ":" not in coordinator:
        raise UsageError("--num_processes needs --coordinator=HOST:PORT, the address of process 0")
    if not 0 <= index < count:
        raise UsageError(f"--process_id={index}: of {count} processes, give 0 to {count - 1}")
    if keras.backend.backend() != "jax":
        raise UsageError("several processes train on the JAX backend only: set KERAS_BACKEND=jax")
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator, count, index, heartbeat_timeout_seconds=_SILENCE, shutdown_timeout_seconds=_FAREWELL
        )
    except RuntimeError as error:
        raise DataError(f"{coordinator}: the {count} processes did not come together: {error}") from error
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return Processes(index, count)


def _use_all_devices(mirrors):
    """Those of this machine, for all models and optimizers that are made from now on."""
    found = keras.distribution.list_devices()
    if len(found) > 1 and keras.backend.backend() == "jax":
        keras.distribution.set_distribution(keras.distribution.DataParallel())
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.distribute.has_strategy():  # two in one process mix up their messages
            return
        if len(found) > 1 and mirrors:
            tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(found))
        elif found[0].startswith("gpu"):  # which has batches wait for it there
            tf.distribute.experimental_set_strategy(tf.distribute.OneDeviceStrategy(found[0]))


def share_statistics(model):
    """Has batch normalisation take its statistics of the whole batch, where each device runs a part of it."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = devices.count() > 1


def share(batch_size: int, processes: Processes, parts: int = 1) -> int:
    """How much of each of so many parts of a batch is this process's. Raises UsageError if it does not divide."""
    if parts > 1 and devices.count() > 1:  # Keras has each decide for itself when a step is due
        raise UsageError(
            f"--accumulate={parts} is for one device, or for JAX: set KERAS_BACKEND=jax, or CUDA_VISIBLE_DEVICES=0"
        )
    on_jax = keras.backend.backend() == "jax"
    count = len(keras.distribution.list_devices()) if on_jax else devices.count()
    for number, what in ((processes.count, "processes"), (count, "devices")):
        if batch_size % (number * parts):
            by = f"{number} {what}" + (f" in --accumulate={parts} parts" if parts > 1 else "")
            raise UsageError(f"--batch_size={batch_size} cannot be shared by {by}")
    return batch_size // processes.count // parts


def check_agreement(step: int, processes: Processes):
    """Raises UsageError if the processes would not start from the same step."""
    if processes.count == 1:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    steps = np.asarray(multihost_utils.process_allgather(np.int32(step))).tolist()
    if len(set(steps)) > 1:
        raise UsageError(
            f"the processes found checkpoints of steps {steps}; --model_dir must be one folder that all can read"
        )


@contextmanager
def loss_of_others_reported(processes: Processes, model_dir: str):
    """Turns the runtime's error over a process that went away into a DataError.

    One that is to end, by Ctrl-C say, does not wait for the others.
    """
    try:
        yield
    except KeyboardInterrupt:
        if processes.count > 1:
            atexit.register(_leave, 130)
        raise
    except Exception as error:
        if processes.count == 1:
            raise
        import jax

        if not isinstance(error, jax.errors.JaxRuntimeError):
            raise
        # Runs before JAX's farewell to the others, which aborts the process if one of them is gone.
        atexit.register(_leave, 1)
        raise DataError(
            f"process {processes.index} lost another one of {processes.count}; start all of them again with the "
            f"same flags, they resume from the last checkpoint in {model_dir}  ({str(error)[:200]})"
        ) from error


def _leave(code):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
