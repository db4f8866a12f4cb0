"""Makes a Patchwork detector of an SSD MobileNetV2 that was trained elsewhere. Nothing is trained.

  patchwork-import --tflite=detector.tflite --labels=labels.txt --model_dir=/tmp/mine
  patchwork-export --system=oid-pw-m4n2 --checkpoint=/tmp/mine --output=/tmp/mine/patchwork.tflite

The file is one of the TensorFlow Object Detection API's ssd_mobilenet_v2 models, with raw outputs or with the
post-processing operator, in float32 or float16; of any depth, number of classes and input size. Its weights are
written as a checkpoint of the oid-* systems, after our network has given the file's own raw outputs at its size.
"""

import sys

from absl import flags

from patchwork_tf import cli
from patchwork_tf.bars import progress

_FLAGS = flags.FlagValues()
flags.DEFINE_string("tflite", None, "The detector's .tflite file. Required.", flag_values=_FLAGS)
flags.DEFINE_string(
    "labels",
    None,
    "Text file with one class name per line, ??? for the background first or not; by default what is packed into "
    "the .tflite.",
    flag_values=_FLAGS,
)
cli.define(_FLAGS, "model_dir", "image_size")


def _import():
    from patchwork_tf.export.importer import PROOF_FRAMES, import_ssd

    cli.required(_FLAGS, "tflite", "model_dir")
    cli.check_outputs(_FLAGS, "model_dir")
    with progress(total=PROOF_FRAMES, unit="frame", desc="proving") as bar:
        source, path, difference = import_ssd(
            _FLAGS.tflite, _FLAGS.labels, _FLAGS.model_dir, _FLAGS.image_size, bar.update
        )
    height, width = source.image_size
    print(
        f"{path}: depth {source.depth:g}, {source.num_classes} classes; raw outputs at {height} x {width} within "
        f"{difference:.0e} of the file's. Next: patchwork-demo --system=oid-pw-m4n2 "
        f"--checkpoint={_FLAGS.model_dir} --video=VIDEO --output=annotated.mp4"
    )


def main(argv=None) -> int:
    return cli.run(_import, _FLAGS, "patchwork-import", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
