"""What a device says about itself: its properties, battery, heat and CPUs.

Every parser takes the text that a tool printed and refuses what that tool does not print.
"""

import dataclasses
import re
from typing import NamedTuple

from patchwork_tf.errors import DataError, UsageError

# android.os.PowerManager.THERMAL_STATUS_*
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# android.os.Temperature.TYPE_*, of the sensors that are used here.
_BATTERY_SENSOR, _SKIN_SENSOR = 2, 3
_CHARGING = 2  # android.os.BatteryManager.BATTERY_STATUS_CHARGING
CPUS = "/sys/devices/system/cpu"
# Prints what `parse_clusters` reads, as 'path:value'; files that nobody may read are left out.
READ_CPUS = (
    f"cd {CPUS} && grep -s . online possible cpu[0-9]*/cpu_capacity cpu[0-9]*/cpufreq/cpuinfo_max_freq "
    "cpu[0-9]*/cpufreq/related_cpus cpu[0-9]*/cpufreq/scaling_governor"
)
CLUSTERS = ("big", "middle", "little", "all")  # to choose from
# Implementer and part of /proc/cpuinfo -> core, from util-linux' lscpu-arm.c, Linux' arm64 cputype.h and
# pytorch/cpuinfo's uarch.c. Unknown ones are shown by number.
# fmt: off
_CORES = {
    (0x41, 0xD03): "Cortex-A53", (0x41, 0xD05): "Cortex-A55", (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72", (0x41, 0xD09): "Cortex-A73", (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76", (0x41, 0xD0D): "Cortex-A77", (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD44): "Cortex-X1", (0x41, 0xD46): "Cortex-A510", (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2", (0x41, 0xD4D): "Cortex-A715", (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD80): "Cortex-A520", (0x41, 0xD81): "Cortex-A720", (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD85): "Cortex-X925", (0x41, 0xD87): "Cortex-A725",
    (0x48, 0xD40): "Cortex-A76 (Kirin)", (0x48, 0xD41): "Cortex-A77 (Kirin)",
    (0x51, 0x001): "Oryon", (0x51, 0x800): "Kryo Gold (Cortex-A73)", (0x51, 0x801): "Kryo Silver (Cortex-A53)",
    (0x51, 0x802): "Kryo 385 Gold (Cortex-A75)", (0x51, 0x803): "Kryo 385 Silver (Cortex-A55)",
    (0x51, 0x804): "Kryo 4xx Gold (Cortex-A76)", (0x51, 0x805): "Kryo 4xx Silver (Cortex-A55)",
    (0x53, 0x001): "Exynos M1", (0x53, 0x002): "Exynos M3", (0x53, 0x003): "Exynos M4",
    (0x53, 0x004): "Exynos M5",
}
# fmt: on
_LITTLE = re.compile(r"Cortex-A5\d\d?\b|Silver")
# In what an emulator says of its hardware and name.
_VIRTUAL = re.compile(
    "goldfish|ranchu|cutf|vbox86|waydroid|redroid|gce_x86|cuttlefish|vsoc|genymotion|sdk_gphone|emulator"
)
_NAMES = ("ro.hardware", "ro.boot.hardware", "ro.product.board", "ro.product.device", "ro.product.manufacturer")
_NAMES += ("ro.product.model", "ro.product.name")


def parse_properties(text: str) -> dict[str, str]:
    """What `getprop` prints: '[name]: [value]', of one line or more. Raises DataError if there is none."""
    properties = dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]$", text, re.MULTILINE | re.DOTALL))
    if not properties:
        raise DataError(f"no properties as getprop prints them: '{text.strip()[:80]}'")
    return properties


def is_emulated(properties: dict[str, str]) -> bool:
    """Whether this is no phone: the tests' emulated device, Android's emulator, Cuttlefish, Genymotion, Waydroid,
    or an x86 device that nobody knows. Its times mean nothing.
    """
    return (
        "ro.patchwork.emulated" in properties
        or "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu"))
        or any(_VIRTUAL.search(properties.get(name, "").lower()) for name in _NAMES)
        or properties.get("ro.product.cpu.abi", "").startswith("x86")
    )


def describe(properties: dict[str, str]) -> dict[str, str]:
    """The properties that a report names: model, build, Android version, SoC and ABI; '' where one is missing."""
    names = {
        "model": ["ro.product.model"],
        "manufacturer": ["ro.product.manufacturer"],
        "android": ["ro.build.version.release"],
        "build": ["ro.build.fingerprint"],
        "soc": ["ro.soc.model", "ro.board.platform", "ro.hardware"],  # the first came with Android 12
        "abi": ["ro.product.cpu.abi", "ro.product.cpu.abilist"],
    }
    return {
        fact: next((properties[name].split(",")[0] for name in candidates if properties.get(name)), "")
        for fact, candidates in names.items()
    }


class Battery(NamedTuple):
    """Charge in percent, and temperature in degrees Celsius."""

    percent: float
    celsius: float
    charging: bool


def parse_battery(text: str) -> Battery:
    """What `dumpsys battery` prints. Raises DataError if it is not that."""
    fields = dict(re.findall(r"^\s+([^:\n]+): (.*?)\s*$", text, re.MULTILINE))
    try:
        percent = 100 * int(fields["level"]) / int(fields["scale"])
        return Battery(percent, int(fields["temperature"]) / 10, int(fields["status"]) == _CHARGING)
    except (KeyError, ValueError) as error:
        raise DataError(f"not what dumpsys battery prints: {error} in '{text.strip()[:80]}'") from None


class Heat(NamedTuple):
    """How hot a device is."""

    status: int | None  # of throttling, an index of THERMAL_STATUS; 0 if there is none, None before Android 10
    celsius: float | None  # of its surface; None where nothing measures it


