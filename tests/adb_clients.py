"""The adb clients that tests can use, each with a server of its own."""

import importlib.util
import os
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from patchwork_tf.benchmarks.adb import Adb


def paths() -> list:
    """Parameters of a fixture: the adb on the PATH, that of the package adbutils, those in PATCHWORK_TEST_ADB."""
    named = os.environ.get("PATCHWORK_TEST_ADB", "").split(os.pathsep)
    package = importlib.util.find_spec("adbutils")
    packed = Path(package.origin).with_name("binaries") / "adb" if package else ""
    found = [shutil.which(path) for path in ("adb", str(packed), *named) if path]
    missing = pytest.param(None, marks=pytest.mark.skip(reason="no adb: apt-get install adb"))
    return list(dict.fromkeys(filter(None, found))) or [missing]


@contextmanager
def client(path: str, home):
    """An Adb whose server and keys are nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(_free_port()))
        patch.setenv("ADB_MDNS_AUTO_CONNECT", "0")
        adb = Adb(path)
        adb.run("start-server")
        yield adb
        adb.run("kill-server")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
