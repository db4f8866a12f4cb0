"""--target=adb of patchwork-benchmark: its flags, and measuring by them. docs/phone.md is the guide."""

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

from absl import flags
from tqdm import tqdm

from patchwork_tf.benchmarks import clusters, harness
from patchwork_tf.benchmarks.adb import Adb
from patchwork_tf.benchmarks.plan import Model, Settings
from patchwork_tf.errors import UsageError

_DEFAULT = Settings()


# Name -> how it is defined, default, help, bounds; those that are fields of Settings go into it.
_DEFINITIONS = {
    "serial": (
        flags.DEFINE_list,
        "",
        "which devices, if several are attached, by serial number or HOST:PORT, separated by commas; with "
        "several, the serial number goes into the names of the files that are written.",
        {},
    ),
    "repeats": (
        flags.DEFINE_integer,
        _DEFAULT.repeats,
        "how often every system runs --steps frames, each time in another order.",
        {"lower_bound": 1},
    ),
    "fps": (
        flags.DEFINE_float,
        _DEFAULT.fps,
        "frames arrive at this rate, and those that miss their deadline are counted; 0 is back to back.",
        {"lower_bound": 0},
    ),
    "threads": (flags.DEFINE_integer, _DEFAULT.threads, "of inference.", {"lower_bound": 1}),
    "cluster": (
        flags.DEFINE_enum,
        _DEFAULT.cluster,
        "CPUs to run on; all does not pin.",
        {"enum_values": clusters.CHOICES},
    ),
    "fixed_performance": (
        flags.DEFINE_boolean,
        _DEFAULT.fixed_performance,
        "hold the clocks at what the phone can sustain, where it can; given back in the end.",
        {},
    ),
    "cool_seconds": (
        flags.DEFINE_float,
        _DEFAULT.cool_seconds,
        "how long to wait for a hot one.",
        {"lower_bound": 0},
    ),
    "launcher": (
        flags.DEFINE_string,
        _DEFAULT.launcher,
        "what to put in front of the runner's command, such as 'taskset f0'.",
        {},
    ),
    "runner": (
        flags.DEFINE_string,
        None,
        "folder of a runner built elsewhere, by an NDK for example; by default it is built here.",
        {},
    ),
    "stock_tool": (
        flags.DEFINE_string,
        None,
        "TensorFlow's benchmark_model for them, to run as a cross-check.",
        {},
    ),
    "resume": (
        flags.DEFINE_string,
        None,
        "folder in which finished repeats are kept, to continue where an earlier run broke; by default a "
        "temporary one, which is named when something goes wrong.",
        {},
    ),
    "adb": (flags.DEFINE_string, "adb", "the adb client.", {}),
    "adb_port": (flags.DEFINE_integer, None, "port of adb's server, if not its own.", {}),
}


class PhoneFlags:
    """The flags of --target=adb, defined in a command's FlagValues: an attribute each."""

    def __init__(self, values: flags.FlagValues):
        for name, (define, default, help_text, bounds) in _DEFINITIONS.items():
            flag = define(name, default=default, help=f"Phones: {help_text}", flag_values=values, **bounds)
            setattr(self, name, flag)

    def check_unused(self):
        """Raises UsageError if one was given, which would say nothing to another target."""
        for flag in vars(self).values():
            if flag.present:
                raise UsageError(f"--{flag.name} is for phones: say --target=adb too")

    def settings(self, **shared) -> Settings:
        """How to measure, by these flags and what all targets share: steps, policy, seed."""
        fields = {field.name for field in dataclasses.fields(Settings)} & _DEFINITIONS.keys()
        return Settings(**shared, **{name: getattr(self, name).value for name in fields})


def measure(given: PhoneFlags, client: Adb, models: dict[str, Model], settings: Settings) -> Iterator[dict]:
    """Measures on the phones that are asked for, with progress; see `harness.measure` for all the rest."""
    folder = given.resume.value or tempfile.mkdtemp(prefix="patchwork-benchmark-")
    serials = [serial for serial in given.serial.value if serial]
    try:
        with tqdm(unit="run", desc="timing", dynamic_ncols=True) as bar:
            benchmark = harness.Benchmark(
                models, settings, given.runner.value, given.stock_tool.value, _progress(bar), _say
            )
            for result in harness.measure(benchmark, client, serials, folder):
                bar.clear()  # what is printed about it would go on in the bar's line
                yield result
    except KeyboardInterrupt:
        _say(f"finished repeats are kept, --resume={folder} continues")
        raise
    except Exception:
        if not os.listdir(folder):  # nothing was begun
            os.rmdir(folder)
        raise
    if not given.resume.value:
        shutil.rmtree(folder)


def _progress(bar):
    def progress(total):
        bar.total = total
        bar.update()

    return progress


def _say(text):
    tqdm.write(text, file=sys.stderr)
