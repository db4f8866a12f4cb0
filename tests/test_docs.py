"""What docs/extending.md says, run as it is written: a network and a backbone of one's own, from training to C."""

import re
import shlex
import subprocess
from pathlib import Path

import needs
import numpy as np
import pytest
from conftest import small_model

import patchwork_tf as pw
from patchwork_tf import demo, train
from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.benchmarks import native
from patchwork_tf.export import __main__ as export

ROOT = Path(__file__).parents[1]
COMMANDS = {"train": train, "export": export, "demo": demo, "benchmark": benchmark}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_entries")]


def blocks(section, language=""):
    """The blocks of code in a section."""
    text = (ROOT / "docs/extending.md").read_text()
    (part,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return [
        body
        for kind, body in re.findall(r"^```(\w*)\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        if kind == language
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader is who has the checkout beside."""
    for name in ("runtime",):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "libLiteRt.so").symlink_to(native.library_path())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def execute(lines):
    """Runs commands; returns what other programs than ours print."""
    printed = ""
    for line in lines.splitlines():
        words = shlex.split(line, comments=True)
        if words[0].startswith("patchwork-"):
            assert COMMANDS[words[0].removeprefix("patchwork-")].main(words[1:]) == 0, line
        else:
            done = subprocess.run(line, shell=True, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    return printed


def test_a_backbone(folder, capsys):
    (code,), (commands,) = blocks("A backbone", "python"), blocks("A backbone")
    (folder / "mine.py").write_text(f"import patchwork_tf as pw\n{code}")
    execute(commands)
    assert "ratios to v3-sf" in capsys.readouterr().out


def test_a_network(folder, capsys):
    needs.compiler()
    (code,), (commands,) = blocks("A network", "python"), blocks("A network")
    said = {"pw": pw}
    exec(code, said)
    lines = re.findall("frame .*|  foreground .*", execute(commands))
    assert "ratios to sf" in capsys.readouterr().out
    answers = list(pw.stream("mask.tflite", said["frames"]))
    assert len(lines) == 2 * len(answers)
    for frame, foreground, answer in zip(lines[::2], lines[1::2], answers, strict=True):
        window = "whole" if answer.window is None else "window {} {}".format(*answer.window)
        assert frame.endswith(window)
        np.testing.assert_allclose(float(foreground.split()[1]), answer.maps["mask"].mean(), atol=1e-4)


def test_all_other_code():
    """Each section's by itself."""
    frames, model = np.zeros((3, 64, 64, 3), np.uint8), small_model("davis-pw-m4n2")
    for section in ("A system", "A policy", "A data set", "A task"):
        said = {"pw": pw, "model": model, "frames": frames}
        exec("\n".join(blocks(section, "python")), said)
    answers = list(pw.stream(model, frames, "impatient"))
    assert answers[1].window != answers[2].window
    assert pw.build("vid-pw-m8n3").grid.window_cells == 3


def test_training_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/training.md").read_text()
    said = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(code, said)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert pw.load("mine.keras").config.cells == 4
    assert np.isfinite(float(said["loss"]))
