"""When a stream processes a frame, and what every frame costs."""

from collections.abc import Iterator

from patchwork_tf.models.config import StreamConfig


def is_key_frame(stream: StreamConfig, number: int) -> bool:
    """Whether frame `number`, from 0, is processed."""
    return number % stream.interval == 0


def frame_mflops(step, starts_whole: bool = False) -> Iterator[float]:
    """What each frame of a stream by a KerasStep or ExportedStep costs, endlessly: multiply-adds / 10^6.

    A delay spreads each inference evenly over the frames that it may take. (The average of Tables 4 and 5 divides
    by those frames once more; a run cannot show that.) `starts_whole`: the first frame is looked at as a whole.
    """
    stream, number = step.info.stream, 0
    of_step, of_start = step.mflops(), step.mflops(starts_whole)
    while True:
        since_key = number % stream.interval
        inference = of_start if number < stream.interval else of_step
        yield inference / (stream.delay + 1) if since_key <= stream.delay else 0.0
        number += 1
