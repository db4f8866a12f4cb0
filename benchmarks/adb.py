"""Devices through a real adb client, believing nothing that has not been checked.

An exit code of 0 proves little: when the link drops in mid-command, some clients still return it, and a push
that broke leaves half a file behind. So every short command ends with a mark of its own, and every file that was
moved is compared by size and digest.
"""

import os
import re
import shlex
import shutil
import subprocess
import time
from typing import NamedTuple

from patchwork_tf import provenance
from patchwork_tf.errors import DataError, UsageError

_MARK = "patchwork-status:"
_COMMAND_LIMIT = 30  # seconds for what a device answers at once
_SLOWEST_LINK = 1e6  # bytes per second, less than the slowest Wi-Fi worth using
# adb's names of connection states, in transport.cpp.
_STATES = (
    r"device|offline|unauthorized|authorizing|connecting|detached|recovery|rescue|sideload|bootloader|host|unknown|"
    r"no device|no permissions(?: \(.*?\))?(?:; see \[.*?\])?"
)
_ATTACHED = re.compile(rf"^(.+?)\s+({_STATES})(?=\s|$)(.*)$")
_REMEDIES = {
    "unauthorized": "unlock it and allow USB debugging in the dialog it shows",
    "authorizing": "unlock it and allow USB debugging in the dialog it shows",
    "offline": "unplug it and plug it in again",
    "no permissions": "this user may not use it; see adb's documentation on udev rules",
}


class DeviceLostError(DataError):
    """The device does not answer any more: unplugged, out of reach, switched off."""


class Answer(NamedTuple):
    """What a command on the device said: its exit status and both of its outputs."""

    status: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """The last line that it printed, which is where programs say what is wrong, or what signal killed it."""
        if self.status in range(129, 160):  # a shell reports signals as exit statuses from 128
            return f"killed by signal {self.status - 128}"
        lines = (self.errors.strip() or self.output.strip()).splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


class FileFacts(NamedTuple):
    """Size in bytes and SHA-256 of a file."""

    size: int
    digest: str


class Adb:
    """The adb client on this machine, by its path or its name on the PATH. Raises DataError if it is not there."""

    def __init__(self, program: str = "adb"):
        self.path = shutil.which(program)
        if self.path is None:
            raise DataError(
                f"{program}: no such program. Install Android's platform-tools ('apt install adb', 'brew install "
                "android-platform-tools'), or put it on the PATH"
            )

    def run(self, *arguments: str, limit: float = _COMMAND_LIMIT) -> Answer:
        """Runs the client to its end. Raises DataError if that takes longer than `limit` seconds."""
        # In a session of its own, Ctrl-C does not reach it: whoever catches that may still have to use adb.
        options = {"stdin": subprocess.DEVNULL, "start_new_session": True, "timeout": limit}
        try:
            done = subprocess.run(
                [self.path, *arguments], capture_output=True, text=True, errors="replace", **options
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"adb {shlex.join(arguments)[:80]}: no end after {limit:.0f} s") from None
        return Answer(done.returncode, done.stdout, done.stderr)

    def version(self) -> str:
        """As '36.0.0-13206524'."""
        found = re.search(r"^Version (.*)$", self.run("version").output, re.MULTILINE)
        return found[1] if found else "unknown"

    def connect(self, address: str, limit: float = 10):
        """Connects to 'host:port' and waits until the device shows up, whatever adb says meanwhile.

        Raises DataError if that takes longer than `limit` seconds.
        """
        said = self.run("connect", address).reason
        end = time.monotonic() + limit
        while self.state("-s", address) in ("", "offline", "authorizing"):
            if time.monotonic() > end:
                raise DataError(f"{address}: cannot connect to this device ({said})")
            time.sleep(0.1)

    def state(self, *address: str) -> str:
        """'device' if all is well, or 'offline', 'unauthorized', 'authorizing'; '' if adb does not know it.

        The address is -s and a serial number, or -t and the number of a transport.
        """
        answer = self.run(*address, "get-state")
        if answer.status == 0:
            return answer.output.strip()
        return next((word for word in ("offline", "unauthorized", "authorizing") if word in answer.errors), "")


