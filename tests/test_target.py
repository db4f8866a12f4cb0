"""A target of one's own takes a class with two methods."""

from contextlib import contextmanager

import pytest
from runs import run_of

from patchwork_tf.benchmarks import text
from patchwork_tf.benchmarks.harness import Benchmark, Target, measure
from patchwork_tf.benchmarks.plan import Settings, Workload
from patchwork_tf.benchmarks.report import Repeat


class Recorded(Target):
    """Milliseconds that somebody wrote down, system by system."""

    name = "notebook"

    def __init__(self, settings, samples):
        super().__init__(settings)
        self.samples = samples

    @contextmanager
    def session(self, workloads, folder):
        yield {"cpu": "Abacus", "threads": 1}

    def run(self, workload, number, frames):
        return Repeat(float(number), self.samples[workload.run.system][:frames], ["whole"] * frames, 1.0, 2.0)


def test_recorded_samples_become_a_report(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    workloads = {name: Workload(run_of(name), str(tmp_path / "file")) for name in ("vid-sf", "vid-sf-d0.5")}
    target = Recorded(Settings(steps=3), {"vid-sf": [2.0, 4.0, 6.0], "vid-sf-d0.5": [1.0, 2.0, 3.0]})
    (report,) = measure(Benchmark(workloads, str(tmp_path / "kept")), [target])
    assert report.runs["vid-sf"].statistics["mean_ms"] == 4
    assert report.ratios(report.runs["vid-sf-d0.5"]) == pytest.approx(
        {"ratio_median": 0.5, "ratio_p95": 0.5, "ratio_mean": 0.5}
    )
    assert "Abacus, 1 thread; 3 frames per system" in text.table(report)
