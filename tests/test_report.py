"""The benchmark's report: its numbers, what it says about them, and that it can be read back."""

import dataclasses
import json
import os
import re
import time
from contextlib import contextmanager

import numpy as np
import pytest
from runs import HOST, repeat_of, report_of, run_of

from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.benchmarks import compare, html, latency, report, text
from patchwork_tf.benchmarks.harness import Target
from patchwork_tf.benchmarks.plan import Settings, Workload
from patchwork_tf.errors import DataError

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


def test_an_interval_leaves_as_many_out_above_as_below():
    assert latency.interval(range(1001)) == [25, 975]


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
    runs = report_of(FEW).runs
    assert {kind: part["count"] for kind, part in runs["vid-sf-int4"].kinds.items()} == {"key": 12, "skip": 36}
    assert runs["vid-sf-int4-delay3"].kinds.keys() == {"part"}
    assert runs["vid-pw-m4n2"].kinds.keys() == {"window"}
    assert runs["vid-sf"].kinds.keys() == {"whole"}
    run = runs["vid-sf-int4"]
    assert run.kinds["key"]["p95_ms"] == np.percentile(run.samples[::4], 95)
    assert run.statistics["p95_ms"] == np.percentile(run.samples, 95)


def test_ratios_are_to_the_reference_and_the_papers_to_its_own():
    result = report_of(FEW)
    run, reference = result.runs["vid-pw-m4n2"], result.runs["vid-sf"]
    assert result.ratios(reference) == {"ratio_median": 1, "ratio_p95": 1, "ratio_mean": 1}
    ratios = result.ratios(run)
    assert ratios["ratio_p95"] == run.statistics["p95_ms"] / reference.statistics["p95_ms"]
    assert ratios["ratio_mean"] == np.mean(run.samples) / np.mean(reference.samples)
    assert run.paper_ratios == pytest.approx({"ratio_p95": 55.2 / 152.7, "ratio_mean": 47.9 / 134.3})
    assert run.paper.accuracy == {"mAP": 54.3}
    unpublished = result.runs["davis-pw-m2n1"]
    assert (unpublished.paper, unpublished.paper_ratios["ratio_p95"]) == (None, None)
    low, high = result.intervals(run)["ratio_median"]
    assert low <= ratios["ratio_median"] <= high
    assert [(name, len(runs)) for name, runs in result.groups()] == [("vid-sf", 4), ("davis-sf", 2)]


def test_a_system_of_ones_own_is_reported_like_those_of_the_zoo(tmp_path):
    run = dataclasses.replace(
        run_of("davis-sf", report_of(["davis-sf"]).runs["davis-sf"].repeats),
        system="mine",
        reference="mine",
        paper=None,
    )
    result = dataclasses.replace(report_of(["vid-sf"]), runs={"mine": run})
    assert "Segmentation, ratios to mine" in text.table(result)
    report.write(result, str(tmp_path / "mine.json"))
    assert report.read(str(tmp_path / "mine.json")) == result
    assert "mine" in html.page(result)


def test_a_report_without_the_reference():
    result = report_of(["vid-pw-m4n2"])
    assert set(result.ratios(result.runs["vid-pw-m4n2"]).values()) == {None}
    assert "vid-pw-m4n2" in text.table(result)
    assert "vid-pw-m4n2" in html.page(result)


def test_deadlines_that_were_missed():
    """At 30 frames per second there are 33 ms: enough for M=4 N=1 and for a 16th of a network."""
    names = ["vid-sf", "vid-sf-int4", "vid-sf-int16-delay15", "vid-pw-m4n2-d1.4"]
    runs = report_of(names, fps=30).runs
    assert [runs[name].deadline_misses for name in names] == [1, 0.25, 0, 1]
    assert report_of(["vid-sf"]).runs["vid-sf"].deadline_misses is None


