"""The CPUs of a phone: which of them belong together, which are fast, and what they are called."""

import dataclasses
import re
from typing import NamedTuple

from patchwork_tf.errors import DataError, UsageError

FOLDER = "/sys/devices/system/cpu"
# Prints what `parse` reads, as 'path:value'; files that nobody may read are left out.
READ = (
    f"cd {FOLDER} && grep -s . online possible cpu[0-9]*/cpu_capacity cpu[0-9]*/cpufreq/cpuinfo_max_freq "
    "cpu[0-9]*/cpufreq/related_cpus cpu[0-9]*/cpufreq/scaling_governor"
)
CHOICES = ("big", "middle", "little", "all")
# Implementer and part of /proc/cpuinfo -> core, from util-linux' lscpu-arm.c, Linux' arm64 cputype.h and
# pytorch/cpuinfo's uarch.c. Unknown ones are shown by number.
_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD4C): "Cortex-X1C",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0x48, 0xD02): "TaiShan v120 (Kirin)",
    (0x48, 0xD40): "Cortex-A76 (Kirin)",
    (0x48, 0xD41): "Cortex-A77 (Kirin)",
    (0x51, 0x001): "Oryon",
    (0x51, 0x800): "Kryo Gold (Cortex-A73)",
    (0x51, 0x801): "Kryo Silver (Cortex-A53)",
    (0x51, 0x802): "Kryo 385 Gold (Cortex-A75)",
    (0x51, 0x803): "Kryo 385 Silver (Cortex-A55)",
    (0x51, 0x804): "Kryo 4xx Gold (Cortex-A76)",
    (0x51, 0x805): "Kryo 4xx Silver (Cortex-A55)",
    (0x53, 0x001): "Exynos M1",
    (0x53, 0x002): "Exynos M3",
    (0x53, 0x003): "Exynos M4",
    (0x53, 0x004): "Exynos M5",
}

_LITTLE = re.compile(r"Cortex-A(?:3|5)\d\d?\b|Silver")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """CPUs (those that are switched on) that share a clock, its maximum, who sets it, as 'schedutil', and what the
    scheduler thinks that they can do, up to 1024, 0 if it does not say.
    """

    cpus: tuple[int, ...]
    kilohertz: int
    governor: str
    capacity: int = 0

    @property
    def mask(self) -> str:
        """Hexadecimal, one bit per CPU, as taskset takes it."""
        return f"{sum(1 << cpu for cpu in self.cpus):x}"


def parse(lines: str, processor: "Processor | None" = None) -> list[Cluster]:
    """Clusters of a device, the fastest first, from what READ prints: by capacity, then clock, then type of core.

    Raises:
        DataError: if the clocks of its CPUs are not among that.
    """
    files = _files(lines)
    paths = {int(path.split("/")[0][3:]): path for path in files if path.endswith("/cpuinfo_max_freq")}
    clocks = {cpu: int(files[path]) for cpu, path in paths.items()}
    online = _numbers(files.get("online", "")) or set(clocks)
    members = {}
    for cpu in sorted(online & set(clocks)):
        related = _numbers(files.get(f"cpu{cpu}/cpufreq/related_cpus", "")) or {cpu}
        members.setdefault(min(related), []).append(cpu)
    if not members:
        raise DataError(f"no cpuinfo_max_freq of any CPU in {FOLDER}")
    governors = {cpu: files.get(f"cpu{cpu}/cpufreq/scaling_governor", "").strip() for cpu in clocks}
    clusters = [
        Cluster(tuple(cpus), clocks[cpus[0]], governors[cpus[0]], int(files.get(f"cpu{cpus[0]}/cpu_capacity", 0)))
        for cpus in members.values()
    ]
    is_little = [bool(processor and _LITTLE.search(processor.name_of(c.cpus))) for c in clusters]
    ranks = {c: (c.capacity, c.kilohertz, not little) for c, little in zip(clusters, is_little, strict=True)}
    return sorted(clusters, key=ranks.get, reverse=True)


def offline(lines: str) -> set[int]:
    """CPUs that a device has and that are switched off, from what READ prints."""
    files = _files(lines)
    return _numbers(files.get("possible", "")) - _numbers(files.get("online", files.get("possible", "")))


def _files(lines) -> dict[str, str]:
    return {path: content for path, _, content in (line.partition(":") for line in lines.splitlines())}


def choose(clusters: list[Cluster], choice: str, threads: int) -> Cluster | None:
    """The cluster to run on: 'big' is the fastest, 'little' the slowest; None for 'all'.

    Raises:
        UsageError: if the device has no such cluster, or fewer CPUs in it than threads.
    """
    if choice == "all":
        return None
    if choice == "middle" and len(clusters) < 3:
        raise UsageError(f"--cluster=middle: this device has {len(clusters)} clusters; give big or little")
    cluster = {"big": clusters[0], "middle": clusters[len(clusters) // 2], "little": clusters[-1]}[choice]
    if threads > len(cluster.cpus):
        raise UsageError(f"--threads={threads}: the {choice} cluster of this device has {len(cluster.cpus)} CPUs")
    return cluster


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


def _numbers(text: str) -> set[int]:
    """'0-3,6' and '0 1 2 3' alike."""
    ranges = re.findall(r"(\d+)(?:-(\d+))?", text)
    return {cpu for first, last in ranges for cpu in range(int(first), int(last or first) + 1)}
