"""Prepares a data set for training and scoring, once: from its own folders to TFDS records.

  python -m patchwork_tf.data.prepare --dataset=davis2016 --manual_dir=DAVIS --data_dir=~/data
  python -m patchwork_tf.data.prepare --dataset=imagenet_vid --manual_dir=ILSVRC2015 --data_dir=~/data
  python -m patchwork_tf.data.prepare --dataset=moving_objects --config=256 --data_dir=~/data

ImageNet VID and COCO are read through Apache Beam (pip install apache-beam), here on all
cores of this machine, with --beam_options on any other runner. docs/data.md says how to get
each data set and what its folder must look like.
"""

import os
import re
import sys

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import flags

from patchwork_tf import cli, files
from patchwork_tf.data.datasets import UNDECODED, builder_of, tfds_name
from patchwork_tf.data.schema import is_folder
from patchwork_tf.errors import DataError, UsageError

_NAMES = ("imagenet_vid", "davis2016", "coco", "moving_objects")
_NEW = "being_prepared"  # folder below data_dir
_NEEDS_BEAM = ("imagenet_vid", "coco")

_FLAGS = flags.FlagValues()
_DATASET = flags.DEFINE_enum("dataset", None, _NAMES, "What to prepare. Required.", flag_values=_FLAGS)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS folder to prepare into. Required.", flag_values=_FLAGS)
_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir",
    None,
    "Folder of the data set as its makers publish it, for imagenet_vid and davis2016.",
    flag_values=_FLAGS,
)
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "Which form of it: videos or frames15 of imagenet_vid, 128, 256 or 384 pixels of moving_objects; by "
    "default the first.",
    flag_values=_FLAGS,
)
_SKIP_BAD = flags.DEFINE_boolean(
    "skip_bad",
    False,
    "Leave out frames that are missing, unreadable or badly annotated, and list them at the end, instead "
    "of stopping at the first.",
    flag_values=_FLAGS,
)
_BEAM_OPTIONS = flags.DEFINE_list(
    "beam_options",
    [],
    "Options of Apache Beam, separated by commas: runner=DataflowRunner,project=P,temp_location=gs://B/tmp; by "
    "default runner=DirectRunner on all cores.",
    flag_values=_FLAGS,
)
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Prepare it again if it is there.", flag_values=_FLAGS)


def _prepare():
    for flag in (_DATASET, _DATA_DIR):
        if not flag.value:
            raise UsageError(f"--{flag.name} is required")
    name, folder = _DATASET.value, _DATA_DIR.value
    settings = {}
    if name in ("imagenet_vid", "davis2016"):
        if not _MANUAL_DIR.value:
            raise UsageError(f"--manual_dir is required: the folder of {name}")
        if not is_folder(_MANUAL_DIR.value):
            raise DataError(f"{_MANUAL_DIR.value}: no such folder; --manual_dir is the folder of {name}")
        settings["manual_dir"] = _MANUAL_DIR.value
    there = builder_of(name, folder, _CONFIG.value)
    if there.is_prepared() and not _OVERWRITE.value:
        print(f"{there.data_path}: already prepared; --overwrite prepares it again")
        return
    if name in _NEEDS_BEAM:
        settings["beam_options"] = _beam_options()
    files.make_folder(folder)
    # What is there stays until the new one is whole.
    builder = builder_of(name, os.path.join(folder, _NEW), _CONFIG.value) if there.is_prepared() else there
    builder.skip_bad = _SKIP_BAD.value
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**settings))
    except DataError:
        raise
    except Exception as error:  # Beam wraps what its workers raise, each runner in its own way
        raise DataError(_cause(error)) from error
    listed = builder.listed if name != "coco" else ()
    if builder is not there:
        tf.io.gfile.rmtree(str(there.data_path))
        tf.io.gfile.rename(str(builder.data_path), str(there.data_path))
        tf.io.gfile.rmtree(os.path.join(folder, _NEW))
        builder = builder_of(name, folder, _CONFIG.value)
    _report(builder, listed)


def _beam_options():
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UsageError(f"{_DATASET.value} is prepared through Apache Beam: pip install apache-beam") from None
    options = _BEAM_OPTIONS.value or [
        "runner=DirectRunner",
        "direct_num_workers=0",
        "direct_running_mode=multi_threading",
    ]
    return PipelineOptions(flags=[f"--{option}" for option in options])


def _cause(error: Exception) -> str:
    """Our own message inside of what a Beam worker raised, or else all of it."""
    found = re.search(r"DataError: (.*?)(?:\s*\[while running|\n|\\n|$)", str(error), re.DOTALL)
    return found[1] if found else f"preparing {_DATASET.value} failed: {type(error).__name__}: {error}"


def _report(builder, listed):
    """What was prepared, and what was left out of all videos that were listed."""
    for split, info in builder.info.splits.items():
        print(f"{tfds_name(builder)} {split}: {info.num_examples} examples, {info.num_bytes / 1e6:.1f} MB")
    if not _SKIP_BAD.value:
        return
    skipped, left = [], set(listed)
    for split in builder.info.splits:
        for example in builder.as_dataset(split=split, decoders=UNDECODED):
            skipped += [text.decode() for text in example["skipped"].numpy()]
            left.discard(example["video"].numpy().decode())
    print(f"skipped {len(skipped)} bad frames" + "".join(f"\n  {text}" for text in skipped))
    if left:
        print(f"skipped {len(left)} videos without a good frame" + "".join(f"\n  {name}" for name in sorted(left)))


def main(argv=None) -> int:
    return cli.run(_prepare, _FLAGS, "patchwork_tf.data.prepare", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
