"""What tests need that no Python package brings, programs and real files, without which they are skipped."""

import collections
import os
import shutil
from pathlib import Path

import pytest

from patchwork_tf.benchmarks import native

CHECKOUT = Path(__file__).parents[1]
# What it is -> the names that it may have, and what to install.
_PROGRAMS = {
    "adb": (("adb",), "adb"),
    "Bazel": (("bazel",), "bazel-bootstrap"),
    "C compiler": (("cc", "gcc", "clang"), "gcc"),
    "Chromium": (("chromium", "chromium-browser", "google-chrome"), "chromium"),
    "clang": (("clang",), "clang"),
    "CMake": (("cmake",), "cmake g++"),
    "gcc for arm64": ((native.ARCHITECTURES["arm64"].compiler,), "gcc-aarch64-linux-gnu"),
    "gcc for x86_64": ((native.ARCHITECTURES["x86_64"].compiler,), "gcc-x86-64-linux-gnu"),
    "JDK": (("javac",), "default-jdk-headless"),
    "qemu for arm64": (("qemu-aarch64-static", "qemu-aarch64"), "qemu-user-static"),
}
# Fixtures of what a machine may lack -> the group of tests that have it.
_GROUPS = {"tool": "tool", "real_data": "data"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    for item in items:
        for fixture in _GROUPS.keys() & set(item.fixturenames):
            item.add_marker(_GROUPS[fixture])


def pytest_terminal_summary(terminalreporter):
    """One line for each thing that is missing, for however many tests."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, tests in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {tests}: {reason}")


def program(title: str) -> str:
    """The path of one of the programs above."""
    names, package = _PROGRAMS[title]
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip(f"no {title}: apt-get install {package}")


def compiler() -> str:
    """A C compiler for this machine."""
    program("C compiler")
    return native.host_compiler()


@pytest.fixture(scope="session")
def tool():
    """`program`, for what README.md does not ask for."""
    return program


@pytest.fixture(scope="session")
def chromium(tool) -> str:
    return tool("Chromium")


@pytest.fixture(scope="session")
def real_data():
    """Function of a path below a folder of real files, to the path."""

    def find(relative):
        name = relative.split("/")[0]
        return _found(relative) or pytest.skip(f"no data {name}: set PATCHWORK_TEST_DATA to a folder that has it")

    return find


@pytest.fixture(scope="session")
def clip() -> str:
    """A video of a hundred frames and more: a camera's, or the demo's, which is made of photographs."""
    return _found("vid_clip_00007010/frames") or str(CHECKOUT / "docs/photos.mp4")


def _found(relative) -> str | None:
    paths = (folder / relative for folder in _data_folders())
    return next((str(path) for path in paths if path.exists()), None)


def _data_folders() -> list[Path]:
    """One that is not part of the project, and tests/data.

    The former is what PATCHWORK_TEST_DATA names; else `data` in a folder beside the checkout.
    """
    named = os.environ.get("PATCHWORK_TEST_DATA")
    beside = [photos.parent for photos in CHECKOUT.parent.glob("*/data/imagenet_photos")]
    return [*([Path(named)] if named else beside), CHECKOUT / "tests/data"]
