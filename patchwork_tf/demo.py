"""Runs a system over a video and writes it annotated: boxes or mask, the window looked at, stale parts dark.

  patchwork-demo --system=vid-pw-m4n2 --checkpoint=/tmp/pw --video=clip.mp4 --output=annotated.mp4

--video is any file that FFmpeg reads, or a folder of frames, of any size and shape. For
moving_objects, `moving_objects:K` is clip K of the validation set.
"""

import itertools
import sys

from absl import flags
from tqdm import tqdm

from patchwork_tf import cli
from patchwork_tf.data import moving_objects
from patchwork_tf.data.video import Video, check_output, write_video
from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import untrained_names
from patchwork_tf.streaming import overlay
from patchwork_tf.streaming.policies import POLICIES
from patchwork_tf.streaming.step import step_of
from patchwork_tf.streaming.stream import stream
from patchwork_tf.training import checkpoints
from patchwork_tf.zoo.systems import get_system

_GENERATED = "moving_objects:"
_GENERATED_FRAMES, _GENERATED_FPS = 96, 12.0

_FLAGS = flags.FlagValues()
_SYSTEM = flags.DEFINE_string("system", "vid-pw-m4n2", "System of the zoo.", flag_values=_FLAGS)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Checkpoint file or training folder. Without it the weights are random, and the video says so.",
    flag_values=_FLAGS,
)
_TFLITE = flags.DEFINE_string(
    "tflite", None, "Exported file to run in place of --system and --checkpoint.", flag_values=_FLAGS
)
_VIDEO = flags.DEFINE_string(
    "video", None, "Video file, folder of frames, or moving_objects:K. Required.", flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string("output", None, "The .mp4 or .gif to write. Required.", flag_values=_FLAGS)
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
_MIN_SCORE = flags.DEFINE_float("min_score", 0.3, "Boxes with a lower score are not drawn.", flag_values=_FLAGS)
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
    for flag in (_VIDEO, _OUTPUT):
        if not flag.value:
            raise UsageError(f"--{flag.name} is required")
    check_output(_OUTPUT.value)
    step, name, names, weights, fit = _exported() if _TFLITE.value else _built()
    frames, num_frames, fps = _open(_VIDEO.value, max(step.config.image_size))
    limits = [n for n in (num_frames, _MAX_FRAMES.value) if n]
    with tqdm(total=min(limits, default=None), unit="frame", desc=name, dynamic_ncols=True) as bar:
        annotated = annotate(step, frames, names, f"{name}, {weights}", fit, bar.update)
        write_video(_OUTPUT.value, annotated, _FPS.value or fps)
    print(f"wrote {_OUTPUT.value}: {bar.n} frames")


def _built() -> tuple:
    """What to run: a KerasStep; its system's name, class names, what its weights are, how frames are fitted."""
    system = get_system(_SYSTEM.value)
    checkpoint = checkpoints.read(_CHECKPOINT.value) if _CHECKPOINT.value else None
    overrides = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value))
    step = step_of(checkpoints.build_from(system, checkpoint, **overrides))
    if checkpoint:
        return step, system.name, checkpoint.class_names, f"step {checkpoint.step}", checkpoint.fit
    return step, system.name, untrained_names(step.config), "RANDOM WEIGHTS", "stretch"


def _exported() -> tuple:
    """The same of an exported file."""
    from patchwork_tf.export.streaming import ExportedStep  # a command may use all of the project, the library not

    given = [name for name in ("system", "checkpoint", "image_size") if _FLAGS[name].present]
    if given:
        raise UsageError(f"--tflite: the file says what it is; leave out --{given[0]}")
    step = ExportedStep(_TFLITE.value)
    weights = step.facts["weights"].replace("random weights", "RANDOM WEIGHTS")
    return step, step.facts["system"], step.facts["labels"], weights, step.facts["fit"]


def annotate(step, frames, class_names, title, fit, progress):
    """Yields the annotated frames of a video."""
    if not step.grid.is_whole_frame:
        title += f", windows by {_POLICY.value or step.policy}"
    ages = overlay.fresh_ages(step.grid)
    seen, shown = itertools.tee(itertools.islice(frames, _MAX_FRAMES.value))
    answers = stream(step, seen, _POLICY.value, seed=_SEED.value, blind_start=_BLIND_START.value, fit=fit)
    for answer, frame in zip(answers, shown, strict=True):
        ages = overlay.advance_ages(ages, step.grid, answer)
        yield overlay.draw(frame, answer, ages, class_names, title, _MIN_SCORE.value, _SHOW_VALUES.value)
        progress()


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
