"""The benchmark's report: its numbers, what it says about them, and that it can be read back."""

import csv
import dataclasses
import json
import os
import re
import time

import numpy as np
import pytest
from runs import facts, report_of

from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.benchmarks import compare, host, html, latency, report, text
from patchwork_tf.benchmarks.adb import FileFacts
from patchwork_tf.benchmarks.plan import Model
from patchwork_tf.errors import DataError
from patchwork_tf.zoo.systems import get_system, list_systems

FEW = ["vid-sf", "vid-sf-int4", "vid-sf-int4-delay3", "vid-pw-m4n2", "davis-sf", "davis-pw-m2n1"]


# Statistics


def test_percentiles_by_hand_and_by_numpy():
    """p95 of 0, 10, ..., 40 lies at rank 0.95 * 4 = 3.8: eight tenths of the way from 30 to 40."""
    found = latency.describe(np.array([40.0, 0, 10, 30, 20]))
    assert found["median_ms"] == 20
    assert found["p95_ms"] == pytest.approx(38)
    assert found["p99_ms"] == pytest.approx(39.6)
    assert found["mean_ms"] == 20
    assert found["std_ms"] == pytest.approx(np.sqrt((400 + 100 + 0 + 100 + 400) / 5))
    values = np.random.default_rng(0).lognormal(size=1234)
    found = latency.describe(values)
    assert [found[key] for key in latency.PERCENTILES] == np.percentile(values, [50, 95, 99]).tolist()


def coverage(draw, truth, column, runs=60) -> float:
    """How often the interval of a statistic holds what is true."""
    intervals = [latency.interval(latency.resample(draw(seed), seed)[:, column]) for seed in range(runs)]
    return np.mean([low <= truth <= high for low, high in intervals])


def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say():
    def draw(seed):
        return np.random.default_rng(seed).exponential(size=400)

    assert coverage(draw, np.log(2), 0) > 0.85  # the median of an exponential distribution
    assert coverage(draw, np.log(20), 1) > 0.85  # its p95


def test_bootstrap_intervals_know_that_neighbours_are_alike():
    """An inference that a delay spreads over 8 frames is one observation, not 8."""

    def draw(seed):
        return np.repeat(np.random.default_rng(seed).exponential(size=50), 8)

    assert coverage(draw, np.log(2), 0) > 0.8


def test_bootstrap_keeps_the_schedule():
    """Of every 16 frames one is a key frame, in every resample."""
    resampled = latency.resample(np.where(np.arange(1000) % 16 == 0, 160.0, 0.0))
    mean = latency.STATISTICS.index("mean_ms")
    assert resampled[:, mean] == pytest.approx(10)
    assert (latency.resample([3.0]) == 3).all()
    assert (resampled == latency.resample(np.where(np.arange(1000) % 16 == 0, 160.0, 0.0))).all()


def test_kinds_of_frames():
    rows = report_of(FEW)["systems"]
    assert {kind: part["count"] for kind, part in rows["vid-sf-int4"]["kinds"].items()} == {"key": 12, "skip": 36}
    assert rows["vid-sf-int4-delay3"]["kinds"].keys() == {"part"}
    assert rows["vid-pw-m4n2"]["kinds"].keys() == {"window"}
    assert rows["vid-sf"]["kinds"].keys() == {"whole"}
    samples = np.array(rows["vid-sf-int4"]["samples"])
    assert rows["vid-sf-int4"]["kinds"]["key"]["p95_ms"] == np.percentile(samples[::4], 95)
    assert rows["vid-sf-int4"]["p95_ms"] == np.percentile(samples, 95)


def test_ratios_are_to_the_single_frame_network_of_the_task_and_the_papers_to_its_own():
    rows = report_of(FEW)["systems"]
    assert rows["vid-sf"]["ratio_median"] == rows["davis-sf"]["ratio_p95"] == 1
    row = rows["vid-pw-m4n2"]
    assert row["ratio_p95"] == row["p95_ms"] / rows["vid-sf"]["p95_ms"]
    assert row["ratio_mean"] == np.mean(row["samples"]) / np.mean(rows["vid-sf"]["samples"])
    assert row["paper"]["ratio_p95"] == pytest.approx(55.2 / 152.7)
    assert row["paper"]["ratio_mean"] == pytest.approx(47.9 / 134.3)
    assert row["paper"]["accuracy"] == {"mAP": 54.3}
    assert rows["davis-pw-m2n1"]["paper"] is None
    low, high = row["intervals"]["ratio_median"]
    assert low <= row["ratio_median"] <= high


