"""Latency of exported systems on this machine: LiteRT, one CPU thread, state fed back.

Systems take turns frame by frame, so that a machine that speeds up or slows down does so for
all of them: their ratios mean something, the milliseconds less.
"""

import os
import platform
import time
from importlib.metadata import version

import numpy as np

from patchwork_tf.export.runner import StepRunner

WARMUP_FRAMES = 20


class TimedStream:
    """An exported file, run over frames the way its system does, each frame timed.

    Args:
        path: of the exported file; its metadata says interval, delay, flip.
        seed: of the random frames and windows.
    """

    def __init__(self, path: str, seed: int = 0):
        self._runners = [StepRunner(path)]
        facts = self._runners[0].facts
        self.stream = facts["stream"]
        if self.stream["flip"]:
            self._runners.append(StepRunner(path))
        self._positions = facts["grid"]["cells"] - facts["grid"]["window"] + 1
        self._size = facts["input"]["image_size"]
        self._rng = np.random.default_rng(seed)
        self._frame_number = 0
        self._pending = 0.0

    def time_frame(self) -> float:
        """Milliseconds spent on the next frame: inference only, the inputs already in place.

        A frame between key frames costs what it takes to do nothing. With a delay, one inference
        is divided evenly over the frames that it may take, as in the paper's Tables 4 and 5.
        """
        is_key = self._frame_number % self.stream["interval"] == 0
        self._frame_number += 1
        if is_key:
            self._load()
        start = time.perf_counter()
        if is_key:
            for runner in self._runners:
                runner.invoke()
        elapsed = (time.perf_counter() - start) * 1000
        if self.stream["delay"] == 0:
            return elapsed
        if is_key:
            self._pending = elapsed
        return self._pending / (self.stream["delay"] + 1)

    def _load(self):
        frame = self._rng.uniform(-1, 1, (1, *self._size, 3)).astype(np.float32)
        window = self._rng.integers(0, self._positions, 2)
        self._runners[0].load(frame, window)
        if self.stream["flip"]:
            mirrored = (window[0], self._positions - 1 - window[1])
            self._runners[1].load(frame[:, :, ::-1], mirrored)


def measure(paths: dict[str, str], frames: int, seed: int = 0, progress=None) -> dict[str, list[float]]:
    """Times systems in turn.

    Args:
        paths: system name -> exported file.
        frames: how many to time per system, after a warm-up.
        seed: of inputs, windows and the order within each round.
        progress: called after every round.

    Returns:
        System name -> milliseconds of every frame, in order.
    """
    streams = {name: TimedStream(path, seed) for name, path in paths.items()}
    order = np.random.default_rng(seed)
    samples = {name: [] for name in paths}
    for number in range(WARMUP_FRAMES + frames):
        for name in order.permutation(list(streams)):
            elapsed = streams[name].time_frame()
            if number >= WARMUP_FRAMES:
                samples[name].append(elapsed)
        if progress:
            progress()
    return samples


def machine() -> dict:
    """What the times were measured on."""
    return {
        "target": "host",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": 1,
        "system": platform.platform(),
        "python": platform.python_version(),
        "ai_edge_litert": version("ai-edge-litert"),
        "load_average": os.getloadavg()[0],
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
