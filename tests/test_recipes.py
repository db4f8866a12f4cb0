"""Recipes: what they are made of, what is run again, and that a killed one ends as if nothing had been."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from patchwork_tf import recipe
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.paper import TABLE_4, TABLE_5

ROOT = Path(__file__).parents[1]
SMALL = """
    values:
      seeds: [3]
      data: --image_size=64 --plugins=small_network
      steps: 4
      learn: --steps={steps} --batch_size=2 --clip_frames=1
    stages:
      sf:
        each: seed
        run: train --system=small-sf {data} {learn} --seed={seed} --model_dir={output}
      pw:
        each: seed
        run: train --system=small {data} {learn} --init_checkpoint={sf} --seed={seed} --model_dir={output}
      note.txt:
        run: python {here}/note.py {output} {pw}
"""
NOTE = """
import sys, time
output, folder = sys.argv[1:]
time.sleep(2)
print(folder.split("/")[-1], file=open(output, "a"))
"""


def written(folder, text) -> str:
    path = folder / "recipe.yaml"
    path.write_text(textwrap.dedent(text))
    return str(path)


@pytest.mark.parametrize(("number", "rows"), [(4, TABLE_4), (5, TABLE_5)])
def test_recipes_of_the_paper_have_every_row(number, rows, tmp_path):
    path = str(ROOT / f"recipes/table{number}.yaml")
    stages = recipe.read(path, "OUT", {"raw": "RAW"})
    commands = [stage.text for stage in stages]
    for do in ("evaluate", "benchmark"):
        named = [text.split("--system=")[1].split()[0] for text in commands if text.startswith(f"patchwork-{do}")]
        assert set(rows) == set(",".join(named).split(","))
    assert commands[-1].startswith("patchwork-tables")
    assert sum("--seed=2" in text and "--stage=policy" in text for text in commands) == 3
    with pytest.raises(UsageError, match=r"--set=raw=\.\.\. is required"):
        recipe.read(path, "OUT")
    assert recipe.read(path, "OUT", smoke=True)


def test_stages_read_what_earlier_ones_made(tmp_path):
    path = written(tmp_path, SMALL)
    stages = {stage.output: stage for stage in recipe.read(path, "OUT", {"steps": "7", "seeds": "0+1"})}
    assert list(stages) == ["seed0/sf", "seed1/sf", "seed0/pw", "seed1/pw", "note.txt"]
    assert "--init_checkpoint=OUT/seed1/sf" in stages["seed1/pw"].command
    assert "--plugins=small_network" in stages["seed1/pw"].command  # a value of several words
    assert "--steps=7" in stages["seed1/pw"].command
    assert stages["seed1/pw"].needs == ("seed1/sf",)
    assert stages["note.txt"].command[-1] == "OUT/seed0/pw,OUT/seed1/pw"
    other = {stage.output: stage.key for stage in recipe.read(path, "OUT", {"steps": "8", "seeds": "0+1"})}
    assert all(other[output] != stage.key for output, stage in stages.items())


def test_the_recipe_of_weights_names_what_it_makes(tmp_path, capsys):
    flags = [f"--recipe={ROOT}/recipes/weights.yaml", f"--output_dir={tmp_path}/w", "--dry_run"]
    assert recipe.main([*flags, "--only=vid.npz,davis.npz"]) == 0
    printed = capsys.readouterr().out
    assert "--system=vid-sf" in printed
    assert "--system=davis-sf" in printed
    assert "oid" not in printed


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('values: {seeds: [0]}\nstages: {x: {run: "train --a={y}"}}', DataError, "y} is neither a value nor"),
        ("values: {seeds: [0]}\nstages: {x: {run: rm -r /}}", DataError, "unknown command 'rm'"),
        ("values: {seeds: [0]}\nstages: {x: {}}", DataError, "not a recipe (KeyError: 'run')"),
        ("- a list", DataError, "not a recipe"),
        ("{", DataError, "not a recipe"),
        ("values: {seeds: [0]}\nstages: {}", UsageError, "--set=other"),
    ],
)
def test_wrong_recipes_are_refused(text, error, message, tmp_path):
    with pytest.raises(error) as raised:
        recipe.read(written(tmp_path, text), "OUT", {"other": "1"} if error is UsageError else None)
    assert message in str(raised.value)


def hear_ctrl_c():
    """Which what is started in the background does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(path, folder, *flags) -> subprocess.Popen:
    command = [sys.executable, "-m", "patchwork_tf.recipe", f"--recipe={path}", f"--output_dir={folder}", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, env=environment, preexec_fn=hear_ctrl_c)


@pytest.mark.slow
def test_a_recipe_that_was_killed_three_times_ends_the_same(tmp_path):
    """By Ctrl-C, kill and kill -9: in the first training, in the second, while a file is written."""
    path = written(tmp_path, SMALL)
    (tmp_path / "note.py").write_text(NOTE)
    assert recipe.main([f"--recipe={path}", f"--output_dir={tmp_path}/whole", "--smoke"]) == 0
    for number, stage in ((signal.SIGINT, "seed3-sf"), (signal.SIGTERM, "seed3-pw"), (signal.SIGKILL, "note.txt")):
        process = run(path, tmp_path / "broken", "--smoke")
        log = tmp_path / f"broken/logs/{stage}.log"
        while not (log.exists() and log.stat().st_size > 100) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == (-9 if number == signal.SIGKILL else 130)
        if number != signal.SIGKILL:
            assert "the same command goes on from there" in said.splitlines()[-1]
    assert recipe.main([f"--recipe={path}", f"--output_dir={tmp_path}/broken", "--smoke"]) == 0
    for stage in ("seed3/sf", "seed3/pw"):
        one, other = (checkpoints.read(str(tmp_path / name / stage)).arrays for name in ("whole", "broken"))
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=f"{stage} {key}")
    assert set((tmp_path / "broken/note.txt").read_text().split()) == {"pw"}


@pytest.mark.slow
def test_what_is_done_stays_and_what_differs_is_refused(tmp_path, capsys):
    (tmp_path / "make.py").write_text(
        "import os, sys\n"
        "output, text = sys.argv[1:]\n"
        "os.makedirs(output) if output.endswith('folder') else print(text, file=open(output, 'a'))\n"
    )
    text = """
        values: {seeds: [0], what: 1}
        stages:
          folder: {run: "python {here}/make.py {output} {what}"}
          file.txt: {run: "python {here}/make.py {output} {folder}"}
          bad: {run: "tables --system=none --output={output}"}
    """
    path, folder = written(tmp_path, text), tmp_path / "out"
    flags = [f"--recipe={path}", f"--output_dir={folder}"]
    for _ in range(2):
        assert recipe.main([*flags, "--only=file.txt"]) == 0
    assert (folder / "file.txt").read_text() == f"{folder}/folder\n"  # once
    assert recipe.main([*flags, "--dry_run"]) == 0
    assert capsys.readouterr().out.count("# done: python") == 2
    assert recipe.main(flags) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "patchwork-recipe: bad: patchwork-tables: unknown system 'none'" in said
    assert said.endswith(f"(exit code 2); its log is {folder}/logs/bad.log")
    assert recipe.main([*flags, "--set=what=2"]) == 1
    assert "is of another command, or of other inputs: remove it" in capsys.readouterr().err
