"""A process beside this one that works, and may die: of a crash in native code, or killed for want of memory."""

import contextlib
import multiprocessing
import pickle
import signal
from types import SimpleNamespace

from patchwork_tf.errors import DataError, UsageError

_NAME = "patchwork-worker"


class Worker:
    """A process that answers by a function.

    Args:
        make: makes the function, there; it is sent, and so are answers.
    """

    def __init__(self, make):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), name=_NAME, daemon=True)
        self._process.start()
        theirs.close()  # else nobody would notice that the other side is dead

    def ask(self, question) -> tuple[str | None, bytes | None]:
        """What went wrong, or the pickled answer. Raises EOFError or OSError if the process is dead."""
        self._pipe.send(question)
        return self._pipe.recv()


def end_workers():
    """Ends those that this process has started, whatever they do."""
    for process in multiprocessing.active_children():
        if process.name == _NAME:
            process.kill()


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


class Told:
    """Flags as workers are told them: FlagValues cannot be sent."""

    def __init__(self, flags):
        self._flags = {
            name: SimpleNamespace(value=flags[name].value, present=flags[name].present) for name in flags
        }

    def __contains__(self, name):
        return name in self._flags

    def __getitem__(self, name):
        return self._flags[name]

    def __getattr__(self, name):
        if name.startswith("_"):  # asked for before there is anything, when it is received
            raise AttributeError(name)
        return self._flags[name].value
