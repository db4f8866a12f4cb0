"""Scoring on Apache Beam: what one process says, whatever becomes of workers; and what cannot be is told."""

import json
import os
import pickle
import sys
from types import SimpleNamespace

import exports
import mortal
import pytest
from conftest import save_fresh
from tqdm import tqdm

from patchwork_tf import compare, evaluate
from patchwork_tf.commands import beam, compare_files, compare_methods, compare_run
from patchwork_tf.data.moving_objects import CLASSES
from patchwork_tf.errors import DataError

RUNNER, OPTIONS = "DirectRunner", "direct_num_workers=2"


@pytest.fixture
def died(tmp_path, monkeypatch):
    """The file that is there once a worker has died."""
    monkeypatch.setenv("MORTAL", str(tmp_path / "died"))
    return tmp_path / "died"


def numbered(count, make=mortal.squares):
    flags = SimpleNamespace(beam_runner=RUNNER, beam_options=[OPTIONS])
    with tqdm(total=count, disable=True) as bar:
        return list(beam.numbered(flags, make, count, bar))


def test_a_worker_that_dies_is_started_again_and_nothing_counts_twice(died, capsys):
    assert numbered(12) == [number**2 for number in range(12)]
    assert died.exists()
    assert capsys.readouterr().err == "a worker died at number 5 and is started again\n"


def test_one_that_dies_again_and_again_and_what_goes_wrong_in_it_are_told(died, capsys):
    died.touch()
    with pytest.raises(DataError, match=r"^workers died 3 times at number 100: is there memory enough\?$"):
        numbered(101)
    assert capsys.readouterr().err.count("is started again") == 3
    with pytest.raises(DataError, match=r"^ValueError: 3 is too much$"):
        numbered(4, mortal.too_much)


def scored(folder, name, *flags):
    """The row of an evaluation, and the files that it wrote."""
    paths = f"--json={folder}/{name}.json", f"--save_predictions={folder}/{name}"
    assert evaluate.main([*flags, *paths, "--num_videos=4", "--max_frames=4"]) == 0
    row = json.loads((folder / f"{name}.json").read_text())
    del row["made_of"]["predictions"]
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    return row, {str(path.relative_to(folder / name)): path.read_bytes() for path in files}


def sent(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "classes", "in_a_process"), [("small", ["foreground"], False), ("small-boxes", CLASSES, True)]
)
def test_workers_say_what_one_process_says(system, classes, in_a_process, small_networks, tmp_path, monkeypatch):
    """J and F, mAP, COCO's numbers, and the files of answers. Workers take seconds to start: one has one."""
    if not in_a_process:
        monkeypatch.setattr(
            beam, "numbered", lambda flags, make, count, bar: map(sent, map(sent(make)(), range(count)))
        )
    weights = save_fresh(tmp_path / "weights", system, classes, num_classes=len(classes))
    flags = [f"--system={system}", f"--checkpoint={weights}", "--plugins=small_network"]
    alone, files = scored(tmp_path, "alone", *flags)
    options = "--beam_options=direct_num_workers=1"
    together = scored(tmp_path, "together", *flags, f"--beam_runner={RUNNER}", options)
    assert together == (alone, files)
    assert alone["videos"] == 4
    assert len(files) == (16 if system == "small" else 3)
    assert 0 < (alone["J"]["mean"] if system == "small" else alone["mAP_50"]) < 1


@pytest.mark.slow
def test_rivals_answer_to_a_worker_what_they_do_to_this_process(small_networks, tmp_path, monkeypatch, capsys):
    """All but milliseconds, which are of the first frames."""
    weights = save_fresh(tmp_path / "weights", "small", ["foreground"])

    def exported(wanted, *_):
        """Those of the first run, in the second one."""
        paths = {file.title: str(tmp_path / f"{file.title}.tflite") for file in wanted}
        for file in wanted:
            os.path.exists(paths[file.title]) or compare_files._export(file, paths[file.title], None)
        return paths

    monkeypatch.setattr(compare_files, "export", exports.export)
    monkeypatch.setattr(compare_run, "export_files", exported)
    monkeypatch.setattr(compare_run, "measure_costs", lambda *_: {"every frame": 1.0, "small": 0.6})
    monkeypatch.setattr(compare_methods, "_peak_mb", lambda path: None)
    monkeypatch.setattr(compare_run, "_TIMED", 10)

    def compared(*flags):
        about = [f"--checkpoint={weights}", "--plugins=small_network", "--system=small", "--types=none"]
        about += ["--dataset=moving_objects", "--num_videos=3", "--max_frames=8", f"--json={tmp_path}/c.json"]
        assert compare.main([*about, *flags]) == 0
        result = json.loads((tmp_path / "c.json").read_text())
        samples = [len(row.pop("samples")) for row in result["rows"]]
        for row in result["rows"]:
            del row["mean_ms"], row["p99_ms"], row["max_ms"]
        del result["machine"]  # which has its load
        return result.pop("timed_frames"), samples, result

    timed, samples, alone = compared()
    assert (timed, samples[0], alone["frames"], len(alone["rows"])) == (24, 24, 24, 6)
    assert "milliseconds" not in capsys.readouterr().out
    together = compared(f"--beam_runner={RUNNER}", "--beam_options=direct_num_workers=1")
    assert together == (
        10,
        [10, 10, 10, 10, 10, 8],
        alone,
    )  # late answers have none to the first frames of two videos
    assert "3 videos; against every frame; milliseconds of the first 10, alone" in capsys.readouterr().out
    windows = next(row for row in alone["rows"] if row["title"] == "small")
    assert all(0 < score < 1 for score in (windows["agreement"], windows["flicker"], windows["accuracy"]["J"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beam_runner=Nobody"], "--beam_runner=Nobody: Unexpected pipeline runner"),
        (["--beam_runner=FlinkRunner"], "--beam_options=temp_location=FOLDER"),
        (["--beam_options=direct_num_workers=2"], "--beam_options are those of a --beam_runner"),
        (["--beam_runner=DirectRunner", "--system=davis-sf"], "random weights of its own for davis-sf"),
        (["--beam_runner=DirectRunner", "--task=detection"], "--beam_runner is for scoring systems"),
    ],
)
def test_what_cannot_be_is_told(flags, message, capsys):
    assert evaluate.main(flags) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_rivals_lie_where_workers_find_them(capsys):
    options = "--beam_options=temp_location=gs://bucket/tmp"
    assert compare.main(["--system=oid-pw-m4n2", f"--beam_runner={RUNNER}", options]) == 2
    assert "gs://bucket/tmp: workers read exported files there" in capsys.readouterr().err.splitlines()[-1]


def test_without_beam_it_is_told_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam.runners.runner", None)
    assert evaluate.main(["--beam_runner=DirectRunner"]) == 2
    assert "Apache Beam is not installed: pip install -e '.[beam]'" in capsys.readouterr().err
