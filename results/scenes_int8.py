"""What eight bits cost the networks of generated scenes, by what their calibration happens to see.

  python results/scenes_int8.py --json=results/scenes_int8.json

mAP at 0.5, or J, of exported files on validation scenes, as `patchwork-evaluate --tflite` has it. Each seed
calibrates on four other clips of the training scenes; the first on those that `patchwork-export --quantize=int8`
takes.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from absl import flags

import patchwork_tf as pw
from patchwork_tf import cli, evaluate, files
from patchwork_tf.choices import CALIBRATION_FRAMES
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.errors import DataError
from patchwork_tf.zoo import checkpoints

TASKS = ("vid", "davis")
# Those that skip frames are there to be compared with.
SYSTEMS = ("sf", "sf-int4", "sf-int16", "pw-m4n2", "pw-m4n1")
CLIPS = 4  # to calibrate on

_FLAGS = flags.FlagValues()
_VIDEOS = flags.DEFINE_integer("num_videos", 40, "To score.", 1, flag_values=_FLAGS)
_MAX_FRAMES = flags.DEFINE_integer("max_frames", 32, "Of each video.", 1, flag_values=_FLAGS)
_SEEDS = flags.DEFINE_integer("seeds", 3, "How many calibrations.", 1, flag_values=_FLAGS)
_JSON = flags.DEFINE_string("json", None, "Where to write the numbers. Required.", flag_values=_FLAGS)


def _export(task, folder) -> list[str]:
    """Writes the files of a task, in float32 and calibrated on several videos; returns their paths."""
    weights, paths = checkpoints.read(f"{task}-sf"), []
    (side, _) = weights.config.image_size
    calibrations = {"float32": None}
    for seed in range(_SEEDS.value):
        clips = [
            render_clip(index, CALIBRATION_FRAMES // CLIPS, side, "train").frames
            for index in range(CLIPS * seed, CLIPS * (seed + 1))
        ]
        calibrations[f"int8-{seed}"] = [frame for clip in clips for frame in clip]
    for system in SYSTEMS:
        for kind, frames in calibrations.items():
            if frames and "-int" in system:
                continue
            paths.append(os.path.join(folder, f"{task}-{system}-{kind}.tflite"))
            model = checkpoints.build_from(pw.get_system(f"{task}-{system}"), weights)
            quantization = "int8" if frames else "none"
            pw.export(model, paths[-1], verify_steps=1, quantization=quantization, calibration=frames)
    return paths


def _run():
    cli.required(_FLAGS, "json")
    counts = [f"--num_videos={_VIDEOS.value}", f"--max_frames={_MAX_FRAMES.value}", "--nococo"]
    rows = []
    for task in TASKS:
        with tempfile.TemporaryDirectory() as folder:
            paths, scores = ",".join(_export(task, folder)), os.path.join(folder, "scores.json")
            if evaluate.main([f"--tflite={paths}", f"--json={scores}", *counts]):
                raise DataError(f"the files of {task} cannot be scored")
            rows += json.loads(Path(scores).read_text())
    for row in rows:
        row["weights"]["name"] = os.path.basename(row["weights"]["name"])
        for measure in {"J", "F"} & row.keys():
            del row[measure]["per_sequence"]  # there is one for every object
    with files.atomic_file(_JSON.value, "w") as file:
        json.dump(rows, file, indent=1)


if __name__ == "__main__":
    sys.exit(cli.run(_run, _FLAGS, "scenes_int8", __doc__))
