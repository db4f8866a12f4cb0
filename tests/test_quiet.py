"""What reaches the user's screen: a command's own lines, and all of standard error if we are merely imported."""

import os
import subprocess
import sys

import pytest

IMPORTED = """
import os, patchwork_tf as pw, patchwork_tf.runtime.network
os.write(2, b"still the user's")
"""


def run(*command, cwd, env=os.environ):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=env)


@pytest.mark.slow
def test_a_command_writes_its_own_lines_and_a_log_file_no_bars(on_tensorflow, tmp_path):
    flags = ["--plugins=small_network", "--system=small-sf", "--verify_steps=30", "--output=sf.tflite"]
    done = run("-m", "patchwork_tf.export", *flags, cwd=tmp_path, env=on_tensorflow)
    assert done.returncode == 0
    lines = done.stderr.replace("\r", "\n").splitlines()
    assert len(lines) <= 3
    assert all(line.startswith("verifying") for line in lines if line)


@pytest.mark.slow
def test_imported_it_leaves_standard_error_alone(tmp_path):
    assert run("-c", IMPORTED, cwd=tmp_path).stderr.endswith("still the user's")