def test_a_report_without_the_single_frame_network():
    result = report_of(["vid-pw-m4n2"])
    row = result["systems"]["vid-pw-m4n2"]
    assert row["ratio_mean"] is row["ratio_p95"] is row["ratio_median"] is None
    assert "vid-pw-m4n2" in text.table(result)
    assert "vid-pw-m4n2" in html.page(result)


def test_deadlines_that_were_missed():
    """At 30 frames per second there are 33 ms: enough for M=4 N=1 and for a 16th of a network."""
    names = ["vid-sf", "vid-sf-int4", "vid-sf-int16-delay15", "vid-pw-m4n2-d1.4"]
    rows = report_of(names, fps=30)["systems"]
    assert [rows[name]["deadline_misses"] for name in names] == [1, 0.25, 0, 1]
    assert rows["vid-sf"]["deadline_misses"] == np.mean(np.array(rows["vid-sf"]["samples"]) > 1000 / 30)
    assert report_of(["vid-sf"])["systems"]["vid-sf"]["deadline_misses"] is None


def test_intervals_of_a_long_run_do_not_take_long():
    values = np.random.default_rng(0).lognormal(size=10_000)
    start = time.process_time()
    assert latency.resample(values).shape == (1000, 4)
    assert time.process_time() - start < 5  # a tenth of that on a quiet machine


# What it says


def test_an_emulated_device_is_called_nothing_else(tmp_path):
    emulated = report_of(FEW, emulated=True, repeats=2)
    report.write_csv(emulated, str(tmp_path / "report.csv"))
    table, page = text.table(emulated), html.page(emulated)
    for said in (table, page):
        assert "EMULATED" in said.splitlines()[0] or "<title>EMULATED" in said
        assert "EMULATED DEVICE" in said
        assert "no phone was measured" in said
        assert "Acme" not in said.partition("<h2>Machine</h2>")[0]
    assert table.count("EMULATED. ") == 2  # above the table of each task
    with open(tmp_path / "report.csv", newline="") as file:
        assert {(row["target"], row["device"]) for row in csv.DictReader(file)} == {
            ("EMULATED", "EMULATED DEVICE, 1 thread")
        }
    real = report_of(FEW, on_phone=True)
    assert "Acme Phone 9, Cortex-A76" in text.table(real)
    assert "EMULATED" not in text.table(real) + re.sub("<style>.*</style>", "", html.page(real), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: None, ["Random weights:", "synthetic (noise)", "Only 48 frames"]),
        (lambda r: r.update(finished=False), ["INTERRUPTED", "48 frames per system were asked for"]),
        (lambda r: r["systems"]["vid-sf"]["file"].update(weights="trained"), ["Random weights (vid-sf-int4, "]),
        (lambda r: r["systems"]["vid-sf"].update(depth=0.35), ["Not the paper's models", "depth 0.35 (vid-sf)"]),
        (lambda r: r["systems"]["vid-sf"]["repeats"][0].update(tainted=True, reason="hot"), ["1 of 6", "hot"]),
    ],
)
def test_what_to_know_before_believing_is_said(change, words):
    result = report_of(FEW)
    change(result)
    for said in (text.table(result), html.page(result).replace("&#x27;", "'")):
        for word in words:
            assert word in said


