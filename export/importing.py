"""Makes a Patchwork detector of an SSD MobileNetV2 that was trained elsewhere. Nothing is trained.

  patchwork-import --tflite=detector.tflite --labels=labels.txt --model_dir=/tmp/mine
  patchwork-export --system=oid-pw-m4n2 --checkpoint=/tmp/mine --output=/tmp/mine/patchwork.tflite

The file is one of the TensorFlow Object Detection API's ssd_mobilenet_v2 models, with raw outputs or with the
post-processing operator, in float32 or float16; of any depth, number of classes and input size. Its weights are
written as a checkpoint of the oid-* systems, after our network has given the file's own raw outputs at its size.
"""

import hashlib
import os
import sys

import numpy as np
from absl import flags
from tqdm import tqdm

from patchwork_tf import cli, files
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export import ssd
from patchwork_tf.export.verify import random_frame
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.models.weights import assign_weights
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.build import build

SYSTEM = "oid-sf"
PROOF_FRAMES = 4
TOLERANCE = 1e-3  # of raw outputs, relative to the largest: other order of the same sums
_FRAME_MULTIPLE = 128  # sides of frames that divide into every grid of the zoo

_FLAGS = flags.FlagValues()
_TFLITE = flags.DEFINE_string("tflite", None, "The detector's .tflite file. Required.", flag_values=_FLAGS)
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    "Text file with one class name per line, ??? for the background first or not; by default what is packed into "
    "the .tflite.",
    flag_values=_FLAGS,
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder to write the checkpoint to. Required.", flag_values=_FLAGS
)
_IMAGE_SIZE = flags.DEFINE_string(
    "image_size",
    None,
    "Frame size in pixels that systems have by default: one side, or HEIGHTxWIDTH; by default the file's input "
    f"size, rounded up to multiples of {_FRAME_MULTIPLE}, which divide into every grid.",
    flag_values=_FLAGS,
)


def import_ssd(path: str, labels: str | None, model_dir: str, image_size=None, progress=None) -> tuple:
    """Imports a detector.

    Args:
        path: of the .tflite file.
        labels: path of its class names; None for those in the file.
        model_dir: folder that gets the checkpoint.
        image_size: (H, W) of the systems' frames; by default as --image_size has it.
        progress: called after every frame of the proof.

    Returns:
        The ssd.SsdFile; the checkpoint's path; the largest difference of raw outputs, relative to the largest one.

    Raises:
        DataError: if it is no such detector, its labels are missing, or our network gives other outputs.
    """
    source = ssd.read(path)
    names = ssd.read_labels(labels, source)
    if checkpoints.latest(model_dir):
        raise DataError(f"{model_dir}: there are checkpoints in it already; name another --model_dir")
    difference = _proven(source, progress)
    rounded = tuple(-(-side // _FRAME_MULTIPLE) * _FRAME_MULTIPLE for side in source.image_size)
    config = ModelConfig(
        depth=source.depth, num_classes=source.num_classes, heads="ssd", image_size=image_size or rounded
    )
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    metadata = {
        "system": SYSTEM,
        "class_names": names,
        "imported": f"{os.path.basename(path)}, SHA-256 {digest}",
    }
    files.make_folder(model_dir)
    return source, checkpoints.save_weights(model_dir, config, source.arrays, metadata), difference


def _proven(source, progress) -> float:
    """How far our network's raw outputs are from the file's. Raises DataError if they are others."""
    single = ModelConfig(
        depth=source.depth, num_classes=source.num_classes, heads="ssd", image_size=source.image_size
    )
    network = build(single)
    assign_weights(network.variables, source.arrays, source.path)
    if source.anchors is not None and (
        source.anchors.shape != network.anchors.shape or np.abs(source.anchors - network.anchors).max() > 1e-3
    ):
        raise DataError(f"{source.path}: its anchors are not those of the API's ssd_anchor_generator by default")
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(PROOF_FRAMES):
        frame = random_frame(rng, source.image_size)
        levels, _ = network.predict_window(frame, None, {})
        for ours, theirs in zip(zip(*levels, strict=True), source.raw_outputs(frame), strict=True):
            ours = np.concatenate([np.asarray(level[0]) for level in ours])
            worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        if progress:
            progress()
    if not worst <= TOLERANCE:
        raise DataError(
            f"{source.path}: our network has its layers, but gives other raw outputs (off by {worst:.1e} of the "
            "largest); it is no plain SSD MobileNetV2"
        )
    return worst


def _import():
    for flag in (_TFLITE, _MODEL_DIR):
        if not flag.value:
            raise UsageError(f"--{flag.name} is required")
    size = cli.parse_image_size(_IMAGE_SIZE.value)
    with tqdm(total=PROOF_FRAMES, unit="frame", desc="proving", dynamic_ncols=True) as bar:
        source, path, difference = import_ssd(_TFLITE.value, _LABELS.value, _MODEL_DIR.value, size, bar.update)
    height, width = source.image_size
    print(
        f"{path}: depth {source.depth:g}, {source.num_classes} classes; raw outputs at {height} x {width} within "
        f"{difference:.0e} of the file's. Next: patchwork-demo --system=oid-pw-m4n2 "
        f"--checkpoint={_MODEL_DIR.value} --video=VIDEO --output=annotated.mp4"
    )


def main(argv=None) -> int:
    return cli.run(_import, _FLAGS, "patchwork-import", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
