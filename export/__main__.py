"""Exports a system's model to one TFLite file, verified against Keras before it is written.

  patchwork-export --system=vid-pw-m4n2 --checkpoint=/tmp/pw --output=/tmp/pw.tflite
  patchwork-export --inspect=/tmp/pw.tflite

The file has one signature, `step`: frame, window and state in; boxes, scores, classes and count, or
mask, and next_window and state out. Its metadata says how to feed it.
"""

import itertools
import sys

from absl import flags

from patchwork_tf import cli, files
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.export import inspect
from patchwork_tf.export.exporting import CALIBRATION_STEPS, QUANTIZATIONS, export
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system

_FLAGS = flags.FlagValues()
_SYSTEM = flags.DEFINE_string("system", "vid-pw-m4n2", "System of the zoo.", flag_values=_FLAGS)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Checkpoint file or training folder. Without it the weights are random: good for benchmarks only.",
    flag_values=_FLAGS,
)
_OUTPUT = flags.DEFINE_string("output", None, "The .tflite file to write. Required.", flag_values=_FLAGS)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size",
    None,
    "Frame size in pixels: one side, or HEIGHTxWIDTH; by default the checkpoint's or the system's.",
    flag_values=_FLAGS,
)
_DEPTH = flags.DEFINE_float(
    "depth", None, "Width multiplier; by default the checkpoint's or the system's.", flag_values=_FLAGS
)
_SUPPRESSION = flags.DEFINE_boolean(
    "suppression",
    True,
    "Put per-class suppression into a detector's graph; else all anchors are output.",
    flag_values=_FLAGS,
)
_QUANTIZE = flags.DEFINE_enum(
    "quantize",
    "none",
    list(QUANTIZATIONS),
    "float16: weights in 16 bits, half the file, as fast. int8: weights, activations and memory in 8 bits, "
    "calibrated on a video; needs pip install ai-edge-quantizer.",
    flag_values=_FLAGS,
)
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    None,
    f"Video file or folder of frames, whose first {CALIBRATION_STEPS} frames --quantize=int8 is calibrated on; by "
    "default generated clips. Give one like those that the model will see.",
    flag_values=_FLAGS,
)
_INSPECT = flags.DEFINE_string(
    "inspect",
    None,
    "Only tell about this exported file: signature, states, operators, partitions, metadata.",
    flag_values=_FLAGS,
)
_VERIFY_STEPS = flags.DEFINE_integer(
    "verify_steps", 50, "Random steps that must agree with Keras.", lower_bound=1, flag_values=_FLAGS
)


def _export():
    if _INSPECT.value:
        print(inspect.report(_INSPECT.value))
        return
    system = get_system(_SYSTEM.value)
    output = _OUTPUT.value
    if not output:
        raise UsageError("--output is required: the .tflite file to write")
    files.check_output(output)
    checkpoint = checkpoints.read(_CHECKPOINT.value) if _CHECKPOINT.value else None
    overrides = cli.override(image_size=cli.parse_image_size(_IMAGE_SIZE.value), depth=_DEPTH.value)
    model = checkpoints.build_from(system, checkpoint, **overrides)
    found = export(
        model,
        output,
        _SUPPRESSION.value,
        _VERIFY_STEPS.value,
        _QUANTIZE.value,
        _calibration_frames(),
    )
    print(f"{inspect.summary(output)}; {found}")


def _calibration_frames():
    if not _CALIBRATION.value:
        return None
    if _QUANTIZE.value != "int8":
        raise UsageError("--calibration is for --quantize=int8")
    return itertools.islice(Video(_CALIBRATION.value), CALIBRATION_STEPS)


def main(argv=None) -> int:
    return cli.run(_export, _FLAGS, "patchwork-export", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
