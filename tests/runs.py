"""Reports of a benchmark that nobody had to wait for: latencies drawn at random around the paper's."""

import numpy as np

from patchwork_tf.benchmarks.plan import streamed
from patchwork_tf.benchmarks.report import ExportedFile, Repeat, Report, Run
from patchwork_tf.zoo.paper import PAPER
from patchwork_tf.zoo.systems import get_system

HOST = {"runner": "native", "cpu": "Test CPU", "cores": 2, "threads": 1, "system": "Linux", "load_average": 0.5}
PHONE = {
    "manufacturer": "Acme",
    "model": "Phone 9",
    "cpu": "Cortex-A76",
    "cores": 8,
    "threads": 1,
    "emulated": False,
    "clusters": [{"cpus": [6, 7], "kilohertz": 2200000, "governor": "schedutil"}],
    "runner": "bundle",
}


def report_of(names, steps=48, repeats=1, seed=0, slower=1.0, on_phone=False, emulated=False, fps=0) -> Report:
    """On a phone it gets hot, and the last repeat is tainted."""
    rng, on_phone = np.random.default_rng(seed), on_phone or emulated
    runs = {}
    for name in names:
        parts = [
            repeat_of(name, rng, steps, slower, fps, _heat(number == repeats - 1) if on_phone else {})
            for number in range(repeats)
        ]
        runs[name] = run_of(name, parts)
    return Report(
        target="adb" if on_phone else "host",
        emulated=emulated,
        finished=True,
        created="2025-11-24T12:00:00+00:00",
        command="patchwork-benchmark --system=some",
        machine={**PHONE, "emulated": emulated} if on_phone else HOST,
        settings={"steps": steps, "seed": seed, "fps": fps},
        runs=runs,
    )


def run_of(name, repeats=()) -> Run:
    """What is known of a system: the paper's numbers will do."""
    system = get_system(name)
    paper = PAPER.get(name)
    costs = paper or PAPER["davis-pw-m4n2"]
    return Run(
        system=name,
        task=system.task,
        reference=system.reference,
        stream=system.stream,
        patchwork=not system.model.grid.is_whole_frame,
        depth=system.model.depth,
        image_size=(384, 384),
        mflops_max=costs.mflops_max,
        mflops_avg=costs.mflops_avg,
        mflops_avg_run=costs.mflops_avg * (1 + system.stream.delay),
        file=ExportedFile(f"{len(name):02x}" * 32, 20_000_000, 13_000_000, "random weights"),
        paper=paper,
        repeats=tuple(repeats),
    )


def repeat_of(name, rng, steps, slower=1.0, fps=0, heat=None) -> Repeat:
    """Frames near the paper's mean, a few much slower; skipped ones next to nothing."""
    system = get_system(name)
    reference = PAPER.get(system.reference, PAPER["vid-sf"])
    mean = PAPER.get(name, reference).mean_ms if system.stream.interval == 1 else reference.mean_ms
    is_key = np.arange(steps) % system.stream.interval == 0
    inference = mean * (1 + rng.gamma(2, 0.02, steps) + 0.5 * (rng.random(steps) < 0.01))
    samples = np.where(is_key, slower * inference, rng.uniform(2e-5, 8e-5, steps))
    alone = "whole" if system.model.grid.is_whole_frame else "window"
    kinds = [alone if system.stream.interval == 1 else "key" if key else "skip" for key in is_key]
    late = int(np.sum(samples * fps > 1000)) if fps else None
    repeat = Repeat(0.0, samples.tolist(), kinds, 30.0, 90.0, late, 146.5 if heat else None, **(heat or {}))
    return streamed(repeat, system.stream, fps)


def _heat(last):
    reason = "temperature moved by +4.5 degrees" if last else None
    return {"temperature_before": 30.0, "temperature_after": 34.5 if last else 31.0, "reason": reason}
