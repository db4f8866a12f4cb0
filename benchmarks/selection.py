"""Which of the attached devices to measure."""

from patchwork_tf.benchmarks import android
from patchwork_tf.benchmarks.adb import Adb, Device
from patchwork_tf.errors import DataError, UsageError

_REMEDIES = {
    "unauthorized": "unlock it and allow USB debugging in the dialog it shows",
    "authorizing": "unlock it and allow USB debugging in the dialog it shows",
    "offline": "unplug it and plug it in again",
    "no permissions": "this user may not use it; see adb's documentation on udev rules",
}


def select(adb: Adb, serials: list[str], say) -> list[Device]:
    """Devices to measure, each phone once even if it is attached by USB and by TCP.

    Args:
        adb: the client.
        serials: what adb calls them; 'host:port' is connected to first. If empty, the only phone attached.
        say: is told which transport was taken where there were several.

    Raises:
        DataError: if a device is missing or cannot be used.
        UsageError: if none is named and several are there.
    """
    attached = _attached(adb)
    for serial in serials:
        if ":" in serial and (serial not in attached or attached[serial].state == "offline"):
            adb.connect(serial)
            attached = _attached(adb)
    wanted = [_named(serial, attached) for serial in serials] or list(attached.values())
    usable = [entry for entry in wanted if entry.state == "device"]
    if not usable or (serials and len(usable) < len(wanted)):
        raise DataError(_why_not(wanted))
    phones = _by_phone(adb, usable, say)
    if len(phones) > 1 and not serials:
        names = ", ".join(f"{entry.serial} ({entry.model})" for entry in phones)
        raise UsageError(f"{len(phones)} devices are attached: {names}; choose with --serial, one or several")
    return [Device(adb, entry.serial) for entry in phones]


def _attached(adb) -> dict[str, android.Attached]:
    answer = adb.run("devices", "-l")
    if answer.status:
        raise DataError(f"adb cannot list devices: {answer.reason}")
    return {entry.serial: entry for entry in android.parse_attached(answer.output)}


def _named(serial, attached):
    if serial not in attached:
        others = ", ".join(attached) or "none"
        raise DataError(f"--serial={serial}: no such device is attached; attached: {others}")
    return attached[serial]


def _why_not(wanted) -> str:
    entry = next((entry for entry in wanted if entry.state != "device"), None)
    if entry is None:
        return "no device is attached: plug in a phone that has USB debugging on, or give --serial=HOST:PORT"
    remedy = next((remedy for state, remedy in _REMEDIES.items() if entry.state.startswith(state)), "")
    return f"{entry.serial}: adb says '{entry.state}'" + (f"; {remedy}" if remedy else "")


def _by_phone(adb, attached, say) -> list[android.Attached]:
    """One transport per phone: by USB where there is a choice."""
    phones = {}
    for entry in sorted(attached, key=lambda entry: entry.over_network):
        phones.setdefault(serial_of(Device(adb, entry.serial)), []).append(entry)
    for taken, *others in phones.values():
        for other in others:
            say(f"{other.serial} is the same phone as {taken.serial}: taking the latter")
    return [transports[0] for transports in phones.values()]


def serial_of(device: Device) -> str:
    """The phone's own serial number, the same on every transport."""
    return device.shell("getprop ro.serialno").strip() or device.serial
