"""Whether a video file is shorter than it says itself. Decoders often take such a file for a short one.

A file of most formats is a row of parts that begin with their own length.
"""

import os
import re

_TS_PACKETS = (188, 192, 204)  # bytes; a whole MPEG transport stream is so many of one of them
_HEAD = 300  # bytes, in which all parts have said how long they are


def is_cut_off(path: str, kind: str) -> bool:
    """Whether a file of a format, by FFmpeg's name, ends before its last part; False of formats not known here."""
    size = os.path.getsize(path)
    if kind == "mpegts":
        return all(size % packet for packet in _TS_PACKETS)
    length_of = next((length for name, length in _LENGTHS.items() if kind.startswith(name)), lambda head: None)
    end, at = 0, -1
    with open(path, "rb") as file:
        while at < end < size:
            at = file.seek(end)
            end += length_of(file.read(_HEAD)) or 0
    return end > size


# Of each: the length of the part that begins so, in bytes; None if it does not say, or is nothing of the format.


def _of_box(head):
    """MP4 and QuickTime (ISO 14496-12): size and type."""
    if not re.fullmatch(b"[a-z]{4}", head[4:8]):
        return None
    size = int.from_bytes(head[:4], "big")
    return int.from_bytes(head[8:16], "big") if size == 1 else size


def _of_element(head):
    """Matroska (RFC 8794): the header and the segment, which have ids of 4 bytes, then a size of 1 to 8."""
    if head[:4] not in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67") or not head[4:5] or not head[4]:
        return None
    bytes_of_size = 9 - head[4].bit_length()
    bits = 7 * bytes_of_size
    size = int.from_bytes(head[4 : 4 + bytes_of_size], "big") % (1 << bits)
    return None if size == (1 << bits) - 1 else 4 + bytes_of_size + size


def _of_chunk(head):
    """AVI: RIFF, size."""
    size = int.from_bytes(head[4:8], "little")
    return 8 + size if head[:4] == b"RIFF" and 0 < size < 2**32 - 1 else None


def _of_object(head):
    """WMV (ASF): the header and the data, a GUID and a size."""
    is_known = head[:4] in (b"\x30\x26\xb2\x75", b"\x36\x26\xb2\x75")
    return int.from_bytes(head[16:24], "little") if is_known else None


def _of_tag(head):
    """FLV: a header that ends with how long the tag before was, 0; then tags that end so."""
    if head[:3] == b"FLV":
        return int.from_bytes(head[5:9], "big") + 4
    return 11 + int.from_bytes(head[1:4], "big") + 4 if head[:1] in (b"\x08", b"\x09", b"\x12") else None


def _of_page(head):
    """Ogg (RFC 3533): a header of 27 bytes, of which the last says how many segments follow, and their lengths."""
    if head[:4] != b"OggS":
        return None
    segments = int.from_bytes(head[26:27], "big")
    return 27 + segments + sum(head[27 : 27 + segments])


_LENGTHS = {
    "mov": _of_box,
    "matroska": _of_element,
    "avi": _of_chunk,
    "asf": _of_object,
    "flv": _of_tag,
    "ogg": _of_page,
}
