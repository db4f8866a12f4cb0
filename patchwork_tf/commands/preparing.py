"""From a data set's own folders to TFDS records, whole or not at all."""

import os
import re
import sys
import textwrap

import tensorflow as tf
import tensorflow_datasets as tfds

from patchwork_tf import cli, files
from patchwork_tf.data.datasets import builder_of, dataset_info, tfds_name, undecoded
from patchwork_tf.data.schema import is_folder
from patchwork_tf.errors import DataError, UsageError

_NEW = "being_prepared"  # folder below data_dir
_LONGEST = 300  # characters of a message that is not ours: TFDS quotes whole videos


def run(flags):
    """Prepares --dataset in --data_dir."""
    cli.required(flags, "dataset", "data_dir")
    cli.check_outputs(flags, "data_dir")
    name, folder, info = flags.dataset, flags.data_dir, dataset_info(flags.dataset)
    settings, options = {}, {}
    if info.manual:
        if not flags.manual_dir:
            raise UsageError(f"--manual_dir is required: the folder of {name}")
        if not is_folder(flags.manual_dir):
            raise DataError(f"{flags.manual_dir}: no such folder; --manual_dir is the folder of {name}")
        settings["manual_dir"] = flags.manual_dir
    elif flags.manual_dir:
        raise UsageError(f"{name} is not made from a --manual_dir: leave it out, or register it with manual=True")
    if info.from_folder:
        options["manual_dir"] = flags.manual_dir
    prepared = builder_of(name, folder, flags.config, **options)
    if prepared.is_prepared() and not flags.overwrite:
        print(f"{prepared.data_path}: already prepared; --overwrite prepares it again")
        return
    if info.beam:
        from patchwork_tf.commands import beam  # an extra

        settings["beam_options"] = beam.pipeline_options(flags)
    files.make_folder(folder)
    if sys.stderr is None or not sys.stderr.isatty():  # TFDS' bars are for terminals
        tfds.disable_progress_bar()
    # What is there stays until the new one is whole.
    builder = prepared
    if prepared.is_prepared():
        builder = builder_of(name, os.path.join(folder, _NEW), flags.config, **options)
    builder.skip_bad = flags.skip_bad
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**settings))
    except DataError:
        raise
    except Exception as error:
        raise cause(error, f"preparing {name}") from error
    about = {name: getattr(builder, name, ()) for name in ("listed", "unknown", "cut")}
    if builder is not prepared:
        tf.io.gfile.rmtree(str(prepared.data_path))
        tf.io.gfile.rename(str(builder.data_path), str(prepared.data_path))
        tf.io.gfile.rmtree(os.path.join(folder, _NEW))
        builder = tfds.builder_from_directory(prepared.data_path)
    _report(flags, builder, **about)


def cause(error: Exception, doing: str) -> DataError:
    """What a pipeline raised: our own message in it, as Beam wraps what workers raise, each runner in its own way.

    Args:
        doing: what failed, if it is not ours.
    """
    own = re.search(r"DataError: (.*?)(?:\s*\[while running|\n|\\n|$)", str(error), re.DOTALL)
    text = f"{doing} failed: {type(error).__name__}: {textwrap.shorten(str(error), _LONGEST)}"
    return DataError(own[1] if own else text)


def _report(flags, builder, listed, unknown, cut):
    """What was prepared, and what was left out: of videos that were listed, and frames without annotation."""
    if unknown:
        print(f"left out {len(unknown)} frames without annotation, such as {unknown[0]}")
    if cut:
        print(f"cut {len(cut)} boxes that reached beyond their frames, such as {cut[0]}")
    for split, info in builder.info.splits.items():
        print(f"{tfds_name(builder)} {split}: {info.num_examples} examples, {info.num_bytes / 1e6:.1f} MB")
    if not flags.skip_bad:
        return
    skipped, left = [], set(listed)
    for split in builder.info.splits:
        for example in builder.as_dataset(split=split, decoders=undecoded(builder)):
            skipped += [text.decode() for text in example["skipped"].numpy()]
            left.discard(example["video"].numpy().decode())
    print(f"skipped {len(skipped)} bad frames" + "".join(f"\n  {text}" for text in skipped))
    if left:
        print(f"skipped {len(left)} videos without a good frame" + "".join(f"\n  {name}" for name in sorted(left)))
