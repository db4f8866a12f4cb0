"""Reading what the native runner wrote: raw times, believed only if the file is whole.

A cable that is pulled leaves half a file, and adb reports success all the same. So the last line of
the file counts and checks it (runner/results.c), and whoever wants its times comes through here.
"""

import dataclasses
import re
import zlib

import numpy as np

from patchwork_tf.benchmarks.report import Repeat
from patchwork_tf.errors import DataError
from patchwork_tf.files import read_bytes

_FIRST_LINE = b"patchwork-samples 1\n"
_FACTS = re.compile(
    r"model (?P<model>.*) steps (?P<steps>\d+) warmup (?P<warmup>\d+) threads (?P<threads>\d+) fps (?P<fps>\S+) "
    r"interval (?P<interval>\d+) flip (?P<flip>[01]) buffers (?P<buffers>alias|swap)\n"
    r"load_ns (?P<load_ns>\d+)\nfirst_ns (?P<first_ns>\d+)\npeak_kb (?P<peak_kb>\d+)\n"
)
_WHOLE_NUMBERS = ("steps", "warmup", "threads", "interval", "load_ns", "first_ns", "peak_kb")
_END = re.compile(rb"end (\d+) ([0-9a-f]{8})\n")


@dataclasses.dataclass(frozen=True)
class Samples:
    """The times of one run."""

    facts: dict  # of the run: what _FACTS names; 'fps' is 0 if frames came back to back
    kinds: list[str]  # of every frame: 'window' or 'whole', or with an interval 'key' or 'skip'
    nanoseconds: np.ndarray  # of inference per frame, int64
    late: np.ndarray  # whether the frame missed its deadline, bool; never if back to back

    def repeat(self, started: float, before=None, after=None, reason=None) -> Repeat:
        """As a report has it, with what is known of its beginning, temperatures and taint."""
        return Repeat(
            started=started,
            samples=(self.nanoseconds / 1e6).tolist(),
            kinds=self.kinds,
            load_ms=self.facts["load_ns"] / 1e6,
            first_ms=self.facts["first_ns"] / 1e6,
            late=int(self.late.sum()) if self.facts["fps"] else None,
            peak_mb=self.facts["peak_kb"] / 1024,
            temperature_before=before,
            temperature_after=after,
            reason=reason,
        )


def read_samples(path: str, expected: dict | None = None) -> Samples:
    """Reads a samples file.

    Raises DataError if it is missing, something else, truncated or damaged, or has other facts than are expected.
    """
    try:
        samples = _parse(read_bytes(path))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    for key, value in (expected or {}).items():
        if samples.facts[key] != value:
            raise DataError(f"{path}: they are of another run: {key} {samples.facts[key]}, not {value}")
    return samples


def _parse(content: bytes) -> Samples:
    _require(content, "empty, the run did not finish")
    _require(content.startswith(_FIRST_LINE), f"not a samples file of {_FIRST_LINE.decode().strip()}")
    body_bytes = content.rfind(b"\n", 0, -1) + 1
    end = _END.fullmatch(content[body_bytes:])
    _require(end, "truncated, no end record: the run or the copying of its file did not finish")
    _require(zlib.crc32(content[:body_bytes]) == int(end[2], 16), "damaged, its checksum is wrong")
    body = content[len(_FIRST_LINE) : body_bytes].decode(errors="replace")
    found = _FACTS.match(body)
    _require(found, "not written by this runner: no facts of a run")
    facts = found.groupdict() | {name: int(found[name]) for name in _WHOLE_NUMBERS}
    facts |= {"fps": float(found["fps"]), "flip": found["flip"] == "1"}
    rows = [line.split() for line in body[found.end() :].splitlines()]
    agree = len(rows) == int(end[1]) == facts["steps"]
    _require(agree, f"{len(rows)} samples of {facts['steps']} steps, and an end record for {int(end[1])}")
    kinds, nanoseconds, late = zip(*rows, strict=True)
    return Samples(facts, list(kinds), np.array(nanoseconds, np.int64), np.array(late) == "1")


def _require(condition, message):
    if not condition:
        raise ValueError(message)
