"""Statistics of latencies, and how sure they are.

What every number means is said in DEFINITIONS, which the reports print.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

PERCENTILES = {"median_ms": 50, "p95_ms": 95, "p99_ms": 99}
STATISTICS = (*PERCENTILES, "mean_ms")  # the columns of `resample`
RESAMPLES = 1000
CONFIDENCE = 95  # per cent
BLOCK = 16  # frames; the schedules of all systems of the zoo repeat within it
_VALUES_AT_ONCE = 1 << 20  # more would need gigabytes for long runs, and is no faster

DEFINITIONS = {
    "latency": "Time of inference per frame, the inputs already in place: no decoding, no scaling, no drawing. "
    "Frames that a system skips count with the next to nothing that they take.",
    "delay": "A system with a delay spreads one inference evenly over the frames until its answer is due: each of "
    "them counts with its share. The paper's average divides by these frames once more; ours does not.",
    "median, p95, p99": "Percentiles over all frames of the stream, linearly interpolated between order "
    "statistics (numpy's default): p95 of n frames lies at rank 0.95 (n - 1), counted from 0.",
    "worst": "The dearest frame of all, the first one of a stream included, which a Patchwork network looks at as "
    "a whole: what a deadline must allow for, and, on a machine that does other work, chance.",
    "mean, std": "Over all frames of the stream; the standard deviation divides by n.",
    "intervals": f"{CONFIDENCE} % bootstrap intervals: percentiles of the number over {RESAMPLES} resamples, "
    f"which draw whole blocks of {BLOCK} consecutive frames, as neighbours are alike. They say how much the "
    "number would move if this run were repeated under the same conditions, not what another machine or day "
    "would give.",
    "ratios": "To the single-frame network that the system refers to (vid-sf, davis-sf, ...) in the same run. The "
    "paper's are to its own single-frame network on its phone.",
    "MFLOPs": "Multiply-adds of convolutions and dense layers per frame / 10^6, counted from the built model; "
    "max over frames, and avg of a run.",
    "frames": "window: one step of a Patchwork network; whole: one run of a single-frame network; key, skip: "
    "with an interval, frames that are processed, or answered with the last answer; part: a frame's share of an "
    "inference that a delay spreads.",
    "deadline misses": "When frames arrive at a fixed rate: the part of frames whose inference, or share of one, "
    "was not done when the next frame arrived.",
}


def describe(values) -> dict[str, float]:
    """'median_ms', 'mean_ms', 'std_ms', 'p95_ms', 'p99_ms' of milliseconds (n,)."""
    mean = {"mean_ms": float(np.mean(values)), "std_ms": float(np.std(values))}
    percentiles = np.percentile(values, list(PERCENTILES.values()))
    return dict(zip(PERCENTILES, map(float, percentiles), strict=True)) | mean


def resample(values, seed=0) -> np.ndarray:
    """What the statistics of values (n,) might have been, (RESAMPLES, STATISTICS): a moving-block bootstrap.

    The order of values is that of time; the end wraps around to the beginning.
    """
    length = min(BLOCK, len(values))
    count = len(values) // length  # what is left over would be part of a schedule
    values = np.asarray(values)[: count * length]
    blocks = sliding_window_view(np.append(values, values[: length - 1]), length)  # (n, length)
    starts = np.random.default_rng(seed).integers(0, len(blocks), (RESAMPLES, count))
    parts = np.array_split(starts, -(-RESAMPLES * len(values) // _VALUES_AT_ONCE))
    found = []
    for rows in (blocks[part].reshape(len(part), -1) for part in parts):  # (rows, n)
        percentiles = np.percentile(rows, list(PERCENTILES.values()), axis=1)
        found.append(np.vstack([percentiles, rows.mean(axis=1)]).T)
    return np.concatenate(found)


def interval(estimates) -> list[float]:
    """Low and high end of what holds CONFIDENCE per cent of resampled estimates."""
    tail = (100 - CONFIDENCE) / 2
    return np.percentile(estimates, [tail, 100 - tail]).tolist()
