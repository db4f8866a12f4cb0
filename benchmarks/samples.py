"""Reading what the native runner wrote: raw times, believed only if the file is whole.

A cable that is pulled leaves half a file, and adb reports success all the same. So the last line of
the file counts and checks it (runner/samples.c), and whoever wants its times comes through here.
"""

import dataclasses
import re
import zlib

import numpy as np

from patchwork_tf.benchmarks.report import Repeat
from patchwork_tf.errors import DataError

_HEADER = b"patchwork-samples "
_VERSION = b"1"
_RUN = re.compile(
    r"model (?P<model>.*) steps (?P<steps>\d+) warmup (?P<warmup>\d+) threads (?P<threads>\d+) fps (?P<fps>\S+) "
    r"interval (?P<interval>\d+) flip (?P<flip>[01]) buffers (?P<buffers>alias|swap)"
)
_END = re.compile(rb"end (\d+) ([0-9a-f]{8})\n")
_KINDS = ("window", "whole", "key", "skip")


@dataclasses.dataclass(frozen=True)
class Samples:
    """The times of one run.

    Attributes:
        facts: of the run: 'model' (name of the file), 'steps', 'warmup', 'threads', 'fps' (0: back to
            back), 'interval', 'flip', 'buffers' ('alias' or 'swap'), 'load_ns' (reading and compiling the
            model), 'first_ns' (its very first frame), 'peak_kb' (most memory held, KiB).
        kinds: of every frame: 'window' or 'whole', or with an interval 'key' or 'skip'.
        nanoseconds: of inference per frame, int64.
        late: whether the frame missed its deadline, bool; never if back to back.
    """

    facts: dict
    kinds: list[str]
    nanoseconds: np.ndarray
    late: np.ndarray

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

    Args:
        path: of the file.
        expected: facts that it must have.

    Raises:
        DataError: if it is missing, something else, truncated or damaged, or of another run.
    """
    try:
        with open(path, "rb") as file:
            samples = _parse(file.read())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    for key, value in (expected or {}).items():
        if samples.facts[key] != value:
            raise DataError(f"{path}: they are of another run: {key} {samples.facts[key]}, not {value}")
    return samples


def _parse(content: bytes) -> Samples:
    lines, count = _checked_lines(content)
    try:
        _, run, *heads = lines[:5]
        facts = _parse_run(run)
        for name, head in zip(("load_ns", "first_ns", "peak_kb"), heads, strict=True):
            key, value = head.split()
            _require(key == name, f"'{head}' where {name} should be")
            facts[name] = int(value)
        rows = [line.split() for line in lines[5:]]
        agree = len(rows) == count == facts["steps"]
        _require(agree, f"{len(rows)} samples of {facts['steps']} steps, and an end record for {count}")
        kinds = [kind for kind, _, _ in rows]
        strange = set(kinds) - set(_KINDS)
        _require(not strange, f"samples of kind {', '.join(sorted(strange))}")
        nanoseconds = np.array([int(ns) for _, ns, _ in rows], np.int64)
        return Samples(facts, kinds, nanoseconds, np.array([late == "1" for _, _, late in rows]))
    except ValueError as error:
        raise ValueError(f"not written by this runner ({error})") from None


def _checked_lines(content) -> tuple[list[str], int]:
    """All lines before the end record, which must be there and right, and how many samples it counts."""
    _require(content, "empty, the run did not finish")
    _require(content.startswith(_HEADER), "not a samples file")
    version = content[len(_HEADER) :].partition(b"\n")[0]
    _require(version == _VERSION, f"samples of format {version.decode(errors='replace')}; this reads format 1")
    body_bytes = content.rfind(b"\n", 0, -1) + 1
    end = _END.fullmatch(content[body_bytes:])
    _require(end, "truncated, no end record: the run or the copying of its file did not finish")
    _require(zlib.crc32(content[:body_bytes]) == int(end[2], 16), "damaged, its checksum is wrong")
    return content[:body_bytes].decode(errors="replace").splitlines(), int(end[1])


def _parse_run(line) -> dict:
    match = _RUN.fullmatch(line)
    _require(match, f"no facts of a run in '{line}'")
    numbers = {key: int(match[key]) for key in ("steps", "warmup", "threads", "interval")}
    return match.groupdict() | numbers | {"fps": float(match["fps"]), "flip": match["flip"] == "1"}


def _require(condition, message):
    if not condition:
        raise ValueError(message)
