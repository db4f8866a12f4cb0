"""Runs systems over a video and writes it annotated: boxes or mask, the window looked at, stale parts dark.

  patchwork-demo --video=clip.mp4 --output=annotated.mp4
  patchwork-demo --system=oid-sf,oid-sf-int4,oid-pw-m4n2 --video=clip.mp4 --output=annotated.mp4 --json=boxes.json

Several systems are shown side by side, and a table says what each costs and how well it agrees with the first.
--video is any file that FFmpeg reads, or a folder of frames, of any size and shape. For
moving_objects, `moving_objects:K` is clip K of the validation set.
"""

import collections
import itertools
import json
import sys
import time

import numpy as np
from absl import flags
from pycocotools import mask as coco_masks
from tqdm import tqdm

from patchwork_tf import cli, files
from patchwork_tf.data import moving_objects
from patchwork_tf.data.video import Video, check_output, write_video
from patchwork_tf.errors import UsageError
from patchwork_tf.metrics.agreement import Agreement
from patchwork_tf.models.config import EVERY_FRAME
from patchwork_tf.streaming import overlay
from patchwork_tf.streaming.policies import POLICIES
from patchwork_tf.streaming.step import step_of
from patchwork_tf.streaming.stream import Segmentation, stream_together
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system

_GENERATED = "moving_objects:"
_GENERATED_FRAMES, _GENERATED_FPS = 96, 12.0

_FLAGS = flags.FlagValues()
_SYSTEM = flags.DEFINE_list(
    "system", "oid-pw-m4n2", "Systems of the zoo, separated by commas.", flag_values=_FLAGS
)
_CHECKPOINT = flags.DEFINE_list(
    "checkpoint",
    "",
    "Checkpoint file or training folder of each system, separated by commas; one serves all. By default the "
    "shipped weights; where there are none they are random, and the video says so.",
    flag_values=_FLAGS,
)
_TFLITE = flags.DEFINE_list(
    "tflite",
    "",
    "Exported files to run in place of --system and --checkpoint, on one thread.",
    flag_values=_FLAGS,
)
_VIDEO = flags.DEFINE_string(
    "video", None, "Video file, folder of frames, or moving_objects:K. Required.", flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The .mp4 or .gif to write. This or --json is required.", flag_values=_FLAGS
)
_JSON = flags.DEFINE_string(
    "json",
    None,
    "Where to write the answers: a list with one object per frame (frame, window, boxes, scores, classes, or mask "
    "as COCO run lengths); of several systems one list by name.",
    flag_values=_FLAGS,
)
_POLICY = flags.DEFINE_enum(
    "policy",
    None,
    [name for name in POLICIES if name != "oracle"],
    "How windows are chosen; by default as the model does: learned if it was trained to, else by the rule.",
    flag_values=_FLAGS,
)
_BLIND_START = flags.DEFINE_boolean(
    "blind_start",
    False,
    "Look at the first frame through a window, too, instead of at all of it.",
    flag_values=_FLAGS,
)
_SHOW_VALUES = flags.DEFINE_boolean(
    "show_values",
    False,
    "Draw what each window is held for worth, a bright square being the best.",
    flag_values=_FLAGS,
)
_MIN_SCORE = flags.DEFINE_float(
    "min_score", 0.3, "Boxes with a lower score are neither drawn nor written.", flag_values=_FLAGS
)
_MAX_FRAMES = flags.DEFINE_integer(
    "max_frames", None, "Stop after this many frames.", lower_bound=1, flag_values=_FLAGS
)
_FPS = flags.DEFINE_float(
    "fps", None, "Frames per second of the output; by default the video's.", lower_bound=0.1, flag_values=_FLAGS
)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size",
    None,
    "What frames are brought to for the model: one side, or HEIGHTxWIDTH in pixels.",
    flag_values=_FLAGS,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the random policy.", flag_values=_FLAGS)


def _demo():
    if not _VIDEO.value:
        raise UsageError("--video is required")
    if not (_OUTPUT.value or _JSON.value):
        raise UsageError("--output is required, the video to write, or --json")
    if _OUTPUT.value:
        check_output(_OUTPUT.value)
    if _JSON.value:
        files.check_output(_JSON.value)
    steps = [_Timed(step) for step in (_exported() if any(_TFLITE.value) else _built())]
    frames, num_frames, fps = _open(_VIDEO.value, max(max(step.config.image_size) for step in steps))
    limits = [n for n in (num_frames, _MAX_FRAMES.value) if n]
    records, agreements = [[] for _ in steps], [Agreement(steps[0].info.class_names) for _ in steps]
    names = ", ".join(step.info.system for step in steps)
    with tqdm(total=min(limits, default=None), unit="frame", desc=names, dynamic_ncols=True) as bar:
        pictures = _pictures(steps, frames, records, agreements, bar.update)
        if _OUTPUT.value:
            write_video(_OUTPUT.value, pictures, _FPS.value or fps)
        else:
            collections.deque(pictures, maxlen=0)
    if _JSON.value:
        by_name = dict(zip((step.info.system for step in steps), records, strict=True))
        with files.atomic_file(_JSON.value, "w") as file:
            json.dump(records[0] if len(steps) == 1 else by_name, file)
    for path in filter(None, (_OUTPUT.value, _JSON.value)):
        print(f"wrote {path}: {bar.n} frames")
    print(_table(steps, agreements))


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
        found = self._step(frame, window, state)
        self.milliseconds.append(1e3 * (time.perf_counter() - start))
        return found


