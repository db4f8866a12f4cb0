"""What a report's numbers were measured on, in words, and what to know before believing them."""

from patchwork_tf.zoo.systems import get_system

PAPER_SIZE = [384, 384]
ENOUGH_FRAMES = 1000  # p99 then rests on the slowest ten


def device(report: dict) -> str:
    """What the times were measured on; an emulated device is never called anything else."""
    machine = report["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    if report["emulated"]:
        return f"EMULATED DEVICE, {threads}"
    if report["target"] == "host":
        return f"{machine['cpu']}, {threads}"
    return f"{machine['manufacturer']} {machine['model']}, {machine['cpu']}, {threads}"


def pace(report: dict) -> str:
    """How frames came, and how many."""
    fps = report["settings"].get("fps")
    fewest, most = _frame_counts(report)
    count = fewest if fewest == most else f"{fewest} to {most}"
    return f"{count} frames per system, {f'paced at {fps:g} per second' if fps else 'back to back'}"


def warnings(report: dict) -> list[str]:
    """Why numbers may be no good at all, the gravest first."""
    return [text for find in (_emulated, _unfinished, _tainted) if (text := find(report))]


def remarks(report: dict) -> list[str]:
    """What to know about good numbers."""
    return [text for find in (_weights, _frames, _few_frames, _other_models) if (text := find(report))]


def _emulated(report):
    if report["emulated"]:
        return "EMULATED: no phone was measured. These are times of a computer that plays one, and mean nothing."


def _unfinished(report):
    if not report["finished"]:
        return f"INTERRUPTED: {report['settings']['steps']} frames per system were asked for."


def _tainted(report):
    repeats = [repeat for row in report["systems"].values() for repeat in row["repeats"]]
    reasons = [repeat["reason"] for repeat in repeats if repeat["tainted"]]
    if reasons:
        return f"{len(reasons)} of {len(repeats)} runs are tainted: {', '.join(dict.fromkeys(reasons))}."


def _weights(report):
    rows = report["systems"]
    random = [name for name, row in rows.items() if row["file"]["weights"] == "random weights"]
    if random:
        which = "" if len(random) == len(rows) else f" ({', '.join(random)})"
        return f"Random weights{which}: as fast as trained ones, but for suppression, which has less to do."


def _frames(report):
    return f"Frames: {report['frames']}, on which networks take as long as on real ones."


def _few_frames(report):
    fewest, _ = _frame_counts(report)
    if fewest < ENOUGH_FRAMES:
        return f"Only {fewest} frames: p99 rests on the slowest {-(-fewest // 100)} of them."


def _other_models(report):
    rows = report["systems"]
    other = [name for name, row in rows.items() if not _is_as_in_paper(name, row)]
    if other:
        size, depth = "x".join(map(str, rows[other[0]]["image_size"])), rows[other[0]]["depth"]
        which = other[0] if len(other) < len(rows) else "all systems"
        return f"Not the paper's models: {size} pixels, depth {depth:g} ({which}); the paper's take 384x384."


def _is_as_in_paper(name, row) -> bool:
    return row["image_size"] == PAPER_SIZE and row["depth"] == get_system(name).model.depth


def _frame_counts(report) -> tuple[int, int]:
    counts = [len(row["samples"]) for row in report["systems"].values()]
    return min(counts), max(counts)
