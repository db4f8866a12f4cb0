"""One phone's part of a benchmark: push, run, pull, and leave it as it was."""

import dataclasses
import os
import shlex
import time
from contextlib import contextmanager

from patchwork_tf import files
from patchwork_tf.benchmarks import clusters, conditions, stock
from patchwork_tf.benchmarks import device as facts
from patchwork_tf.benchmarks.adb import Answer, Device
from patchwork_tf.benchmarks.interrupts import uninterrupted
from patchwork_tf.benchmarks.plan import Model, Settings
from patchwork_tf.benchmarks.run_folder import PhoneFolder
from patchwork_tf.benchmarks.samples import read_samples
from patchwork_tf.errors import DataError

REMOTE = "/data/local/tmp/patchwork_benchmark"  # where anybody may put programs and run them
_SLOWEST_FRAME = 2.0  # seconds; a run that takes longer per frame is taken to hang


class Phone:
    """A device, what it says about itself, and the CPUs to use on it.

    Raises:
        DataError: if it does not say what must be known.
        UsageError: if it does not have such a cluster.
    """

    def __init__(self, device: Device, settings: Settings):
        self.device, self.settings = device, settings
        self.properties = facts.parse_properties(device.shell("getprop"))
        self._clusters = self._read_clusters()
        self.cluster = clusters.choose(self._clusters, settings.cluster, settings.threads)

    def _read_clusters(self):
        try:
            return clusters.parse(self.device.attempt(clusters.READ).output)
        except DataError as error:
            if self.settings.cluster == "all":
                return []
            raise DataError(f"{self.device.serial}: {error}; --cluster=all runs on any CPU") from None

    @property
    def abi(self) -> str:
        return self.properties["ro.product.cpu.abi"]

    @property
    def serial(self) -> str:
        """Its own serial number, the same on every transport."""
        return self.properties.get("ro.serialno") or self.device.serial

    def machine(self) -> dict:
        """All facts that a report names."""
        processor = clusters.parse_cpuinfo(self.device.shell("cat /proc/cpuinfo"))
        battery = facts.parse_battery(self.device.shell("dumpsys battery"))
        used = [self.cluster] if self.cluster else self._clusters
        cores = " + ".join(filter(None, (processor.name_of(one.cpus) for one in used)))
        described = facts.describe(self.properties)
        return {
            **described,
            "emulated": facts.is_emulated(self.properties),
            "serial": self.serial,
            "transport": self.device.serial,
            "cpu": cores or processor.hardware or described["soc"],
            "cores": sum(len(one.cpus) for one in self._clusters) or None,
            "threads": self.settings.threads,
            "system": f"Android {described['android']}",
            "kernel": self.device.shell("uname -r -v -m").strip(),
            "clusters": [dataclasses.asdict(one) for one in self._clusters],
            "cluster": self.settings.cluster,
            "cpu_mask": self.cluster.mask if self.cluster else None,
            "governor": ", ".join(dict.fromkeys(one.governor for one in used)),
            "charge_percent": battery.percent,
            "charging": battery.charging,
            "adb": self.device.adb.path,
            "adb_version": self.device.adb.version(),
        }


