"""Scoring on Apache Beam: what one process says, whatever becomes of workers; and what cannot be is told."""

import json
import sys
from types import SimpleNamespace

import mortal
import pytest
from conftest import save_fresh
from tqdm import tqdm

from patchwork_tf import evaluate
from patchwork_tf.commands import beam
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


@pytest.mark.slow
@pytest.mark.parametrize(("system", "classes"), [("small", ["foreground"]), ("small-boxes", CLASSES)])
def test_two_workers_say_what_one_process_says(system, classes, small_networks, tmp_path):
    """J and F, mAP, COCO's numbers, and the files of answers."""
    weights = save_fresh(tmp_path / "weights", system, classes, num_classes=len(classes))
    flags = [f"--system={system}", f"--checkpoint={weights}", "--plugins=small_network"]
    alone, files = scored(tmp_path, "alone", *flags)
    together = scored(tmp_path, "together", *flags, f"--beam_runner={RUNNER}", f"--beam_options={OPTIONS}")
    assert together == (alone, files)
    assert alone["videos"] == 4
    assert len(files) == (16 if system == "small" else 3)
    assert 0 < (alone["J"]["mean"] if system == "small" else alone["mAP_50"]) < 1


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


def test_without_beam_it_is_told_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam.runners.runner", None)
    assert evaluate.main(["--beam_runner=DirectRunner"]) == 2
    assert "Apache Beam is not installed: pip install apache-beam" in capsys.readouterr().err
