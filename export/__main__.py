"""Exports a system's model to one TFLite file, verified against Keras before it is written.

  patchwork-export --system=vid-pw-m4n2 --checkpoint=/tmp/pw --output=/tmp/pw.tflite
  patchwork-export --inspect=/tmp/pw.tflite

The file has a signature `step`: frame, window and state in; boxes, scores, classes and count, or mask, and
next_window and state out; and `whole_frame`, of a first frame. Its metadata says how to feed it.
"""

import sys

from patchwork_tf import choices, cli

_FLAGS = cli.Flags()
cli.define(_FLAGS, "system", "checkpoint", "output", "image_size", "depth")
_FLAGS.boolean(
    "suppression", "Put per-class suppression into a detector's graph; else all anchors are output.", default=True
)
_FLAGS.enum(
    "quantize",
    "float16: half the file, computed in half precision on processors that can, as in most phones. int8: weights, "
    "activations and memory in 8 bits, calibrated on a video; needs pip install ai-edge-quantizer.",
    default="none",
    values=choices.QUANTIZATIONS,
)
_FLAGS.string(
    "calibration",
    f"Video file or folder, on whose first {choices.CALIBRATION_FRAMES} frames --quantize=int8 is calibrated; "
    "by default generated clips. Give one like those that the model will see.",
)
_FLAGS.string("inspect", "Only tell about this file: signature, states, operators, partitions, metadata.")
_FLAGS.string("golden", "Folder for golden vectors: frames, windows and answers, by which an app proves itself.")
_FLAGS.count("verify_steps", "Random steps that must agree with Keras.", default=50)


@cli.command("patchwork-export", _FLAGS, __doc__)
def main():
    """Exports a model, or tells about a file."""
    from patchwork_tf.export import golden, inspect
    from patchwork_tf.export.exporting import export
    from patchwork_tf.zoo import checkpoints

    if _FLAGS.inspect:
        print(inspect.report(_FLAGS.inspect))
        return
    cli.required(_FLAGS, "output")
    cli.check_outputs(_FLAGS, "output", "golden")
    name = cli.single("system", _FLAGS.system)
    (source,) = cli.one_per_item("checkpoint", _FLAGS.checkpoint, [name])
    overrides = cli.override(image_size=_FLAGS.image_size, depth=_FLAGS.depth)
    system = checkpoints.system_of(name, source)
    model = checkpoints.build_from(system, checkpoints.read(source) if source else None, **overrides)
    exported = export(
        model, _FLAGS.output, _FLAGS.suppression, _FLAGS.verify_steps, _FLAGS.quantize, _FLAGS.calibration
    )
    print(f"{inspect.summary(_FLAGS.output)}; {exported}")
    if _FLAGS.golden:
        golden.write(_FLAGS.output, _FLAGS.golden)
        print(f"golden vectors: {_FLAGS.golden}")


if __name__ == "__main__":
    sys.exit(main())
