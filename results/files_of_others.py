"""What Patchwork makes of files of others: agreement with themselves on real video, and latency.

  python results/files_of_others.py --zoo=FOLDER --ssd=FILE --ssd_labels=FILE --davis=DAVIS --json=OUT.json

FOLDER has the .tflite files of FILES; where they come from is in results/README.md. All sequences in
DAVIS/JPEGImages/480p, the first frames of each, exported files. Agreement is `patchwork-compare`'s: of
boxes AP at 0.5, of masks J, of maps correlation. Latency: the files in turn, one thread, medians.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time

import numpy as np

import patchwork_tf as pw
from patchwork_tf import files, provenance
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.export.importer import import_tflite
from patchwork_tf.runtime.network import Network
from patchwork_tf.task import get_task
from patchwork_tf.zoo import checkpoints

VOC = "results/voc_labels.txt"
# What black and white are; labels.
FILES = {
    "deeplabv3_mnv2_pascal_quant": (None, VOC),
    "deeplabv3_mnv2_dm05_pascal_quant": (None, VOC),
    "selfie_segmentation": ((0, 1), None),
    "face_detection_short_range": ((-1, 1), None),
    "palm_detection_full": ((0, 1), None),
    "pose_detection": ((-1, 1), None),
    "pose_landmark_full": ((0, 1), None),
    "movenet_single_pose_lightning_ptq": (None, None),
}
SYSTEMS = ("pw-m4n2", "pw-m2n1")
SKIPPED = (2, 3, 4)


def made(path, folder, **given) -> dict:
    """Exported files of one network by system, and 'floor': its whole network at half the side."""
    import_tflite(path, folder, **given)
    checkpoint, paths = checkpoints.read(folder), {}
    half = tuple(side // 2 for side in checkpoint.config.image_size)
    for name in ("sf", *SYSTEMS, "floor"):
        size = {"image_size": half} if name == "floor" else {}
        system = checkpoint.system_named("sf" if name == "floor" else name)
        try:
            model = checkpoints.build_from(system, checkpoint, **size)
        except UsageError:  # a network of one size
            continue
        paths[name] = os.path.join(folder, f"{name}.tflite")
        pw.export(model, paths[name], verify_steps=4)
    return paths


def latency(paths, rounds) -> dict:
    """Median milliseconds of a step of each file, in turn."""
    runners = {name: Network(path) for name, path in paths.items()}
    samples = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            frame = np.zeros((1, *runner.facts["input"]["image_size"], 3), np.float32)
            start = time.perf_counter()
            runner.step(frame, np.array([0, 0], np.int32))
            samples[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(times[5:]) for name, times in samples.items()}


def agreement(paths, sequences, max_frames) -> dict:
    """Of every system, and of skipping frames, with whole frames."""
    facts = Network(paths["sf"]).facts
    task, labels = get_task(facts["task"]), tuple(facts["labels"])
    metrics = {name: task.agreement_metric(labels) for name in (*SYSTEMS, *SKIPPED)}
    for sequence in sequences:
        frames = list(itertools.islice(Video(sequence), max_frames))
        size, whole = frames[0].shape[:2], list(pw.stream(paths["sf"], frames))
        for name in SYSTEMS:
            for answer, expected in zip(pw.stream(paths[name], frames), whole, strict=True):
                metrics[name].add_frame(answer, expected, size)
        for k in SKIPPED:
            for t, expected in enumerate(whole):
                metrics[k].add_frame(whole[t - t % k], expected, size)
    return {str(name): metric.result() for name, metric in metrics.items()}


def main():
    """Prints and writes a row per file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("zoo", "ssd", "ssd_labels", "davis", "json"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--max_frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=60)
    flags = parser.parse_args()
    root = os.path.join(flags.davis, "JPEGImages/480p")
    sequences = [os.path.join(root, name) for name in sorted(os.listdir(root))]
    networks = {name: (os.path.join(flags.zoo, f"{name}.tflite"), *given) for name, given in FILES.items()}
    networks["ssd_mobilenet_v2"] = (flags.ssd, (-1, 1), flags.ssd_labels)
    rows = []
    for name, (path, input_range, labels) in networks.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = made(path, folder, labels=labels, input_range=input_range)
            row = {"file": name, "ms": latency(paths, flags.rounds)}
            row["agreement"] = agreement(paths, sequences, flags.max_frames)
        rows.append(row)
        print(row, flush=True)
        files.write_json(flags.json, {"version": provenance.version(), "rows": rows}, indent=1)


if __name__ == "__main__":
    main()
