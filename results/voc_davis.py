"""What voc-* keeps on DAVIS 2016, beside skipping frames: J of any class, and agreement with voc-sf.

  python results/voc_davis.py --davis=TRAIN --davis=VAL --foresight --json=results/voc_davis.json

Of all sequences in DAVIS/JPEGImages/480p every frame, by exported files; foresight by Keras. J leaves out the
first and the last frame of a sequence, as the benchmark does, agreement no frame.
"""

import argparse
import itertools
import os
import tempfile

import cv2
import numpy as np

import patchwork_tf as pw
from patchwork_tf import files, provenance
from patchwork_tf.data.video import Video
from patchwork_tf.metrics.segmentation import region_similarity

# Name -> interval, frames late.
SKIPPED = {"every frame": (1, 0)}
SKIPPED |= {f"every {k}. frame": (k, 0) for k in (2, 3, 4, 6, 16)} | {"every 3. frame, 2 late": (3, 2)}
SYSTEMS = ("voc-pw-m4n2", "voc-pw-m4n1")


def truths(folder: str) -> list[np.ndarray]:
    """The masks of a sequence, (H, W) bool."""
    names = sorted(os.listdir(folder))
    return [cv2.imread(os.path.join(folder, name), cv2.IMREAD_GRAYSCALE) > 0 for name in names]


def scored(found, truth, whole) -> dict:
    """J and agreement of masks."""
    j = [region_similarity(a, b) for a, b in zip(found, truth, strict=True)]
    agreement = [region_similarity(a, b) for a, b in zip(found, whole, strict=True)]
    return {"J": float(np.mean(j[1:-1])), "agreement": float(np.mean(agreement))}


def main():
    """Writes J and agreement per method, in all and per sequence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", action="append", required=True)
    parser.add_argument("--foresight", action="store_true")
    parser.add_argument("--json", required=True)
    flags = parser.parse_args()
    per_sequence = {}
    with tempfile.TemporaryDirectory() as folder:
        ways = list(itertools.product(SYSTEMS, ("raster", "rule")))
        run = {name: os.path.join(folder, f"{name}.tflite") for name in ("voc-sf", *SYSTEMS)}
        for name, path in run.items():
            pw.export(pw.load(name), path, verify_steps=4)
        if flags.foresight:
            ways += [(name, "foresight") for name in SYSTEMS]
            run |= {(name, "foresight"): pw.load(name) for name in SYSTEMS}
        for root in flags.davis:
            for sequence in sorted(os.listdir(os.path.join(root, "JPEGImages/480p"))):
                frames = list(Video(os.path.join(root, "JPEGImages/480p", sequence)))
                truth = truths(os.path.join(root, "Annotations/480p", sequence))
                whole = [answer.mask > 0 for answer in pw.stream(run["voc-sf"], frames)]
                found = per_sequence[sequence] = {}
                for name, (interval, late) in SKIPPED.items():
                    seen = [max(0, t - late - (t - late) % interval) for t in range(len(frames))]
                    found[name] = scored([whole[t] for t in seen], truth, whole)
                for name, policy in ways:
                    model = run.get((name, policy), run[name])
                    masks = [answer.mask > 0 for answer in pw.stream(model, frames, policy)]
                    found[f"{name}, {policy}"] = scored(masks, truth, whole)
                print(sequence, {name: round(100 * score["J"], 1) for name, score in found.items()}, flush=True)
                methods = {
                    name: {
                        key: float(np.mean([each[name][key] for each in per_sequence.values()])) for key in score
                    }
                    for name, score in found.items()
                }
                result = {"version": provenance.version(), "methods": methods, "per_sequence": per_sequence}
                files.write_json(flags.json, result, indent=1)


if __name__ == "__main__":
    main()
