"""Apache Beam, where it is installed: its options, and work that is handed out to its workers by number."""

import atexit
import contextlib
import os
import pickle
import secrets
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

import tensorflow as tf

from patchwork_tf.commands.preparing import cause
from patchwork_tf.commands.worker import Worker, end_workers
from patchwork_tf.errors import DataError, UsageError

_TRIES = 3  # of one number
_ERROR = "error"  # file of what went wrong: raised in a worker, it would be told in pages of Beam's own
# What DirectRunner comes to; by that name Beam first looks for a program to download, which knows of no cores.
_LOCAL = "FnApiRunner"


def pipeline_options(flags):
    """PipelineOptions of --beam_runner and --beam_options; by default all cores of this machine.

    Raises:
        UsageError: if there is no such runner, or it or Beam is not installed.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.runner import create_runner
    except ImportError:
        raise UsageError("Apache Beam is not installed: pip install apache-beam") from None
    local = ("direct_num_workers=0", "direct_running_mode=multi_threading")
    given = (f"runner={flags.beam_runner or 'DirectRunner'}", *local, *filter(None, flags.beam_options))
    options = [f"--{option}" for option in given]  # of those that are given twice the last one counts
    name = PipelineOptions(options).get_all_options()["runner"]
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--beam_runner={name}: {error}") from None
    return PipelineOptions([*options, f"--runner={_LOCAL}"] if name.lower() == "directrunner" else options)


def numbered(flags, make: Callable[[], Callable], count: int, bar) -> Iterator:
    """What a function says of 0 to count - 1, in this order, computed by workers.

    Args:
        flags: with beam_runner and beam_options.
        make: makes the function, once in every worker; it is sent there, and so is what the function returns.
        count: how many.
        bar: progress, by one for each.

    Raises:
        UsageError: as `shared_folder`.
        DataError: what the function raised, or that a worker died again and again.
    """
    folder = os.path.join(shared_folder(flags), f"patchwork-{secrets.token_hex(8)}")
    tf.io.gfile.makedirs(folder)
    try:
        with _counted(folder, bar):
            _run(pipeline_options(flags), make, folder, count)
        error = os.path.join(folder, _ERROR)
        if tf.io.gfile.exists(error):
            with tf.io.gfile.GFile(error) as file:
                raise DataError(file.read())
        for number in range(count):
            with tf.io.gfile.GFile(_path(folder, number), "rb") as file:
                yield pickle.load(file)
    except KeyboardInterrupt:
        atexit.register(os._exit, 130)  # Beam's threads are at work still, and would abort a slower end
        raise
    finally:
        _write(os.path.join(folder, _ERROR), b"it is over")  # else somebody may write while it is removed
        end_workers()
        tf.io.gfile.rmtree(folder)


def shared_folder(flags) -> str:
    """Where workers may leave files. Raises UsageError as `pipeline_options`, or if there is no such place."""
    options = pipeline_options(flags).get_all_options()
    folder, runner = options["temp_location"], options["runner"]
    if not folder and runner != _LOCAL:
        raise UsageError(
            f"--beam_runner={runner}: workers leave results in a folder that all of them reach: "
            "--beam_options=temp_location=FOLDER"
        )
    return folder or tempfile.gettempdir()


def _path(folder, number) -> str:
    return os.path.join(folder, f"{number:08d}.pickle")


@contextlib.contextmanager
def _counted(folder, bar):
    """Within it, results in a folder are counted: no runner is like another in what it says of its progress."""
    done = threading.Event()

    def count():
        bar.update(len(tf.io.gfile.glob(os.path.join(folder, "*.pickle"))) - bar.n)

    def watch():
        while not done.wait(1):
            count()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    count()


def _run(options, make, folder, count):
    import apache_beam

    try:
        with apache_beam.Pipeline(options=options) as pipeline:
            numbers = pipeline | apache_beam.Create(range(count)) | apache_beam.Reshuffle()
            numbers | apache_beam.Map(_Asker(make, folder))
    except Exception as error:
        raise cause(error, "Apache Beam") from error


class _Asker:
    """Leaves what a function says of a number in a file of its own: a bundle that comes again adds nothing.

    Each thread of Beam's has one, and it a worker: runners differ in what they do about a process that dies; that
    of this machine waits for ever.
    """

    def __init__(self, make, folder):
        self._make, self._folder, self._worker = make, folder, None

    def __call__(self, number):
        path = _path(self._folder, number)
        answer = None if tf.io.gfile.exists(path) or self._is_over() else self._answer(number)
        if answer and not self._is_over():
            wrong, content = answer
            _write(os.path.join(self._folder, _ERROR), wrong.encode()) if wrong else _write(path, content)

    def _is_over(self) -> bool:
        """Whether nobody waits for more: something went wrong, or the folder is gone, as after Ctrl-C."""
        return tf.io.gfile.exists(os.path.join(self._folder, _ERROR)) or not tf.io.gfile.exists(self._folder)

    def _answer(self, number) -> tuple[str | None, bytes | None] | None:
        """What went wrong, or the pickled answer; None if it is over."""
        for _ in range(_TRIES):
            self._worker = self._worker or Worker(self._make)
            try:
                return self._worker.ask(number)
            except (EOFError, OSError):
                self._worker = None
            if self._is_over():
                return None
            print(f"a worker died at number {number} and is started again", file=sys.stderr, flush=True)
        return f"workers died {_TRIES} times at number {number}: is there memory enough?", None


def _write(path, content):
    """Writes a file whole or not at all, also where others write the same."""
    part = f"{path}.{secrets.token_hex(8)}"
    with tf.io.gfile.GFile(part, "wb") as file:
        file.write(content)
    tf.io.gfile.rename(part, path, overwrite=True)
