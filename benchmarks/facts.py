"""What is known of a model without measuring it."""

import itertools
import statistics

from patchwork_tf.export import metadata
from patchwork_tf.export.inspect import state_bytes
from patchwork_tf.streaming.schedule import frame_mflops
from patchwork_tf.streaming.step import KerasStep

_RUN_FRAMES = 64  # a multiple of every system's interval


def model_facts(system, model, path: str) -> dict:
    """What `report.build` adds to the measurements of a system.

    Args:
        system, model: as exported.
        path: of the exported file.

    Returns:
        'image_size', 'depth'; 'mflops_max' and 'mflops_avg_run' per frame of a run; 'mflops_avg', which divides
        the latter by the frames of a delay once more, as the paper does; 'file': 'state_bytes' of one stream,
        'weights'.
    """
    frames = list(itertools.islice(frame_mflops(KerasStep(model, system.stream)), _RUN_FRAMES))
    average = statistics.fmean(frames)
    about = metadata.read(path)
    return {
        "image_size": list(model.config.image_size),
        "depth": model.config.depth,
        "mflops_max": max(frames),
        "mflops_avg": average / (system.stream.delay + 1),
        "mflops_avg_run": average,
        "file": {
            "state_bytes": state_bytes(about),
            "weights": about["weights"],
        },
    }