def test_table_in_the_papers_layout():
    lines = text.table(report_of(FEW, fps=30)).splitlines()
    assert any(line.startswith("Detection, after the paper's Table 4") for line in lines)
    (line,) = [line for line in lines if line.startswith("vid-pw-m4n2 ")]
    numbers = re.findall(r"[\d.]+", line.removeprefix("vid-pw-m4n2"))
    assert numbers[:2] == ["543", "543"]
    assert numbers[-5:-3][1] == "0.361"
    assert numbers[-2] == "0.357"
    assert line.endswith("100.0 % late")
    (note,) = [line for line in lines if line.startswith("* The paper divides")]
    row = report_of(FEW, fps=30)["systems"]["vid-sf-int4-delay3"]
    assert f"vid-sf-int4-delay3 {row['ratio_mean'] / 4:.3f}" in note


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00004, "0"), (0.00123, "0.00123"), (0.5, "0.500"), (9.999, "10.0"), (152.7, "153"), (2345.6, "2346")],
)
def test_milliseconds_have_three_digits(value, shown):
    assert text.milliseconds(value) == shown


# Files


def test_report_survives_its_file(tmp_path):
    result = report_of(FEW, repeats=3, on_phone=True)
    path = str(tmp_path / "report.json")
    report.write(result, path)
    again = report.read(path)
    assert again == result
    assert (text.table(again), html.page(again)) == (text.table(result), html.page(result))
    for row in again["systems"].values():  # what scripts rely on
        assert {"median_ms", "mean_ms", "std_ms", "p95_ms", "p99_ms"} <= row.keys()
        assert len(row["samples"]) == len(row["kinds_of_samples"]) == 3 * 48
        assert latency.describe(np.array(row["samples"]))["p99_ms"] == row["p99_ms"]