def test_intervals_of_a_long_run_do_not_take_long():
    values = np.random.default_rng(0).lognormal(size=10_000)
    start = time.process_time()
    assert latency.resample(values).shape == (1000, 4)
    assert time.process_time() - start < 5  # a tenth of that on a quiet machine


# What it says


def test_an_emulated_device_is_called_nothing_else():
    emulated = report_of(FEW, emulated=True, repeats=2)
    table, page = text.table(emulated), html.page(emulated)
    for said in (table, page):
        assert "EMULATED" in said.splitlines()[0] or "<title>EMULATED" in said
        assert "EMULATED DEVICE" in said
        assert "no phone was measured" in said
        assert "Acme" not in said.partition("<h2>Machine</h2>")[0]
    assert table.count("EMULATED. ") == 2  # above the table of each task
    real = report_of(FEW, on_phone=True)
    assert "Acme Phone 9, Cortex-A76" in text.table(real)
    assert "EMULATED" not in text.table(real) + re.sub("<style>.*</style>", "", html.page(real), flags=re.DOTALL)


def _with(result, name, **changes):
    runs = {**result.runs, name: dataclasses.replace(result.runs[name], **changes)}
    return dataclasses.replace(result, runs=runs)


def _tainted(result):
    return _with(result, "vid-sf", repeats=[dataclasses.replace(result.runs["vid-sf"].repeats[0], reason="hot")])


TRAINED = report.ExportedFile("", 3, 0, "trained")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r, ["Random weights:", "synthetic (noise)", "Only 48 frames"]),
        (lambda r: dataclasses.replace(r, finished=False), ["INTERRUPTED", "48 frames per system were asked for"]),
        (lambda r: _with(r, "vid-sf", file=TRAINED), ["Random weights (vid-sf-int4, "]),
        (
            lambda r: _with(r, "vid-sf", depth=0.35, mflops_max=300.0),
            ["Not the paper's models: 384x384 pixels, depth 0.35 (vid-sf)"],
        ),
        (_tainted, ["1 of 6", "hot"]),
    ],
)
def test_what_to_know_before_believing_is_said(change, words):
    result = change(report_of(FEW))
    for said in (text.table(result), html.page(result).replace("&#x27;", "'")):
        for word in words:
            assert word in said


def test_table_in_the_papers_layout():
    result = report_of(FEW, fps=30)
    lines = text.table(result).splitlines()
    assert "Detection, after the paper's Table 4 (ImageNet VID)" in lines
    (line,) = [line for line in lines if line.startswith("vid-pw-m4n2 ")]
    numbers = re.findall(r"[\d.]+", line.removeprefix("vid-pw-m4n2"))
    assert numbers[:2] == ["543", "543"]
    assert (numbers[-4], numbers[-2], numbers[-1]) == ("0.361", "0.357", "100.0")
    (note,) = [line for line in lines if line.startswith("* The paper divides")]
    mean = result.ratios(result.runs["vid-sf-int4-delay3"])["ratio_mean"]
    assert f"vid-sf-int4-delay3 {mean / 4:.3f}" in note


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00004, "0"), (0.00123, "0.00123"), (0.5, "0.500"), (9.999, "10.0"), (152.7, "153"), (2345.6, "2346")],
)
def test_milliseconds_have_three_digits(value, shown):
    assert text.milliseconds(value) == shown


# Files


def test_report_survives_its_file(tmp_path, capsys):
    result = report_of(FEW, repeats=3, on_phone=True)
    path = str(tmp_path / "report.json")
    report.write(result, path)
    assert report.read(path) == result
    again = [f"--{kind}={tmp_path}/again.{kind}" for kind in ("json", "html")]
    assert benchmark.main([f"--report={path}", *again]) == 0
    assert capsys.readouterr().out == f"{text.table(result)}\n"
    content = json.loads((tmp_path / "report.json").read_text())
    assert json.loads((tmp_path / "again.json").read_text()) == content
    assert (tmp_path / "again.html").read_text() == html.page(result)
    for row in content["systems"].values():  # what scripts rely on
        assert {"median_ms", "mean_ms", "std_ms", "p95_ms", "p99_ms", "ratio_p95", "intervals"} <= row.keys()
        assert len(row["samples"]) == 3 * 48
        assert latency.describe(np.array(row["samples"]))["p99_ms"] == row["p99_ms"]


