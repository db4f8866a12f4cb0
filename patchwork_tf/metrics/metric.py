"""What metrics of videos have in common."""

import numpy as np


class FrameMetric:
    """A list of what was found out about frames, one after the other; `result` sums it up. It can be pickled."""

    def __init__(self):
        self.records = []

    def merge(self, other: "FrameMetric"):
        """Adds what another one has collected, of frames that come after."""
        self.records += other.records


class MeanMetric(FrameMetric):
    """Its result is the mean of its records; None without any."""

    def result(self) -> float | None:
        return float(np.mean(self.records)) if self.records else None
