"""What a report as JSON must hold, for those who read one back."""

from patchwork_tf.zoo.systems import list_systems

VERSION = 2
_NUMBER = (int, float)
_NUMBER_OR_NONE = (int, float, type(None))


class _EachIn(tuple):
    """Shape of a list, or of the values of a dict, that has at least one item: all like the given one."""


class _Maybe(tuple):
    """Shape of what may also be null."""


_KIND = {"count": int, "median_ms": _NUMBER, "p95_ms": _NUMBER, "p99_ms": _NUMBER}
_REPEAT = {
    "started": _NUMBER,
    "temperature_before": _NUMBER_OR_NONE,
    "temperature_after": _NUMBER_OR_NONE,
    "tainted": bool,
    "reason": (str, type(None)),
    "count": int,
}
_PAPER = {
    **dict.fromkeys(("mflops_max", "mflops_avg", "p95_ms", "p99_ms", "mean_ms", "std_ms"), _NUMBER),
    **dict.fromkeys(("ratio_mean", "ratio_p95"), _NUMBER),
    "accuracy": dict,
}
_ACCURACY = {"dataset": str, "policy": str, "checkpoint": str, "image_size": list}
_INTERVAL = _EachIn([_NUMBER])
_SYSTEM = {
    **dict.fromkeys(("median_ms", "mean_ms", "std_ms", "p95_ms", "p99_ms", "load_ms", "first_ms"), _NUMBER),
    **dict.fromkeys(("ratio_median", "ratio_mean", "ratio_p95", "deadline_misses", "peak_mb"), _NUMBER_OR_NONE),
    **dict.fromkeys(("mflops_max", "mflops_avg", "mflops_avg_run", "depth"), _NUMBER),
    "intervals": {"median_ms": _INTERVAL, "p95_ms": _INTERVAL, "p99_ms": _INTERVAL, "mean_ms": _INTERVAL},
    "kinds": _EachIn([_KIND]),
    "paper": _Maybe([_PAPER]),
    "accuracy": _Maybe([_ACCURACY]),
    "image_size": _EachIn([int]),
    "file": {"sha256": str, "bytes": int, "state_bytes": int, "weights": str},
    "stream": {"interval": int, "delay": int, "flip": bool},
    "repeats": _EachIn([_REPEAT]),
    "samples": _EachIn([_NUMBER]),
    "kinds_of_samples": _EachIn([str]),
}
_REPORT = {
    "schema": int,
    "target": str,
    "emulated": bool,
    "finished": bool,
    "created": str,
    "command": str,
    "frames": str,
    "machine": {"cpu": str, "threads": int},
    "settings": {"steps": int},
    "stock": dict,
    "systems": _EachIn([_SYSTEM]),
}


_PHONE = {"manufacturer": str, "model": str}
_STOCK = {"mean": _NUMBER, "count": int}


def check(report):
    """Raises ValueError, which says why, if it is not a report of this version."""
    if not isinstance(report, dict) or "systems" not in report:
        raise ValueError("it names no systems")
    if report.get("schema") != VERSION:
        raise ValueError(f"schema {report.get('schema', 1)}, this reads schema {VERSION}; measure again")
    _match(report, _REPORT, "the report")
    if report["target"] != "host":
        _match(report["machine"], _PHONE, "'machine'")
    for name, statistics in report["stock"].items():
        _require(name in report["systems"], f"'stock': '{name}'")
        _match(statistics, _STOCK, f"'stock': '{name}'")
    for name, row in report["systems"].items():
        if name not in list_systems():
            raise ValueError(f"unknown system '{name}'")
        counted = sum(repeat["count"] for repeat in row["repeats"])
        if not len(row["samples"]) == len(row["kinds_of_samples"]) == counted:
            raise ValueError(f"{name} has {len(row['samples'])} samples of {counted} frames")


def _match(value, shape, where):
    if isinstance(shape, _EachIn):
        _match_each(value, shape[0], where)
    elif isinstance(shape, _Maybe):
        if value is not None:
            _match(value, shape[0], where)
    elif isinstance(shape, dict):
        _require(isinstance(value, dict), where)
        for key, part in shape.items():
            _require(key in value, f"{where}: no '{key}'")
            _match(value[key], part, f"{where}: '{key}'")
    else:
        _require(isinstance(value, shape), where)


def _match_each(values, shape, where):
    _require(isinstance(values, (list, dict)) and len(values) > 0, where)
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        _match(value, shape, f"{where} '{key}'" if isinstance(values, dict) else where)


def _require(condition, where):
    if not condition:
        raise ValueError(where if ": no '" in where else f"{where} is not as it should be")