def test_keys_of_earlier_versions_are_left_out(tmp_path):
    """And the paper's row is added where a file has none, as those of a browser."""
    result, path = report_of(["vid-sf"]), tmp_path / "report.json"
    content = json.loads(json.dumps(result.to_json()))
    content["systems"]["vid-sf"] |= {"stock": {"count": 3, "mean": 1.5}, "paper": None}
    path.write_text(json.dumps(content))
    assert report.read(str(path)) == result


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
    "version": (_spoil("schema", value=2), "schema 2, this reads schema 3"),
    "no systems": (_spoil("systems", value={}), "'systems'"),
    "no machine": (_spoil("machine", delete=True), "'machine': Field required"),
    "no cpu": (_spoil("machine", "cpu", delete=True), "'machine': no 'cpu'"),
    "no depth": (_spoil("systems", "vid-sf", "depth", delete=True), "'vid-sf': 'depth': Field required"),
    "depth": (
        _spoil("systems", "vid-sf", "depth", value="deep"),
        "'vid-sf': 'depth': Input should be a valid number",
    ),
    "flip": (_spoil("systems", "vid-sf", "stream", "flip", value=0), "'stream': 'flip'"),
    "repeat": (
        _spoil("systems", "vid-sf", "repeats", 0, "load_ms", delete=True),
        "'repeats': '0': 'load_ms': Field required",
    ),
    "few samples": (_spoil("systems", "vid-sf", "repeats", 0, "samples", value=[1.0]), "1 samples and 48 kinds"),
    "sample": (_spoil("systems", "vid-sf", "repeats", 0, "samples", 3, value=None), "'samples'"),
    "accuracy": (_spoil("systems", "vid-sf", "accuracy", value={"mAP": 3}), "'accuracy'"),
    "system": (_spoil("systems", "vid-sf", value=3), "'vid-sf': Input should be an object"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_report_is_refused_in_one_line(case, tmp_path, capsys):
    spoil, words = SPOILT[case]
    result = json.loads(json.dumps(report_of(FEW).to_json()))
    spoil(result)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(result))
    refused(["--report", str(path)], 1, [str(path), words], capsys)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not JSON"), ("[]", "names no 'systems'"), ("3", "names no 'systems'"), (None, "No such")],
)
def test_other_files_are_refused_in_one_line(content, words, tmp_path, capsys):
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    report.write(report_of(FEW), str(tmp_path / "good.json"))
    refused([f"--report={tmp_path}/good.json,{path}"], 1, [str(path), words], capsys)


def refused(flags, code, words, capsys):
    assert benchmark.main(flags) == code
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    for word in words:
        assert word in line


# Accuracy


def _score(system, policy, **metrics):
    about = {
        "dataset": "moving_objects/validation, seed 0",
        "weights": {"name": "runs/pw", "sha256": "0"},
        "image_size": [128, 128],
    }
    return {"system": system, "policy": policy, **about, **metrics}


