"""The adb clients that tests use, each with a server of its own."""

import importlib.util
import socket
from contextlib import contextmanager
from pathlib import Path

import needs
import pytest

from patchwork_tf.benchmarks.adb import Adb

# Marks tests of what clients differ in: the package adbutils brings one along for most machines.
both_clients = pytest.mark.parametrize(
    "adb", ["packaged", pytest.param("installed", marks=pytest.mark.tool)], indirect=True, scope="module"
)


@pytest.fixture(scope="module")
def adb(request, tmp_path_factory):
    """A real adb client."""
    kind = getattr(request, "param", "packaged" if _packaged() else "installed")
    with client(kind, tmp_path_factory.mktemp("home")) as adb:
        yield adb


@contextmanager
def client(kind: str, home):
    """An Adb whose server and keys are nobody else's."""
    path = _packaged() if kind == "packaged" else needs.program("adb")
    if not path:
        pytest.skip("no adb in adbutils for this machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(_free_port()))
        patch.setenv("ADB_MDNS_AUTO_CONNECT", "0")
        adb = Adb(path)
        adb.run("start-server")
        yield adb
        adb.run("kill-server")


def _packaged() -> str | None:
    package = importlib.util.find_spec("adbutils")
    path = package and Path(package.origin).with_name("binaries") / "adb"
    return str(path) if path and path.exists() else None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
