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


def _attached(adb) -> list[android.Attached]:
    answer = adb.run("devices", "-l")
    if answer.status:
        raise DataError(f"adb cannot list devices: {answer.reason}")
    return android.parse_attached(answer.output)


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


def _phones(adb, attached, say) -> list[tuple[Device, android.Attached]]:
    """One transport per phone, by USB where there is a choice; and its name where serial numbers are equal."""
    serials, phones = [entry.serial for entry in attached], {}
    for entry in sorted(attached, key=lambda entry: entry.over_network):
        device = Device(adb, entry.serial, entry.transport if serials.count(entry.serial) > 1 else "")
        phones.setdefault(identity_of(device), []).append((device, entry))
    own = [serial for serial, _ in phones]
    for (serial, _), ((taken, entry), *others) in phones.items():
        for other, _ in others:
            say(f"{other.serial} is the same phone as {taken.serial}: taking the latter")
        if own.count(serial) > 1:
            shared = serials.count(entry.serial) > 1
            taken.name = f"{entry.serial}, transport {entry.transport}" if shared else entry.serial
            say(f"{taken.name}: another phone has its serial number, {serial}, too")
    return [transports[0] for transports in phones.values()]


def identity_of(device: Device) -> tuple[str, str]:
    """The phone's own serial number, which is not always its alone, and what is its alone until it is restarted.

    The latter is '' where it cannot be read. Both are the same on every transport.
    """
    serial, _, boot = device.shell(
        "getprop ro.serialno; cat /proc/sys/kernel/random/boot_id 2>/dev/null || true"
    ).partition("\n")
    return serial.strip() or device.serial, boot.strip()
