"""Apache Beam, where it is installed: its options, and work that is handed out to its workers by number.

A worker is a process that may die: of a crash in native code, or killed for want of memory.
"""

import atexit
import contextlib
import multiprocessing
import os
import pickle
import re
import secrets
import signal
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

from etils import epath

from patchwork_tf.errors import DataError, UsageError

_TRIES = 3  # of one number
_ERROR = "error"  # file of what went wrong: raised in a worker, it would be told in pages of Beam's own
_LONGEST = 300  # characters of a message that is not ours: TFDS quotes whole videos
_WORKER = "patchwork-worker"  # name of processes
# What DirectRunner comes to; by that name Beam first looks for a program to download, which knows of no cores.
_LOCAL = "FnApiRunner"


def pipeline_options(flags):
    """PipelineOptions of --beam_runner and --beam_options; by default all cores of this machine.

    Raises UsageError if there is no such runner, or it or Beam is not installed.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.runner import create_runner
    except ImportError:
        raise UsageError("Apache Beam is not installed: pip install -e '.[beam]'") from None
    local = ("direct_num_workers=0", "direct_running_mode=multi_threading")
    given = (f"runner={flags.beam_runner or 'DirectRunner'}", *local, *flags.beam_options)
    options = [f"--{option}" for option in given]  # of those that are given twice the last one counts
    name = PipelineOptions(options).get_all_options()["runner"]
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--beam_runner={name}: {error}") from None
    return PipelineOptions([*options, f"--runner={_LOCAL}"] if name.lower() == "directrunner" else options)


def shared_folder(flags) -> str | None:
    """Where workers may leave files; None without --beam_runner.

    Raises UsageError as `pipeline_options`, or if there is no such place, or options of no runner.
    """
    if not flags.beam_runner:
        if flags.beam_options:
            raise UsageError("--beam_options are those of a --beam_runner: name one, such as DirectRunner")
        return None
    options = pipeline_options(flags).get_all_options()
    folder, runner = options["temp_location"], options["runner"]
    if not folder and runner != _LOCAL:
        raise UsageError(
            f"--beam_runner={runner}: workers leave results in a folder that all of them reach: "
            "--beam_options=temp_location=FOLDER"
        )
    return folder or tempfile.gettempdir()


def cause(error: Exception, doing: str) -> DataError:
    """What a pipeline raised: our own message in it, which each runner wraps in its own way; else what failed."""
    own = re.search(r"DataError: (.*?)(?:\s*\[while running|\n|\\n|$)", str(error), re.DOTALL)
    text = f"{doing} failed: {type(error).__name__}: {textwrap.shorten(str(error), _LONGEST)}"
    return DataError(own[1] if own else text)


def numbered(flags, make: Callable[[], Callable], count: int, bar) -> Iterator:
    """What a function says of 0 to count - 1, in this order, computed by workers of --beam_runner.

    `make`, which is sent there, makes the function once in every worker; what that returns is sent back. The bar
    goes on by one for each. Raises UsageError as `shared_folder`, DataError for what the function raised, or if a
    worker died again and again.
    """
    folder = epath.Path(shared_folder(flags)) / f"patchwork-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        with _counted(folder, bar):
            _run(pipeline_options(flags), make, folder, count)
        if (folder / _ERROR).exists():
            raise DataError((folder / _ERROR).read_text())
        for number in range(count):
            yield pickle.loads(_path(folder, number).read_bytes())
    except KeyboardInterrupt:
        atexit.register(os._exit, 130)  # Beam's threads are at work still, and would abort a slower end
        raise
    finally:
        _write(folder / _ERROR, b"it is over")  # else somebody may write while it is removed
        for process in multiprocessing.active_children():
            if process.name == _WORKER:
                process.kill()
        folder.rmtree()


def _path(folder, number) -> epath.Path:
    return folder / f"{number:08d}.pickle"


@contextlib.contextmanager
def _counted(folder, bar):
    """Within it, results in a folder are counted: no runner is like another in what it says of its progress."""
    done = threading.Event()

    def count():
        bar.update(len(list(folder.glob("*.pickle"))) - bar.n)

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
            numbers | apache_beam.Map(_Task(make, os.fspath(folder)))
    except Exception as error:
        raise cause(error, "Apache Beam") from error


class _Task:
    """Leaves what a function says of a number in a file of its own: a bundle that comes again adds nothing.

    Each thread of Beam's has one, and it a worker: runners differ in what they do about a process that dies; that
    of this machine waits for ever.
    """

    def __init__(self, make, folder):
        self._make, self._folder, self._worker = make, folder, None

    def __call__(self, number):
        path = _path(epath.Path(self._folder), number)
        answer = None if path.exists() or self._is_over() else self._answer(number)
        if answer and not self._is_over():
            wrong, content = answer
            _write(path.parent / _ERROR, wrong.encode()) if wrong else _write(path, content)

    def _is_over(self) -> bool:
        """Whether nobody waits for more: something went wrong, or the folder is gone, as after Ctrl-C."""
        folder = epath.Path(self._folder)
        return (folder / _ERROR).exists() or not folder.exists()

    def _answer(self, number) -> tuple[str | None, bytes | None] | None:
        """What went wrong, or the pickled answer; None if it is over."""
        for _ in range(_TRIES):
            self._worker = self._worker or _Worker(self._make)
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
    part = path.parent / f"{path.name}.{secrets.token_hex(8)}"
    part.write_bytes(content)
    part.replace(path)


class _Worker:
    """A process that answers by a function; `make` makes it there, and is sent, as answers are."""

    def __init__(self, make):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make), name=_WORKER, daemon=True).start()
        theirs.close()  # else nobody would notice that the other side is dead

    def ask(self, question) -> tuple[str | None, bytes | None]:
        """What went wrong, or the pickled answer. Raises EOFError or OSError if the process is dead."""
        self._pipe.send(question)
        return self._pipe.recv()


def _serve(pipe, make):
    """In the process: answers until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    function = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            question = pipe.recv()
            try:
                function = function or make()
                answer = None, pickle.dumps(function(question))
            except Exception as error:  # who asks has to know
                is_ours = isinstance(error, DataError | UsageError)
                answer = str(error) if is_ours else f"{type(error).__name__}: {error}", None
            pipe.send(answer)


class FlagsOfWorkers(dict):
    """Flags as workers are sent them: FlagValues cannot be."""

    def __init__(self, flags):
        super().__init__(
            {name: SimpleNamespace(value=flags[name].value, present=flags[name].present) for name in flags}
        )

    def __getattr__(self, name):
        if name not in self:  # pickle asks for what there is not
            raise AttributeError(name)
        return self[name].value
