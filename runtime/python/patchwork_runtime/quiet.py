"""Keeps what native libraries write to standard error off the terminal, so that a command's own lines are read."""

import os
import sys
import tempfile
import threading
from contextlib import contextmanager

_hiding = threading.RLock()


@contextmanager
def hidden_stderr():
    """Hides what native code writes to standard error, and yields a function that tells it."""
    if not is_open(2):  # nothing that is written there is seen
        yield lambda: ""
        return
    if sys.stderr:
        sys.stderr.flush()
    # One thread at a time: another one would take what is hidden for what was there.
    with _hiding, tempfile.TemporaryFile() as hidden:
        saved = os.dup(2)
        os.dup2(hidden.fileno(), 2)
        try:
            yield lambda: _content(hidden)
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def is_open(descriptor: int) -> bool:
    """Whether there is such a file of the process."""
    try:
        os.fstat(descriptor)
        return True
    except OSError:
        return False


def _content(file) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


@contextmanager
def python_only_stderr(to_the_end: bool):
    """Lets Python write to standard error, and no native code: banners and logs of TensorFlow and LiteRT.

    TF_CPP_MIN_LOG_LEVEL below 3 in the environment shows all of it.

    Args:
        to_the_end: whether it stays so until the process ends, as libraries write while they are taken down.
    """
    if not is_open(2):  # else the next file that is opened would be it, and be written to
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") < "3":
        yield
        return
    before, saved = sys.stderr, os.dup(2)
    if _descriptor(before) == 2:
        sys.stderr = os.fdopen(os.dup(saved), "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        if sys.stderr:
            sys.stderr.flush()
        if not to_the_end:
            os.dup2(saved, 2)
            sys.stderr = before
        os.close(saved)


def _descriptor(file) -> int | None:
    try:
        return file.fileno()
    except (OSError, AttributeError, ValueError):  # not a file of the system's
        return None
