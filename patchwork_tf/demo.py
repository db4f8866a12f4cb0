"""Runs systems over a video and writes it annotated: boxes or mask, the window looked at, stale parts dark.

  patchwork-demo --video=clip.mp4 --output=annotated.mp4
  patchwork-demo --system=oid-sf,oid-sf-int4,oid-pw-m4n2 --video=clip.mp4 --output=annotated.mp4 --json=boxes.json
  patchwork-demo --system=oid-pw-m4n2,voc-sf,voc-pw-m4n2 --video=clip.mp4 --output=boxes_and_masks.mp4

Several systems are shown side by side, those that answer the same in a row, and a table says what each costs and
how well it agrees with the first of its row.
--video is any file that FFmpeg reads, also out of a pipe (/dev/stdin), which is read to its end first, or a
folder of frames, of any size and shape. For moving_objects, `moving_objects:K` is clip K of the validation set.
Systems without --checkpoint take the weights that are shipped, where there are some.
"""

import collections
import itertools
import os
import sys
import time

import numpy as np

from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.data import moving_objects
from patchwork_tf.data.video import Video, check_output, write_video
from patchwork_tf.errors import UsageError
from patchwork_tf.streaming import overlay

_FLAGS = cli.Flags()
cli.define(_FLAGS, "system", "checkpoint", "tflite", "video", "output", "json", system="oid-pw-m4n2")
cli.define(_FLAGS, "policy", "start", "max_frames")
_FLAGS.boolean(
    "show_values",
    "Also draw what each window is worth to the next frame, a square each, brighter for more; the outlined one "
    "comes next.",
)
_FLAGS.number(
    "min_score",
    "Detections of lower score are not shown, nor written; there are none below 0.01.",
    default=0.3,
    least=0,
    most=1,
)
_FLAGS.number("fps", "Frames per second of the output; by default the video's.", least=0.1)
cli.define(_FLAGS, "image_size", "depth", "seed")

_GENERATED = "moving_objects:"
_GENERATED_FRAMES, _GENERATED_FPS = 96, 12.0


@cli.command("patchwork-demo", _FLAGS, __doc__)
def main():
    """Runs the systems over the video and writes what they answer."""
    cli.required(_FLAGS, "video")
    if not (_FLAGS.output or _FLAGS.json):
        raise UsageError("--output is required, the video to write, or --json")
    if _FLAGS.show_values and not _FLAGS.output:
        raise UsageError("--show_values is drawn into --output, which is missing")
    if _FLAGS.output:
        check_output(_FLAGS.output)
    cli.check_outputs(_FLAGS, "output", "json")
    source, most = cli.single("video", _FLAGS.video), _FLAGS.max_frames
    shows = _shows()
    shown, num_frames = _open(source, max(max(show.step.config.image_size) for show in shows), most)
    frames, seconds = _unzipped(itertools.islice(shown, most))
    total = min((n for n in (num_frames, most) if n), default=None)
    with progress(total=total, unit="frame", desc=", ".join(show.name for show in shows)) as bar:
        pictures = _pictures(shows, frames, bar.update)
        if _FLAGS.output:
            write_video(_FLAGS.output, pictures, 1 / _FLAGS.fps if _FLAGS.fps else seconds)
        else:
            collections.deque(pictures, maxlen=0)
    if _FLAGS.json:
        files.write_json(_FLAGS.json, {show.name: show.records for show in shows})
    for path in filter(None, (_FLAGS.output, _FLAGS.json)):
        print(f"wrote {path}: {len(shows[0].records)} frames")
    where = "LiteRT, 1 thread" if _FLAGS.tflite else "Keras, all threads; the exported files are faster"
    print(f"{_table(shows)}\ntimed on this machine, systems in turn: {where}")


def _shows() -> list["_Show"]:
    """One for each system and policy, named by the system, if need be by the policy, if need be by a number."""
    from patchwork_tf.commands.systems import load_systems, policies_of, policy_name

    shows = []
    for system in load_systems(_FLAGS, shipped=True, mixed=True):
        step = system.make_step()
        for policy in policies_of(_FLAGS, step):
            kind = (step.task.name, step.info.class_names)  # answers of one kind are compared
            first = next((s.first for s in shows if (s.step.task.name, s.step.info.class_names) == kind), None)
            shows.append(_Show(_Timed(step), policy, policy_name(policy, step), first))
    if len({show.name for show in shows}) < len(shows):
        for show in shows:
            show.name = f"{show.name}, {show.windows}"
    names = [show.name for show in shows]
    for number, show in enumerate(shows, start=1):
        if names.count(show.name) > 1:
            show.name = f"{show.name} {number}"
    return shows


