"""Stands in for the native runner where only its files matter: writes samples that a test can foretell.

What goes wrong is in the file `faults` beside it: lines of 'SYSTEM.REPEAT FAULT'.
"""

import os
import signal
import sys
import time
import zlib
from pathlib import Path

_HERE = Path(__file__).parent


def nanoseconds(system: str, repeat: int, frame: int) -> int:
    """What it says that a frame took."""
    return (len(system) + repeat + 1) * 1_000_000 + frame


def _samples(flags, run) -> bytes:
    system, repeat = run.rsplit(".", 1)
    steps, interval = int(flags["steps"]), int(flags.get("interval", 1))
    lines = [
        "patchwork-samples 1",
        f"model {flags['model']} steps {steps} warmup {flags['warmup']} threads {flags['threads']} "
        f"fps {flags['fps']} interval {interval} flip {int('flip' in flags)} buffers alias",
        "load_ns 5000000",
        "first_ns 9000000",
        "peak_kb 10240",
    ]
    for frame in range(steps):
        is_key = frame % interval == 0
        kind = "window" if interval == 1 else "key" if is_key else "skip"
        lines.append(f"{kind} {nanoseconds(system, int(repeat), frame) if is_key else 0} 0")
    body = "".join(f"{line}\n" for line in lines).encode()
    return body + f"end {steps} {zlib.crc32(body):08x}\n".encode()


def main():
    flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:])
    run = flags["samples"].removesuffix(".txt")
    faults = dict(line.split() for line in (_HERE / "faults").read_text().splitlines())
    fault = faults.get(run)
    if fault == "slow":
        time.sleep(60)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "full":
        print(f"patchwork_runner: {flags['samples']}: No space left on device", file=sys.stderr)
        sys.exit(4)
    if fault == "other":
        flags["steps"] = "7"
    content = _samples(flags, run)
    Path(flags["samples"]).write_bytes(content[: len(content) // 2] if fault == "truncated" else content)


if __name__ == "__main__":
    main()