class Device:
    """One attached device, by what adb calls it and, where several are called so, the number of its transport."""

    name = ""  # what to call it in reports, if its own serial number is not its alone

    def __init__(self, adb: Adb, serial: str, transport: str = ""):
        self.adb, self.serial = adb, serial
        self._address = ("-t", transport) if transport else ("-s", serial)

    def attempt(self, command: str, limit: float = _COMMAND_LIMIT) -> Answer:
        """Runs a short shell command. Raises DeviceLostError or DataError if its end was not seen."""
        answer = self.execute(f"({command}\n); echo {_MARK}$?", limit)
        output, mark, status = answer.output.rpartition(_MARK)
        if not mark:
            raise self.failure(f"'{command[:60]}' broke off", answer.reason)
        return Answer(int(status), output, answer.errors)

    def shell(self, command: str, limit: float = _COMMAND_LIMIT) -> str:
        """What a short shell command prints. Raises DeviceLostError or DataError if it does not succeed."""
        answer = self.attempt(command, limit)
        if answer.status:
            raise DataError(f"{self.serial}: '{command[:60]}' failed: {answer.reason}")
        return answer.output

    def execute(self, command: str, limit: float) -> Answer:
        """Runs a long shell command. Its answer proves nothing; what it leaves on the device may."""
        return self.adb.run(*self._address, "shell", command, limit=limit)

    def push(self, local: str, remote: str):
        """Copies a file to the device. Raises DeviceLostError or DataError if it did not arrive whole."""
        facts = facts_of(local)
        self._copy("push", local, remote, facts.size)
        self._compare(f"push of {os.path.basename(local)}", self.facts_of(remote), facts)

    def pull(self, remote: str, local: str):
        """Copies a file from the device. Raises DeviceLostError or DataError if not all of it is here then."""
        facts = self.facts_of(remote)
        if facts is None:
            raise DataError(f"{self.serial}: no {remote} on the device")
        self._copy("pull", remote, local, facts.size)
        self._compare(f"pull of {os.path.basename(remote)}", facts_of(local), facts)

    def facts_of(self, remote: str) -> FileFacts | None:
        """Size and digest of a file on the device, if it is there."""
        name = shlex.quote(remote)
        command = f"[ ! -f {name} ] || echo $(wc -c < {name}) $(sha256sum < {name})"
        words = self.shell(command, limit=300).split()
        if len(words) == 1:
            raise DataError(f"{self.serial}: no sha256sum on the device; it takes Android 8 or later")
        return FileFacts(int(words[0]), words[1]) if words else None

    def failure(self, what: str, reason: str) -> DataError:
        """The error to raise after a failed command: whether the device is gone, or only this went wrong."""
        if self.adb.state(*self._address) == "device":
            return DataError(f"{self.serial}: {what}: {reason}")
        return DeviceLostError(f"{self.serial}: the device is gone ({what}); was it unplugged?")

    def identity(self) -> tuple[str, str]:
        """Its own serial number, which is not always its alone, and what is its alone until it is restarted.

        The latter is '' where it cannot be read. Both are the same on every transport.
        """
        command = "getprop ro.serialno; cat /proc/sys/kernel/random/boot_id 2>/dev/null || true"
        serial, _, boot = self.shell(command).partition("\n")
        return serial.strip() or self.serial, boot.strip()

    def _copy(self, direction, source, target, size):
        answer = self.adb.run(*self._address, direction, source, target, limit=60 + size / _SLOWEST_LINK)
        if answer.status:  # one line says what is wrong, before or after a line of statistics
            complaints = [line for line in (answer.output + answer.errors).splitlines() if "failed" in line]
            reason = complaints[-1] if complaints else answer.reason
            raise self.failure(f"{direction} of {os.path.basename(source)}", reason)

    def _compare(self, what, arrived, expected):
        if arrived is None or arrived.size != expected.size:
            size = 0 if arrived is None else arrived.size
            raise self.failure(what, f"only {size} of {expected.size} bytes arrived")
        if arrived.digest != expected.digest:
            raise self.failure(what, "what arrived has another SHA-256")


def facts_of(path: str) -> FileFacts:
    """Of a file on this machine."""
    return FileFacts(os.path.getsize(path), provenance.sha256(path))


class Attached(NamedTuple):
    """One line of `adb devices -l`: a transport, of which one phone may have several."""

    serial: str  # what adb calls it; 'host:port' over TCP
    state: str  # 'device' if it can be used, or 'offline', 'unauthorized', ...
    model: str  # as adb writes it, '' if it is not known
    transport: str = ""  # the number that tells transports apart whose serials are equal; '' from old clients

    @property
    def over_network(self) -> bool:
        return ":" in self.serial or "._adb" in self.serial  # the latter is a name found by mDNS


