"""The native runner for a phone: a self-contained bundle made here, or a build by Android's NDK."""

import os

from patchwork_tf.benchmarks import native
from patchwork_tf.benchmarks.native import Bundle
from patchwork_tf.errors import DataError

_ARCHITECTURES = {"arm64-v8a": "arm64", "x86_64": "x86_64"}  # Android's name of an ABI -> native.py's


def bundle_for(abi: str, given: str | None, folder: str) -> Bundle:
    """Files of the runner for a phone.

    Args:
        abi: as in ro.product.cpu.abi.
        given: folder of a bundle, or of an NDK build and LiteRT's library for Android; None to make a bundle.
        folder: where to make it.

    Raises:
        DataError: if there is nothing for that ABI.
    """
    if given:
        return _read(given)
    if abi not in _ARCHITECTURES:
        raise DataError(f"no runner for a phone of ABI {abi}, only for {', '.join(_ARCHITECTURES)}; see --runner")
    return native.make_bundle(folder, _ARCHITECTURES[abi])


def way(bundle: Bundle) -> str:
    """How it gets onto a phone: a 'bundle' brings loader and C library along, an 'ndk' build uses Android's."""
    return "bundle" if any(name.startswith("ld-") for name in bundle.files) else "ndk"


def _read(folder) -> Bundle:
    if not os.path.isdir(folder):
        raise DataError(f"--runner={folder}: no such folder")
    files = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    missing = [name for name in (native.RUNNER, native.LIBRARY) if name not in files]
    if missing:
        raise DataError(f"--runner={folder}: no {' and no '.join(missing)} in this folder")
    loader = [name for name in files if name.startswith("ld-")]
    start = [f"./{loader[0]}", "--library-path", "."] if loader else []
    return Bundle(folder, files, [*start, f"./{native.RUNNER}", f"--library=./{native.LIBRARY}"])
