"""Runs of a benchmark that nobody had to wait for: latencies drawn at random around the paper's."""

import numpy as np

from patchwork_tf.benchmarks import report
from patchwork_tf.benchmarks.plan import Model, as_streamed
from patchwork_tf.zoo.paper import PAPER
from patchwork_tf.zoo.systems import get_system

HOST = {"target": "host", "cpu": "Test CPU", "cores": 2, "threads": 1, "system": "Linux", "load_average": 0.5}
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


def run(names, steps=48, repeats=1, seed=0, slower=1.0, on_phone=False, emulated=False, fps=0) -> dict:
    """What a target hands to `report.build`; on a phone it gets hot, and the last repeat is tainted."""
    rng = np.random.default_rng(seed)
    on_phone = on_phone or emulated
    return {
        "target": "adb" if on_phone else "host",
        "emulated": emulated,
        "created": "2025-11-24T12:00:00+00:00",
        "machine": {**PHONE, "emulated": emulated} if on_phone else HOST,
        "settings": {"steps": steps, "seed": seed, "fps": fps},
        "systems": {name: _system(name, steps, repeats, rng, slower, on_phone, fps) for name in names},
    }


def _system(name, steps, repeats, rng, slower, on_phone, fps):
    stream = get_system(name).stream
    model = Model("", stream.interval, stream.delay, stream.flip)
    return {
        "file": {"sha256": f"{len(name):02x}" * 32, "bytes": 20_000_000},
        "stream": {"interval": model.interval, "delay": model.delay, "flip": model.flip},
        "repeats": [
            _repeat(name, model, steps, rng, slower, on_phone, fps, last=number == repeats - 1)
            for number in range(repeats)
        ],
    }


def _repeat(name, model, steps, rng, slower, on_phone, fps, last):
    is_key = np.arange(steps) % model.interval == 0
    nanoseconds = np.where(is_key, slower * _inference(name, rng, steps), rng.integers(20, 80, steps)).astype(int)
    nanoseconds, late = as_streamed(nanoseconds, nanoseconds * fps > 1e9, model, fps)
    alone = "window" if "-pw-" in name else "whole"
    kinds = [alone if model.interval == 1 else "key" if key else "skip" for key in is_key]
    return {
        "started": 0.0,
        "temperature_before": 30.0 if on_phone else None,
        "temperature_after": (34.5 if last else 31.0) if on_phone else None,
        "tainted": on_phone and last,
        "reason": "temperature moved by +4.5 degrees" if on_phone and last else None,
        "load_ns": 30_000_000,
        "first_ns": 90_000_000,
        "peak_kb": 150_000 if on_phone else None,
        "nanoseconds": nanoseconds,
        "kinds": kinds,
        "late": late,
    }


def _inference(name, rng, steps):
    """Nanoseconds, most of them near the paper's, a few much slower."""
    task = "davis" if name.startswith("davis") else "vid"
    base = f"{task}-pw-m4n2" if "m2n1" in name else f"{task}-sf" if "-int" in name else name
    mean = PAPER.get(base, PAPER["vid-sf"]).mean_ms * 1e6
    return mean * (1 + rng.gamma(2, 0.02, steps) + 0.5 * (rng.random(steps) < 0.01))


def facts(names) -> dict:
    """What is known of the models: the paper's numbers will do."""
    return {name: _facts(name) for name in names}


def _facts(name):
    system = get_system(name)
    paper = PAPER.get(name, PAPER["davis-pw-m4n2"])
    average = paper.mflops_avg * (1 + system.stream.delay)
    return {
        "image_size": [384, 384],
        "depth": system.model.depth,
        "mflops_max": paper.mflops_max,
        "mflops_avg": paper.mflops_avg,
        "mflops_avg_run": average,
        "file": {"state_bytes": 13_000_000, "weights": "random weights"},
    }


def report_of(names, **options) -> dict:
    """A whole report."""
    return report.build(run(names, **options), facts(names), "patchwork-benchmark --systems=some")
