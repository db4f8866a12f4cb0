"""A phone as a target: push, run, pull, and leave it as it was. Nothing needs root.

A run starts when nothing throttles, on the CPUs of one cluster, and counts when all its samples have arrived here.
"""

import contextlib
import dataclasses
import functools
import os
import shlex
import time

from patchwork_tf.benchmarks import android, clusters, conditions, native, stock
from patchwork_tf.benchmarks.adb import Answer, Device
from patchwork_tf.benchmarks.harness import Target
from patchwork_tf.benchmarks.plan import Settings, Workload, write_windows
from patchwork_tf.benchmarks.report import Repeat
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.errors import DataError
from patchwork_tf.interrupts import uninterrupted

REMOTE = "/data/local/tmp/patchwork_benchmark"  # where anybody may put programs and run them
_ATTEMPTS, _ENDING = 3, 0.5  # to end what was left behind, and seconds that it may take
_SLOWEST_FRAME = 2.0  # seconds; a run that takes longer per frame is taken to hang
# Android's name of an ABI, or the kernel's of a machine -> native.py's
_ARCHITECTURES = {"arm64-v8a": "arm64", "aarch64": "arm64", "x86_64": "x86_64"}


@dataclasses.dataclass(frozen=True)
class PhoneSettings(Settings):
    """How to measure a phone.

    Attributes:
        cluster: CPUs to run on, one of clusters.CHOICES.
        fixed_performance: whether to hold the clocks on phones that can.
        cool_seconds: how long to wait for a hot phone.
    """

    repeats: int = 3
    cluster: str = "big"
    fixed_performance: bool = True
    cool_seconds: float = 600


