"""What is to be measured: settings, workloads, and the order in which they take turns."""

import dataclasses

import numpy as np

from patchwork_tf.benchmarks.report import Repeat, Run
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
    seed: int = 0  # of frames and the order of systems

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

    def facts(self, settings: Settings, frames: int) -> dict:
        """What the samples of a run by the native runner say of it. It knows no delay (see `streamed`)."""
        shared = {name: getattr(settings, name) for name in ("warmup", "threads")}
        stream = {"interval": self.run.stream.interval, "flip": self.run.stream.flip}
        return {"steps": frames, "fps": float(f"{settings.fps:g}"), **shared, **stream}

    def flags(self, settings: Settings, frames: int) -> list[str]:
        """What makes the native runner do so."""
        values = {**self.facts(settings, frames), "seed": settings.seed}
        flip = ["--flip", f"--positions={self.grid.positions}"] if values.pop("flip") else []
        return [*(f"--{name}={value}" for name, value in values.items()), *flip]


def order(systems: list[str], repeats: int, seed: int) -> list[tuple[str, int]]:
    """All (system, repeat) in turn: every repeat has every system, each time in another order."""
    rng = np.random.default_rng(seed)
    return [(str(system), repeat) for repeat in range(repeats) for system in rng.permutation(systems)]


def streamed(repeat: Repeat, stream: StreamConfig, fps: float) -> Repeat:
    """A repeat that was run with all of an inference in its key frame, as its system spreads that over the stream.

    A delay divides it evenly over the key frame and those that follow, as in the paper's Tables 4 and 5. Deadlines
    are those of frames that arrive at `fps`, if that is not 0.
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
