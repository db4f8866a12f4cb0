"""Keeps native libraries from writing banners to the terminal, so that a command's one clear line is seen."""

import atexit
import os
import sys
import tempfile
from contextlib import contextmanager


@contextmanager
def hidden_stderr():
    """Hides what native code writes to standard error, and yields a function that tells it."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield lambda: _content(hidden)
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def hush_exit():
    """From the end of the program on, hides what native code writes to standard error when it is taken down."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))


def _content(file) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def import_tensorflow():
    """Imports TensorFlow without its banner."""
    if "tensorflow" not in sys.modules:
        with hidden_stderr():
            import tensorflow
            import tensorflow.lite.python.lite  # noqa: F401  prints it once more
