"""Real adb clients and the emulated device: what arrives, and what is not believed."""

import os

import pytest
from adb_clients import both_clients
from emulated_device import EmulatedDevice

from patchwork_tf.benchmarks.adb import Device, DeviceLostError, facts_of, select
from patchwork_tf.errors import DataError, UsageError

TMP = "/data/local/tmp"


pytestmark = both_clients


@pytest.fixture
def device(adb, phone):
    adb.connect(phone.name)
    return Device(adb, phone.name)


@pytest.fixture
def large_file(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3_000_000))
    return str(path)


def test_a_command_answers_with_status_and_both_outputs(device):
    answer = device.attempt("echo one; echo two >&2; exit 7")
    assert (answer.status, answer.output, answer.errors) == (7, "one\n", "two\n")
    assert device.shell("printf '%s' 'no newline'") == "no newline"
    with pytest.raises(DataError, match="'false # x' failed: exit status 1"):
        device.shell("false # x")


def test_a_command_that_kills_its_shell_is_noticed(device):
    with pytest.raises(DataError, match="broke off"):
        device.attempt("kill -9 $$")


def test_files_come_back_as_they_went(device, large_file, tmp_path):
    device.push(large_file, f"{TMP}/it")
    device.pull(f"{TMP}/it", str(tmp_path / "back"))
    assert facts_of(tmp_path / "back") == facts_of(large_file)
    assert device.facts_of(f"{TMP}/it") == facts_of(large_file)
    with pytest.raises(DataError, match="no /data/local/tmp/none on the device"):
        device.pull(f"{TMP}/none", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("faults", "error", "message"),
    [
        ({"shorten_push": True}, DataError, "only 1500000 of 3000000 bytes arrived"),
        ({"room": 1000}, DataError, "No space left on device"),
        ({"unplug_push": 100_000}, DeviceLostError, "is gone"),
    ],
)
def test_a_push_that_broke(device, phone, large_file, faults, error, message):
    vars(phone.faults).update(faults)
    with pytest.raises(error, match=message) as raised:
        device.push(large_file, f"{TMP}/it")
    assert type(raised.value) is error


def test_a_pull_that_broke(device, phone, large_file, tmp_path):
    device.push(large_file, f"{TMP}/it")
    phone.faults.shorten_pull = True
    with pytest.raises(DataError, match="only 1500000 of 3000000 bytes arrived"):
        device.pull(f"{TMP}/it", str(tmp_path / "back"))
    phone.faults.unplug_pull = 1000
    with pytest.raises(DeviceLostError, match="is gone"):
        device.pull(f"{TMP}/it", str(tmp_path / "back"))


def test_a_device_that_vanishes_and_returns(adb, device, phone):
    phone.faults.unplug_command = "sleep"
    with pytest.raises(DeviceLostError, match="is gone"):
        device.shell("sleep 20; echo slept")
    phone.plug_in()
    adb.connect(phone.name)
    assert device.shell("echo back") == "back\n"


def test_no_end_in_time(adb, device):
    with pytest.raises(DataError, match="no end after 0 s"):
        device.shell("sleep 20", limit=0.3)
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1: cannot connect"):
        adb.connect("127.0.0.1:1", limit=0.2)


def test_version(adb):
    assert adb.version()[0].isdigit()


class TestSelection:
    """Of devices that are there, or are not."""

    def test_the_only_device_needs_no_name(self, adb, device):
        assert [one.serial for one in select(adb, [], print)] == [device.serial]

    def test_a_name_connects(self, adb, phone):
        assert [one.serial for one in select(adb, [phone.name], print)] == [phone.name]

    def test_several_need_one(self, adb, device, tmp_path):
        with EmulatedDevice(tmp_path / "second", serial="EMULATED0002") as second:
            adb.connect(second.name)
            names = f"{device.serial} .Patchwork_emulated_device., {second.name}"
            with pytest.raises(UsageError, match=f"2 devices are attached: ({names}|.*); choose with --serial"):
                select(adb, [], print)
            both = [second.name, device.serial]
            assert {one.serial for one in select(adb, both, print)} == set(both)

    def test_one_phone_on_two_transports_is_one_phone(self, adb, device, tmp_path):
        said = []
        with EmulatedDevice(tmp_path / "second") as second:
            adb.connect(second.name)
            (taken,) = select(adb, [], said.append)
            (other,) = {device.serial, second.name} - {taken.serial}
            assert said == [f"{other} is the same phone as {taken.serial}: taking the latter"]

    def test_two_phones_with_one_serial_number_are_two(self, adb, device, phone, tmp_path):
        with EmulatedDevice(tmp_path / "second") as second:
            for number, one in enumerate((phone, second)):
                path = one.system.folder / "proc/sys/kernel/random/boot_id"
                path.parent.mkdir(parents=True)
                path.write_text(f"boot-{number}\n")
            adb.connect(second.name)
            said = []
            found = select(adb, [device.serial, second.name], said.append)
            assert {one.name for one in found} == {device.serial, second.name}
            assert said == [f"{one.name}: another phone has its serial number, EMULATED0001, too" for one in found]

    def test_a_neighbour_that_cannot_be_used_is_named(self, adb, device, tmp_path):
        said = []
        with EmulatedDevice(tmp_path / "shy", key="refuse") as shy:
            adb.run("connect", shy.name)
            assert [one.serial for one in select(adb, [], said.append)] == [device.serial]
            (line,) = said
            assert line.startswith(f"{shy.name}: adb says 'unauthorized'; unlock it and allow USB debugging")
            assert line.endswith("left out")

    def test_a_key_that_is_not_accepted(self, adb, phone, tmp_path):
        refused = pytest.raises(DataError, match="'unauthorized'; unlock it and allow USB debugging")
        with EmulatedDevice(tmp_path / "shy", key="refuse") as shy, refused:
            select(adb, [shy.name], print)

    def test_a_key_that_is_accepted(self, adb, phone, tmp_path):
        with EmulatedDevice(tmp_path / "careful", key="accept") as careful:
            assert [one.serial for one in select(adb, [careful.name], print)] == [careful.name]

    def test_nothing_there(self, adb, device):
        with pytest.raises(
            DataError, match=f"--serial=R5CT: no such device is attached; attached: {device.serial}"
        ):
            select(adb, ["R5CT"], print)
        adb.run("disconnect", device.serial)
        with pytest.raises(DataError, match="no device is attached: plug in"):
            select(adb, [], print)
