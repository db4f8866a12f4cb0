"""Exports a system's model to one TFLite file, verified against Keras before it is written.

  patchwork-export --system=vid-pw-m4n2 --checkpoint=/tmp/pw --output=/tmp/pw.tflite

The file has one signature, `step`: frame, window and state in; boxes, scores, classes and count, or
mask, and next_window and state out. Its metadata says how to feed it.
"""

import os
import sys
import tempfile

from absl import flags
from tqdm import tqdm

from patchwork_tf import cli
from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata, verify
from patchwork_tf.export.tflite import Step, convert
from patchwork_tf.models.config import untrained_names
from patchwork_tf.training import checkpoints
from patchwork_tf.zoo.costs import state_bytes
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
_SUPPRESSION = flags.DEFINE_boolean(
    "suppression",
    True,
    "Put per-class suppression into a detector's graph; else all anchors are output.",
    flag_values=_FLAGS,
)
_VERIFY_STEPS = flags.DEFINE_integer(
    "verify_steps", 50, "Random steps that must agree with Keras.", lower_bound=1, flag_values=_FLAGS
)


def _export():
    system = get_system(_SYSTEM.value)
    output = _OUTPUT.value
    if not output:
        raise UsageError("--output is required: the .tflite file to write")
    cli.check_output(output)
    checkpoint = checkpoints.read(_CHECKPOINT.value) if _CHECKPOINT.value else None
    size = cli.parse_image_size(_IMAGE_SIZE.value)
    model = checkpoints.build_from(system, checkpoint, **cli.override(image_size=size))
    comparison = export(system, model, checkpoint, output, _SUPPRESSION.value, _VERIFY_STEPS.value)
    print(
        f"{output}: {os.path.getsize(output) / 1e6:.1f} MB, {len(model.memory_shapes())} state tensors of "
        f"{state_bytes(model) / 1e6:.2f} MB in all; {comparison}"
    )


def export(system, model, checkpoint, output, suppression=True, verify_steps=50) -> verify.Comparison:
    """Converts, verifies and writes a model.

    Args:
        system, model, checkpoint: as from `checkpoints.build_from`.
        output: path of the file; it appears when everything is good.
        suppression: as for `convert`.
        verify_steps: how many random steps must agree.

    Raises:
        DataError: if the file does not agree with Keras, or cannot be written.
    """
    if checkpoint:
        class_names, weights = checkpoint.class_names, f"trained on {checkpoint.description}"
    else:
        class_names, weights = untrained_names(model.config), "random weights"
    step = Step(model, suppression)
    fit = checkpoint.fit if checkpoint else "stretch"
    content = convert(step, metadata.describe(system, step, class_names, weights, fit))
    with tempfile.TemporaryDirectory() as folder:
        unproven = os.path.join(folder, "model.tflite")
        with open(unproven, "wb") as file:
            file.write(content)
        with tqdm(total=verify_steps, unit="step", desc="verifying", dynamic_ncols=True) as bar:
            comparison = verify.compare(model, unproven, verify_steps, progress=bar.update)
    verify.check(comparison, output)
    with cli.atomic_file(output) as file:
        file.write(content)
    return comparison


def main(argv=None) -> int:
    return cli.run(_export, _FLAGS, "patchwork-export", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
