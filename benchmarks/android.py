"""What a device says about itself: what is attached, its properties, battery and heat.

Every parser takes the text that a tool printed and refuses what that tool does not print.
"""

import re
from typing import NamedTuple

from patchwork_tf.errors import DataError

# android.os.PowerManager.THERMAL_STATUS_*
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# android.os.Temperature.TYPE_*, of the sensors that are used here.
_BATTERY_SENSOR, _SKIN_SENSOR = 2, 3
_CHARGING = 2  # android.os.BatteryManager.BATTERY_STATUS_CHARGING
# adb's names of connection states, in transport.cpp.
_STATES = (
    r"device|offline|unauthorized|authorizing|connecting|detached|recovery|rescue|sideload|bootloader|host|unknown|"
    r"no device|no permissions(?: \(.*?\))?(?:; see \[.*?\])?"
)
_ATTACHED = re.compile(rf"^(.+?)\s+({_STATES})(?=\s|$)(.*)$")


class Attached(NamedTuple):
    """One line of `adb devices -l`: a transport, of which one phone may have several.

    Attributes:
        serial: what adb calls it; 'host:port' over TCP.
        state: 'device' if it can be used, or 'offline', 'unauthorized', ...
        model: as adb writes it, '' if it is not known.
        transport: the number by which adb tells transports apart whose serials are equal; '' from old clients.
    """

    serial: str
    state: str
    model: str
    transport: str = ""

    @property
    def over_network(self) -> bool:
        return ":" in self.serial or "._adb" in self.serial  # the latter is a name found by mDNS


def parse_attached(text: str) -> list[Attached]:
    """What `adb devices -l` lists. Raises DataError if that is not what it is."""
    _, header, listed = text.partition("List of devices attached")
    if not header:
        raise DataError(f"not a list of devices as adb prints it: '{text.strip()[:80]}'")
    # What the server has to say of itself, as it starts, may come before, after or between.
    lines = (line.strip() for line in listed.splitlines() if line.strip() and not line.startswith("* "))
    return [_parse_attached_line(line) for line in lines]


def _parse_attached_line(line):
    # Serials may have spaces: "adb-X (2)._adb-tls-connect._tcp", found by mDNS, and "(no serial number)". So may
    # states: "no permissions (user in plugdev group; ...); see [...]". A bare path of the bus may follow.
    found = _ATTACHED.match(line)
    if not found:
        raise DataError(f"not a device as adb lists it: '{line[:80]}'")
    serial, state, more = found.groups()
    of_more = dict(re.findall(r"(\w+):(\S+)", more))
    return Attached(serial, state, of_more.get("model", ""), of_more.get("transport_id", ""))


def parse_properties(text: str) -> dict[str, str]:
    """What `getprop` prints: '[name]: [value]', where values may have several lines.

    Raises:
        DataError: if there is none.
    """
    properties = dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]$", text, re.MULTILINE | re.DOTALL))
    if not properties:
        raise DataError(f"no properties as getprop prints them: '{text.strip()[:80]}'")
    return properties


_VIRTUAL_HARDWARE = {
    "goldfish",
    "ranchu",
    "cutf_cvm",
    "cutf",
    "vbox86",
    "vbox86p",
    "waydroid",
    "redroid",
    "gce_x86",
}
_VIRTUAL_WORDS = ("cuttlefish", "vsoc", "genymotion", "waydroid", "redroid", "sdk_gphone", "emulator")
_NAMES_OF_VIRTUAL = ("ro.product.device", "ro.product.manufacturer", "ro.product.model", "ro.product.name")


def is_emulated(properties: dict[str, str]) -> bool:
    """Whether this is no phone: the tests' emulated device, Android's emulator, Cuttlefish, Genymotion, Waydroid,
    or an x86 device that nobody knows. Its times mean nothing.
    """
    hardware = {
        properties.get(name, "").lower() for name in ("ro.hardware", "ro.boot.hardware", "ro.product.board")
    }
    words = " ".join(properties.get(name, "") for name in _NAMES_OF_VIRTUAL).lower()
    return (
        "ro.patchwork.emulated" in properties
        or "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu"))
        or bool(hardware & _VIRTUAL_HARDWARE)
        or any(word in words for word in _VIRTUAL_WORDS)
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
    """Charge in percent, temperature in degrees Celsius, and where power comes from: 'AC', 'USB', ... or ''."""

    percent: float
    celsius: float
    charging: bool
    power: str


def parse_battery(text: str) -> Battery:
    """What `dumpsys battery` prints. Raises DataError if it is not that."""
    fields = dict(re.findall(r"^\s+([^:\n]+): (.*?)\s*$", text, re.MULTILINE))
    try:
        sources = [name.removesuffix(" powered") for name, value in fields.items() if value == "true"]
        return Battery(
            percent=100 * int(fields["level"]) / int(fields["scale"]),
            celsius=int(fields["temperature"]) / 10,
            charging=int(fields["status"]) == _CHARGING,
            power=" ".join(name for name in sources if name in ("AC", "USB", "Wireless", "Dock")),
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"not what dumpsys battery prints: {error} in '{text.strip()[:80]}'") from None


class Thermal(NamedTuple):
    """How hot a device is.

    Attributes:
        status: of throttling, an index of THERMAL_STATUS; 0 if there is none.
        sensors: name -> degrees Celsius.
        surface: degrees of its hottest skin sensor, else of its battery's; None if it has neither.
    """

    status: int
    sensors: dict[str, float]
    surface: float | None


def parse_thermal(text: str) -> Thermal | None:
    """What `dumpsys thermalservice` prints; None if the device has no such service (Android 9 and before).

    Raises:
        DataError: if it is something else, or if the status is an override, that is, made up.
    """
    if "Can't find service" in text:
        return None
    status = re.search(r"^Thermal Status: (\d+)", text, re.MULTILINE)
    if not status:
        raise DataError(f"not what dumpsys thermalservice prints: '{text.strip()[:80]}'")
    if "IsStatusOverride: true" in text:
        raise DataError("the thermal status is overridden; end that with 'adb shell cmd thermalservice reset'")
    current = text.partition("Current temperatures from HAL:")[2] or text  # what is cached may be old
    if re.search(r"^HAL Ready: false", text, re.MULTILINE):
        current = ""
    temperatures = re.findall(
        r"Temperature\{mValue=([-\d.]+), mType=(-?\d+), mName=([^,]+), mStatus=\d+\}", current
    )
    readings = [(name, int(kind), float(value)) for value, kind, name in temperatures]
    by_kind = [[value for _, k, value in readings if k == kind] for kind in (_SKIN_SENSOR, _BATTERY_SENSOR)]
    return Thermal(
        status=int(status[1]),
        sensors={name: value for name, _, value in readings},
        surface=next((max(values) for values in by_kind if values), None),
    )