def _built() -> list:
    """KerasSteps of --system."""
    systems = [get_system(name) for name in cli.non_empty("system", _SYSTEM.value)]
    _check_tasks(system.task for system in systems)
    overrides = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value))
    steps = []
    for system, source in zip(systems, cli.one_per_item("checkpoint", _CHECKPOINT.value, systems), strict=True):
        source = source or (system.name if checkpoints.find_pretrained(system.name) else None)
        checkpoint = checkpoints.read(source) if source else None
        steps.append(step_of(checkpoints.build_from(system, checkpoint, **overrides)))
    return steps


def _exported() -> list:
    """ExportedSteps of --tflite."""
    from patchwork_tf.export.streaming import ExportedStep  # a command may use all of the project, the library not

    given = [name for name in ("system", "checkpoint", "image_size") if _FLAGS[name].present]
    if given:
        raise UsageError(f"--tflite: the file says what it is; leave out --{given[0]}")
    steps = [ExportedStep(path) for path in _TFLITE.value if path]
    _check_tasks(step.config.task for step in steps)
    return steps


def _check_tasks(tasks):
    if len(set(tasks)) > 1:
        raise UsageError("detectors and segmenters cannot be compared: show them in two runs")


def _pictures(steps, frames, records, agreements, progress):
    """Yields the annotated frames of a video, all systems beside each other; takes note of their answers."""
    policies = [None if step.grid.is_whole_frame else _POLICY.value for step in steps]
    ages = [overlay.fresh_ages(step.grid) for step in steps]
    options = {"seed": _SEED.value, "blind_start": _BLIND_START.value}
    together = stream_together(steps, itertools.islice(frames, _MAX_FRAMES.value), policies, **options)
    for number, (frame, answers) in enumerate(together):
        panels = []
        for k, (step, answer) in enumerate(zip(steps, answers, strict=True)):
            agreements[k].add_frame(answer, answers[0], frame.shape[:2])
            records[k].append(_record(number, answer, step.info.class_names))
            ages[k] = overlay.advance_ages(ages[k], step.grid, answer)
            if _OUTPUT.value:
                title = _title(step, policies[k], answer.mflops > 0)
                names = step.info.class_names
                panels.append(
                    overlay.draw(frame, answer, ages[k], names, title, _MIN_SCORE.value, _SHOW_VALUES.value)
                )
        progress()
        yield np.concatenate(panels, axis=1) if panels else None


def _title(step, policy, processed) -> str:
    weights = ", RANDOM WEIGHTS" if step.info.weights == "random weights" else ""
    windows = "" if step.grid.is_whole_frame else f", windows by {policy or step.policy}"
    took = f"{step.milliseconds[-1] if processed else 0:.1f} ms"
    return f"{step.info.system}, {took}{windows}{weights}"


def _record(number, answer, names) -> dict:
    """An answer in JSON, see --json."""
    record = {"frame": number, "window": None if answer.window is None else [int(side) for side in answer.window]}
    if isinstance(answer, Segmentation):
        runs = coco_masks.encode(np.asfortranarray(answer.mask.astype(np.uint8)))
        return {
            **record,
            "mask": {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode()},
        }
    shown = answer.scores >= _MIN_SCORE.value
    return {
        **record,
        "boxes": answer.boxes[shown].round(5).tolist(),
        "scores": answer.scores[shown].round(5).tolist(),
        "classes": [names[label] for label in answer.classes[shown]],
    }


def _table(steps, agreements) -> str:
    """What each system costs, and how well it agrees with the first, if that sees all of every frame."""
    first = steps[0]
    lines = [
        f"{'system':<24}{'ms per frame, median':>22}{'p95':>8}{'mean':>8}{'MFLOPs, mean':>14}{'agreement':>11}"
    ]
    is_reference = len(steps) > 1 and first.grid.is_whole_frame and first.info.stream == EVERY_FRAME
    for step, agreement in zip(steps, agreements, strict=True):
        # Frames that are not processed cost nothing; the first ones are not counted, they warm up.
        processed = step.milliseconds[1:] or step.milliseconds
        took = np.zeros(len(processed) * step.info.stream.interval)
        took[:: step.info.stream.interval] = processed
        mflops = step.mflops() / step.info.stream.interval
        found = agreement.result() if is_reference else None
        lines.append(
            f"{step.info.system:<24}{np.median(took):>22.1f}{np.percentile(took, 95):>8.1f}{took.mean():>8.1f}"
            f"{mflops:>14.0f}" + ("          -" if found is None else f"{100 * found:>11.1f}")
        )
    if is_reference:
        lines.append(f"agreement: with {first.info.system} on every whole frame, see patchwork-evaluate --against")
    where = "LiteRT, 1 thread" if any(_TFLITE.value) else "Keras, all threads; the exported files are faster"
    return "\n".join([*lines, f"timed on this machine, systems in turn: {where}"])


def _open(source: str, size: int):
    """Frames, their number if known, and frames per second."""
    if not source.startswith(_GENERATED):
        video = Video(source)
        return video, video.num_frames, video.fps
    index = source.removeprefix(_GENERATED)
    if not index.isdigit():
        raise UsageError(f"--video={source}: give a number, such as {_GENERATED}3")
    count = min(_GENERATED_FRAMES, _MAX_FRAMES.value or _GENERATED_FRAMES)
    clip = moving_objects.render_clip(int(index), count, max(256, size), "validation")
    return clip.frames, count, _GENERATED_FPS


def main(argv=None) -> int:
    return cli.run(_demo, _FLAGS, "patchwork-demo", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
