"""What every frame of a stream costs, multiply-adds / 10^6."""

import itertools
import statistics
from collections.abc import Iterator

from patchwork_tf.models.config import StreamConfig

_RUN_FRAMES = 64  # a multiple of every system's interval


def frame_mflops(stream: StreamConfig, of_step: float, of_start: float) -> Iterator[float]:
    """What each frame costs, endlessly, of what a step does and the first one.

    A delay spreads each inference evenly over the frames that it may take. (The average of Tables 4 and 5 divides
    by those frames once more; a run cannot show that.)
    """
    for number in itertools.count():
        inference = of_start if number < stream.interval else of_step
        yield inference / (stream.delay + 1) if number % stream.interval <= stream.delay else 0.0


def run_mflops(stream: StreamConfig, of_step: float) -> tuple[float, float, float]:
    """Of the frames of a run the most, the average as the paper divides it, and the average."""
    frames = list(itertools.islice(frame_mflops(stream, of_step, of_step), _RUN_FRAMES))
    average = statistics.fmean(frames)
    return max(frames), average / (stream.delay + 1), average