def test_tables_pages_and_lists_are_made_from_a_finished_report(tmp_path, capsys):
    files = {name: str(tmp_path / f"again.{name}") for name in ("json", "html", "csv")}
    report.write(report_of(FEW), str(tmp_path / "report.json"))
    outputs = [f"--{name}={path}" for name, path in files.items()]
    assert benchmark.main([f"--report={tmp_path}/report.json", *outputs]) == 0
    assert "vid-pw-m4n2" in capsys.readouterr().out
    assert report.read(files["json"]) == report_of(FEW)
    with open(files["csv"], newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(rows) == FEW
    assert float(rows["vid-pw-m4n2"]["paper_ratio_p95"]) == pytest.approx(55.2 / 152.7, abs=1e-6)
    assert float(rows["vid-sf"]["p95_ms"]) == pytest.approx(
        report_of(FEW)["systems"]["vid-sf"]["p95_ms"], abs=1e-6
    )
    assert rows["davis-pw-m2n1"]["paper_mean_ms"] == ""
    with open(files["html"], encoding="utf-8") as file:
        assert file.read() == html.page(report_of(FEW))


def _spoil(*path, value=None, delete=False):
    def spoil(result):
        *way, last = path
        for key in way:
            result = result[key]
        if delete:
            del result[last]
        else:
            result[last] = value

    return spoil


SPOILT = {
    "version": (_spoil("schema", value=1), "schema 1, this reads schema 2"),
    "older": (_spoil("schema", delete=True), "schema 1"),
    "newer": (_spoil("schema", value=3), "schema 3"),
    "no systems": (_spoil("systems", value={}), "'systems'"),
    "systems": (_spoil("systems", value=[1]), "'systems'"),
    "no machine": (_spoil("machine", delete=True), "no 'machine'"),
    "no p95": (_spoil("systems", "vid-sf", "p95_ms", delete=True), "'vid-sf': no 'p95_ms'"),
    "p95": (_spoil("systems", "vid-sf", "p95_ms", value="fast"), "'p95_ms'"),
    "samples": (_spoil("systems", "vid-sf", "samples", value=[1.0]), "1 samples of 48"),
    "no samples": (_spoil("systems", "vid-sf", "samples", value=[]), "'samples'"),
    "sample": (_spoil("systems", "vid-sf", "samples", 3, value=None), "'samples'"),
    "kind": (_spoil("systems", "vid-sf", "kinds", "whole", value=3), "'whole'"),
    "accuracy": (_spoil("systems", "vid-sf", "accuracy", value={"mAP": 3}), "'accuracy'"),
    "stranger": (lambda r: r["systems"].update({"yolo": r["systems"]["vid-sf"]}), "unknown system 'yolo'"),
    "no model": (_spoil("target", value="adb"), "'machine': no 'manufacturer'"),
    "stock": (_spoil("stock", value={"vid-sf": {"mean": "1"}}), "'stock'"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_report_is_refused_in_one_line(case, tmp_path, capsys):
    spoil, words = SPOILT[case]
    result = report_of(FEW)
    spoil(result)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(result))
    refused(["--report", str(path)], 1, [str(path), words], capsys)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not JSON"), ("[]", "names no systems"), ("3", "names no systems"), (None, "No such")],
)
def test_other_files_are_refused_in_one_line(content, words, tmp_path, capsys):
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    refused(["--report", str(path)], 1, [str(path), words], capsys)
    report.write(report_of(FEW), str(tmp_path / "good.json"))
    refused([f"--compare={tmp_path}/good.json,{path}"], 1, [str(path), words], capsys)


def refused(flags, code, words, capsys):
    assert benchmark.main(flags) == code
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    for word in words:
        assert word in line


# Accuracy


def _score(system, policy, **metrics):
    about = {"dataset": "moving_objects/validation, seed 0", "checkpoint": "runs/pw", "image_size": [128, 128]}
    return {"system": system, "policy": policy, **about, **metrics}


def test_accuracies_are_shown_beside_latencies(tmp_path, capsys):
    detection = [_score("vid-pw-m4n2", "raster", mAP_vid=0.388), _score("vid-pw-m4n2", "random", mAP_vid=0.9)]
    segmentation = _score("davis-sf", "whole frame", J={"mean": 0.7123}, F={"mean": 0.65})
    (tmp_path / "vid.json").write_text(json.dumps(detection))
    (tmp_path / "davis.json").write_text(json.dumps(segmentation))
    report.write(report_of(FEW), str(tmp_path / "report.json"))
    flags = [f"--report={tmp_path}/report.json", f"--scores={tmp_path}/vid.json,{tmp_path}/davis.json"]
    assert benchmark.main([*flags, f"--json={tmp_path}/scored.json", f"--html={tmp_path}/scored.html"]) == 0
    said = capsys.readouterr().out
    assert "38.8" in said
    assert "71.2/65.0" in said
    assert "Accuracy: moving_objects/validation, seed 0, 128x128 pixels, policy raster, runs/pw." in said
    rows = report.read(str(tmp_path / "scored.json"))["systems"]
    assert rows["vid-pw-m4n2"]["accuracy"]["mAP"] == pytest.approx(38.8)
    assert rows["vid-sf"]["accuracy"] is None
    page = (tmp_path / "scored.html").read_text()
    assert "Latency against accuracy: detection" in page
    assert "mAP 38.8 %" in page


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"J": {}, "F": {}, "frames": 3}, "not what patchwork-evaluate"),
        ([{"system": "yolo"}], "unknown system 'yolo'"),
        ([_score("vid-sf", "raster")], "mAP_vid"),
        ([3], "not what patchwork-evaluate"),
        (3, "not what patchwork-evaluate"),
    ],
)
def test_other_scores_are_refused_before_anything_is_measured(scores, words, tmp_path, capsys):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(scores))
    refused([f"--scores={path}"], 1, [str(path), words], capsys)


# Comparison


def _changes(said, name) -> list[tuple[float, bool]]:
    """(change in per cent, whether it is marked) of median and p95."""
    (line,) = [line for line in said.splitlines() if line.startswith(f"{name} ")]
    return [(float(change), bool(mark)) for change, mark in re.findall(r"([+-][\d.]+) \[.*?\](!?)", line)]


def test_compare_tells_changes_from_chance():
    before, after = (report_of(FEW, steps=320, seed=seed) for seed in (0, 1))
    said = compare.compare(before, after)
    for name in FEW:
        assert abs(_changes(said, name)[0][0]) < 3
    assert sum(marked for name in FEW for _, marked in _changes(said, name)) <= 3  # 12 changes, 5 % by chance
    assert "differ" not in said
    slower = compare.compare(before, report_of(FEW, steps=320, seed=1, slower=1.2))
    for name in FEW:
        for change, marked in _changes(slower, name):
            assert marked
            assert change == pytest.approx(20, abs=8)


