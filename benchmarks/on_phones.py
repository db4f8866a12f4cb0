"""--target=adb of patchwork-benchmark: its flags, and measuring by them. docs/phone.md is the guide."""

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


class PhoneFlags:
    """The flags of --target=adb, defined in a command's FlagValues."""

    def __init__(self, values: flags.FlagValues):
        def define(kind, name, default, help_text, **options):
            return kind(name, default=default, help=f"Phones: {help_text}", flag_values=values, **options)

        self.serial = define(
            flags.DEFINE_list,
            "serial",
            "",
            "which devices, if several are attached, by serial number or HOST:PORT, separated by commas; with "
            "several, the serial number goes into the names of the files that are written.",
        )
        self.repeats = define(
            flags.DEFINE_integer,
            "repeats",
            _DEFAULT.repeats,
            "how often every system runs --steps frames, each time in another order.",
            lower_bound=1,
        )
        self.fps = define(
            flags.DEFINE_float,
            "fps",
            _DEFAULT.fps,
            "frames arrive at this rate, and those that miss their deadline are counted; 0 is back to back.",
            lower_bound=0,
        )
        self.threads = define(flags.DEFINE_integer, "threads", _DEFAULT.threads, "of inference.", lower_bound=1)
        self.cluster = define(
            flags.DEFINE_enum,
            "cluster",
            _DEFAULT.cluster,
            "CPUs to run on; all does not pin.",
            enum_values=clusters.CHOICES,
        )
        self.fixed_performance = define(
            flags.DEFINE_boolean,
            "fixed_performance",
            _DEFAULT.fixed_performance,
            "hold the clocks at what the phone can sustain, where it can; given back in the end.",
        )
        self.cool_seconds = define(
            flags.DEFINE_float,
            "cool_seconds",
            _DEFAULT.cool_seconds,
            "how long to wait for a hot one.",
            lower_bound=0,
        )
        self.launcher = define(
            flags.DEFINE_string,
            "launcher",
            _DEFAULT.launcher,
            "what to put in front of the runner's command, such as 'taskset f0'.",
        )
        self.runner = define(
            flags.DEFINE_string,
            "runner",
            None,
            "folder of a runner built elsewhere, by an NDK for example; by default it is built here.",
        )
        self.stock_tool = define(
            flags.DEFINE_string,
            "stock_tool",
            None,
            "TensorFlow's benchmark_model for them, to run as a cross-check.",
        )
        self.resume = define(
            flags.DEFINE_string,
            "resume",
            None,
            "folder in which finished repeats are kept, to continue where an earlier run broke; by default a "
            "temporary one, which is named when something goes wrong.",
        )
        self.adb = define(flags.DEFINE_string, "adb", "adb", "the adb client.")
        self.adb_port = define(flags.DEFINE_integer, "adb_port", None, "port of adb's server, if not its own.")

    def check_unused(self):
        """Raises UsageError if one was given, which would say nothing to another target."""
        for flag in vars(self).values():
            if flag.present:
                raise UsageError(f"--{flag.name} is for phones: say --target=adb too")

    def settings(self, steps: int, policy: str, seed: int) -> Settings:
        """How to measure."""
        return Settings(
            steps=steps,
            policy=policy,
            seed=seed,
            repeats=self.repeats.value,
            fps=self.fps.value,
            threads=self.threads.value,
            cluster=self.cluster.value,
            launcher=self.launcher.value,
            fixed_performance=self.fixed_performance.value,
            cool_seconds=self.cool_seconds.value,
        )


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
