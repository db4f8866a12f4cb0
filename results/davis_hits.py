"""What the shipped Open Images detector still finds on real video as it looks at less of it.

  python results/davis_hits.py --davis=DAVIS --json=results/oid_davis.json

Per system and policy, over the training sequences of DAVIS 2016, none of which it was trained on:
    hits        frames, in which there is an object, where some detection of score >= 0.1 covers the box of the
                main object's true mask at IoU >= 0.5
    agreement   as `patchwork-evaluate --against=oid-sf` has it
"""

import json
import os
import sys
import tempfile

import cv2
import numpy as np
from absl import flags

import patchwork_tf as pw
from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.metrics.detection import pairwise_iou
from patchwork_tf.streaming.stream import stream_together
from patchwork_tf.zoo import checkpoints

# System, weights, policy.
RUNS = (
    ("oid-sf", "oid-sf", None),
    ("oid-sf-int4", "oid-sf", None),
    ("oid-sf-int16", "oid-sf", None),
    ("oid-pw-m4n2", "oid-sf", "raster"),
    ("oid-pw-m4n2", "oid-sf", "rule"),
    ("oid-pw-m4n1", "oid-sf", "raster"),
    ("oid-pw-m4n1", "oid-sf", "rule"),
    ("oid-pw-m4n1", "oid-pw-m4n1", "rule"),  # distilled on the first 26 training sequences
)
MIN_SCORE, MIN_IOU = 0.1, 0.5

_FLAGS = flags.FlagValues()
_DAVIS = flags.DEFINE_string("davis", None, "Root of DAVIS 2016, at any resolution.", flag_values=_FLAGS)
_SEQUENCES = flags.DEFINE_list("sequences", [], "By default all in the folder.", flag_values=_FLAGS)
_JSON = flags.DEFINE_string("json", None, "Where to write the numbers.", flag_values=_FLAGS)


def true_box(path):
    """Corner box (4,) as fractions of the frame, of a PNG mask; None if it is empty."""
    mask = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DataError(f"{path}: no such mask")
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    height, width = mask.shape
    return np.array(
        [rows.min() / height, columns.min() / width, (rows.max() + 1) / height, (columns.max() + 1) / width]
    )


def is_hit(answer, box) -> bool:
    boxes = answer.boxes[answer.scores >= MIN_SCORE]
    return bool(len(boxes)) and bool(pairwise_iou(boxes, box[None]).max() >= MIN_IOU)


def _exported() -> list[ExportedStep]:
    """Of each run the file; runs of one system with the same weights share it."""
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for key in ((system, weights) for system, weights, _ in RUNS):
            if key not in files:
                path = os.path.join(folder, f"{len(files)}.tflite")
                model = checkpoints.build_from(pw.get_system(key[0]), checkpoints.read(key[1]))
                pw.export(model, path, verify_steps=6)
                files[key] = ExportedStep(path)
    return [files[system, weights] for system, weights, _ in RUNS]


def _run():
    root = _DAVIS.value
    (resolution,) = os.listdir(f"{root}/JPEGImages")
    sequences = _SEQUENCES.value or sorted(os.listdir(f"{root}/JPEGImages/{resolution}"))
    steps, policies = _exported(), [policy for *_, policy in RUNS]
    agreements = [steps[0].task.agreement_metric(steps[0].info.class_names) for _ in RUNS]
    hits, seen, costs = {}, 0, []
    for sequence in progress(iterable=sequences, unit="sequence"):
        masks = f"{root}/Annotations/{resolution}/{sequence}"
        found = [[] for _ in RUNS]
        frames = zip(
            sorted(os.listdir(masks)),
            stream_together(steps, Video(f"{root}/JPEGImages/{resolution}/{sequence}"), policies),
            strict=True,
        )
        for name, (frame, answers) in frames:
            box = true_box(f"{masks}/{name}")
            for agreement, answer, row in zip(agreements, answers, found, strict=True):
                agreement.add_frame(answer, answers[0], frame.shape[:2])
                if box is not None:
                    row.append(is_hit(answer, box))
            costs.append([answer.mflops for answer in answers])
            seen += box is not None
        hits[sequence] = [sum(row) for row in found]
    result = [
        {
            "system": system,
            "weights": weights,
            "policy": policy or "whole frame",
            "hits": sum(row[number] for row in hits.values()) / seen,
            "agreement": agreements[number].result(),
            "mflops_avg": float(np.mean(costs, axis=0)[number]),
            "frames": seen,
            "hits_per_sequence": {sequence: row[number] for sequence, row in hits.items()},
        }
        for number, (system, weights, policy) in enumerate(RUNS)
    ]
    for row in result:
        numbers = f"{100 * row['hits']:>7.1f}{100 * row['agreement']:>7.1f}{row['mflops_avg']:>8.0f}"
        print(f"{row['system']:<16}{row['weights']:<14}{row['policy']:<14}{numbers}")
    if _JSON.value:
        with files.atomic_file(_JSON.value, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    sys.exit(cli.run(_run, _FLAGS, "davis_hits", __doc__))
