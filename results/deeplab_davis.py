"""How well DeepLabV3 as Patchwork agrees with itself on every whole frame, beside skipping frames.

  python results/deeplab_davis.py --tflite=deeplabv3_mnv2_pascal_quant.tflite --davis=DAVIS --json=out.json

Of all sequences in DAVIS/JPEGImages/480p the first frames; exported files at 512 x 512; J of all that is not
background.
"""

import argparse
import itertools
import os
import tempfile

import numpy as np

import patchwork_tf as pw
from patchwork_tf import files, provenance
from patchwork_tf.data.video import Video
from patchwork_tf.metrics.segmentation import region_similarity

SIDE = 512
SKIPPED = {f"every {k}. frame": (k, 0) for k in (3, 4, 16)} | {"every 3. frame, 2 late": (3, 2)}


def foreground(answer) -> np.ndarray:
    """Which of every 4 x 4 pixels is something, (128, 128) bool."""
    (probabilities,) = answer.maps.values()
    return probabilities[::4, ::4].argmax(-1) > 0


def agreement(found, expected) -> float:
    return float(np.mean([region_similarity(a, b) for a, b in zip(found, expected, strict=True)]))


def main():
    """Writes agreement per method, in all and per sequence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflite", required=True)
    parser.add_argument("--davis", required=True)
    parser.add_argument("--max_frames", type=int, default=24)
    parser.add_argument("--json", required=True)
    flags = parser.parse_args()
    network, per_sequence = pw.read_tflite(flags.tflite, SIDE), {}
    root = os.path.join(flags.davis, "JPEGImages/480p")
    with tempfile.TemporaryDirectory() as folder:
        paths = {"whole": (1, 1), "M4N2": (4, 2), "M4N1": (4, 1)}
        for name, grid in paths.items():
            paths[name] = os.path.join(folder, f"{name}.tflite")
            pw.export(pw.patch(network, *grid), paths[name], verify_steps=4)
        for sequence in sorted(os.listdir(root)):
            frames = list(itertools.islice(Video(os.path.join(root, sequence)), flags.max_frames))
            whole = [foreground(answer) for answer in pw.stream(paths["whole"], frames)]
            found = per_sequence[sequence] = {}
            for name, policy in itertools.product(("M4N2", "M4N1"), ("rule", "raster")):
                answers = map(foreground, pw.stream(paths[name], frames, policy))
                found[f"{name}, {policy}"] = agreement(answers, whole)
            for name, (interval, late) in SKIPPED.items():
                seen = [max(0, t - late - (t - late) % interval) for t in range(len(frames))]
                found[name] = agreement([whole[t] for t in seen], whole)
            print(sequence, {name: round(100 * value, 1) for name, value in found.items()}, flush=True)
    names = next(iter(per_sequence.values()))
    mean = {name: float(np.mean([found[name] for found in per_sequence.values()])) for name in names}
    source = {"name": os.path.basename(flags.tflite), "sha256": provenance.sha256(flags.tflite)}
    files.write_json(flags.json, {"file": source, "agreement": mean, "per_sequence": per_sequence}, indent=1)
    print({name: round(100 * value, 1) for name, value in mean.items()})


if __name__ == "__main__":
    main()
