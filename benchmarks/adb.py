"""One device through a real adb client, believing nothing that has not been checked.

An exit code of 0 proves little: when the link drops in mid-command, some clients still return it, and a push
that broke leaves half a file behind. So every short command ends with a mark of its own, and every file that was
moved is compared by size and digest.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import time
from typing import NamedTuple

from patchwork_tf.errors import DataError

_MARK = "patchwork-status:"
_COMMAND_LIMIT = 30  # seconds for what a device answers at once
_SLOWEST_LINK = 1e6  # bytes per second, less than the slowest Wi-Fi worth using


class DeviceLostError(DataError):
    """The device does not answer any more: unplugged, out of reach, switched off."""


class Answer(NamedTuple):
    """What a command on the device said: its exit status and both of its outputs."""

    status: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """The last line that it printed, which is where programs say what is wrong."""
        lines = (self.errors.strip() or self.output.strip()).splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


class FileFacts(NamedTuple):
    """Size in bytes and SHA-256 of a file."""

    size: int
    digest: str


class Adb:
    """The adb client on this machine, by its path or its name on the PATH.

    Raises:
        DataError: if there is no such program.
    """

    def __init__(self, program: str = "adb"):
        self.path = shutil.which(program)
        if self.path is None:
            raise DataError(
                f"{program}: no such program. Install Android's platform-tools ('apt install adb', 'brew install "
                "android-platform-tools'), or put it on the PATH"
            )

    def run(self, *arguments: str, limit: float = _COMMAND_LIMIT) -> Answer:
        """Runs the client to its end, at most `limit` seconds.

        Raises:
            DataError: if it takes longer.
        """
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
        lines = self.run("version").output.splitlines()
        return next((line.removeprefix("Version ") for line in lines if line.startswith("Version ")), "unknown")

    def connect(self, address: str, limit: float = 10):
        """Connects to 'host:port' and waits until the device shows up, whatever adb says meanwhile.

        Raises:
            DataError: if it does not appear within `limit` seconds.
        """
        said = self.run("connect", address).reason
        end = time.monotonic() + limit
        while self.state("-s", address) in ("", "offline", "authorizing"):
            if time.monotonic() > end:
                raise DataError(f"{address}: cannot connect to this device ({said})")
            time.sleep(0.1)

    def state(self, *address: str) -> str:
        """'device' if all is well, or 'offline', 'unauthorized', 'authorizing'; '' if adb does not know it.

        Args:
            address: -s and a serial number, or -t and the number of a transport.
        """
        answer = self.run(*address, "get-state")
        if answer.status == 0:
            return answer.output.strip()
        return next((word for word in ("offline", "unauthorized", "authorizing") if word in answer.errors), "")


class Device:
    """One attached device, by the serial that adb calls it by.

    Args:
        adb: the client.
        serial: what adb calls it.
        transport: the number of its transport, where several have that serial.
        name: what to call it in reports, if its own serial number is not its alone.
    """

    def __init__(self, adb: Adb, serial: str, transport: str = "", name: str = ""):
        self.adb, self.serial, self.name = adb, serial, name
        self._address = ("-t", transport) if transport else ("-s", serial)

    def attempt(self, command: str, limit: float = _COMMAND_LIMIT) -> Answer:
        """Runs a short shell command to its end, which may fail.

        Raises:
            DeviceLostError, DataError: if its end was not seen.
        """
        answer = self._adb("shell", f"({command}\n); echo {_MARK}$?", limit=limit)
        output, mark, status = answer.output.rpartition(_MARK)
        if not mark:
            raise self.failure(f"'{command[:60]}' broke off", answer.reason)
        return Answer(int(status), output, answer.errors)

    def shell(self, command: str, limit: float = _COMMAND_LIMIT) -> str:
        """Runs a short shell command that must succeed, and returns its output.

        Raises:
            DeviceLostError, DataError: if it did not.
        """
        answer = self.attempt(command, limit)
        if answer.status:
            raise DataError(f"{self.serial}: '{command[:60]}' failed: {answer.reason}")
        return answer.output

    def execute(self, command: str, limit: float) -> Answer:
        """Runs a long shell command. Its answer proves nothing; what it leaves on the device may."""
        return self._adb("shell", command, limit=limit)

    def push(self, local: str, remote: str):
        """Copies a file onto the device, into a folder that exists.

        Raises:
            DeviceLostError, DataError: if it did not arrive whole.
        """
        facts = facts_of(local)
        self._copy("push", local, remote, facts.size)
        self._compare(f"push of {os.path.basename(local)}", self.facts_of([remote]).get(remote), facts)

    def pull(self, remote: str, local: str):
        """Copies a file from the device.

        Raises:
            DeviceLostError, DataError: if it is not there, or did not arrive whole.
        """
        facts = self.facts_of([remote]).get(remote)
        if facts is None:
            raise DataError(f"{self.serial}: no {remote} on the device")
        self._copy("pull", remote, local, facts.size)
        self._compare(f"pull of {os.path.basename(remote)}", facts_of(local), facts)

    def facts_of(self, remotes: list[str]) -> dict[str, FileFacts]:
        """Sizes and digests of those files that are on the device, by path."""
        facts = 'echo $(wc -c < "$f") $(sha256sum < "$f")'
        command = f'for f in {shlex.join(remotes)}; do if [ -f "$f" ]; then {facts}; else echo; fi; done'
        lines = [line.split()[:2] for line in self.shell(command, limit=300).splitlines()]
        if any(len(words) == 1 for words in lines):
            raise DataError(f"{self.serial}: no sha256sum on the device; it takes Android 8 or later")
        pairs = zip(remotes, lines, strict=True)
        return {path: FileFacts(int(words[0]), words[1]) for path, words in pairs if words}

    def failure(self, what: str, reason: str) -> DataError:
        """The error to raise after a failed command: whether the device is gone, or only this went wrong."""
        if self.adb.state(*self._address) == "device":
            return DataError(f"{self.serial}: {what}: {reason}")
        return DeviceLostError(f"{self.serial}: the device is gone ({what}); was it unplugged?")

    def _adb(self, *arguments, limit):
        return self.adb.run(*self._address, *arguments, limit=limit)

    def _copy(self, direction, source, target, size):
        answer = self._adb(direction, source, target, limit=60 + size / _SLOWEST_LINK)
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
    with open(path, "rb") as file:
        content = file.read()
    return FileFacts(len(content), hashlib.sha256(content).hexdigest())
