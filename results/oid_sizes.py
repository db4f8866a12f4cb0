"""What the shipped detector finds, and what it costs, as its frames grow: the same time, spent on more pixels.

  python results/oid_sizes.py --davis=DAVIS --max_frames=36 --json=results/oid_sizes.json

Hits as davis_hits.py has them; small are objects whose box has less than a fifth of the frame's side (the root of
its area). Agreement is with the single-frame network on every frame of the same size. Milliseconds: medians and
p95 of --steps frames by the native runner, one thread, float32, files in turn; of skipping systems the mean.
"""

import dataclasses
import json
import os
import sys
import tempfile

import numpy as np
from absl import flags
from davis_hits import is_hit, true_box

import patchwork_tf as pw
from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.benchmarks import harness, workloads
from patchwork_tf.benchmarks.host import Host, machine
from patchwork_tf.benchmarks.plan import Settings
from patchwork_tf.data.video import Video
from patchwork_tf.export.streaming import ExportedStep
from patchwork_tf.streaming.stream import stream_together
from patchwork_tf.zoo import checkpoints

SIZES = {
    "oid-sf": (384, 512, 640, 768),
    "oid-sf-int4": (384, 640, 768),
    "oid-pw-m4n2": (384, 512, 640),
    "oid-pw-m4n1": (384, 640, 768, 1024),
}
SMALL = 0.2

_FLAGS = flags.FlagValues()
_DAVIS = flags.DEFINE_string("davis", None, "Root of DAVIS 2016, at any resolution. Required.", flag_values=_FLAGS)
_FRAMES = flags.DEFINE_integer("max_frames", None, "Of each sequence; by default all.", 1, flag_values=_FLAGS)
_STEPS = flags.DEFINE_integer("steps", 500, "Frames to time.", 1, flag_values=_FLAGS)
_JSON = flags.DEFINE_string("json", None, "Where to write the numbers and all samples.", flag_values=_FLAGS)


def _export(folder) -> dict[tuple, str]:
    """(System, size) -> path of its file."""
    paths, weights = {}, checkpoints.read("oid-sf")
    for name, sizes in SIZES.items():
        for size in sizes:
            model = checkpoints.build_from(pw.get_system(name), weights, image_size=size)
            paths[name, size] = os.path.join(folder, f"{name}-{size}.tflite")
            pw.export(model, paths[name, size], verify_steps=6)
    return paths


def _score(paths, root) -> dict[tuple, dict]:
    """(System, size) -> 'hits' and 'hits_small' of all objects and small ones, and 'agreement'."""
    (resolution,) = os.listdir(f"{root}/JPEGImages")
    steps = {key: ExportedStep(path) for key, path in paths.items()}
    agreements = {key: step.task.agreement_metric(step.info.class_names) for key, step in steps.items()}
    hits, small = {key: [] for key in steps}, []
    for sequence in progress(iterable=sorted(os.listdir(f"{root}/JPEGImages/{resolution}")), unit="sequence"):
        masks = f"{root}/Annotations/{resolution}/{sequence}"
        frames = stream_together(
            list(steps.values()), Video(f"{root}/JPEGImages/{resolution}/{sequence}"), [None] * len(steps)
        )
        names = sorted(os.listdir(masks))[: _FRAMES.value]
        for name, (frame, answers) in zip(names, frames, strict=False):
            box = true_box(f"{masks}/{name}")
            answers = dict(zip(steps, answers, strict=True))
            for (system, size), answer in answers.items():
                reference = answers.get(("oid-sf", size))
                if reference is not None:
                    agreements[system, size].add_frame(answer, reference, frame.shape[:2])
                if box is not None:
                    hits[system, size].append(is_hit(answer, box))
            if box is not None:
                small.append(np.sqrt((box[2] - box[0]) * (box[3] - box[1])) < SMALL)
    small = np.array(small)
    return {
        key: {
            "hits": float(np.mean(found)),
            "hits_small": float(np.mean(np.array(found)[small])),
            "agreement": agreements[key].result() if ("oid-sf", key[1]) in steps else None,
            "frames": len(found),
            "frames_small": int(small.sum()),
        }
        for key, found in hits.items()
    }


def _measure(paths, folder) -> dict[tuple, dict]:
    """(System, size) -> milliseconds, megabytes, and all samples."""
    found = {}
    for (name, size), path in paths.items():
        workload = workloads.from_file(path)
        title = f"{name}-{size}"
        found[title] = dataclasses.replace(workload, run=dataclasses.replace(workload.run, system=title))
    target = Host(Settings(steps=_STEPS.value))
    (report,) = harness.measure(harness.Benchmark(found, os.path.join(folder, "kept")), [target])
    rows = {}
    for name, size in paths:
        run = report.runs[f"{name}-{size}"]
        rows[name, size] = {
            "ms": run.statistics["mean_ms" if run.stream.interval > 1 else "median_ms"],
            "p95_ms": run.statistics["p95_ms"],
            "load_ms": run.load_ms,
            "first_ms": run.first_ms,
            "peak_mb": run.peak_mb,
            "state_mb": run.file.state_bytes / 1e6,
            "file_mb": run.file.bytes / 1e6,
            "samples": np.round(run.samples, 3).tolist(),
        }
    return rows


def _run():
    cli.required(_FLAGS, "davis")
    with tempfile.TemporaryDirectory() as folder:
        paths = _export(folder)
        times = _measure(paths, folder)
        scores = _score(paths, _DAVIS.value)
    print(
        f"{'':<12}{'pixels':>7}{'ms':>8}{'p95':>8}{'hits':>7}{'small':>7}{'agreement':>11}"
        f"{'state MB':>10}{'peak MB':>9}"
    )
    for key, score in scores.items():
        time = times[key]
        agreement = "-" if score["agreement"] is None else f"{100 * score['agreement']:.1f}"
        numbers = (
            f"{time['ms']:>8.1f}{time['p95_ms']:>8.1f}{100 * score['hits']:>7.1f}{100 * score['hits_small']:>7.1f}"
        )
        print(
            f"{key[0]:<12}{key[1]:>7}{numbers}{agreement:>11}{time['state_mb']:>10.1f}{time['peak_mb'] or 0:>9.0f}"
        )
    if _JSON.value:
        rows = [
            {"system": name, "image_size": size, **scores[name, size], **times[name, size]} for name, size in paths
        ]
        with files.atomic_file(_JSON.value, "w") as file:
            json.dump({"machine": machine(), "rows": rows}, file)


if __name__ == "__main__":
    sys.exit(cli.run(_run, _FLAGS, "oid_sizes", __doc__))