def test_compare_says_what_else_is_different(tmp_path, capsys):
    report.write(report_of(["vid-sf", "vid-pw-m4n2"]), str(tmp_path / "a.json"))
    report.write(report_of(["vid-sf", "vid-pw-m4n1"], emulated=True, fps=30), str(tmp_path / "b.json"))
    assert benchmark.main([f"--compare={tmp_path}/a.json,{tmp_path}/b.json"]) == 0
    said = capsys.readouterr().out
    assert "DIFFERENT KINDS OF MACHINES" in said
    assert "B: EMULATED DEVICE" in said
    assert "The machines differ: " in said
    assert "cpu (Test CPU / Cortex-A76)" in said
    assert "The settings differ: fps (0 / 30)." in said
    assert "Only in A: vid-pw-m4n2." in said
    assert "Only in B: vid-pw-m4n1." in said


def test_compare_needs_two_reports_with_something_in_common(tmp_path, capsys):
    report.write(report_of(["vid-sf"]), str(tmp_path / "a.json"))
    refused([f"--compare={tmp_path}/a.json"], 2, ["BEFORE.json,AFTER.json", "not 1"], capsys)
    with pytest.raises(DataError, match="no system in common"):
        compare.compare(report_of(["vid-sf"]), report_of(["davis-sf"]))


# Ctrl-C


class FakeStream:
    """A file that takes a millisecond per frame, and is interrupted in the middle of a round."""

    def __init__(self, model, policy, seed):
        self.model = model
        self.load_ns = self.first_ns = 1_000_000
        self.kinds, self.nanoseconds = [], []

    def warm_up(self):
        pass

    def time_frame(self):
        if len(self.nanoseconds) == FakeStream.frames:
            raise KeyboardInterrupt
        self.kinds.append("whole")
        self.nanoseconds.append(1_000_000)


class FakeModel(Model):
    file = FileFacts(3, "0123")


def fake_models(names):
    return {name: FakeModel("", **dataclasses.asdict(get_system(name).stream)) for name in names}


@pytest.fixture
def interrupted_after(monkeypatch):
    def set_frames(count):
        monkeypatch.setattr(FakeStream, "frames", count, raising=False)
        monkeypatch.setattr(host, "TimedStream", FakeStream)
        monkeypatch.setattr(benchmark, "_export_all", lambda names, *_: (fake_models(names), facts(names)))

    return set_frames


def test_what_was_measured_survives_ctrl_c(interrupted_after, tmp_path, capsys):
    interrupted_after(17)
    flags = [
        "--systems=vid-pw-m4n1,davis-sf",
        "--steps=40",
        f"--json={tmp_path}/r.json",
        f"--html={tmp_path}/r.html",
    ]
    assert benchmark.main(flags) == 130
    said = capsys.readouterr()
    assert said.err.strip().splitlines()[-1] == "patchwork-benchmark: interrupted"
    assert "INTERRUPTED: 40 frames per system were asked for" in said.out
    result = report.read(str(tmp_path / "r.json"))
    assert not result["finished"]
    assert {name: len(row["samples"]) for name, row in result["systems"].items()} == {
        "vid-sf": 17,
        "davis-sf": 17,
        "vid-pw-m4n1": 17,
    }
    assert sorted(os.listdir(tmp_path)) == ["r.html", "r.json"]
    assert benchmark.main([f"--report={tmp_path}/r.json"]) == 0


def test_ctrl_c_before_anything_was_measured_leaves_nothing(interrupted_after, tmp_path, capsys):
    interrupted_after(0)
    assert benchmark.main(["--systems=vid-sf", f"--json={tmp_path}/r.json"]) == 130
    assert capsys.readouterr().out == ""
    assert os.listdir(tmp_path) == []


def test_all_systems_are_measured_by_one_word(interrupted_after, tmp_path):
    interrupted_after(2)
    assert benchmark.main(["--systems=all", "--steps=2", f"--json={tmp_path}/r.json"]) == 0
    result = report.read(str(tmp_path / "r.json"))
    assert sorted(result["systems"]) == sorted(list_systems())
    assert result["finished"]
    assert result["command"] == f"patchwork-benchmark --systems=all --steps=2 --json={tmp_path}/r.json"
