"""Ending in order, however a program is told to: what was set on a phone is undone, what was learned is saved."""

import signal
import sys
from contextlib import contextmanager, suppress

from tqdm import tqdm

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_USUAL = (signal.SIG_DFL, signal.default_int_handler)  # what is done about them; not so under nohup


@contextmanager
def interruptible():
    """Within it, a kill or a closed terminal ends the program as Ctrl-C does. In the main thread only."""
    defaults = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    with _handled(defaults, signal.default_int_handler):
        yield


@contextmanager
def uninterrupted():
    """Within it, neither Ctrl-C nor a kill ends the program. In the main thread only."""
    # Unlike SIG_IGN, a function is not inherited by programs that are started meanwhile.
    with _handled(_ENDING, lambda *_: None):
        yield


@contextmanager
def deferred(said: str):
    """Within it, Ctrl-C or a kill is noted, to be obeyed when it suits; a second one ends the program at once.

    In the main thread only. The user is told what is `said` then. Yields a function: whether to end.
    """
    noted = []

    def note(number, _):
        noted.append(number)
        for each in usual:
            signal.signal(each, signal.SIG_DFL)
        with suppress(OSError):  # the terminal may be closed
            tqdm.write(said, file=sys.stderr)

    usual = [number for number in _ENDING if signal.getsignal(number) in _USUAL]
    with _handled(usual, note):
        yield lambda: bool(noted)


@contextmanager
def _handled(numbers, handler):
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
