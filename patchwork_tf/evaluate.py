"""Scores systems on video: every frame's full answer, stale parts included.

Systems of one task that are given together are scored on the same videos and shown side by
side: mean average precision of detectors, J and F of segmenters. Patchwork systems are run once
per policy.

  patchwork-evaluate --system=vid-sf,vid-sf-int4,vid-pw-m4n2 --checkpoint=/tmp/sf --policy=rule,raster \\
      --json=/tmp/scores.json

--json has every row as soon as it is there. The same command, given again after Ctrl-C or an error, takes over the
rows that were made of the same weights, data, settings and code: remove the file to score them again.

--beam_runner scores videos side by side, on all cores of this machine or on many machines, with the same result.

  patchwork-evaluate --system=vid-sf --checkpoint=/tmp/sf --beam_runner=DirectRunner

Videos without labels, and what else the same cost would buy, are for patchwork-compare.

With --task it scores what any method has written to files: PNG masks as DAVIS has them, detections
in the format of the VID devkit, or COCO's.

  patchwork-evaluate --task=segmentation --predictions=MASKS --ground_truth=DAVIS
  patchwork-evaluate --task=segmentation --predictions=MASKS --ground_truth=VOC --labels=voc_labels.txt
  patchwork-evaluate --task=detection --predictions=detections.txt --ground_truth=Annotations/VID/val \\
      --image_set=image_set.txt
  patchwork-evaluate --task=detection --predictions=detections.json --ground_truth=instances_val2017.json
"""

import sys

from patchwork_tf import choices, cli, files
from patchwork_tf.errors import UsageError

_FLAGS = cli.Flags()
cli.define(_FLAGS, "system", "checkpoint", "tflite", "dataset", "data_dir", "config", "split", split="validation")
cli.define(_FLAGS, "policy", "start", "image_size", "depth", "json", "seed")
_FLAGS.enum(
    "memory",
    "Where context is remembered: features, at every layer; pixels, at the input alone. By default as trained.",
    values=choices.MEMORIES,
)
_FLAGS.string(
    "save_predictions",
    "Folder for answers: masks as DAVIS has them, detections as the VID devkit and COCO have them.",
)
_FLAGS.boolean("coco", "Compute COCO's numbers of detections too, which takes longer.", default=True)
_FLAGS.boolean(
    "every_class",
    "Let every class of every anchor enter suppression, as in papers; else its best one, as in files.",
)
_FLAGS.list("foreground", "Classes of a segmenter that count as foreground, such as person,dog; by default any.")
_FLAGS.count("num_videos", "At most so many; by default all, and 50 of generated ones.")
cli.define(_FLAGS, "max_frames", "beam_runner", "beam_options")
_FLAGS.enum("task", "Score files, not systems: what is in them.", values=["detection", "segmentation"])
_FLAGS.string(
    "predictions",
    "Files to score. Masks: folder of <sequence>/<frame>.png, foreground not 0. Detections: lines of frame_id "
    "class_id score x1 y1 x2 y2, or COCO's .json.",
)
_FLAGS.string(
    "ground_truth",
    "What is true of them. Masks: in the same form, or the root of DAVIS. Detections: folder of "
    "<video>/<frame>.xml, or COCO's instances .json.",
)
_FLAGS.string("image_set", "Lines of video/frame frame_id, of detections that are not COCO's.")
_FLAGS.string(
    "labels",
    "Of masks that hold numbers of classes, scored by mIoU: text file of their names, the background first.",
)
_OF_FILES = ("predictions", "ground_truth", "image_set", "labels")
_OF_SYSTEMS = ("system", "checkpoint", "tflite", "dataset", "save_predictions")
_OF_SYSTEMS += ("every_class", "foreground", "beam_runner")


@cli.command("patchwork-evaluate", _FLAGS, __doc__)
def main():
    """Scores systems, or files with --task."""
    from patchwork_tf.commands import score_predictions, score_systems

    # A flag of the one says nothing to the other.
    of_files, of_systems = ([name for name in names if _FLAGS[name].present] for names in (_OF_FILES, _OF_SYSTEMS))
    if of_files and not _FLAGS.task:
        raise UsageError(f"--{of_files[0]} scores files: say --task=segmentation or --task=detection too")
    if of_systems and _FLAGS.task:
        raise UsageError(f"--task scores files, --{of_systems[0]} is for scoring systems: give one of them")
    cli.check_outputs(_FLAGS, "json", "save_predictions")
    result, table = (score_predictions if _FLAGS.task else score_systems).run(_FLAGS)
    if _FLAGS.json:
        files.write_json(_FLAGS.json, result, indent=1)
    print(table)


if __name__ == "__main__":
    sys.exit(main())
