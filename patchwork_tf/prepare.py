"""Prepares a data set for training and scoring, once: from its own folders to TFDS records.

  patchwork-prepare --dataset=davis2016 --manual_dir=DAVIS --data_dir=~/data
  patchwork-prepare --dataset=imagenet_vid --manual_dir=ILSVRC2015 --data_dir=~/data
  patchwork-prepare --dataset=coco_scenes --config=still --manual_dir=COCO --data_dir=~/data
  patchwork-prepare --dataset=moving_objects --config=256 --data_dir=~/data

ImageNet VID and COCO are read through Apache Beam (pip install apache-beam), here on all
cores of this machine, with --beam_runner on any other. docs/data.md says how to get
each data set and what its folder must look like.
"""

import sys

from absl import flags

from patchwork_tf import cli

_FLAGS = flags.FlagValues()
cli.define(_FLAGS, "dataset", "data_dir", "config", dataset=None)
flags.DEFINE_string(
    "manual_dir",
    None,
    "Folder of the data set as its makers publish it, for imagenet_vid, davis2016 and coco_scenes.",
    flag_values=_FLAGS,
)
flags.DEFINE_boolean(
    "skip_bad",
    False,
    "Leave out frames that are missing, unreadable or badly annotated, and list them at the end, instead "
    "of stopping at the first.",
    flag_values=_FLAGS,
)
cli.define(_FLAGS, "beam_runner", "beam_options")
flags.DEFINE_boolean("overwrite", False, "Prepare it again if it is there.", flag_values=_FLAGS)


def _prepare():
    from patchwork_tf.commands.preparing import run

    run(_FLAGS)


def main(argv=None) -> int:
    return cli.run(_prepare, _FLAGS, "patchwork-prepare", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
