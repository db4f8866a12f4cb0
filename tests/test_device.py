"""What real phones printed is read right, or refused for the right reason."""

import json

import pytest

from patchwork_tf.benchmarks import adb, android
from patchwork_tf.errors import DataError, UsageError

UNKNOWN = android.Processor("", {})


@pytest.fixture
def log(real_data):
    """Function of a file's name below android_logs, to its text."""

    def read(name):
        with open(real_data(f"android_logs/{name}"), encoding="utf-8") as file:
            return file.read()

    return read


def test_attached_devices(log):
    assert adb.parse_attached(log("adb/devices_l_pixel5_and_emulator.txt")) == [
        adb.Attached("0A041FDD400000", "device", "Pixel_5", "2"),
        adb.Attached("emulator-5554", "device", "sdk_gphone64_x86_64", "1"),
    ]
    assert adb.parse_attached(log("adb/devices_none_daemon_started.txt")) == []


def test_attached_devices_that_cannot_be_used():
    text = """List of devices attached
X1  unauthorized usb:1-2 transport_id:3
X2  no permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com] usb:1-3
192.168.0.7:5555  offline
adb-X4-q1._adb-tls-connect._tcp  device product:p model:M device:d transport_id:9
"""
    attached = adb.parse_attached(text)
    assert [one.state for one in attached] == [
        "unauthorized",
        "no permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com]",
        "offline",
        "device",
    ]
    assert [one.over_network for one in attached] == [False, False, True, True]
    with pytest.raises(DataError, match="cannot connect to daemon"):
        adb.parse_attached("error: cannot connect to daemon")


def test_lists_of_other_clients():
    """A bare path of the bus on macOS, serials with spaces, none at all, what the server says of itself."""
    text = """* daemon not running; starting now at tcp:5037
List of devices attached
* daemon started successfully
0A041FDD400000         device 1-1 product:redfin model:Pixel_5 device:redfin transport_id:1
adb-1A2B3C4D-x9YzAb (2)._adb-tls-connect._tcp device product:a model:Pixel_8 device:b transport_id:7
(no serial number)     device usb:3-2 product:tv model:Box device:box transport_id:3
(no serial number)     no permissions; see [http://developer.android.com/tools/device.html] 3-3 transport_id:4

"""
    attached = adb.parse_attached(text)
    assert attached == [
        adb.Attached("0A041FDD400000", "device", "Pixel_5", "1"),
        adb.Attached("adb-1A2B3C4D-x9YzAb (2)._adb-tls-connect._tcp", "device", "Pixel_8", "7"),
        adb.Attached("(no serial number)", "device", "Box", "3"),
        adb.Attached(
            "(no serial number)",
            "no permissions; see [http://developer.android.com/tools/device.html]",
            "",
            "4",
        ),
    ]
    assert [one.over_network for one in attached] == [False, True, False, False]
    with pytest.raises(DataError, match="not a device as adb lists it: 'nonsense'"):
        adb.parse_attached("List of devices attached\nnonsense\n")


@pytest.mark.parametrize(
    ("properties", "emulated"),
    [
        ({"ro.hardware": "cutf_cvm", "ro.product.device": "vsoc_arm64_only"}, True),
        ({"ro.hardware": "vbox86", "ro.product.manufacturer": "Genymotion"}, True),
        ({"ro.product.model": "WayDroid arm64 Device"}, True),
        ({"ro.boot.hardware": "ranchu"}, True),
        ({"ro.product.cpu.abi": "x86_64", "ro.product.model": "Box"}, True),
        ({"ro.hardware": "qcom", "ro.product.cpu.abi": "arm64-v8a", "ro.product.model": "Pixel 5"}, False),
    ],
)
def test_virtual_devices_are_no_phones(properties, emulated):
    assert android.is_emulated(properties) is emulated


def test_properties(log):
    properties = android.parse_properties(log("getprop/pixel-2-xl.txt"))
    assert len(properties) == log("getprop/pixel-2-xl.txt").count("\n[") + 1
    assert properties["ro.boot.phandle"] == ""
    assert android.describe(properties) == {
        "model": "Pixel 2 XL",
        "manufacturer": "Google",
        "android": "8.1.0",
        "build": "google/taimen/taimen:8.1.0/OPP5.170921.005/4373449:user/release-keys",
        "soc": "msm8998",
        "abi": "arm64-v8a",
    }
    assert not android.is_emulated(properties)
    assert android.is_emulated({"ro.hardware": "ranchu"})
    assert android.parse_properties("[a]: [one\ntwo]\n[b]: [3]\n") == {"a": "one\ntwo", "b": "3"}
    with pytest.raises(DataError, match="getprop: not found"):
        android.parse_properties("/system/bin/sh: getprop: not found")


def test_battery(log):
    assert android.parse_battery(log("dumpsys/battery_pixel_c.txt")) == android.Battery(19.0, 27.5, True)
    with pytest.raises(DataError, match="Can't find service: battery"):
        android.parse_battery("Can't find service: battery")


def test_heat(log):
    text = log("dumpsys/thermalservice_galaxy_a52_android12.txt")
    assert android.parse_thermal(text) == android.Heat(0, 24.7)
    assert android.parse_thermal(text.replace("Status: 0", "Status: 3")).status == 3
    assert android.parse_thermal(text.replace("mType=3", "mType=9")).celsius == 23.8  # no skin: the battery
    assert android.parse_thermal("Can't find service: thermalservice\n") == android.Heat(None, None)
    with pytest.raises(DataError, match="overridden"):
        android.parse_thermal(text.replace("IsStatusOverride: false", "IsStatusOverride: true"))
    with pytest.raises(DataError, match="Permission Denial"):
        android.parse_thermal("Permission Denial: can't dump thermalservice")


