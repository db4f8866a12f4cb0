"""Import of an SSD MobileNetV2 that was trained elsewhere: its weights, proven by its own raw outputs."""

import os

import numpy as np

from patchwork_tf import files, provenance
from patchwork_tf.errors import DataError
from patchwork_tf.export import ssd
from patchwork_tf.export.verify import random_frame
from patchwork_tf.models.config import ModelConfig
from patchwork_tf.models.weights import assign_weights
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.build import build

SYSTEM = "oid-sf"
PROOF_FRAMES = 4
TOLERANCE = 1e-3  # of raw outputs, relative to the largest: other order of the same sums
FRAME_MULTIPLE = 128  # sides of frames that divide into every grid of the zoo


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
    rounded = tuple(-(-side // FRAME_MULTIPLE) * FRAME_MULTIPLE for side in source.image_size)
    config = ModelConfig(
        depth=source.depth,
        num_classes=source.num_classes,
        heads="ssd",
        image_size=image_size or rounded,
        trained_size=source.image_size,
    )
    metadata = {
        "system": SYSTEM,
        "class_names": names,
        "imported": f"{os.path.basename(path)}, SHA-256 {provenance.sha256(path)}",
    }
    files.make_folder(model_dir)
    return source, checkpoints.save_weights(model_dir, config, source.arrays, metadata), difference


def _proven(source, progress) -> float:
    """How far our network's raw outputs are from the file's. Raises DataError if they are others."""
    rng, worst = np.random.default_rng(0), 0.0
    frames = [random_frame(rng, source.image_size) for _ in range(PROOF_FRAMES)]
    expected = [source.raw_outputs(frame) for frame in frames]  # first: a damaged file may say any size
    single = ModelConfig(
        depth=source.depth, num_classes=source.num_classes, heads="ssd", image_size=source.image_size
    )
    network = build(single)
    assign_weights(network.variables, source.arrays, source.path)
    if source.anchors is not None and (
        source.anchors.shape != network.anchors.shape or np.abs(source.anchors - network.anchors).max() > 1e-3
    ):
        raise DataError(f"{source.path}: its anchors are not those of the API's ssd_anchor_generator by default")
    for frame, outputs in zip(frames, expected, strict=True):
        levels, _ = network.predict_window(frame, None, {})
        for ours, theirs in zip(zip(*levels, strict=True), outputs, strict=True):
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
