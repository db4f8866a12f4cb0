"""The training loop: keras `fit`, exact resume, after Ctrl-C too, checkpoints, TensorBoard, a progress bar."""

import csv
import dataclasses
import math
import os
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from patchwork_tf import devices, interrupts
from patchwork_tf.bars import progress
from patchwork_tf.errors import DataError
from patchwork_tf.files import atomic_file
from patchwork_tf.layers.cell import PatchworkCell
from patchwork_tf.models.weights import variable_key
from patchwork_tf.zoo import checkpoints

_GRADIENT_NORM = 10.0  # gradients through a long memory occasionally explode
_KEPT = 3  # checkpoints
_MOMENTUM = 0.99  # of the running mean of weights
HISTORY = "history.csv"
_RUNNING = "running/"  # begins the names of arrays of what the next row of the history is a mean of
_STOPPING = "stopping when this step is done and saved; a second Ctrl-C stops at once, without saving"
_MAP_SQUARE = 48  # pixels per window in the heat maps for TensorBoard


def make_optimizer(
    learning_rate: float, steps: int, warmup_steps: int, averages=False, accumulate=1, precision="float32"
) -> keras.optimizers.Optimizer:
    """Adam whose rate rises linearly for `warmup_steps`, then falls as a cosine to 0 at `steps`.

    With `averages` checkpoints hold the running mean of the weights of some hundred steps, beside the step's own.
    A step is taken with the mean of the gradients of `accumulate` batches. With the `precision` 'float16' losses
    are scaled, and steps whose gradients are not finite left out.
    """
    schedule = _Schedule(
        accumulate,
        initial_learning_rate=0.0,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, steps - warmup_steps),
    )
    adam = ClippedAdam(
        schedule,
        global_clipnorm=_GRADIENT_NORM / devices.count(),
        use_ema=averages,
        ema_momentum=_MOMENTUM ** (1 / accumulate),  # Keras moves the mean after every batch
        gradient_accumulation_steps=accumulate if accumulate > 1 else None,
    )
    return keras.optimizers.LossScaleOptimizer(adam) if precision == "float16" else adam


class ClippedAdam(keras.optimizers.Adam):
    """Clips the gradient of the whole batch; Keras clips that of each device's part, and sums them then."""

    def apply(self, grads, trainable_variables=None):
        super().apply(devices.mean(list(grads)), trainable_variables)


