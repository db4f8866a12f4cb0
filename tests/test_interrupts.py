"""Programs end in order."""

import signal

import pytest

from patchwork_tf import interrupts

pytestmark = pytest.mark.usefixtures("in_a_terminal")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_is_noted_the_second_ends_the_program(number, capsys):
    with interrupts.deferred("wait") as is_interrupted:
        assert not is_interrupted()
        signal.raise_signal(number)
        assert is_interrupted()
        assert capsys.readouterr().err == "wait\n"
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_to_be_ignored_stays_so():
    """Under nohup, and in the background of a script."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interrupts.deferred("wait") as is_interrupted:
        signal.raise_signal(signal.SIGHUP)
        assert not is_interrupted()
