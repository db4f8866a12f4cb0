"""Ending in order: what is set on a phone is undone first, however the program is told to end."""

import signal
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(*_):
    raise KeyboardInterrupt


def _ignore(*_):  # unlike SIG_IGN, programs that are started meanwhile do not inherit it
    pass


@contextmanager
def interruptible():
    """Within it, a kill or a closed terminal ends the program as Ctrl-C does. In the main thread only."""
    defaults = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]  # not under nohup
    with _handled(defaults, _interrupt):
        yield


@contextmanager
def uninterrupted():
    """Within it, neither Ctrl-C nor a kill ends the program. In the main thread only."""
    with _handled(_ENDING, _ignore):
        yield


@contextmanager
def _handled(numbers, handler):
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
