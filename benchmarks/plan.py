"""What is to be measured: settings, workloads, and the order in which they take turns."""

import dataclasses
import os

import numpy as np

from patchwork_tf import provenance
from patchwork_tf.benchmarks.report import Repeat, Run
from patchwork_tf.files import atomic_file
from patchwork_tf.grid import Grid
from patchwork_tf.models.config import StreamConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure."""

    steps: int = 1000  # frames to time per system and repeat
    repeats: int = 1  # how often every system runs
    warmup: int = 20  # frames before that, not timed
    fps: float = 0  # frames per second that arrive; 0 means back to back
    threads: int = 1  # of inference
    policy: str = "model"  # how windows are chosen, one of choices.WINDOWS
    seed: int = 0  # of frames, windows and the order of systems

    def lengths(self, most: int | None = None) -> list[int]:
        """Frames of every repeat of a system; none has more than `most`."""
        most = most or self.steps
        rest = self.steps % most
        return ([most] * (self.steps // most) + [rest] * (rest > 0)) * self.repeats


@dataclasses.dataclass(frozen=True)
class Workload:
    """A system to run."""

    run: Run  # what is known of it, without repeats
    path: str  # of its exported file
    grid: Grid = dataclasses.field(default_factory=Grid)

    @property
    def digest(self) -> str:
        """SHA-256 of the file as it is now."""
        return provenance.sha256(self.path)

    def windows(self, settings: Settings) -> list[tuple[int, int]]:
        """Of all frames, the warm-up included, where a blind policy chooses them; none if the file does."""
        if settings.policy == "model" or self.grid.is_whole_frame:
            return []
        from patchwork_tf.streaming import policies  # brings Keras

        blind = {"raster": policies.raster(self.grid), "random": policies.random(self.grid, settings.seed)}
        return [blind[settings.policy](policies.View(n)) for n in range(settings.warmup + settings.steps)]

    @property
    def windows_file(self) -> str:
        return f"{self.run.system}.windows"

    def facts(self, settings: Settings, frames: int) -> dict:
        """What the samples of a run by the native runner say of it. It knows no delay (see `streamed`)."""
        shared = {name: getattr(settings, name) for name in ("warmup", "threads")}
        stream = {"interval": self.run.stream.interval, "flip": self.run.stream.flip}
        return {"steps": frames, "fps": float(f"{settings.fps:g}"), **shared, **stream}

    def flags(self, settings: Settings, frames: int) -> list[str]:
        """What makes the native runner do so, in a folder with `windows_file`."""
        values = {**self.facts(settings, frames), "seed": settings.seed}
        flip = ["--flip", f"--positions={self.grid.positions}"] if values.pop("flip") else []
        windows = [f"--windows={self.windows_file}"] if self.windows(settings) else []
        return [*(f"--{name}={value}" for name, value in values.items()), *flip, *windows]


def write_windows(workloads: dict[str, Workload], settings: Settings, folder: str) -> list[str]:
    """Writes a file of windows for every workload that a blind policy steers; returns their names."""
    names = []
    for workload in workloads.values():
        if windows := workload.windows(settings):
            names.append(workload.windows_file)
            with atomic_file(os.path.join(folder, names[-1]), "w") as file:
                file.writelines(f"{row} {column}\n" for row, column in windows)
    return names


def order(systems: list[str], repeats: int, seed: int) -> list[tuple[str, int]]:
    """All (system, repeat) in turn: every repeat has every system, each time in another order."""
    rng = np.random.default_rng(seed)
    return [(str(system), repeat) for repeat in range(repeats) for system in rng.permutation(systems)]


def streamed(repeat: Repeat, stream: StreamConfig, fps: float) -> Repeat:
    """A repeat as its system spreads inference over the stream.

    With a delay, the inference of a key frame is divided evenly over it and the frames that follow, as in
    the paper's Tables 4 and 5; without one, nothing changes.

    Args:
        repeat: as it was run, all of an inference in its key frame.
        stream: of the system.
        fps: at which frames arrive; 0 if there are no deadlines.
    """
    if not stream.delay:
        return repeat
    frames = np.arange(len(repeat.samples))
    shares = np.array(repeat.samples)[frames // stream.interval * stream.interval] / (stream.delay + 1)
    is_part = frames % stream.interval <= stream.delay
    return dataclasses.replace(
        repeat,
        samples=shares.tolist(),
        kinds=["part" if part else "skip" for part in is_part],
        late=int(np.sum(shares * fps > 1000)) if fps else None,
    )