def parse_thermal(text: str) -> Heat:
    """What `dumpsys thermalservice` prints: degrees of the hottest skin sensor, else of the battery's.

    Raises DataError if it is something else, or if the status is an override, that is, made up.
    """
    if "Can't find service" in text:
        return Heat(None, None)
    status = re.search(r"^Thermal Status: (\d+)", text, re.MULTILINE)
    if not status:
        raise DataError(f"not what dumpsys thermalservice prints: '{text.strip()[:80]}'")
    if "IsStatusOverride: true" in text:
        raise DataError("the thermal status is overridden; end that with 'adb shell cmd thermalservice reset'")
    current = text.partition("Current temperatures from HAL:")[2] or text  # what is cached may be old
    if re.search(r"^HAL Ready: false", text, re.MULTILINE):
        current = ""
    sensors = re.findall(r"Temperature\{mValue=([-\d.]+), mType=(-?\d+), ", current)
    for kind in (_SKIN_SENSOR, _BATTERY_SENSOR):
        if degrees := [float(value) for value, of_kind in sensors if int(of_kind) == kind]:
            return Heat(int(status[1]), max(degrees))
    return Heat(int(status[1]), None)


class Processor(NamedTuple):
    """What /proc/cpuinfo says: the hardware's name, '' if there is none, and the core of every CPU by number."""

    hardware: str
    cores: dict[int, str]

    def name_of(self, cpus) -> str:
        """As '4 x Cortex-A73', for CPUs of one cluster."""
        names = [self.cores[cpu] for cpu in cpus if cpu in self.cores]
        return " + ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def parse_cpuinfo(text: str) -> Processor:
    """Reads /proc/cpuinfo of a phone; only Arm's has parts. Raises DataError if it is not a cpuinfo."""
    if not re.search(r"^(processor|Hardware)\s*:", text, re.MULTILINE):
        raise DataError(f"not a /proc/cpuinfo: '{text.strip()[:80]}'")
    hardware = re.search(r"^Hardware\s*: (.+)$", text, re.MULTILINE)
    cores = {}
    for block in re.split(r"\n(?=processor\s*:)", text):
        fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", block, re.MULTILINE))
        if {"processor", "CPU implementer", "CPU part"} <= fields.keys():
            implementer, part = int(fields["CPU implementer"], 16), int(fields["CPU part"], 16)
            cores[int(fields["processor"])] = _CORES.get((implementer, part), f"core {implementer:#x}/{part:#x}")
    return Processor(hardware[1].strip() if hardware else "", cores)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """CPUs that share a clock."""

    cpus: tuple[int, ...]  # those that are switched on
    kilohertz: int  # at most
    governor: str  # who sets the clock, as 'schedutil'
    capacity: int = 0  # what the scheduler thinks that they can do, up to 1024; 0 if it does not say

    @property
    def mask(self) -> str:
        """Hexadecimal, one bit per CPU, as taskset takes it."""
        return f"{sum(1 << cpu for cpu in self.cpus):x}"


def parse_clusters(lines: str, processor: Processor) -> list[Cluster]:
    """Clusters, the fastest first (by capacity, then clock, then type of core), from what READ_CPUS prints.

    Raises DataError if the clocks of its CPUs are not among that.
    """
    files = _files(lines)
    clocks = {
        int(path.split("/")[0][3:]): int(files[path]) for path in files if path.endswith("/cpuinfo_max_freq")
    }
    online = _numbers(files.get("online", "")) or set(clocks)
    members = {}
    for cpu in sorted(online & set(clocks)):
        related = _numbers(files.get(f"cpu{cpu}/cpufreq/related_cpus", "")) or {cpu}
        members.setdefault(min(related), []).append(cpu)
    if not members:
        raise DataError(f"no cpuinfo_max_freq of any CPU in {CPUS}")
    clusters = []
    for first, *others in members.values():
        governor = files.get(f"cpu{first}/cpufreq/scaling_governor", "").strip()
        capacity = int(files.get(f"cpu{first}/cpu_capacity", 0))
        clusters.append(Cluster((first, *others), clocks[first], governor, capacity))

    def rank(cluster):
        return cluster.capacity, cluster.kilohertz, not _LITTLE.search(processor.name_of(cluster.cpus))

    return sorted(clusters, key=rank, reverse=True)


def offline(lines: str) -> set[int]:
    """CPUs that a device has and that are switched off, from what READ_CPUS prints."""
    files = _files(lines)
    return _numbers(files.get("possible", "")) - _numbers(files.get("online", files.get("possible", "")))


def choose(clusters: list[Cluster], choice: str, threads: int) -> Cluster | None:
    """The cluster to run on: 'big' is the fastest, 'little' the slowest; None for 'all'.

    Raises UsageError if the device has no such cluster, or fewer CPUs in it than threads.
    """
    if choice == "all":
        return None
    if choice == "middle" and len(clusters) < 3:
        raise UsageError(f"--cluster=middle: this device has {len(clusters)} clusters; give big or little")
    cluster = {"big": clusters[0], "middle": clusters[len(clusters) // 2], "little": clusters[-1]}[choice]
    if threads > len(cluster.cpus):
        raise UsageError(f"--threads={threads}: the {choice} cluster of this device has {len(cluster.cpus)} CPUs")
    return cluster


def _files(lines) -> dict[str, str]:
    return {path: content for path, _, content in (line.partition(":") for line in lines.splitlines())}


def _numbers(text: str) -> set[int]:
    """'0-3,6' and '0 1 2 3' alike."""
    ranges = re.findall(r"(\d+)(?:-(\d+))?", text)
    return {cpu for first, last in ranges for cpu in range(int(first), int(last or first) + 1)}