def parse_attached(text: str) -> list[Attached]:
    """What `adb devices -l` lists. Raises DataError if that is not what it is."""
    _, header, listed = text.partition("List of devices attached")
    if not header:
        raise DataError(f"not a list of devices as adb prints it: '{text.strip()[:80]}'")
    attached = []
    for line in map(str.strip, listed.splitlines()):
        if not line or line.startswith("* "):  # what the server has to say of itself, as it starts
            continue
        # Serials may have spaces: "adb-X (2)._adb-tls-connect._tcp", found by mDNS, and "(no serial number)".
        # So may states: "no permissions (user in plugdev group; ...); see [...]". A path of the bus may follow.
        if not (found := _ATTACHED.match(line)):
            raise DataError(f"not a device as adb lists it: '{line[:80]}'")
        serial, state, more = found.groups()
        of_more = dict(re.findall(r"(\w+):(\S+)", more))
        attached.append(Attached(serial, state, of_more.get("model", ""), of_more.get("transport_id", "")))
    return attached


def select(adb: Adb, serials: list[str], say) -> list[Device]:
    """Devices to measure, each phone once even if it is attached by USB and by TCP, of which `say` is told.

    They are named by what adb calls them, 'host:port' being connected to first; if none is, it is the only phone
    attached. Raises DataError if one is missing or cannot be used, UsageError if none of several is named.
    """
    attached = _attached(adb)
    for serial in serials:
        if ":" in serial and not any(e.serial == serial and e.state != "offline" for e in attached):
            adb.connect(serial)
            attached = _attached(adb)
    wanted = [entry for serial in serials for entry in _named(serial, attached)] or attached
    usable = [entry for entry in wanted if entry.state == "device"]
    if not usable or (serials and len(usable) < len(wanted)):
        raise DataError(_why_not(wanted))
    for entry in wanted:
        if entry.state != "device":
            say(f"{_why_not([entry])}; left out")
    phones = _phones(adb, usable, say)
    if len(phones) > 1 and not serials:
        names = ", ".join(f"{device.name or device.serial} ({entry.model})" for device, entry in phones)
        raise UsageError(f"{len(phones)} devices are attached: {names}; choose with --serial, one or several")
    return [device for device, _ in phones]


def _attached(adb) -> list[Attached]:
    answer = adb.run("devices", "-l")
    if answer.status:
        raise DataError(f"adb cannot list devices: {answer.reason}")
    return parse_attached(answer.output)


def _named(serial, attached):
    found = [entry for entry in attached if entry.serial == serial]
    if not found:
        others = ", ".join(entry.serial for entry in attached) or "none"
        raise DataError(f"--serial={serial}: no such device is attached; attached: {others}")
    return found


def _why_not(wanted) -> str:
    entry = next((entry for entry in wanted if entry.state != "device"), None)
    if entry is None:
        return "no device is attached: plug in a phone that has USB debugging on, or give --serial=HOST:PORT"
    remedy = next((remedy for state, remedy in _REMEDIES.items() if entry.state.startswith(state)), "")
    return f"{entry.serial}: adb says '{entry.state}'" + (f"; {remedy}" if remedy else "")


def _phones(adb, attached, say) -> list[tuple[Device, Attached]]:
    """One transport per phone, by USB where there is a choice; and its name where serial numbers are equal."""
    serials, phones = [entry.serial for entry in attached], {}
    for entry in sorted(attached, key=lambda entry: entry.over_network):
        device = Device(adb, entry.serial, entry.transport if serials.count(entry.serial) > 1 else "")
        phones.setdefault(device.identity(), []).append((device, entry))
    own = [serial for serial, _ in phones]
    for (serial, _), ((taken, entry), *others) in phones.items():
        for other, _ in others:
            say(f"{other.serial} is the same phone as {taken.serial}: taking the latter")
        if own.count(serial) > 1:
            shared = serials.count(entry.serial) > 1
            taken.name = f"{entry.serial}, transport {entry.transport}" if shared else entry.serial
            say(f"{taken.name}: another phone has its serial number, {serial}, too")
    return [transports[0] for transports in phones.values()]