class _Show:
    """One system's part of the demo, by a _Timed step and a policy, None for its own, which `windows` names."""

    def __init__(self, step, policy, windows, first):
        self.name, self.step, self.policy, self.windows = step.info.system, step, policy, windows
        self.first = first or self  # of those that answer the same
        self.records = []  # answers in JSON
        self.ages = overlay.fresh_ages(step.grid)  # frames since cells were seen
        self.agreement = step.task.agreement_metric(step.info.class_names)  # with the first one

    def take(self, number, frame, answer, reference):
        """Takes note of an answer."""
        step = self.step
        self.agreement.add_frame(answer, reference, frame.shape[:2])
        window = None if answer.window is None else [int(side) for side in answer.window]
        record = step.task.record(answer, step.info.class_names, _FLAGS.min_score)
        self.records.append({"frame": number, "window": window, **record})
        self.ages = overlay.advance_ages(self.ages, step.grid, answer)

    def draw(self, frame, answer) -> np.ndarray:
        """The frame, annotated."""
        step = self.step
        weights = ", RANDOM WEIGHTS" if step.info.weights == "random weights" else ""
        windows = "" if step.grid.is_whole_frame else f", windows by {self.windows}"
        took = step.milliseconds[-1] if answer.mflops > 0 else 0
        style = overlay.Style(step.task, step.info.class_names, _FLAGS.min_score, _FLAGS.show_values)
        title = f"{step.info.system}, {took:.1f} ms{windows}{weights}, frame {len(self.records) - 1}"
        return overlay.draw(frame, answer, self.ages, style, title)


class _Timed:
    """A step that takes note of how long it takes: `milliseconds` of every call."""

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


def _pictures(shows, frames, progress):
    """Yields the annotated frames of a video, all systems beside each other, if there is an --output."""
    from patchwork_tf.streaming.stream import stream_together

    options = {"seed": _FLAGS.seed, "start": _FLAGS.start}
    together = stream_together([show.step for show in shows], frames, [show.policy for show in shows], **options)
    for number, (frame, answers) in enumerate(together):
        answer_of = dict(zip(shows, answers, strict=True))
        for show, answer in answer_of.items():
            show.take(number, frame, answer, answer_of[show.first])
        progress()
        if not _FLAGS.output:
            yield None
            continue
        rows = collections.defaultdict(list)  # one for each that answer the same
        for show, answer in answer_of.items():
            rows[show.first].append(show.draw(frame, answer))
        rows = [np.concatenate(panels, 1) for panels in rows.values()]
        width = max(row.shape[1] for row in rows)
        yield np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _table(shows) -> str:
    """What each system costs, and how well it agrees with the first of its kind, if that sees whole frames."""
    from patchwork_tf.models.config import EVERY_FRAME

    lines, references = [], []
    firsts = [show.first for show in shows]
    for show in shows:
        interval = show.step.info.stream.interval
        # Frames that are not processed cost nothing. The first, a whole frame, and the first window compile.
        processed = show.step.milliseconds[2:] or show.step.milliseconds[-1:]
        took = np.zeros(len(processed) * interval)
        took[::interval] = processed
        first, agreement = show.first.step, None
        if first.grid.is_whole_frame and first.info.stream == EVERY_FRAME and firsts.count(show.first) > 1:
            agreement = show.agreement.result()
            references.append(first.info.system)
        numbers = [f"{value:.1f}" for value in (np.median(took), np.percentile(took, 95), took.mean())]
        lines.append([show.name, *numbers, f"{show.step.mflops() / interval:.0f}", cli.per_cent(agreement)])
    titles = ["system", "ms per frame, median", "p95", "mean", "MFLOPs, mean", "agreement"]
    table = cli.table(titles, lines)
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


if __name__ == "__main__":
    sys.exit(main())
