"""Rows of scores outlive what comes after them, and are taken over only if they are of the same."""

import json
import os
import sys
import types

import pytest
from etils import epath

from patchwork_tf.commands import score_file
from patchwork_tf.commands.score_file import ScoreFile

RUN = {"data": "some", "size": (64, 64)}


def made_of(policy, **others):
    return {"policy": policy, "weights": "abc", "predictions": None, **others}


def add(done, policy, made, **others):
    """Adds a row, and takes note of it if it was made."""

    def make():
        made.append(policy)
        if policy == "bad":
            raise RuntimeError
        return {"system": "sf", "policy": policy}

    done.add(made_of(policy, **others), make)


def policies(path):
    return [row["policy"] for row in json.loads(path.read_text())]


@pytest.fixture
def path(tmp_path):
    """A file with the rows a and b, of a run whose third one raised."""
    path = tmp_path / "scores.json"
    done = ScoreFile(str(path), RUN)
    add(done, "a", [])
    assert policies(path) == ["a"]
    add(done, "b", [])
    with pytest.raises(RuntimeError):
        add(done, "bad", [])
    return path


def test_the_same_command_goes_on(path, capsys):
    made, done = [], ScoreFile(str(path), RUN)
    for policy in ("a", "b", "c"):
        add(done, policy, made)
    assert made == ["c"]
    assert policies(path) == [row["policy"] for row in done.done] == ["a", "b", "c"]
    assert capsys.readouterr().out.splitlines() == [f"sf, {name}: scored before, see {path}" for name in "ab"]


def test_rows_that_are_still_to_come_are_kept(path):
    add(ScoreFile(str(path), RUN), "c", [])
    assert policies(path) == ["c", "a", "b"]
    add(ScoreFile(str(path), {**RUN, "data": "other"}), "d", [])
    assert policies(path) == ["d"]


@pytest.mark.parametrize(
    ("run", "row"),
    [
        ({"data": "other"}, {}),
        ({}, {"weights": "def"}),
        ({}, {"more": 1}),
        ({}, {"predictions": "/nowhere"}),
    ],
)
def test_what_is_made_of_something_else_is_made_again(run, row, path):
    made = []
    add(ScoreFile(str(path), {**RUN, **run}), "a", made, **row)
    assert made == ["a"]


@pytest.mark.parametrize("lacking", [{"weights": None}, {"predictions": "gone"}])
def test_random_weights_and_predictions_that_are_gone_are_never_the_same(lacking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []
    for _ in range(2):
        add(ScoreFile("scores.json", RUN), "a", made, **lacking)
    assert made == ["a", "a"]
    if "predictions" in lacking:
        os.mkdir("gone")
        add(ScoreFile("scores.json", RUN), "a", made, **lacking)
        assert made == ["a", "a"]


@pytest.mark.parametrize("content", ["{", "3", '["a"]', '{"made_of": 3}', '[{"policy": "a"}]'])
def test_a_file_of_something_else_is_replaced(content, tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(content)
    add(ScoreFile(str(path), RUN), "a", [])
    assert policies(path) == ["a"]


def test_pipes_are_left_for_the_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to read it, or write to it, would wait for somebody
    for path in (str(tmp_path / "pipe"), None):
        done = ScoreFile(path, RUN)
        add(done, "a", [])
        assert len(done.done) == 1


def test_digests_tell_changes(tmp_path, monkeypatch):
    digests = set()
    for number, text in enumerate(("one = 1", "one = 2", "one = 1")):
        path = tmp_path / f"{number}.py"
        path.write_text(text)
        monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(__file__=str(path)))
        digests.add(score_file.code_digest(["mine"]))
    assert len(digests) == 2
    folder = epath.Path(tmp_path)
    before = score_file.folder_digest(folder)
    assert score_file.folder_digest(folder) == before
    os.utime(tmp_path / "0.py", (1, 1))
    assert score_file.folder_digest(folder) != before
