"""The protocol of a benchmark on a phone: heat, clusters, continued runs, and ending in order."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from bench import RUNS, STEPS, left_as_it_was, runs_of

from patchwork_tf.benchmarks import native, text
from patchwork_tf.benchmarks import phone as phones
from patchwork_tf.benchmarks.phone import REMOTE
from patchwork_tf.benchmarks.plan import Settings, order, streamed
from patchwork_tf.benchmarks.report import Repeat
from patchwork_tf.models.config import StreamConfig


def test_runs_are_pinned_to_the_cluster_that_was_found(bench, phone):
    assert bench.start(phone.name)[0] == 0
    fastest = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    commands = [command for command in phone.commands if native.RUNNER in command and "--samples" in command]
    assert len(commands) == len(RUNS)
    for command in commands:
        assert command.startswith(f"cd {REMOTE} && exec ./{native.RUNNER} --library=./{native.LIBRARY} ")
        assert f"--cpu_mask={1 << fastest:x} " in command + " "
    machine = bench.results[0].machine
    assert machine["cpu_mask"] == f"{1 << fastest:x}"
    assert machine["cluster"] == "big"


def test_any_cpu_when_asked_so(bench, phone):
    assert bench.start(phone.name, cluster="all", fixed_performance=False)[0] == 0
    assert not any("cpu_mask" in command for command in phone.commands)
    assert phone.system.fixed_performance() == []
    bench.kept = bench.folder / "another"
    code, message = bench.start(phone.name, cluster="middle")
    assert (code, "this device has" in message) == (2, True)


class TestHeat:
    def test_waits_until_it_is_cool(self, bench, phone, monkeypatch):
        monkeypatch.setattr(phones, "POLL_SECONDS", 0)
        phone.system.thermal((3, 44.0), (1, 39.5), (0, 35.0))
        assert bench.start(phone.name) == (0, "")
        assert bench.said == [
            f"{phone.name}: thermal status 3 (severe), 44.0 degrees: waiting",
            f"{phone.name}: thermal status 1 (light), 39.5 degrees: waiting",
        ]

    def test_not_for_ever(self, bench, phone, monkeypatch):
        monkeypatch.setattr(phones, "POLL_SECONDS", 0)
        phone.system.thermal((2, 41.0))
        code, error = bench.start(phone.name, cool_seconds=0)
        assert code == 1
        assert "still hot after 0 s: thermal status 2 (moderate), 41.0 degrees" in error
        assert runs_of(phone) == []
        assert left_as_it_was(phone)

    def test_runs_in_which_it_got_warmer_are_marked(self, bench, phone):
        phone.system.thermal((0, 30.0), (0, 32.9), (0, 33.0), (0, 36.1), (0, 36.0), (1, 36.0), (0, 36.0))
        assert bench.start(phone.name) == (0, "")
        runs = bench.results[0].runs
        found = {(name, number): part for name in runs for number, part in enumerate(runs[name].repeats)}
        reasons = [found[turn].reason for turn in RUNS]
        assert reasons[:3] == [None, "temperature moved by +3.1 degrees", "thermal status rose to 1 (light)"]
        assert reasons[3:] == [None] * 3
        assert [part.tainted for part in found.values()] == [part.reason is not None for part in found.values()]

    def test_a_phone_without_thermal_service(self, bench, phone):
        phone.system.thermal()
        assert bench.start(phone.name) == (0, "")
        assert bench.results[0].runs["vid-sf"].repeats[0].temperature_after == 27.1


class TestResume:
    def test_what_is_finished_is_not_run_again(self, bench, phone):
        assert bench.start(phone.name)[0] == 0
        first = bench.results[0]
        phone.commands.clear()
        assert bench.start(phone.name) == (0, "")
        assert runs_of(phone) == []
        assert bench.results[0] == first
        spoilt = bench.kept / "EMULATED0001" / "vid-sf.1.json"
        spoilt.write_bytes(spoilt.read_bytes()[:-9])
        assert bench.start(phone.name) == (0, "")
        assert runs_of(phone) == ["vid-sf.1"]

    def test_other_settings_are_refused(self, bench, phone):
        assert bench.start(phone.name)[0] == 0
        code, error = bench.start(phone.name, steps=STEPS + 1)
        assert (code, "begun with steps 12, not 13" in error) == (2, True)
        Path(bench.workloads["vid-sf"].path).write_bytes(b"another")
        code, error = bench.start(phone.name)
        assert (code, "begun with model of vid-sf" in error) == (2, True)

    def test_another_system_on_the_phone_is_refused(self, bench, phone):
        bench.faults(**{"vid-sf.1": "killed"})
        assert bench.start(phone.name)[0] == 1
        properties = phone.system.folder / "properties"
        properties.write_text(properties.read_text().replace("emulated:13/TEST/1", "emulated:13/TEST/2"))
        code, error = bench.start(phone.name)
        assert (code, "begun with build patchwork/emulated/emulated:13/TEST/1" in error) == (1, True)
        assert left_as_it_was(phone)

    def test_a_folder_of_something_else_is_refused(self, bench, phone):
        bench.kept.mkdir()
        (bench.kept / "thesis.tex").write_text("")
        code, error = bench.start(phone.name)
        assert (code, "neither empty nor a folder of a benchmark" in error) == (2, True)


def test_a_runner_that_was_left_behind_is_ended(bench, phone):
    work = f"{phone.system.folder}{REMOTE}"
    os.makedirs(work)
    with subprocess.Popen(["sleep", "60"], cwd=work) as orphan:
        assert bench.start(phone.name) == (0, "")
        assert orphan.wait(5) == -signal.SIGKILL
    assert any(f"ending a runner that an earlier run left behind (process {orphan.pid})" in s for s in bench.said)


def test_a_box_that_knows_little_of_itself(bench, phone):
    phone.system.thermal()
    (phone.system.folder / "battery").write_text("Can't find service: battery\n")
    properties = phone.system.folder / "properties"
    lines = [line for line in properties.read_text().splitlines() if "cpu.abi" not in line]
    properties.write_text("\n".join(lines) + "\n")
    assert bench.start(phone.name) == (0, "")
    assert bench.said == [
        f"{phone.name}: no battery service; charge is unknown",
        f"{phone.name}: nothing tells its temperature; runs in which it got warmer are not marked",
    ]
    (report,) = bench.results
    assert report.machine["charge_percent"] is None
    assert report.runs["vid-sf"].repeats[0].temperature_after is None
    assert "vid-sf" in text.table(report)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_phone_is_put_back_when_the_user_ends_it(bench, phone, number, in_a_terminal):
    bench.faults(**{"vid-sf.1": "slow"})

    def interrupt():
        while "vid-sf.1" not in runs_of(phone):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, number)

    threading.Thread(target=interrupt, daemon=True).start()
    assert bench.start(phone.name) == (130, "patchwork-benchmark: interrupted\n")
    assert phone.system.fixed_performance() == ["true", "false"]
    assert left_as_it_was(phone)
    assert len(bench.finished()) == RUNS.index(("vid-sf", 1))
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)


def test_runners_that_cannot_be_used(bench, phone):
    (bench.runner / native.LIBRARY).unlink()
    code, error = bench.start(phone.name)
    assert (code, "no libLiteRt.so in this folder" in error) == (1, True)
    bench.runner = bench.folder / "none"
    code, error = bench.start(phone.name)
    assert (code, "no such folder" in error) == (1, True)


def test_order_interleaves():
    turns = order(["a", "b", "c"], 4, seed=1)
    assert [{system for system, _ in turns[i : i + 3]} for i in range(0, 12, 3)] == [{"a", "b", "c"}] * 4
    assert [repeat for _, repeat in turns] == [r for r in range(4) for _ in range(3)]
    assert len({tuple(turns[i : i + 3][j][0] for j in range(3)) for i in range(0, 12, 3)}) > 1
    assert turns == order(["a", "b", "c"], 4, seed=1)


def test_a_delay_spreads_an_inference_over_its_frames():
    raw = Repeat(0.0, [80.0, 0, 0, 0, 200, 0], ["key", "skip", "skip", "skip", "key", "skip"], 1.0, 1.0, late=3)
    delayed = StreamConfig(interval=4, delay=3)
    shares = streamed(raw, delayed, fps=30)
    assert shares.samples == [20, 20, 20, 20, 50, 50]
    assert shares.kinds == ["part"] * 6
    assert shares.late == 2  # a frame has 33 ms
    assert streamed(raw, delayed, fps=0).late is None
    assert streamed(raw, StreamConfig(interval=4), fps=30) is raw


def test_steps_are_divided_into_repeats():
    assert Settings(steps=300, repeats=2).lengths() == [300, 300]
    assert Settings(steps=300, repeats=2).lengths(128) == [128, 128, 44] * 2
    assert Settings(steps=256).lengths(128) == [128, 128]