def test_what_is_current_counts_not_what_is_cached():
    text = """Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=50.0, mType=3, mName=skin, mStatus=1}
Current temperatures from HAL:
\tTemperature{mValue=-3.5, mType=3, mName=skin, mStatus=0}
"""
    assert android.parse_thermal(text).celsius == -3.5


def test_a_box_without_sensors_and_a_service_that_is_not_ready():
    ready = (
        "Thermal Status: 0\nHAL Ready: true\nCurrent temperatures from HAL:\nCurrent cooling devices from HAL:\n"
    )
    assert android.parse_thermal(ready) == android.Heat(0, None)
    cached = "\tTemperature{mValue=50.0, mType=3, mName=skin, mStatus=1}\n"
    text = f"Thermal Status: 1\nCached temperatures:\n{cached}HAL Ready: false\n"
    assert android.parse_thermal(text) == android.Heat(1, None)


def _parsed(lines, processor=UNKNOWN):
    return android.parse_clusters(lines, processor)


def _clusters(files):
    """Of files of sysfs, as grep prints them on the device."""
    lines = (f"{path.removeprefix(android.CPUS + '/')}:{content.strip()}" for path, content in files.items())
    return _parsed("\n".join(lines))


def test_clusters(log):
    files = json.loads(log("sysfs_cpu/pixel-2-xl.json"))
    found = _clusters(files)
    assert found == [
        android.Cluster((4, 5, 6, 7), 2457600, "schedutil"),
        android.Cluster((0, 1, 2, 3), 1900800, "schedutil"),
    ]
    assert [cluster.mask for cluster in found] == ["f0", "f"]
    files["/sys/devices/system/cpu/online"] = "0-3,6\n"
    assert [cluster.mask for cluster in _clusters(files)] == ["40", "f"]
    with pytest.raises(DataError, match="cpuinfo_max_freq"):
        _parsed("grep: /sys/devices/system/cpu/online: Permission denied")


def test_big_goes_by_capacity_then_clock_then_core():
    """As on chips whose prime cores have the lower clock, or the same."""
    cores = {0: "Cortex-A55", 4: "Cortex-A78"}
    processor = android.Processor("", cores)
    lines = "\n".join(
        f"cpu{cpu}/{name}:{value}"
        for cpu, clock, capacity in ((0, 2000000, 400), (4, 2000000, 1024))
        for name, value in (("cpufreq/cpuinfo_max_freq", clock), ("cpu_capacity", capacity))
    )
    assert [c.cpus for c in _parsed(f"online:0-7\npossible:0-7\n{lines}")] == [(4,), (0,)]
    assert [c.cpus for c in _parsed(lines.replace(":2000000", ":1800000", 1))] == [(4,), (0,)]
    without = "\n".join(line for line in lines.splitlines() if "capacity" not in line)
    assert [c.cpus for c in _parsed(without, processor)] == [(4,), (0,)]
    assert [c.cpus for c in _parsed(without.replace(":2000000", ":2100000", 1), processor)] == [(0,), (4,)]
    assert android.offline("online:0-3\npossible:0-7\n") == {4, 5, 6, 7}
    assert android.offline("online:0-7\n") == set()


def test_a_cluster_is_chosen_by_what_the_device_has():
    prime, gold, silver = (
        android.Cluster((7,), 2840000, "walt"),
        android.Cluster((4, 5, 6), 2420000, "walt"),
        android.Cluster((0, 1, 2, 3), 1800000, "walt"),
    )
    three = [prime, gold, silver]
    assert [android.choose(three, name, 1) for name in ("big", "middle", "little", "all")] == [*three, None]
    assert [cluster.mask for cluster in three] == ["80", "70", "f"]
    with pytest.raises(UsageError, match="has 1 CPUs"):
        android.choose(three, "big", 2)
    with pytest.raises(UsageError, match="has 2 clusters"):
        android.choose([gold, silver], "middle", 1)


def test_cpuinfo(log):
    processor = android.parse_cpuinfo(log("proc_cpuinfo/pixel-2-xl.txt"))
    assert processor.hardware == "Qualcomm Technologies, Inc MSM8998"
    assert processor.name_of((0, 1, 2, 3)) == "4 x Kryo Silver (Cortex-A53)"
    assert processor.name_of((4, 5, 6, 7)) == "4 x Kryo Gold (Cortex-A73)"
    new = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd85\n"
    assert android.parse_cpuinfo(new).name_of([0]) == "1 x Cortex-X925"
    assert android.parse_cpuinfo(new.replace("0x41", "0x51").replace("0xd85", "0x001")).name_of([0]) == "1 x Oryon"
    unknown = android.parse_cpuinfo("processor\t: 0\nCPU implementer\t: 0x61\nCPU part\t: 0x022\n")
    assert unknown.name_of([0]) == "1 x core 0x61/0x22"
    assert android.parse_cpuinfo("processor\t: 0\nmodel name\t: AMD EPYC\n").name_of([0]) == ""
    with pytest.raises(DataError, match="not a /proc/cpuinfo"):
        android.parse_cpuinfo("cat: /proc/cpuinfo: Permission denied")
