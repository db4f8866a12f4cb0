"""Conditions under which a phone's times mean something: cool at the start, as warm at the end, clocks held."""

import time
from contextlib import contextmanager
from typing import NamedTuple

from patchwork_tf.benchmarks import android
from patchwork_tf.benchmarks.adb import Device, DeviceLostError
from patchwork_tf.errors import DataError
from patchwork_tf.interrupts import uninterrupted

POLL_SECONDS = 5
MOVED_CELSIUS = 3.0  # of the surface within one run; it is slow, the clocks have followed long before
_FIXED_PERFORMANCE = "cmd power set-fixed-performance-mode-enabled"


class Heat(NamedTuple):
    """How hot a device is: throttling status as in `Thermal`, None before Android 10; degrees of its surface, None
    where nothing measures it.
    """

    status: int | None
    celsius: float | None


def read_heat(device: Device) -> Heat:
    """Asks the thermal service, or the battery where there is none. A device may have neither."""
    thermal = android.parse_thermal(device.attempt("dumpsys thermalservice").output)
    if thermal and thermal.surface is not None:
        return Heat(thermal.status, thermal.surface)
    return Heat(
        thermal.status if thermal else None, battery.celsius if (battery := read_battery(device)) else None
    )


def read_battery(device: Device) -> android.Battery | None:
    """What the battery service says; None where there is none, as in a TV box."""
    try:
        return android.parse_battery(device.attempt("dumpsys battery").output)
    except DeviceLostError:
        raise
    except DataError:
        return None


def wait_until_cool(device: Device, limit: float, say) -> Heat:
    """Waits until nothing throttles.

    Args:
        limit: seconds to wait at most.
        say: is told what is waited for.

    Raises:
        DataError: if it is still hot then.
    """
    end = time.monotonic() + limit
    while (heat := read_heat(device)).status:
        name = android.THERMAL_STATUS[heat.status]
        if time.monotonic() > end:
            raise DataError(
                f"{device.serial}: still hot after {limit:.0f} s: thermal status {heat.status} ({name}), "
                f"{_degrees(heat)}; let it cool, out of its case and off the charger"
            )
        say(f"{device.serial}: thermal status {heat.status} ({name}), {_degrees(heat)}: waiting")
        time.sleep(POLL_SECONDS)
    return heat


def _degrees(heat) -> str:
    return "temperature unknown" if heat.celsius is None else f"{heat.celsius:.1f} degrees"


def taint(before: Heat, after: Heat) -> str | None:
    """Why a run between two readings is not to be trusted; None if it is."""
    if after.status:
        return f"thermal status rose to {after.status} ({android.THERMAL_STATUS[after.status]})"
    if after.celsius is None or before.celsius is None:
        return None
    moved = after.celsius - before.celsius
    return f"temperature moved by {moved:+.1f} degrees" if abs(moved) > MOVED_CELSIUS else None


@contextmanager
def fixed_performance(device: Device, say):
    """Within it, a phone that can holds its clocks at what it can sustain; given back whatever happens.

    The mode cannot be asked for, so that 'given back' means switched off.

    Yields:
        Whether the phone has the mode (some do from Android 11 on).
    """
    try:
        yield device.attempt(f"{_FIXED_PERFORMANCE} true").status == 0
    finally:
        with uninterrupted():
            try:
                device.attempt(f"{_FIXED_PERFORMANCE} false")
            except DataError:
                say(
                    f"{device.serial}: fixed-performance mode may still be on; end it with "
                    f"'adb -s {device.serial} shell {_FIXED_PERFORMANCE} false', or by a restart"
                )
