"""What is to be measured, and in which order."""

import dataclasses

import numpy as np

from patchwork_tf.benchmarks.adb import FileFacts, facts_of
from patchwork_tf.export import metadata
from patchwork_tf.grid import Grid
from patchwork_tf.streaming import policies

WINDOWS = ("model", "raster", "random")  # who chooses them: the file itself, as in use, or a blind policy


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        steps: frames to time per system and repeat.
        repeats: how often every system runs.
        warmup: frames before that, not timed.
        fps: frames per second that arrive; 0 means back to back.
        threads: of inference.
        cluster: CPUs to run on, one of clusters.CHOICES.
        launcher: what to put in front of the runner's command, such as 'taskset f0'.
        fixed_performance: whether to hold the clocks on phones that can.
        cool_seconds: how long to wait for a hot phone.
        policy: how windows are chosen, one of WINDOWS.
        seed: of frames, windows and the order of systems.
    """

    steps: int = 1000
    repeats: int = 3
    warmup: int = 20
    fps: float = 0
    threads: int = 1
    cluster: str = "big"
    launcher: str = ""
    fixed_performance: bool = True
    cool_seconds: float = 600
    policy: str = "model"
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Model:
    """An exported file, and how its system runs it over a stream (see `StreamConfig`).

    Attributes:
        grid: of the model.
    """

    path: str
    interval: int = 1
    delay: int = 0
    flip: bool = False
    grid: Grid = dataclasses.field(default_factory=Grid)

    @classmethod
    def read(cls, path: str) -> "Model":
        """From the metadata of an exported file. Raises DataError if it has none."""
        facts = metadata.read(path)
        return cls(path, **facts["stream"], grid=Grid(**facts["grid"]))

    @property
    def file(self) -> FileFacts:
        return facts_of(self.path)

    @property
    def is_plain(self) -> bool:
        """Whether a frame is one run of the file, no more and no less."""
        return self.interval == 1 and not self.flip

    def blind_policy(self, name: str, seed: int) -> policies.Policy | None:
        """What chooses windows beforehand; None if the file does, or there is but one."""
        if name == "model" or self.grid.is_whole_frame:
            return None
        return {"raster": policies.raster(self.grid), "random": policies.random(self.grid, seed)}[name]

    def flags(self) -> list[str]:
        """Of the runner. It knows no delay, which only changes how its times are read (see `as_streamed`)."""
        interval = [f"--interval={self.interval}"] if self.interval > 1 else []
        return interval + (["--flip", f"--positions={self.grid.positions}"] if self.flip else [])


def order(systems: list[str], repeats: int, seed: int) -> list[tuple[str, int]]:
    """All (system, repeat) in turn: every repeat has every system, each time in another order."""
    rng = np.random.default_rng(seed)
    return [(str(system), repeat) for repeat in range(repeats) for system in rng.permutation(systems)]


def as_streamed(nanoseconds, late, model: Model, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Times of frames as the system spreads them over its stream, and which of them come too late.

    With a delay, the inference of a key frame is divided evenly over it and the frames that follow, as in
    the paper's Tables 4 and 5; without one, nothing changes.

    Args:
        nanoseconds, late: (frames,), as the runner saw them, which does all of it in the key frame.
    """
    if not model.delay:
        return nanoseconds, late
    key_frames = np.arange(len(nanoseconds)) // model.interval * model.interval
    shares = nanoseconds[key_frames] // (model.delay + 1)
    return shares, shares * fps > 1e9  # at 0 frames per second there is no deadline