class PhoneSession:
    """Runs of one phone, while its files are in place (see `workplace`).

    Args:
        phone: where to run.
        command: of the runner, to be run in REMOTE.
        kept: where finished repeats go.
        say: is told what is waited for.
    """

    def __init__(self, phone: Phone, command: list[str], kept: PhoneFolder, say):
        self._phone, self._device, self._settings = phone, phone.device, phone.settings
        self._command, self._kept, self._say = command, kept, say

    def run(self, system: str, model: Model, repeat: int):
        """Measures one system once, and keeps what it gave.

        Raises:
            DataError: if the phone stays hot, or if there are no complete samples in the end.
        """
        before = conditions.wait_until_cool(self._device, self._settings.cool_seconds, self._say)
        started = time.time()
        remote = f"{REMOTE}/{system}.{repeat}.txt"
        answer = self._execute([*self._command, *self._flags(system, model, remote)])
        if answer.status:
            raise self._device.failure(f"the runner failed on {system}", _reason(answer))
        after = conditions.read_heat(self._device)
        self._fetch(remote, system, model, repeat)
        reason = conditions.taint(before, after)
        record = {
            "started": started,
            "temperature_before": before.celsius,
            "temperature_after": after.celsius,
            "sensors_before": before.sensors,
            "sensors_after": after.sensors,
            "tainted": reason is not None,
            "reason": reason,
        }
        self._kept.keep(system, repeat, record)

    def cross_check(self, system: str, tool: str):
        """Runs benchmark_model on a system's file, and keeps what it printed.

        Raises:
            DataError: if it failed.
        """
        conditions.wait_until_cool(self._device, self._settings.cool_seconds, self._say)
        settings = self._settings
        command = stock.command(f"./{tool}", f"{system}.tflite", settings.steps, settings.warmup, settings.threads)
        pin = ["taskset", self._phone.cluster.mask] if self._phone.cluster else []
        answer = self._execute([*pin, *command])
        text = answer.output + answer.errors
        stock.parse(text, f"{self._device.serial}: {system}")
        with files.atomic_file(self._kept.stock_path(system), "w") as file:
            file.write(text)

    def _flags(self, system, model, remote):
        settings = self._settings
        return [
            f"--model={system}.tflite",
            f"--samples={os.path.basename(remote)}",
            f"--steps={settings.steps}",
            f"--warmup={settings.warmup}",
            f"--threads={settings.threads}",
            f"--fps={settings.fps:g}",
            f"--seed={settings.seed}",
            *([f"--cpu_mask={self._phone.cluster.mask}"] if self._phone.cluster else []),
            *([f"--windows={windows_file(system)}"] if model.blind_policy(settings.policy, settings.seed) else []),
            *model.flags(),
        ]

    def _execute(self, command) -> Answer:
        """Runs a command in REMOTE, instead of its shell: that is what a device ends when the link breaks."""
        settings = self._settings
        seconds_per_frame = max(_SLOWEST_FRAME, 2 / settings.fps if settings.fps else 0)
        limit = 60 + seconds_per_frame * (settings.warmup + settings.steps)
        words = shlex.join([*shlex.split(settings.launcher), *command])
        return self._device.execute(f"cd {REMOTE} && exec {words}", limit)

    def _fetch(self, remote, system, model, repeat):
        """Pulls samples, which take their place only if they are complete and what was asked for."""
        path = self._kept.samples_path(system, repeat)
        arriving = f"{path}.arriving"
        try:
            self._device.pull(remote, arriving)
            self._check(read_samples(arriving).facts, system, model)
            os.replace(arriving, path)
        except DataError as error:
            reason = str(error).removeprefix(f"{self._device.serial}: ").removeprefix(f"{arriving}: ")
            raise self._device.failure(f"samples of {system}, repeat {repeat + 1}", reason) from None
        finally:
            if os.path.exists(arriving):
                os.remove(arriving)

    def _check(self, facts, system, model):
        asked = {key: getattr(self._settings, key) for key in ("steps", "warmup", "threads")}
        asked |= {
            "fps": float(f"{self._settings.fps:g}"),
            "model": f"{system}.tflite",
            "interval": model.interval,
            "flip": model.flip,
        }
        for key, value in asked.items():
            if facts[key] != value:
                raise DataError(f"they are of another run: {key} {facts[key]}, not {value}")


def windows_file(system: str) -> str:
    """Name, on the phone, of the list of windows that a system is told."""
    return f"{system}.windows"


def _reason(answer: Answer) -> str:
    """Why a command ended badly. A shell reports signals as exit statuses from 128."""
    if answer.status in range(129, 160):
        return f"killed by signal {answer.status - 128}"
    return answer.reason


@contextmanager
def workplace(device: Device, files: list[tuple[str, str]], say):
    """Within it, files are on a phone, in REMOTE; afterwards they are gone, whatever happened.

    Args:
        files: (path here, name there).
        say: is told if they could not be removed.

    Raises:
        DataError: if not all of them arrive.
    """
    try:
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
