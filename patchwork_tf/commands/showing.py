"""patchwork-demo: systems side by side on a video, as a picture and in numbers."""

import collections
import itertools
import os
import time

import numpy as np
from tabulate import tabulate

from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.commands.given import given_systems, policies_of, policy_name
from patchwork_tf.data import moving_objects
from patchwork_tf.data.video import Video, check_output, write_video
from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import EVERY_FRAME
from patchwork_tf.streaming import overlay
from patchwork_tf.streaming.stream import stream_together

_GENERATED = "moving_objects:"
_GENERATED_FRAMES, _GENERATED_FPS = 96, 12.0


def run(flags):
    """Writes --output and --json, and prints a table."""
    if flags.output:
        check_output(flags.output)
    cli.check_outputs(flags, "output", "json")
    source = cli.single("video", flags.video)
    shows = []
    for given in given_systems(flags, shipped=True, mixed=True):
        step = given.make_step()
        for policy in policies_of(flags, step):
            alike = (k for k, show in enumerate(shows) if _answer_alike(show.step, step))
            shows.append(_Show(_Timed(step), policy, next(alike, len(shows))))
    steps = [show.step for show in shows]
    shown, num_frames = _open(source, max(max(step.config.image_size) for step in steps), flags.max_frames)
    frames, seconds = _unzipped(itertools.islice(shown, flags.max_frames))
    limits = [n for n in (num_frames, flags.max_frames) if n]
    names = _names(shows)
    with progress(total=min(limits, default=None), unit="frame", desc=", ".join(names)) as bar:
        pictures = _pictures(flags, shows, frames, bar.update)
        if flags.output:
            write_video(flags.output, pictures, 1 / flags.fps if flags.fps else seconds)
        else:
            collections.deque(pictures, maxlen=0)
    if flags.json:
        by_name = {name: show.records for name, show in zip(names, shows, strict=True)}
        files.write_json(flags.json, shows[0].records if len(shows) == 1 else by_name)
    for path in filter(None, (flags.output, flags.json)):
        print(f"wrote {path}: {len(shows[0].records)} frames")
    where = "LiteRT, 1 thread" if any(flags.tflite) else "Keras, all threads; the exported files are faster"
    print(f"{_table(shows)}\ntimed on this machine, systems in turn: {where}")


def _answer_alike(a, b) -> bool:
    return a.task is b.task and a.info.class_names == b.info.class_names


def _names(shows) -> list[str]:
    """What tells shows apart: the system, if need be with who chooses windows, if need be with a number."""
    names = [show.step.info.system for show in shows]
    if len(set(names)) < len(names):
        names = [f"{name}, {policy_name(show.policy, show.step)}" for name, show in zip(names, shows, strict=True)]
    return [name if names.count(name) == 1 else f"{name} {k}" for k, name in enumerate(names, start=1)]


class _Show:
    """One system's part of the demo.

    Attributes:
        step: _Timed.
        policy: of its windows, None for its own.
        reference: number of the first system that answers the same.
        records: its answers in JSON.
        agreement: with that system.
        ages: (M, M), frames since each cell was looked at.
    """

    def __init__(self, step, policy, reference):
        self.step, self.policy, self.reference = step, policy, reference
        self.records, self.ages = [], overlay.fresh_ages(step.grid)
        self.agreement = step.task.agreement_metric(step.info.class_names)

    def take(self, number, frame, answer, reference, min_score):
        """Takes note of an answer."""
        step = self.step
        self.agreement.add_frame(answer, reference, frame.shape[:2])
        window = None if answer.window is None else [int(side) for side in answer.window]
        record = step.task.record(answer, step.info.class_names, min_score)
        self.records.append({"frame": number, "window": window, **record})
        self.ages = overlay.advance_ages(self.ages, step.grid, answer)

    def draw(self, frame, answer, flags) -> np.ndarray:
        """The frame, annotated."""
        step = self.step
        style = overlay.Style(step.task, step.info.class_names, flags.min_score, flags.show_values)
        return overlay.draw(frame, answer, self.ages, style, self._title(answer.mflops > 0))

    def _title(self, processed) -> str:
        step = self.step
        weights = ", RANDOM WEIGHTS" if step.info.weights == "random weights" else ""
        windows = "" if step.grid.is_whole_frame else f", windows by {policy_name(self.policy, step)}"
        took = f"{step.milliseconds[-1] if processed else 0:.1f} ms"
        return f"{step.info.system}, {took}{windows}{weights}"


