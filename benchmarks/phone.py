"""A phone as a target: push, run, pull, and leave it as it was. Nothing needs root.

A run starts when nothing throttles, on the CPUs of one cluster, and counts when all its samples have arrived here.
"""

import contextlib
import dataclasses
import functools
import os
import shlex
import time

from patchwork_tf.benchmarks import android, native
from patchwork_tf.benchmarks.adb import Device
from patchwork_tf.benchmarks.android import THERMAL_STATUS, Heat
from patchwork_tf.benchmarks.harness import Target
from patchwork_tf.benchmarks.plan import Settings, Workload
from patchwork_tf.benchmarks.report import Repeat
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.errors import DataError
from patchwork_tf.interrupts import uninterrupted

REMOTE = "/data/local/tmp/patchwork_benchmark"  # where anybody may put programs and run them
POLL_SECONDS = 5  # while it is hot
_ATTEMPTS, _ENDING = 3, 0.5  # to end what was left behind, and seconds that it may take
_SLOWEST_FRAME = 2.0  # seconds; a run that takes longer per frame is taken to hang
_MOVED_CELSIUS = 3.0  # of the surface within one run; it is slow, the clocks have followed long before
_FIXED_PERFORMANCE = "cmd power set-fixed-performance-mode-enabled"
# Android's name of an ABI, or the kernel's of a machine -> native.py's
_ARCHITECTURES = {"arm64-v8a": "arm64", "aarch64": "arm64", "x86_64": "x86_64"}
# The numbers of processes that work in REMOTE, there or deleted.
_LEFT_BEHIND = (
    f'for p in /proc/[0-9]*; do case "$(readlink $p/cwd 2>/dev/null)" in {REMOTE}*) basename $p ;; esac; done'
)


@dataclasses.dataclass(frozen=True)
class PhoneSettings(Settings):
    """How to measure a phone."""

    repeats: int = 3
    cluster: str = "big"  # CPUs to run on, one of android.CLUSTERS
    fixed_performance: bool = True  # whether to hold the clocks on phones that can
    cool_seconds: float = 600  # how long to wait for a hot phone


