"""When a stream processes a frame, and what every frame costs."""

from collections.abc import Iterator

from patchwork_tf.zoo.costs import count_macs
from patchwork_tf.zoo.systems import StreamConfig


def is_key_frame(stream: StreamConfig, number: int) -> bool:
    """Whether frame `number`, from 0, is processed."""
    return number % stream.interval == 0


def frame_mflops(stream: StreamConfig, model, warm_start: bool = False) -> Iterator[float]:
    """What each frame of a stream costs, endlessly: multiply-adds / 10^6.

    A delay spreads each inference evenly over the frames that it may take. (The average of
    Tables 4 and 5 divides by those frames once more; a run cannot show that.)

    Args:
        stream: when frames are processed.
        model: by what, as built.
        warm_start: whether the first frame is looked at as a whole.
    """
    streams = 2 if stream.flip else 1
    step = streams * count_macs(model) / 1e6
    inference = streams * count_macs(model, whole_frame=True) / 1e6 if warm_start else step
    number = 0
    while True:
        since_key = number % stream.interval
        if since_key == 0 and number > 0:
            inference = step
        yield inference / (stream.delay + 1) if since_key <= stream.delay else 0.0
        number += 1