class Phone(Target):
    """A phone.

    Args:
        device: over adb.
        settings: how to measure.
        runner: folder of a bundle, or of an NDK build and LiteRT's library for Android; None makes a bundle.
        stock_tool: path of benchmark_model for it, to run on plain workloads as a cross-check; or None.
        say: is told what is waited for, and what had to be left undone.
    """

    name = "adb"
    resumable = True

    def __init__(self, device: Device, settings: PhoneSettings, runner=None, stock_tool=None, say=print):
        super().__init__(settings)
        self._device, self._runner, self._stock_tool, self._say = device, runner, stock_tool, say
        self._is_told = False  # that nothing tells the temperature

    @property
    def serial(self) -> str:
        """Its own serial number, the same on every transport; or what it is called where another has the same."""
        return self._device.name or self._properties.get("ro.serialno") or self._device.serial

    @functools.cached_property
    def _properties(self):
        with self._named():
            return android.parse_properties(self._device.shell("getprop"))

    @functools.cached_property
    def _clusters(self) -> list[clusters.Cluster]:
        lines = self._device.attempt(clusters.READ).output
        if off := clusters.offline(lines):
            numbers = ", ".join(map(str, sorted(off)))
            self._say(f"{self._device.serial}: CPUs {numbers} are switched off; clusters are those of the others")
        try:
            return clusters.parse(lines, self._processor)
        except DataError as error:
            if self.settings.cluster == "all":
                return []
            raise DataError(f"{self._device.serial}: {error}; --cluster=all runs on any CPU") from None

    @functools.cached_property
    def _processor(self) -> clusters.Processor:
        with self._named():
            return clusters.parse_cpuinfo(self._device.shell("cat /proc/cpuinfo"))

    @contextlib.contextmanager
    def _named(self):
        """Messages of parsers, with the device in front."""
        try:
            yield
        except DataError as error:
            named = str(error).startswith(self._device.serial)
            raise error if named else DataError(f"{self._device.serial}: {error}") from None

    @functools.cached_property
    def _cluster(self) -> clusters.Cluster | None:
        return clusters.choose(self._clusters, self.settings.cluster, self.settings.threads)

    @contextlib.contextmanager
    def session(self, workloads, folder):
        """Within it all files are on the phone, and its clocks are held if they can be."""
        self._folder = folder
        machine = self._machine()
        bundle = self._bundle(folder)
        files = [(os.path.join(bundle.folder, name), name) for name in bundle.files]
        files += [(workload.path, f"{name}.tflite") for name, workload in workloads.items()]
        files += [(path, os.path.basename(path)) for path in [self._stock_tool] if path]
        files += [(os.path.join(folder, name), name) for name in write_windows(workloads, self.settings, folder)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(_workplace(self._device, files, self._say))
            hold = self.settings.fixed_performance
            held = hold and stack.enter_context(conditions.fixed_performance(self._device, self._say))
            self._command = bundle.command
            yield {**machine, "runner": bundle.kind, "fixed_performance": held}

    def _bundle(self, folder) -> native.Bundle:
        if self._runner:
            return native.read_bundle(self._runner)
        abi = android.describe(self._properties)["abi"] or self._device.shell("uname -m").strip()
        if abi not in _ARCHITECTURES:
            raise DataError(
                f"no runner for a phone of ABI {abi}, only for {', '.join(_ARCHITECTURES)}; see --runner"
            )
        return native.make_bundle(os.path.join(folder, abi), _ARCHITECTURES[abi])

    def _machine(self) -> dict:
        """Facts that a report names."""
        device, used = self._device, [self._cluster] if self._cluster else self._clusters
        processor, battery = self._processor, conditions.read_battery(device)
        if battery is None:
            self._say(f"{device.serial}: no battery service; charge is unknown")
        cores = " + ".join(filter(None, (processor.name_of(cluster.cpus) for cluster in used)))
        described = android.describe(self._properties)
        return {
            **described,
            "emulated": android.is_emulated(self._properties),
            "serial": self.serial,
            "transport": device.serial,
            "cpu": cores or processor.hardware or described["soc"],
            "cores": sum(len(cluster.cpus) for cluster in self._clusters) or None,
            "threads": self.settings.threads,
            "system": f"Android {described['android']}",
            "kernel": device.shell("uname -r -v -m").strip(),
            "clusters": [dataclasses.asdict(cluster) for cluster in self._clusters],
            "cluster": self.settings.cluster,
            "cpu_mask": self._cluster.mask if self._cluster else None,
            "governor": ", ".join(dict.fromkeys(cluster.governor for cluster in used)),
            "charge_percent": battery and battery.percent,
            "charging": battery and battery.charging,
            "adb": device.adb.path,
            "adb_version": device.adb.version(),
        }

    def run(self, workload: Workload, number: int, frames: int) -> Repeat:
        """Measures one system once.

        Raises:
            DataError: if the phone stays hot, or if there are no complete samples in the end.
        """
        before = conditions.wait_until_cool(self._device, self.settings.cool_seconds, self._say)
        if before.celsius is None and not self._is_told:
            self._is_told = True
            text = "nothing tells its temperature; runs in which it got warmer are not marked"
            self._say(f"{self._device.serial}: {text}")
        started, system = time.time(), workload.run.system
        samples = f"{system}.{number}.txt"
        flags = [f"--model={system}.tflite", f"--samples={samples}", *workload.flags(self.settings, frames)]
        flags += [f"--cpu_mask={self._cluster.mask}"] if self._cluster else []
        answer = self._execute([*self._command, *flags])
        if answer.status:
            raise self._device.failure(f"the runner failed on {system}", _reason(answer))
        after = conditions.read_heat(self._device)
        expected = {**workload.facts(self.settings, frames), "model": f"{system}.tflite"}
        path = os.path.join(self._folder, "arriving.txt")
        try:
            self._device.pull(f"{REMOTE}/{samples}", path)
            arrived = read_samples(path, expected)
        except DataError as error:
            reason = str(error).removeprefix(f"{self._device.serial}: ").removeprefix(f"{path}: ")
            raise self._device.failure(f"samples of {system}, repeat {number + 1}", reason) from None
        return arrived.repeat(started, before.celsius, after.celsius, conditions.taint(before, after))

    def checks(self, workload: Workload) -> bool:
        """Whether benchmark_model is here, and a frame is one run of the file, which is all that it knows."""
        return bool(self._stock_tool) and workload.is_plain

    def cross_check(self, workload: Workload) -> stock.Statistics:
        """What benchmark_model measures of a file. Raises DataError if it fails."""
        conditions.wait_until_cool(self._device, self.settings.cool_seconds, self._say)
        tool, system = os.path.basename(self._stock_tool), workload.run.system
        command = stock.command(f"./{tool}", f"{system}.tflite", self.settings)
        pin = ["taskset", self._cluster.mask] if self._cluster else []
        answer = self._execute([*pin, *command])
        return stock.parse(answer.output + answer.errors, f"{self._device.serial}: {system}")

    def _execute(self, command) -> Answer:
        """Runs a command in REMOTE, instead of its shell: that is what a device ends when the link breaks."""
        settings = self.settings
        seconds_per_frame = max(_SLOWEST_FRAME, 2 / settings.fps if settings.fps else 0)
        limit = 60 + seconds_per_frame * (settings.warmup + settings.steps)
        words = shlex.join(command)
        return self._device.execute(f"cd {REMOTE} && exec {words}", limit)


def _reason(answer: Answer) -> str:
    """Why a command ended badly. A shell reports signals as exit statuses from 128."""
    if answer.status in range(129, 160):
        return f"killed by signal {answer.status - 128}"
    return answer.reason


# The numbers of processes that work in REMOTE, there or deleted.
_LEFT_BEHIND = (
    f'for p in /proc/[0-9]*; do case "$(readlink $p/cwd 2>/dev/null)" in {REMOTE}*) basename $p ;; esac; done'
)


def _end_left_behind(device, say):
    """Ends runners of a run that was killed: they would take the CPUs that are measured.

    Raises:
        DataError: if they do not end.
    """
    for _ in range(_ATTEMPTS):
        numbers = device.shell(_LEFT_BEHIND).split()
        if not numbers:
            return
        say(f"{device.serial}: ending a runner that an earlier run left behind (process {', '.join(numbers)})")
        device.attempt(f"kill -9 {' '.join(numbers)}")
        time.sleep(_ENDING)
    raise DataError(f"{device.serial}: a runner of an earlier run does not end; restart the device")


@contextlib.contextmanager
def _workplace(device: Device, files: list[tuple[str, str]], say):
    """Within it, files (path here, name there) are in REMOTE; afterwards they are gone, whatever happened.

    Raises:
        DataError: if not all of them arrive.
    """
    try:
        _end_left_behind(device, say)
        device.shell(f"rm -rf {REMOTE} && mkdir -p {REMOTE}")  # an earlier run may have lost its phone
        for local, name in files:
            device.push(local, f"{REMOTE}/{name}")
        device.shell(f"chmod 755 {REMOTE}/*")
        yield
    finally:
        with uninterrupted():
            try:
                device.attempt(f"rm -rf {REMOTE}")
            except DataError:
                say(f"{device.serial}: files may be left in {REMOTE}; the next run removes them")
