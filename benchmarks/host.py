"""Latency of exported systems on this machine: LiteRT, one CPU thread, state fed back.

Systems take turns frame by frame, so that a machine that speeds up or slows down does so for
all of them: their ratios mean something, the milliseconds less.
"""

import datetime
import os
import platform
import time
from importlib.metadata import version

import numpy as np

from patchwork_tf.benchmarks.plan import Model, as_streamed
from patchwork_tf.export.runner import StepRunner
from patchwork_tf.streaming.policies import View

WARMUP_FRAMES = 20


class TimedStream:
    """An exported file, run over frames the way a system does, each frame timed.

    Args:
        model: the file, and how it is run.
        policy: how windows are chosen, one of plan.WINDOWS.
        seed: of the random frames and windows.

    Attributes:
        load_ns: nanoseconds from the file to a model that is ready.
        first_ns: of its very first inference, which looks at the whole frame if the file can; None before that.
        kinds, nanoseconds: of every frame that counts: 'window' or 'whole', or with an interval 'key' or 'skip';
            time of inference alone, the inputs already in place, all of it in the key frame.
    """

    def __init__(self, model: Model, policy: str, seed: int):
        self.model = model
        start = time.perf_counter_ns()
        self._runners = [StepRunner(model.path) for _ in range(1 + model.flip)]
        self.load_ns = time.perf_counter_ns() - start
        facts = self._runners[0].facts
        self._size = facts["input"]["image_size"]
        self._processed = "key" if model.interval > 1 else "window" if facts["states"] else "whole"
        self._rng = np.random.default_rng(seed)
        self._choose = model.blind_policy(policy, seed)
        self._number, self._window = 0, (0, 0)
        self.first_ns = None
        self.kinds, self.nanoseconds = [], []

    def warm_up(self):
        """Processes a frame that does not count."""
        elapsed = self._infer()
        if self.first_ns is None:
            self.first_ns = elapsed

    def time_frame(self):
        """Runs the next frame. One between key frames costs what it takes to do nothing."""
        if len(self.kinds) % self.model.interval:
            start = time.perf_counter_ns()
            elapsed = time.perf_counter_ns() - start
            self.kinds.append("skip")
        else:
            elapsed = self._infer()
            self.kinds.append(self._processed)
        self.nanoseconds.append(elapsed)

    def _infer(self) -> int:
        """Nanoseconds of one inference on random input."""
        starts = self._number == 0 and self._runners[0].facts["start"]
        self._load()
        start = time.perf_counter_ns()
        for runner in self._runners:
            runner.invoke_start() if starts else runner.invoke()
        elapsed = time.perf_counter_ns() - start
        self._number += 1
        self._window = tuple(self._runners[0].output("next_window").tolist())
        return elapsed

    def _load(self):
        frame = self._rng.uniform(-1, 1, (1, *self._size, 3)).astype(np.float32)
        row, column = self._choose(View(self._number)) if self._choose else self._window
        self._runners[0].load(frame, (row, column))
        if self.model.flip:
            self._runners[1].load(frame[:, :, ::-1], (row, self.model.grid.positions - 1 - column))


def measure(models: dict[str, Model], frames: int, policy: str = "model", seed: int = 0, progress=None) -> dict:
    """Times systems in turn. After Ctrl-C, it returns what it has of all of them.

    Args:
        models: system name -> exported file, and how the system runs it.
        frames: how many to time per system, after a warm-up.
        policy: how windows are chosen, one of plan.WINDOWS.
        seed: of inputs, windows and the order within each round.
        progress: called after every round.

    Returns:
        What `report.build` takes; 'finished' says whether there are as many frames as asked for.

    Raises:
        KeyboardInterrupt: after Ctrl-C before every system had a frame.
    """
    begun = datetime.datetime.now(datetime.timezone.utc)
    facts = machine()
    streams = {name: TimedStream(model, policy, seed) for name, model in models.items()}
    try:
        _take_turns(list(streams.values()), frames, seed, progress)
    except KeyboardInterrupt:
        if not all(stream.nanoseconds for stream in streams.values()):
            raise
    done = min(len(stream.nanoseconds) for stream in streams.values())
    return {
        "target": "host",
        "emulated": False,
        "finished": done == frames,
        "created": begun.isoformat(timespec="seconds"),
        "machine": facts,
        "settings": {"steps": frames, "warmup": WARMUP_FRAMES, "policy": policy, "seed": seed},
        "systems": {name: _measured(stream, done) for name, stream in streams.items()},
    }


def _take_turns(streams, frames, seed, progress):
    order = np.random.default_rng(seed)
    for number in range(WARMUP_FRAMES + frames):
        for turn in order.permutation(len(streams)):
            if number < WARMUP_FRAMES:
                streams[turn].warm_up()
            else:
                streams[turn].time_frame()
        if progress:
            progress()


def _measured(stream, done) -> dict:
    """One system's first `done` frames: there is one repeat, as systems take turns within it."""
    model = stream.model
    none_late = np.zeros(done, bool)
    nanoseconds, late = as_streamed(np.array(stream.nanoseconds[:done]), none_late, model, fps=0)
    repeat = {
        "started": 0.0,
        "temperature_before": None,
        "temperature_after": None,
        "tainted": False,
        "reason": None,
        "load_ns": stream.load_ns,
        "first_ns": stream.first_ns,
        "peak_kb": None,  # one process runs all systems, and has TensorFlow in it
        "nanoseconds": nanoseconds,
        "kinds": stream.kinds[:done],
        "late": late,
    }
    return {
        "file": {"sha256": model.file.digest, "bytes": model.file.size},
        "stream": {"interval": model.interval, "delay": model.delay, "flip": model.flip},
        "repeats": [repeat],
    }


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
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