class _Timed:
    """A step that takes note of how long it takes.

    Attributes:
        milliseconds: of every call.
    """

    def __init__(self, step):
        self._step = step
        self.milliseconds = []

    def __getattr__(self, name):
        return getattr(self._step, name)

    def __call__(self, frame, window, state):
        start = time.perf_counter()
        outputs = self._step(frame, window, state)
        self.milliseconds.append(1e3 * (time.perf_counter() - start))
        return outputs


def _pictures(flags, shows, frames, progress):
    """Yields the annotated frames of a video, all systems beside each other, if there is an --output."""
    options = {"seed": flags.seed, "start": flags.start}
    together = stream_together([show.step for show in shows], frames, [show.policy for show in shows], **options)
    for number, (frame, answers) in enumerate(together):
        for show, answer in zip(shows, answers, strict=True):
            show.take(number, frame, answer, answers[show.reference], flags.min_score)
        progress()
        if not flags.output:
            yield None
            continue
        rows = collections.defaultdict(list)  # one for each that answer the same
        for show, answer in zip(shows, answers, strict=True):
            rows[show.reference].append(show.draw(frame, answer, flags))
        rows = [np.concatenate(panels, 1) for panels in rows.values()]
        width = max(row.shape[1] for row in rows)
        yield np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _table(shows) -> str:
    """What each system costs, and how well it agrees with the first of its kind, if that sees whole frames."""
    lines, references = [], []
    for name, show in zip(_names(shows), shows, strict=True):
        step, interval = show.step, show.step.info.stream.interval
        # Frames that are not processed cost nothing; the first ones are not counted, they warm up.
        processed = step.milliseconds[1:] or step.milliseconds
        took = np.zeros(len(processed) * interval)
        took[::interval] = processed
        first, agreement = shows[show.reference].step, None
        is_alone = [other.reference for other in shows].count(show.reference) == 1
        if first.grid.is_whole_frame and first.info.stream == EVERY_FRAME and not is_alone:
            agreement = show.agreement.result()
            references.append(first.info.system)
        numbers = [f"{value:.1f}" for value in (np.median(took), np.percentile(took, 95), took.mean())]
        shown = "-" if agreement is None else f"{100 * agreement:.1f}"
        lines.append([name, *numbers, f"{step.mflops() / interval:.0f}", shown])
    titles = ["system", "ms per frame, median", "p95", "mean", "MFLOPs, mean", "agreement"]
    table = tabulate(lines, titles, "plain", disable_numparse=True, colalign=("left", *["right"] * 5))
    if references:
        names = " or ".join(dict.fromkeys(references))
        table += f"\nagreement: with {names} on every whole frame, see patchwork-compare"
    return table


def _unzipped(shown):
    """Frames, and for how long each is shown, in step with each other."""
    known = collections.deque()

    def frames():
        for frame, seconds in shown:
            known.append(seconds)
            yield frame

    return frames(), (known.popleft() for _ in itertools.count())


def _open(source: str, size: int, max_frames: int | None):
    """Frames and for how many seconds each is shown; and their number, if it is known."""
    index = source.removeprefix(_GENERATED)
    if index == source or os.path.exists(source):
        video = Video(source)
        return video.shown(), video.num_frames
    if not index.isdecimal():
        raise UsageError(f"--video={source}: give a number, such as {_GENERATED}3")
    count = min(_GENERATED_FRAMES, max_frames or _GENERATED_FRAMES)
    clip = moving_objects.render_clip(int(index), count, max(256, size), "validation")
    return zip(clip.frames, itertools.repeat(1 / _GENERATED_FPS), strict=False), count