def test_accuracies_are_shown_beside_latencies(tmp_path, capsys):
    detection = [_score("vid-pw-m4n2", "raster", mAP_vid=0.388), _score("vid-pw-m4n2", "random", mAP_vid=0.9)]
    segmentation = _score("davis-sf", "whole frame", J={"mean": 0.7123}, F={"mean": 0.65})
    (tmp_path / "vid.json").write_text(json.dumps(detection))
    (tmp_path / "davis.json").write_text(json.dumps(segmentation))
    report.write(report_of(FEW), str(tmp_path / "report.json"))
    flags = [
        f"--report={tmp_path}/report.json",
        f"--scores={tmp_path}/vid.json,{tmp_path}/davis.json",
    ]
    assert benchmark.main([*flags, f"--json={tmp_path}/scored.json", f"--html={tmp_path}/scored.html"]) == 0
    said = capsys.readouterr().out
    assert "38.8" in said
    assert "71.2/65.0" in said
    assert "Accuracy: moving_objects/validation, seed 0, 128x128 pixels, policy raster, runs/pw." in said
    runs = report.read(str(tmp_path / "scored.json")).runs
    assert runs["vid-pw-m4n2"].accuracy.metrics["mAP"] == pytest.approx(38.8)
    assert runs["vid-sf"].accuracy is None
    page = (tmp_path / "scored.html").read_text()
    assert "Latency against accuracy" in page
    assert "38.8" in page


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"J": {}, "F": {}, "frames": 3}, "not what patchwork-evaluate"),
        ([_score("vid-sf", "raster")], "mAP_vid"),
        ([{"system": "vid-sf", "mAP_vid": 0.3}], "'dataset': Field required"),
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
    assert benchmark.main([f"--report={tmp_path}/a.json,{tmp_path}/b.json"]) == 0
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
    refused([f"--report={','.join(3 * [f'{tmp_path}/a.json'])}"], 2, ["two to compare, not 3"], capsys)
    with pytest.raises(DataError, match="no system in common"):
        compare.compare(report_of(["vid-sf"]), report_of(["davis-sf"]))


# Ctrl-C


class Interrupted(Target):
    """A machine that is told to stop after some runs."""

    name, most_frames = "host", 16

    def __init__(self, settings, runs):
        super().__init__(settings)
        self.runs = runs

    @contextmanager
    def session(self, workloads, folder):
        yield HOST

    def run(self, workload, number, frames):
        self.runs -= 1
        if self.runs < 0:
            raise KeyboardInterrupt
        return repeat_of(workload.run.system, np.random.default_rng(number), frames)


@pytest.fixture
def interrupted_after(monkeypatch, tmp_path):
    """Function of a number of runs, to the exit code and the folder of the reports of 3 repeats of 2 systems."""

    def start(runs):
        (tmp_path / "file").touch()
        workloads = {name: Workload(run_of(name), str(tmp_path / "file")) for name in ("vid-sf", "vid-pw-m4n1")}
        monkeypatch.setattr(benchmark, "_targets", lambda: [Interrupted(Settings(steps=40), runs)])
        monkeypatch.setattr(benchmark, "_workloads", lambda folder: workloads)
        outputs = [f"--{kind}={tmp_path}/reports/r.{kind}" for kind in ("json", "html")]
        return benchmark.main(["--steps=40", *outputs]), tmp_path / "reports"

    return start


@pytest.mark.parametrize(("runs", "frames"), [(1, [16]), (3, [16, 16]), (5, [32, 32])])
def test_what_was_measured_survives_ctrl_c(runs, frames, interrupted_after, capsys):
    code, folder = interrupted_after(runs)
    assert code == 130
    said = capsys.readouterr()
    assert said.err.strip().splitlines()[-1] == "patchwork-benchmark: interrupted"
    assert "INTERRUPTED: 40 frames per system were asked for" in said.out
    result = report.read(str(folder / "r.json"))
    assert not result.finished
    assert [len(run.samples) for run in result.runs.values()] == frames  # as many of all systems that have any
    assert sorted(os.listdir(folder)) == ["r.html", "r.json"]


def test_without_ctrl_c_all_is_measured(interrupted_after):
    code, folder = interrupted_after(100)
    result = report.read(str(folder / "r.json"))
    assert (code, result.finished) == (0, True)
    assert [len(repeat.samples) for repeat in result.runs["vid-sf"].repeats] == [16, 16, 8]
    assert result.command.startswith("patchwork-benchmark --steps=40 --json=")


def test_ctrl_c_before_anything_was_measured_leaves_nothing(interrupted_after, capsys):
    code, folder = interrupted_after(0)
    assert code == 130
    assert capsys.readouterr().out == ""
    assert not os.path.exists(folder)
