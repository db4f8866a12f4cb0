"""patchwork-benchmark --target=adb, from its flags to the report, over a real adb client on emulated devices."""

import os
import re
import tempfile

import adb_clients
import pytest
from bench import RUNS, STEPS, Bench, left_as_it_was, runs_of
from emulated_device import EmulatedDevice
from runs import facts

from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.benchmarks import report


@pytest.fixture(scope="module", params=adb_clients.paths()[:1])
def adb(request, tmp_path_factory):
    with adb_clients.client(request.param, tmp_path_factory.mktemp("home")) as adb:
        yield adb


@pytest.fixture
def command(adb, tmp_path, monkeypatch):
    """Function of flags that runs the command on files that need no export, and returns its exit code."""
    bench = Bench(adb, tmp_path)
    monkeypatch.setattr(benchmark, "_export_all", lambda names, *_: (bench.models, facts(bench.models)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    usual = ["--target=adb", f"--adb={adb.path}", f"--runner={bench.runner}", f"--steps={STEPS}", "--repeats=2"]
    return lambda *flags: benchmark.main([*usual, *flags])


def test_a_report_of_an_emulated_phone(command, tmp_path, capsys):
    outputs = [f"--{kind}={tmp_path}/phone.{kind}" for kind in ("json", "html", "csv")]
    with EmulatedDevice(tmp_path / "phone") as phone:
        assert command(f"--serial={phone.name}", "--fps=30", *outputs) == 0
        assert left_as_it_was(phone)
    said = capsys.readouterr().out
    assert said.startswith("EMULATED: no phone was measured")
    assert f"{2 * STEPS} frames per system, paced at 30 per second" in said
    result = report.read(str(tmp_path / "phone.json"))
    assert result["emulated"] is True
    assert result["machine"]["serial"] == "EMULATED0001"
    assert result["settings"]["repeats"] == 2
    assert [row["count"] for row in result["systems"]["vid-sf"]["repeats"]] == [STEPS, STEPS]
    assert result["systems"]["vid-sf"]["deadline_misses"] == 0
    assert "<title>EMULATED" in (tmp_path / "phone.html").read_text()
    assert (tmp_path / "phone.csv").read_text().count("EMULATED DEVICE") == 3
    assert os.listdir(tmp_path / "tmp") == []  # what was kept is in the report now


def test_a_run_that_broke_is_resumed(command, tmp_path, capsys):
    output = f"--json={tmp_path}/phone.json"
    names = [f"{system}.{repeat}" for system, repeat in RUNS]
    with EmulatedDevice(tmp_path / "phone") as phone:
        phone.faults.unplug_command, phone.faults.unplug_after = f"--samples={names[2]}.txt", 0
        assert command(f"--serial={phone.name}", output) == 1
        (line,) = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("patchwork-benchmark:")
        ]
        assert "the device is gone" in line
        assert not (tmp_path / "phone.json").exists()
        (resume,) = re.findall(r"--resume=\S+(?= continues)", line)
        phone.faults.unplug_command = None
        phone.commands.clear()
        phone.plug_in()
        assert command(f"--serial={phone.name}", output, resume) == 0
        assert runs_of(phone) == names[2:]
    assert len(report.read(str(tmp_path / "phone.json"))["systems"]["vid-pw-m4n2"]["samples"]) == 2 * STEPS
    assert os.path.isdir(resume.removeprefix("--resume="))  # whoever names a folder keeps it


def test_several_phones_have_a_report_each(command, tmp_path):
    with EmulatedDevice(tmp_path / "1") as one, EmulatedDevice(tmp_path / "2", serial="EMU:2") as two:
        assert command(f"--serial={one.name},{two.name}", f"--json={tmp_path}/phone.json") == 0
    written = sorted(path.name for path in tmp_path.glob("phone*.json"))
    assert written == ["phone.EMULATED0001.json", "phone.EMU_2.json"]


def test_no_phone_leaves_nothing(command, tmp_path, capsys):
    assert command("--serial=NOBODY", f"--json={tmp_path}/phone.json") == 1
    assert "--serial=NOBODY: no such device" in capsys.readouterr().err
    assert os.listdir(tmp_path / "tmp") == []
    assert not (tmp_path / "phone.json").exists()


def test_flags_of_phones_say_nothing_to_the_host(capsys):
    assert benchmark.main(["--fps=30"]) == 2
    assert "--fps is for phones: say --target=adb too" in capsys.readouterr().err
