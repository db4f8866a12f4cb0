"""An emulated arm64 machine: qemu, and a folder with all that the runner needs there."""

from pathlib import Path
from typing import NamedTuple

import needs
import pytest

from patchwork_tf.benchmarks import native
from patchwork_tf.errors import DataError

# XNNPACK asks /proc/cpuinfo what the processor can do, and qemu would show it this machine's.
_CPUINFO = """processor\t: 0
Features\t: {}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {}
CPU revision\t: 4

"""
# What qemu calls it, its features and number.
CORTEX_A53 = "cortex-a53", "fp asimd", "0xd03"
CORTEX_A76 = "cortex-a76", "fp asimd fphp asimdhp", "0xd0b"


class Arm64(NamedTuple):
    """Attributes: bundle: the folder; compiler: for programs of one's own; folder: for files of /proc."""

    bundle: native.Bundle
    compiler: str
    emulator: str
    folder: Path

    def start(self, name, features, part) -> list:
        """What starts a program on that processor."""
        root = self.folder / name
        (root / "proc").mkdir(parents=True, exist_ok=True)
        (root / "proc" / "cpuinfo").write_text(_CPUINFO.format(features, part))
        return [self.emulator, "-cpu", name, "-L", root]


@pytest.fixture(scope="session")
def arm64(tool, tmp_path_factory) -> Arm64:
    emulator, compiler = tool("qemu for arm64"), tool("gcc for arm64")
    folder = tmp_path_factory.mktemp("arm64")
    return Arm64(bundle_for("arm64", folder / "bundle"), compiler, emulator, folder)


def bundle_for(arch, folder) -> native.Bundle:
    """Runner, LiteRT and system libraries for an architecture."""
    needs.program(f"gcc for {arch}")
    try:
        return native.make_bundle(str(folder), arch)
    except DataError as error:
        if "pip cannot download" not in str(error):
            raise
        pytest.skip("PyPI cannot be reached")
