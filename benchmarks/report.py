"""From raw samples to the numbers and the table of a benchmark report."""

import numpy as np


def reference_of(system: str) -> str:
    """The system that a system's ratios refer to: the single-frame network of its task."""
    return f"{system.partition('-')[0]}-sf"


def summarise(samples: dict[str, list[float]]) -> dict[str, dict]:
    """Statistics per system.

    Args:
        samples: system name -> milliseconds per frame; with every system its `reference_of`.

    Returns:
        System name -> 'median_ms', 'mean_ms', 'std_ms', 'p95_ms', 'p99_ms' (numpy's linear
        interpolation between order statistics), 'ratio_median' and 'ratio_mean' to the reference, and
        the raw 'samples'.
    """
    rows = {}
    for name, values in samples.items():
        values, reference = np.asarray(values), np.asarray(samples[reference_of(name)])
        p95, p99 = np.percentile(values, [95, 99])
        rows[name] = {
            "median_ms": float(np.median(values)),
            "mean_ms": float(values.mean()),
            "std_ms": float(values.std()),
            "p95_ms": float(p95),
            "p99_ms": float(p99),
            "ratio_median": float(np.median(values) / np.median(reference)),
            "ratio_mean": float(values.mean() / reference.mean()),
            "samples": values.round(4).tolist(),
        }
    return rows


def table(rows: dict[str, dict]) -> str:
    """Text table: max as p95 / p99 and avg as mean +- std, as in the paper's Tables 4 and 5."""
    lines = [f"{'system':<24}{'median':>9}{'p95 / p99':>19}{'mean +- std':>19}{'median/SF':>11}{'mean/SF':>9}"]
    for name, row in rows.items():
        slowest = f"{row['p95_ms']:.2f} / {row['p99_ms']:.2f}"
        average = f"{row['mean_ms']:.2f} +- {row['std_ms']:.2f}"
        lines.append(
            f"{name:<24}{row['median_ms']:>9.2f}{slowest:>19}{average:>19}"
            f"{row['ratio_median']:>11.3f}{row['ratio_mean']:>9.3f}"
        )
    return "\n".join(lines)
