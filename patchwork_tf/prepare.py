"""Prepares a data set for training and scoring, once: from its own folders to TFDS records.

  patchwork-prepare --dataset=davis2016 --manual_dir=DAVIS --data_dir=~/data
  patchwork-prepare --dataset=imagenet_vid --manual_dir=ILSVRC2015 --data_dir=~/data
  patchwork-prepare --dataset=coco_scenes --config=still --manual_dir=COCO --data_dir=~/data
  patchwork-prepare --dataset=folder --config=photos --manual_dir=MINE --data_dir=~/data
  patchwork-prepare --dataset=moving_objects --config=256 --data_dir=~/data

ImageNet VID and COCO are read through Apache Beam (pip install -e '.[beam]'), here on all
cores of this machine, with --beam_runner on any other. docs/your_data.md says how to get
each data set, what its folder must look like, and which --config there are.
"""

import os
import sys

from etils import epath

from patchwork_tf import cli, files
from patchwork_tf.errors import DataError, UsageError

_FLAGS = cli.Flags()
cli.define(_FLAGS, "dataset", "data_dir", "config", dataset=None)
_FLAGS.string(
    "manual_dir", "Folder of the data set as its makers publish it, or of your own videos for --dataset=folder."
)
_FLAGS.boolean(
    "skip_bad",
    "Leave out frames that are missing, unreadable or badly annotated, and list them at the end, instead "
    "of stopping at the first.",
)
cli.define(_FLAGS, "beam_runner", "beam_options")
_FLAGS.boolean("overwrite", "Prepare it again if it is there.")

_NEW = "being_prepared"  # folder below data_dir


@cli.command("patchwork-prepare", _FLAGS, __doc__)
def main():
    """Prepares the data set and tells what was left out."""
    import tensorflow_datasets as tfds

    from patchwork_tf.commands import beam
    from patchwork_tf.data.datasets import builder_of, dataset_info

    cli.required(_FLAGS, "dataset", "data_dir")
    cli.check_outputs(_FLAGS, "data_dir")
    name, folder, info = _FLAGS.dataset, _FLAGS.data_dir, dataset_info(_FLAGS.dataset)
    manual = _manual_dir(info)
    options = {"manual_dir": _FLAGS.manual_dir} if info.from_folder else {}
    builder = prepared = builder_of(name, folder, _FLAGS.config, **options)
    is_there = prepared.is_prepared()
    if is_there and not _FLAGS.overwrite:
        print(f"{prepared.data_path}: already prepared; --overwrite prepares it again")
        return
    settings = {"beam_options": beam.pipeline_options(_FLAGS)} if info.beam else {}
    files.make_folder(folder)
    if sys.stderr is None or not sys.stderr.isatty():  # TFDS' bars are for terminals
        tfds.disable_progress_bar()
    if is_there:  # it stays until the new one is whole
        builder = builder_of(name, os.path.join(folder, _NEW), _FLAGS.config, **options)
    builder.skip_bad = _FLAGS.skip_bad
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**manual, **settings))
    except DataError:
        raise
    except Exception as error:
        raise beam.cause(error, f"preparing {name}") from error
    about = {name: getattr(builder, name, ()) for name in ("listed", "unknown", "cut")}
    if is_there:
        prepared.data_path.rmtree()
        builder.data_path.rename(prepared.data_path)
        epath.Path(folder, _NEW).rmtree()
        builder = tfds.builder_from_directory(prepared.data_path)
    _report(builder, **about)


def _manual_dir(info) -> dict:
    """The setting of --manual_dir, if the data set is made from one."""
    if not info.manual:
        if _FLAGS.manual_dir:
            raise UsageError(
                f"{_FLAGS.dataset} is not made from a --manual_dir: leave it out, or register it with manual=True"
            )
        return {}
    if not _FLAGS.manual_dir:
        raise UsageError(f"--manual_dir is required: the folder of {_FLAGS.dataset}")
    if not epath.Path(_FLAGS.manual_dir).is_dir():
        raise DataError(f"{_FLAGS.manual_dir}: no such folder; --manual_dir is the folder of {_FLAGS.dataset}")
    return {"manual_dir": _FLAGS.manual_dir}


def _report(builder, listed, unknown, cut):
    """What was prepared, and what was left out: of videos that were listed, and frames without annotation."""
    from patchwork_tf.data.datasets import tfds_name, undecoded

    if unknown:
        print(f"left out {len(unknown)} frames without annotation, such as {unknown[0]}")
    if cut:
        print(f"cut {len(cut)} boxes that reached beyond their frames, such as {cut[0]}")
    for split, info in builder.info.splits.items():
        print(f"{tfds_name(builder)} {split}: {info.num_examples} examples, {info.num_bytes / 1e6:.1f} MB")
    if not _FLAGS.skip_bad:
        return
    skipped, left = [], set(listed)
    for split in builder.info.splits:
        for example in builder.as_dataset(split=split, decoders=undecoded(builder)):
            skipped += [text.decode() for text in example["skipped"].numpy()]
            left.discard(example["video"].numpy().decode())
    print(f"skipped {len(skipped)} bad frames" + "".join(f"\n  {text}" for text in skipped))
    if left:
        print(f"skipped {len(left)} videos without a good frame" + "".join(f"\n  {name}" for name in sorted(left)))


if __name__ == "__main__":
    sys.exit(main())
