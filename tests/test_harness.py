"""Whole benchmarks over real adb clients on the emulated device, and all that may go wrong between here and there.

Faults are shown with a stand-in for the native runner, which a test can foretell; one test runs the real one.
"""

import dataclasses
import platform

import fake_runner
import pytest
from adb_clients import both_clients
from bench import RUNS, STEPS, SYSTEMS, left_as_it_was, runs_of
from emulated_device import EmulatedDevice
from runs import run_of

from patchwork_tf.benchmarks.phone import REMOTE
from patchwork_tf.benchmarks.plan import Workload
from patchwork_tf.grid import Grid
from patchwork_tf.models.config import StreamConfig


@both_clients
def test_a_whole_benchmark(bench, phone):
    assert bench.start(phone.name) == (0, "")
    (result,) = bench.results
    assert (result.target, result.emulated, result.finished) == ("adb", True, True)
    assert result.machine["model"] == "Patchwork emulated device"
    assert result.machine["runner"] == "ndk"
    assert result.machine["adb"] == bench.adb.path
    assert result.machine["governor"] == "schedutil"
    assert result.machine["charge_percent"] == 80
    assert result.settings["steps"] == STEPS
    assert list(result.runs) == list(SYSTEMS)
    for system, run in result.runs.items():
        for number, repeat in enumerate(run.repeats):
            assert repeat.load_ms == 5
            assert (repeat.tainted, repeat.reason) == (False, None)
            assert (repeat.temperature_before, repeat.temperature_after) == (30.0, 30.0)
            raw = [fake_runner.nanoseconds(system, number, frame) for frame in range(STEPS)]
            shares = [raw[frame // 4 * 4] / 4 for frame in range(STEPS)] if "delay" in system else raw
            assert repeat.samples == pytest.approx([ns / 1e6 for ns in shares])
    assert runs_of(phone) == [f"{system}.{repeat}" for system, repeat in RUNS]
    assert phone.system.fixed_performance() == ["true", "false"]
    assert bench.progress == [len(RUNS)] * len(RUNS)
    assert left_as_it_was(phone)


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="the runner's bundle is for Linux")
def test_a_whole_benchmark_with_the_real_runner(bench, phone, echo):
    """On a file that does next to nothing, played as every kind of stream: plain, with a delay, and flip."""
    streams = {"plain": StreamConfig(), "delayed": StreamConfig(4, 3), "flip": StreamConfig(flip=True)}
    bench.workloads = {
        name: Workload(dataclasses.replace(run_of("davis-pw-m2n1"), system=name, stream=stream), echo, Grid(2, 1))
        for name, stream in streams.items()
    }
    bench.runner = None
    assert bench.start(phone.name, steps=40, fps=200) == (0, "")
    (result,) = bench.results
    assert (result.emulated, result.machine["runner"]) == (True, "bundle")
    kinds = {name: set(run.kinds) for name, run in result.runs.items()}
    assert kinds == {"plain": {"window"}, "delayed": {"part"}, "flip": {"window"}}
    for run in result.runs.values():
        assert len(run.samples) == 2 * 40
        assert run.statistics["median_ms"] > 0
        assert run.peak_mb > 1
    assert left_as_it_was(phone)


class TestLostDevice:
    """What was finished is kept, and only the rest is run when the phone is back."""

    def lose(self, bench, phone, **faults):
        vars(phone.faults).update(faults)
        code, message = bench.start(phone.name)
        assert code == 1
        assert f"{phone.name}: the device is gone" in message
        assert f"--resume={bench.kept} continues" in message
        assert len(message.splitlines()) == 1
        assert bench.results == []
        assert any("fixed-performance mode may still be on" in said for said in bench.said) or not runs_of(phone)
        assert any(f"files may be left in {REMOTE}" in said for said in bench.said)

    def resume(self, bench, phone):
        """Continues; returns what had to be run for that."""
        vars(phone.faults).update(vars(type(phone.faults)()))
        phone.commands.clear()
        bench.faults()
        phone.plug_in()
        before = bench.finished()
        assert bench.start(phone.name) == (0, "")
        assert before.items() <= bench.finished().items()
        assert [len(run.repeats) for run in bench.results[0].runs.values()] == [2] * len(SYSTEMS)
        assert left_as_it_was(phone)
        return runs_of(phone)

    def test_in_mid_push(self, bench, phone):
        self.lose(bench, phone, unplug_push=100_000)
        assert bench.finished() == {}
        assert self.resume(bench, phone) == [f"{system}.{repeat}" for system, repeat in RUNS]

    @both_clients
    def test_in_mid_run(self, bench, phone):
        third, rest = RUNS[2], [f"{system}.{repeat}" for system, repeat in RUNS[2:]]
        bench.faults(**{f"{third[0]}.{third[1]}": "slow"})
        self.lose(bench, phone, unplug_command=f"--samples={third[0]}.{third[1]}.txt")
        assert len(bench.finished()) == 2
        assert self.resume(bench, phone) == rest

    def test_in_mid_pull(self, bench, phone):
        self.lose(bench, phone, unplug_pull=100)
        assert bench.finished() == {}
        assert not list(bench.kept.glob("*/*.txt"))
        assert self.resume(bench, phone) == [f"{system}.{repeat}" for system, repeat in RUNS]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("killed", "the runner failed on vid-sf: killed by signal 9"),
        ("full", "the runner failed on vid-sf: patchwork_runner: vid-sf.1.txt: No space left on device"),
        ("truncated", "samples of vid-sf, repeat 2: truncated, no end record"),
        ("other", "samples of vid-sf, repeat 2: they are of another run: steps 7, not 12"),
    ],
)
def test_a_run_that_went_wrong_is_no_result(bench, phone, fault, message):
    bench.faults(**{"vid-sf.1": fault})
    code, error = bench.start(phone.name)
    assert code == 1
    assert message in error
    assert len(error.splitlines()) == 1
    assert bench.results == []
    before = RUNS.index(("vid-sf", 1))
    assert len(bench.finished()) == before
    assert left_as_it_was(phone)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"room": 200_000}, "No space left on device"),
        ({"shorten_pull": True}, "bytes arrived"),
    ],
)
def test_files_that_do_not_arrive(bench, phone, faults, message):
    vars(phone.faults).update(faults)
    code, error = bench.start(phone.name)
    assert code == 1
    assert message in error
    assert (bench.results, bench.finished()) == ([], {})
    assert left_as_it_was(phone)


def test_of_two_devices_one_fails_and_the_other_is_measured(adb, bench, phone, tmp_path):
    phone.faults.room = 1000
    with EmulatedDevice(tmp_path / "second", serial="EMULATED0002") as second:
        code, error = bench.start(phone.name, second.name)
    adb.run("disconnect")
    assert (code, "No space left" in error, second.name in error) == (1, True, False)
    assert [result.machine["serial"] for result in bench.results] == ["EMULATED0002"]
    assert bench.progress == [2 * len(RUNS)] * len(RUNS)
