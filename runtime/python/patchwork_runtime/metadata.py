"""What an exported file says about itself: a JSON text in it, with a checksum of the whole file.

LiteRT would refuse a file that is cut off, but run one with other weights, and crash on some.
"""

import hashlib
import json
import mmap
import os
import re

from .errors import DataError

VERSION = 5
UNSEALED = b"0" * 64  # in the place of the checksum, while it is computed
CHECKSUM = re.compile(rb'"checksum": "([0-9a-f]{64})"')
_START = b'{"patchwork": '


def read(path: str | os.PathLike) -> dict:
    """The facts in a file, all of which is as it was exported; docs/file_format.md lists them.

    Raises:
        DataError: if it is missing, no TFLite file, was not exported by Patchwork, or is damaged.
    """
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise DataError(f"{path}: empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _read(content, path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def digest(content, span: tuple[int, int]) -> bytes:
    """The checksum of a file's bytes, whose own is from one place to another."""
    found = hashlib.sha256()
    with memoryview(content) as view, view[: span[0]] as before, view[span[1] :] as after:
        for part in (before, UNSEALED, after):
            found.update(part)
    return found.hexdigest().encode()


def _read(content, path) -> dict:
    if content[4:8] != b"TFL3":
        raise DataError(f"{path}: not a TFLite file")
    place, start = CHECKSUM.search(content), content.find(_START)
    if not place and start >= 0:
        raise DataError(f"{path}: damaged, or of an earlier version without a checksum: export it anew")
    if not place:
        raise DataError(
            f"{path}: no Patchwork metadata in it; was it exported by patchwork-export, and is it whole?"
        )
    if place[1] != digest(content, place.span(1)):
        raise DataError(f"{path}: damaged, or changed after its export: its checksum differs; export it anew")
    length = int.from_bytes(content[start - 4 : start], "little")  # as FlatBuffers keep it
    facts = json.loads(content[start : start + length])
    if (version := facts.get("patchwork")) != VERSION:
        raise DataError(f"{path}: its metadata has version {version}, we read {VERSION}: export it anew")
    return facts
