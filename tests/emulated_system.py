"""What the emulated phone (emulated_device.py) has inside: a folder with its files, and a shell.

It says what it is in its properties, so that nothing measured on it is taken for a phone's.
"""

import asyncio
import os
import platform
import re
from pathlib import Path

_ABI = {"x86_64": "x86_64", "aarch64": "arm64-v8a", "arm64": "arm64-v8a"}[platform.machine()]
# Paths of the phone in commands; they begin a word, or follow '='.
_PHONE_PATH = re.compile(r"(?<![\w./])/(?=data/|sys/|proc/cpuinfo\b|proc/sys/)")

_PROPERTIES = """\
[ro.build.fingerprint]: [patchwork/emulated/emulated:13/TEST/1:userdebug/test-keys]
[ro.build.version.release]: [13]
[ro.build.version.sdk]: [33]
[ro.hardware]: [emulated]
[ro.patchwork.emulated]: [1]
[ro.product.cpu.abi]: [{abi}]
[ro.product.device]: [emulated]
[ro.product.manufacturer]: [Patchwork]
[ro.product.model]: [Patchwork emulated device]
[ro.product.name]: [emulated]
[ro.serialno]: [{serial}]
"""
_BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  level: 80
  scale: 100
  temperature: 271
"""
_TOOLS = {
    # `getprop`, or `getprop NAME`
    "getprop": r"""[ $# = 0 ] && exec cat "$PHONE/properties"
sed -n "s/^\[$1\]: \[\(.*\)\]$/\1/p" "$PHONE/properties"
""",
    # Every call of `dumpsys thermalservice` uses up a line of the file `thermal`, but for the last.
    "dumpsys": r"""case $1 in
battery) exec cat "$PHONE/battery" ;;
thermalservice) [ -e "$PHONE/thermal" ] || { echo "Can't find service: $1"; exit 0; } ;;
*) echo "Can't find service: $1"; exit 0 ;;
esac
{ read -r status skin; rest=$(cat); } < "$PHONE/thermal"
[ -z "$rest" ] || echo "$rest" > "$PHONE/thermal"
echo "IsStatusOverride: false"
echo "Thermal Status: $status"
echo "HAL Ready: true"
echo "Current temperatures from HAL:"
echo "	Temperature{mValue=$skin, mType=3, mName=skin, mStatus=$status}"
echo "	Temperature{mValue=27.1, mType=2, mName=battery, mStatus=0}"
echo "Current cooling devices from HAL:"
""",
    # `cmd power set-fixed-performance-mode-enabled true|false`
    "cmd": r"""[ "$1 $2" = "power set-fixed-performance-mode-enabled" ] || exit 255
echo "$3" >> "$PHONE/fixed_performance"
""",
}


class EmulatedSystem:
    """The inside of an emulated phone.

    Attributes:
        folder: its file system.
        banner: how it introduces itself to adb.
    """

    banner = "ro.product.name=emulated;ro.product.model=Patchwork emulated device;ro.product.device=emulated"

    def __init__(self, folder, serial: str):
        self.folder = Path(folder).resolve()
        (self.folder / "data/local/tmp").mkdir(parents=True)
        self._write("properties", _PROPERTIES.format(abi=_ABI, serial=serial))
        self._write("battery", _BATTERY)
        self._write("thermal", "0 30.0\n")
        self._write("proc/cpuinfo", "Hardware\t: Patchwork emulated device\n")
        self._describe_cpus()
        for name, script in _TOOLS.items():
            self._write(f"bin/{name}", "#!/bin/sh\n" + script)
            (self.folder / "bin" / name).chmod(0o755)

    def host_path(self, path: str) -> str:
        """Where a path of the phone is on this machine."""
        return f"{self.folder}/{path.lstrip('/')}"

    def thermal(self, *readings):
        """What dumpsys says from now on, call by call: (status, degrees of the skin). Nothing: no such service."""
        if not readings:
            (self.folder / "thermal").unlink()
        else:
            self._write("thermal", "".join(f"{status} {celsius}\n" for status, celsius in readings))

    def fixed_performance(self) -> list[str]:
        """What the mode was set to, in order."""
        log = self.folder / "fixed_performance"
        return log.read_text().split() if log.exists() else []

    def temporary_files(self) -> list[str]:
        """Names of what is in /data/local/tmp."""
        return sorted(os.listdir(self.folder / "data/local/tmp"))

    async def start(self, command: str, errors_apart: bool) -> asyncio.subprocess.Process:
        """A shell that runs a command, the phone's paths in it replaced."""
        environment = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "PHONE": str(self.folder)}
        return await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _PHONE_PATH.sub(f"{self.folder}/", command),
            cwd=self.folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if errors_apart else asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    def _describe_cpus(self):
        """Two clusters, the faster one of a single CPU: this machine's last that this process may use."""
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        self._write("sys/devices/system/cpu/online", f"0-{cpus[-1]}\n")
        for cpu in range(cpus[-1] + 1):
            fast = cpu == cpus[-1]
            related = [cpu] if fast else range(cpus[-1])
            folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
            self._write(f"{folder}/cpuinfo_max_freq", f"{2400000 if fast else 1800000}\n")
            self._write(f"{folder}/related_cpus", " ".join(map(str, related)) + "\n")
            self._write(f"{folder}/scaling_governor", "schedutil\n")

    def _write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
