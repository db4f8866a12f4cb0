"""patchwork-benchmark --target=adb, from its flags to the report, over a real adb client on emulated devices."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from bench import RUNS, STEPS, left_as_it_was, runs_of
from conftest import small_model
from emulated_device import EmulatedDevice
from exports import export

from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.benchmarks import report


@pytest.fixture
def command(adb, bench, tmp_path, monkeypatch):
    """Function of flags that runs the command on files that need no export, and returns its exit code."""
    monkeypatch.setattr(benchmark, "_workloads", lambda folder: bench.workloads)
    monkeypatch.setenv("PATH", f"{os.path.dirname(adb.path)}:{os.environ['PATH']}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    usual = ["--target=adb", f"--runner={bench.runner}", f"--steps={STEPS}", "--repeats=2"]
    return lambda *flags: benchmark.main([*usual, *flags])


def test_a_report_of_an_emulated_phone(command, tmp_path, capsys):
    outputs = [f"--{kind}={tmp_path}/phone.{kind}" for kind in ("json", "html")]
    with EmulatedDevice(tmp_path / "phone") as phone:
        assert command(f"--serial={phone.name}", "--fps=30", *outputs) == 0
        assert left_as_it_was(phone)
    said = capsys.readouterr().out
    assert said.startswith("EMULATED: no phone was measured")
    assert f"{2 * STEPS} frames per system, paced at 30 per second" in said
    result = report.read(str(tmp_path / "phone.json"))
    assert result.emulated is True
    assert result.machine["serial"] == "EMULATED0001"
    assert result.settings["repeats"] == 2
    assert [len(repeat.samples) for repeat in result.runs["vid-sf"].repeats] == [STEPS, STEPS]
    assert result.runs["vid-sf"].deadline_misses == 0
    assert "<title>EMULATED" in (tmp_path / "phone.html").read_text()
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
    assert len(report.read(str(tmp_path / "phone.json")).runs["vid-pw-m4n2"].samples) == 2 * STEPS
    assert os.path.isdir(resume.removeprefix("--resume="))  # whoever names a folder keeps it


def test_several_phones_have_a_report_each(command, tmp_path):
    with EmulatedDevice(tmp_path / "1") as one, EmulatedDevice(tmp_path / "2", serial="EMU:2") as two:
        assert command(f"--serial={one.name},{two.name}", f"--json={tmp_path}/phone.json") == 0
    written = sorted(path.name for path in tmp_path.glob("phone*.json"))
    assert written == ["phone.EMULATED0001.json", "phone.EMU_2.json"]


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(monkeypatch, adb, bench, small_networks, on_tensorflow, in_a_terminal, tmp_path):
    """All of the process group gets the signal, adb's client included; the phone is put back even so."""
    kept, steps = tmp_path / "kept-here", ["--steps=12", "--repeats=3"]
    export(small_model("small-sf", image_size=64), f"{tmp_path}/small-sf.tflite", verify_steps=2)
    program = [sys.executable, "-m", "patchwork_tf.benchmarks", "--plugins=small_network", "--target=adb"]
    flags = [f"--runner={bench.runner}", f"--tflite={tmp_path}/small-sf.tflite", *steps, f"--resume={kept}"]
    monkeypatch.setenv("PATH", f"{os.path.dirname(adb.path)}:{os.environ['PATH']}")
    environment = {**on_tensorflow, "PATH": os.environ["PATH"]}
    options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True, "env": environment}
    bench.faults(**{"small-sf.1": "slow"})
    with EmulatedDevice(tmp_path / "phone") as phone:
        flags += [f"--serial={phone.name}", f"--json={tmp_path}/phone.json"]
        process = subprocess.Popen([*program, *flags], **options)
        while "small-sf.1" not in runs_of(phone):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert f"--resume={kept} continues" in errors
        assert errors.splitlines()[-1] == "patchwork-benchmark: interrupted"
        assert "Traceback" not in errors
        assert left_as_it_was(phone)
        assert phone.system.fixed_performance() == ["true", "false"]
        assert not (tmp_path / "phone.json").exists()
        bench.faults()
        phone.commands.clear()
        assert benchmark.main(["--target=adb", *flags]) == 0
        assert runs_of(phone) == ["small-sf.1", "small-sf.2"]  # what was finished is not measured again
    (run,) = report.read(str(tmp_path / "phone.json")).runs.values()
    assert len(run.samples) == 3 * STEPS


def test_no_phone_leaves_nothing(command, tmp_path, capsys):
    assert command("--serial=NOBODY", f"--json={tmp_path}/phone.json") == 1
    assert "--serial=NOBODY: no such device" in capsys.readouterr().err
    assert os.listdir(tmp_path / "tmp") == []
    assert not (tmp_path / "phone.json").exists()


def test_no_adb(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert benchmark.main(["--target=adb"]) == 1
    assert "adb: no such program. Install" in capsys.readouterr().err


def test_flags_of_phones_say_nothing_to_the_host(capsys):
    assert benchmark.main(["--cluster=big"]) == 2
    assert "--cluster is for phones: say --target=adb too" in capsys.readouterr().err