class _Schedule(keras.optimizers.schedules.CosineDecay):
    """By the number of the step, where Keras counts the batches of which `accumulate` make one."""

    def __init__(self, accumulate, **kwargs):
        super().__init__(**kwargs)
        self.accumulate = accumulate

    def __call__(self, step):
        return super().__call__(step // self.accumulate)


def compute_in(model, precision: str):
    """Has a model's network compute in 'float32', 'bfloat16' or 'float16', but for the layers that answer.

    Weights, what is remembered of earlier frames, batch statistics, answers and losses stay in float32, and so do
    checkpoints.
    """
    if precision == "float32":
        return
    answers = {id(symbol) for symbol in model.plan.outputs.values()}
    for step in model.plan.steps:
        layer = step.call.layer
        if isinstance(layer, PatchworkCell):
            layer = layer.layer
        elif step.looks or step.remembers or any(id(symbol) in answers for symbol in step.call.outputs):
            continue
        if isinstance(layer, keras.layers.Layer):
            layer.dtype_policy = f"mixed_{precision}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run."""

    model_dir: str  # folder of checkpoints, TensorBoard events and history.csv
    steps: int  # of the optimizer in all, those before a checkpoint included
    metadata: dict  # kept in the checkpoints
    log_every: int = 20  # steps
    save_every: int = 500
    writes: bool = True  # to model_dir; of several processes that train together, one does
    eval_every: int | None = None  # steps between checkpoints that are scored, which are saved then
    # What scores them: called with a path, the step and a tf.summary writer; writes a CSV file at its own `path`.
    watcher: Callable | None = None
    accumulate: int = 1  # batches per step, as the optimizer has it
    xla: bool = False  # whether TensorFlow compiles the step


def fit(trainer, make_batches, optimizer, run: Run, resume_from=None):
    """Trains a ClipModel or ClipPolicy until `run.steps`, from the Checkpoint `resume_from` on if there is one.

    `make_batches` is a function of the first step to a tf.data.Dataset of its and all later batches.

    Raises:
        DataError: if the loss is not finite; the last checkpoint stays good.
        KeyboardInterrupt: after Ctrl-C or a kill, when the step is done and a checkpoint is saved; says so.
    """
    optimizer.build(trainer.trainable_variables)
    start = 0
    if resume_from is not None:
        arrays = _means_swapped(resume_from.arrays, trainer.trainable_variables, optimizer)
        checkpoints.assign_weights(trainer.saved_variables, arrays, resume_from.path)
        checkpoints.restore_optimizer(optimizer, dataclasses.replace(resume_from, arrays=arrays))
        start = resume_from.step
    trainer.compile(
        optimizer=optimizer,
        jit_compile="auto" if keras.backend.backend() == "jax" else run.xla,
        steps_per_execution=run.accumulate,  # so that callbacks, too, see whole steps alone
    )
    with interrupts.deferred(_STOPPING) as is_interrupted:
        progress = _Progress(start, run, is_interrupted, resume_from.arrays if resume_from else {})
        try:
            trainer.fit(
                make_batches(start),
                steps_per_epoch=(run.steps - start) * run.accumulate,
                callbacks=[progress],
                verbose=0,
                shuffle=False,
            )
        finally:  # an error's message is to be the last thing on the screen
            progress.close()


class _Progress(keras.callbacks.Callback):
    """Logs, watches and saves a run, step by step: the one process that `writes` does. To be closed."""

    def __init__(self, start, run: Run, is_interrupted, before: dict):
        super().__init__()
        self.step, self.run, self.is_interrupted, self.before = start, run, is_interrupted, before
        self.bar = progress(total=run.steps, initial=start, unit="step", desc="compiling", disable=not run.writes)
        self.history = os.path.join(run.model_dir, HISTORY)
        self.events = tf.summary.create_noop_writer()
        if run.writes:
            self.events = tf.summary.create_file_writer(run.model_dir)
            truncate_history(self.history, start)
            if run.watcher:
                truncate_history(run.watcher.path, start)
        self.since = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Goes on with the means of a checkpoint, if it has them: Keras has just reset them."""
        for key, variable in _running(self.model).items():
            if key in self.before:
                variable.assign(self.before[key])

    def on_train_batch_end(self, batch, logs=None):
        """Raises DataError if the loss is not finite; what was saved before stays good."""
        self.step += 1
        if not math.isfinite(logs["loss"]):
            good = checkpoints.latest(self.run.model_dir)
            advice = f"{good} is good, resume it" if good else "there is no checkpoint yet, start again"
            raise DataError(
                f"the loss is {logs['loss']} at step {self.step}; {advice} with a lower --learning_rate"
            )
        self.bar.set_description("training", refresh=False)  # no longer compiling
        self.bar.update()
        if self.step % self.run.log_every == 0 or self.step == self.run.steps:
            if self.run.writes:
                self._log(logs)
            self.model.reset_metrics()
        is_last = self.step == self.run.steps
        is_stopped = not is_last and self.is_interrupted()
        is_watched = self.run.watcher and (self.step % self.run.eval_every == 0 or is_last)
        if self.run.writes and (self.step % self.run.save_every == 0 or is_last or is_stopped or is_watched):
            path = self.save()
            if is_watched:
                self.bar.set_description("scoring")
                self.run.watcher(path, self.step, self.events)
        if is_stopped:
            saved = f", saved in {self.run.model_dir}; the same command goes on from there"
            at = f"interrupted at step {self.step} of {self.run.steps}"
            raise KeyboardInterrupt(at + saved if self.run.writes else at)

    def save(self) -> str:
        """Writes a checkpoint; returns its path."""
        model = self.model
        arrays = checkpoints.training_state(model.saved_variables, model.optimizer)
        arrays = _means_swapped(arrays, model.trainable_variables, model.optimizer)
        arrays |= {key: keras.ops.convert_to_numpy(variable) for key, variable in _running(model).items()}
        metadata = {**self.run.metadata, "model": dataclasses.asdict(model.network.config)}
        return checkpoints.save(self.run.model_dir, self.step, arrays, metadata, _KEPT)

    def close(self):
        self.bar.close()
        self.events.close()

    def _log(self, logs):
        rate = float(self.model.optimizer.learning_rate)
        now = time.monotonic()
        row = {"step": self.step, **{k: float(v) for k, v in logs.items()}, "learning_rate": rate}
        self.bar.set_postfix({key: f"{row[key]:.3f}" for key in ("loss", *self.model.loss_names)})
        append_row(self.history, row)
        with self.events.as_default(step=self.step):
            for key in row.keys() - {"step"}:
                tf.summary.scalar(f"train/{key}", row[key])
            tf.summary.scalar("train/steps_per_second", self.run.log_every / (now - self.since))
            for key, values in self.model.window_maps().items():
                scaled = (values - values.min()) / max(np.ptp(values), 1e-6)  # the brighter, the higher
                picture = np.kron(scaled, np.ones((_MAP_SQUARE, _MAP_SQUARE)))
                tf.summary.image(f"windows/{key}", picture[None, ..., None].astype(np.float32))
        self.since = now


def _running(trainer) -> dict:
    """The variables of means that are logged and reset now and then, by their names in a checkpoint."""
    return {f"{_RUNNING}{number:04d}": variable for number, variable in enumerate(trainer.metrics_variables)}


def _means_swapped(arrays, variables, optimizer) -> dict[str, np.ndarray]:
    """A checkpoint's arrays, weights and their running means, if the optimizer keeps these, in each other's place.

    The variables themselves are left alone: of several processes, only the one that writes is here.
    """
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    if not adam.use_ema:
        return arrays
    keys = {id(variable): checkpoints.optimizer_key(n) for n, variable in enumerate(optimizer.variables)}
    swapped = dict(arrays)
    for variable, mean in zip(variables, adam._model_variables_moving_average, strict=True):
        one, other = variable_key(variable), keys[id(mean)]
        if {one, other} <= arrays.keys():
            swapped[one], swapped[other] = arrays[other], arrays[one]
    return swapped


def append_row(path: str, row: dict):
    """Adds a row to a CSV file, whose first line has the names."""
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def truncate_history(path: str, step: int):
    """Drops the rows of a CSV file that a run that is resumed at a step will write again."""
    if not os.path.exists(path):
        return
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    kept = rows[:1] + [row for row in rows[1:] if int(row[0]) <= step]
    with atomic_file(path, "w") as file:
        csv.writer(file).writerows(kept if len(kept) > 1 else [])
