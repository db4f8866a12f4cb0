"""What a report's numbers were measured on, in words, and what to know before believing them."""

from patchwork_tf.benchmarks.report import Report, Run

ENOUGH_FRAMES = 1000  # p99 then rests on the slowest ten
_SAME_MODEL = 0.03  # of the paper's multiply-adds, to which all rows of its tables come closer


def device(report: Report) -> str:
    """What the times were measured on; an emulated device is never called anything else."""
    machine = report.machine
    names = ["EMULATED DEVICE"] if report.emulated else [machine["cpu"]]
    if "model" in machine and not report.emulated:
        names.insert(0, f"{machine.get('manufacturer', '')} {machine['model']}".strip())
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return ", ".join([*names, threads])


def pace(report: Report) -> str:
    """How frames came, and how many."""
    fps = report.settings.get("fps")
    fewest, most = _frame_counts(report)
    count = fewest if fewest == most else f"{fewest} to {most}"
    return f"{count} frames per system, {f'paced at {fps:g} per second' if fps else 'back to back'}"


def warnings(report: Report) -> list[str]:
    """Why numbers may be no good at all, the gravest first."""
    return list(filter(None, (_emulated(report), _unfinished(report), _tainted(report))))


def remarks(report: Report) -> list[str]:
    """What to know about good numbers."""
    frames = f"Frames: {report.frames}, on which networks take as long as on real ones."
    return list(
        filter(None, (_browser(report), _weights(report), frames, _few_frames(report), _other_models(report)))
    )


def _emulated(report):
    if report.emulated:
        return "EMULATED: no phone was measured. These are times of a computer that plays one, and mean nothing."


def _unfinished(report):
    if not report.finished:
        return f"INTERRUPTED: {report.settings['steps']} frames per system were asked for."


def _tainted(report):
    repeats = [repeat for run in report.runs.values() for repeat in run.repeats]
    reasons = [repeat.reason for repeat in repeats if repeat.tainted]
    if reasons:
        return f"{len(reasons)} of {len(repeats)} runs are tainted: {', '.join(dict.fromkeys(reasons))}."


def _weights(report):
    random = [name for name, run in report.runs.items() if run.file.weights == "random weights"]
    if random:
        which = "" if len(random) == len(report.runs) else f" ({', '.join(random)})"
        return f"Random weights{which}: as fast as trained ones, but for suppression, which has less to do."


def _browser(report):
    machine = report.machine
    if report.target == "browser":
        return (
            f"Measured in a browser ({machine.get('browser')}, WebAssembly, SIMD {machine.get('simd')}), whose "
            f"clock has steps of {machine.get('clock_ms')} ms. Native code is faster; compare ratios."
        )


def _few_frames(report):
    fewest, _ = _frame_counts(report)
    if fewest < ENOUGH_FRAMES:
        return f"Only {fewest} frames: p99 rests on the slowest {-(-fewest // 100)} of them."


def _other_models(report):
    other = [run for run in report.runs.values() if run.paper and not _is_as_in_paper(run)]
    if other:
        size, which = "x".join(map(str, other[0].image_size)), ", ".join(run.system for run in other)
        return (
            f"Not the paper's models: {size} pixels, depth {other[0].depth:g} ({which}); the paper's take 384x384."
        )


def _is_as_in_paper(run: Run) -> bool:
    return abs(run.mflops_max / run.paper.mflops_max - 1) < _SAME_MODEL


def _frame_counts(report) -> tuple[int, int]:
    counts = [len(run.samples) for run in report.runs.values()]
    return min(counts), max(counts)