class Phone(Target):
    """A phone, over adb.

    The runner is the folder of a bundle, or of an NDK build and LiteRT's library for Android; None makes a bundle.
    `say` is told what is waited for, and what had to be left undone.
    """

    name = "adb"
    resumable = True

    def __init__(self, device: Device, settings: PhoneSettings, runner=None, say=print):
        super().__init__(settings)
        self._device, self._runner = device, runner
        self._say = lambda text: say(f"{device.serial}: {text}")
        self._is_told = False  # that nothing tells the temperature

    @property
    def serial(self) -> str:
        """Its own serial number, the same on every transport; or what it is called where another has the same."""
        return self._device.name or self._properties.get("ro.serialno") or self._device.serial

    # What it says about itself, asked once.

    @functools.cached_property
    def _properties(self) -> dict[str, str]:
        return self._parsed(android.parse_properties, self._device.shell("getprop"))

    @functools.cached_property
    def _processor(self) -> android.Processor:
        return self._parsed(android.parse_cpuinfo, self._device.shell("cat /proc/cpuinfo"))

    @functools.cached_property
    def _clusters(self) -> list[android.Cluster]:
        lines = self._device.attempt(android.READ_CPUS).output
        if off := android.offline(lines):
            numbers = ", ".join(map(str, sorted(off)))
            self._say(f"CPUs {numbers} are switched off; clusters are those of the others")
        try:
            return self._parsed(android.parse_clusters, lines, self._processor)
        except DataError as error:
            if self.settings.cluster == "all":
                return []
            raise DataError(f"{error}; --cluster=all runs on any CPU") from None

    @functools.cached_property
    def _cluster(self) -> android.Cluster | None:
        return android.choose(self._clusters, self.settings.cluster, self.settings.threads)

    def _parsed(self, parse, *arguments):
        """What a parser makes of it; its errors get the device's name."""
        try:
            return parse(*arguments)
        except DataError as error:
            raise DataError(f"{self._device.serial}: {error}") from None

    def _battery(self) -> android.Battery | None:
        """What the battery service says; None where there is none, as in a TV box."""
        text = self._device.attempt("dumpsys battery").output
        with contextlib.suppress(DataError):
            return android.parse_battery(text)

    def _heat(self) -> Heat:
        """By the thermal service, or the battery where that knows no temperature. A device may have neither."""
        heat = self._parsed(android.parse_thermal, self._device.attempt("dumpsys thermalservice").output)
        if heat.celsius is None and (battery := self._battery()):
            return heat._replace(celsius=battery.celsius)
        return heat

    # Measuring

    @contextlib.contextmanager
    def session(self, workloads, folder):
        """Within it all files are on the phone, and its clocks are held if they can be."""
        self._folder = folder
        machine = self._machine()
        bundle = self._bundle(folder)
        files = [(os.path.join(bundle.folder, name), name) for name in bundle.files]
        files += [(workload.path, f"{name}.tflite") for name, workload in workloads.items()]
        with self._workplace(files), self._fixed_performance() as held:
            self._command = bundle.command
            yield {**machine, "runner": bundle.kind, "fixed_performance": held}

    def run(self, workload: Workload, number: int, frames: int) -> Repeat:
        """Measures one system once. Raises DataError if the phone stays hot, or not all samples arrive."""
        before = self._cooled()
        if before.celsius is None and not self._is_told:
            self._is_told = True
            self._say("nothing tells its temperature; runs in which it got warmer are not marked")
        started, system, settings = time.time(), workload.run.system, self.settings
        samples = f"{system}.{number}.txt"
        flags = [f"--model={system}.tflite", f"--samples={samples}", *workload.flags(settings, frames)]
        flags += [f"--cpu_mask={self._cluster.mask}"] if self._cluster else []
        seconds_per_frame = max(_SLOWEST_FRAME, 2 / settings.fps if settings.fps else 0)
        limit = 60 + seconds_per_frame * (settings.warmup + settings.steps)
        # Instead of its shell: that is what a device ends when the link breaks.
        answer = self._device.execute(f"cd {REMOTE} && exec {shlex.join([*self._command, *flags])}", limit)
        if answer.status:
            raise self._device.failure(f"the runner failed on {system}", answer.reason)
        after = self._heat()
        expected = {**workload.facts(settings, frames), "model": f"{system}.tflite"}
        path = os.path.join(self._folder, "arriving.txt")
        try:
            self._device.pull(f"{REMOTE}/{samples}", path)
            arrived = read_samples(path, expected)
        except DataError as error:
            reason = str(error).removeprefix(f"{self._device.serial}: ").removeprefix(f"{path}: ")
            raise self._device.failure(f"samples of {system}, repeat {number + 1}", reason) from None
        return arrived.repeat(started, before.celsius, after.celsius, _taint(before, after))

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
        processor, battery = self._processor, self._battery()
        if battery is None:
            self._say("no battery service; charge is unknown")
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

    # Its state: files, clocks, heat

    @contextlib.contextmanager
    def _workplace(self, files: list[tuple[str, str]]):
        """Within it, files (path here, name there) are in REMOTE; afterwards they are gone, whatever happened."""
        device = self._device
        try:
            self._end_left_behind()
            device.shell(f"rm -rf {REMOTE} && mkdir -p {REMOTE}")  # an earlier run may have lost its phone
            for local, name in files:
                device.push(local, f"{REMOTE}/{name}")
            device.shell(f"chmod 755 {REMOTE}/*")
            yield
        finally:
            self._undo(f"rm -rf {REMOTE}", f"files may be left in {REMOTE}; the next run removes them")

    def _end_left_behind(self):
        """Ends runners of a run that was killed: they would take the CPUs that are measured."""
        for _ in range(_ATTEMPTS):
            numbers = self._device.shell(_LEFT_BEHIND).split()
            if not numbers:
                return
            self._say(f"ending a runner that an earlier run left behind (process {', '.join(numbers)})")
            self._device.attempt(f"kill -9 {' '.join(numbers)}")
            time.sleep(_ENDING)
        raise DataError(f"{self._device.serial}: a runner of an earlier run does not end; restart the device")

    @contextlib.contextmanager
    def _fixed_performance(self):
        """Within it, a phone that can holds its clocks at what it can sustain; given back whatever happens.

        The mode cannot be asked for, so that 'given back' means switched off.

        Yields:
            Whether the phone has the mode (some do from Android 11 on), and it is wanted.
        """
        if not self.settings.fixed_performance:
            yield False
            return
        try:
            yield self._device.attempt(f"{_FIXED_PERFORMANCE} true").status == 0
        finally:
            off = f"{_FIXED_PERFORMANCE} false"
            by_hand = f"'adb -s {self._device.serial} shell {off}', or by a restart"
            self._undo(off, f"fixed-performance mode may still be on; end it with {by_hand}")

    def _undo(self, command, otherwise):
        with uninterrupted():
            try:
                self._device.attempt(command)
            except DataError:
                self._say(otherwise)

    def _cooled(self) -> Heat:
        """Waits until nothing throttles. Raises DataError if it is still hot after `cool_seconds`."""
        limit = self.settings.cool_seconds
        end = time.monotonic() + limit
        while (heat := self._heat()).status:
            degrees = "temperature unknown" if heat.celsius is None else f"{heat.celsius:.1f} degrees"
            state = f"thermal status {heat.status} ({THERMAL_STATUS[heat.status]}), {degrees}"
            if time.monotonic() > end:
                raise DataError(
                    f"{self._device.serial}: still hot after {limit:.0f} s: {state}; let it cool, out of its case "
                    "and off the charger"
                )
            self._say(f"{state}: waiting")
            time.sleep(POLL_SECONDS)
        return heat


def _taint(before: Heat, after: Heat) -> str | None:
    """Why a run between two readings is not to be trusted; None if it is."""
    if after.status:
        return f"thermal status rose to {after.status} ({THERMAL_STATUS[after.status]})"
    if after.celsius is None or before.celsius is None:
        return None
    moved = after.celsius - before.celsius
    return f"temperature moved by {moved:+.1f} degrees" if abs(moved) > _MOVED_CELSIUS else None
