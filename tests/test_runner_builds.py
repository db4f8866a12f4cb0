"""How the native runner is built: by whatever compiler, make, Bazel, and as a bundle for another machine."""

import os
import platform
import subprocess

import needs
import numpy as np
import pytest
from arm64 import CORTEX_A53, CORTEX_A76, bundle_for
from conftest import random_frames
from exports import export
from native_runner import ROOT, STEPS, call, host_command, steps_in_python, write_frames

from patchwork_tf.benchmarks import native
from patchwork_tf.errors import DataError, UsageError


@pytest.mark.parametrize("compiler", ["C compiler", "clang", "gcc for arm64"])
def test_compilers_have_nothing_to_complain_of(compiler, tool, tmp_path):
    native.compile_c(tool(compiler), native.source_files("c"), tmp_path / "runner", "-Werror", "-pedantic")


def test_make_native_needs_no_python():
    needs.compiler()
    done = subprocess.run(["make", "native", "PYTHON=none"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert call([ROOT / "build" / "native" / native.RUNNER, "--version"]).returncode == 0


def test_the_runner_is_built_once_into_the_cache(monkeypatch, tmp_path):
    needs.compiler()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = native.runner_path()
    assert path.startswith(str(tmp_path / "cache"))
    assert call([path, "--version"]).returncode == 0
    built = os.stat(path).st_mtime_ns
    assert native.runner_path() == path
    assert os.stat(path).st_mtime_ns == built


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(DataError, match="no C compiler here"):
        native.host_compiler()
    with pytest.raises(DataError, match="apt-get install gcc-aarch64-linux-gnu"):
        native.make_bundle(str(tmp_path / "bundle"))
    with pytest.raises(UsageError, match="choose from arm64"):
        native.make_bundle(str(tmp_path / "bundle"), "riscv")
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install"):
        native.library_path()


def test_a_compiler_that_fails_is_quoted(tmp_path):
    (tmp_path / "wrong.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(DataError, match=r"cannot build program: .*nothing"):
        native.compile_c(needs.compiler(), [tmp_path / "wrong.c"], tmp_path / "program")
    assert not (tmp_path / "program").exists()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="not an x86_64 machine")
def test_a_bundle_needs_nothing_of_the_system(echo, run, tmp_path):
    bundle = bundle_for("x86_64", tmp_path / "bundle")
    assert sorted(bundle.files) == sorted(os.listdir(bundle.folder))
    _, found = run(echo, "steps=5", "warmup=0", command=bundle.command, cwd=bundle.folder)
    np.testing.assert_array_equal(found["steps"].ravel(), range(1, 6))


@pytest.mark.slow
def test_the_arm64_bundle_equals_litert_in_python(arm64, detector, run, tmp_path):
    """Under qemu, a hundred stateful steps; its times mean nothing."""
    frames = random_frames(np.random.default_rng(0), 30, (128, 128))
    command = [*arm64.start(*CORTEX_A53), *arm64.bundle.command]
    flags = [write_frames(tmp_path / "frames", frames), f"steps={STEPS}", "warmup=0"]
    _, found = run(detector, *flags, command=command, cwd=arm64.bundle.folder)
    expected = steps_in_python(detector, frames, STEPS)
    np.testing.assert_array_equal(found["next_window"], expected["next_window"])
    np.testing.assert_array_equal(found["count"].ravel(), expected["count"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)
    # Of equal scores, rounding decides which comes first.
    same = np.isclose(found["boxes"], expected["boxes"], atol=1e-4).all(axis=2) & (
        found["classes"] == expected["classes"]
    )
    assert same.mean() > 0.99


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="LiteRT in Python may compute in half precision itself")
def test_float16_files_are_computed_in_half_precision_where_arm64_has_it(arm64, small, run, tmp_path):
    """By the same bundle; the answers show that it was so, and are nearly the same."""
    path, frames = tmp_path / "model.tflite", random_frames(np.random.default_rng(0), 2, (64, 64))
    export(small("davis-pw-m2n1", image_size=64), str(path), verify_steps=2, quantization="float16")
    flags = [write_frames(tmp_path / "frames", frames), "steps=2", "warmup=0"]
    differences = []
    for processor in (CORTEX_A53, CORTEX_A76):
        command = [*arm64.start(*processor), *arm64.bundle.command]
        _, found = run(path, *flags, command=command, cwd=arm64.bundle.folder)
        differences.append(np.abs(found["mask"] - steps_in_python(str(path), frames, 2)["mask"]).max())
    assert differences[0] < 1e-4
    assert 1e-4 < differences[1] < 0.02


# Bazel loads rules_cc and rules_java to build anything at all. Without a network these stand in for them.
_STUB_RULES = {
    "rules_cc/cc": ["binary", "library", "import", "test", "toolchain", "toolchain_suite", "proto_library"],
    "rules_java/java": ["binary", "library", "import", "test", "toolchain", "runtime", "package_configuration"],
}


def _write_stub_rules(folder) -> list[str]:
    """Writes them; returns the flags that put them in place."""
    for path, rules in _STUB_RULES.items():
        package = folder / path
        package.mkdir(parents=True)
        (package.parent / "WORKSPACE").touch()
        (package / "BUILD").touch()
        lines = [f"{package.name}_{rule} = native.{package.name}_{rule}\n" for rule in rules]
        (package / "defs.bzl").write_text("".join(lines))
    return [f"--override_repository={name}={folder / name}" for name in ("rules_cc", "rules_java")]


@pytest.mark.slow
def test_bazel_builds_the_same_runner(tool, echo, run, tmp_path):
    command = [tool("Bazel"), "--max_idle_secs=60", f"--output_user_root={tmp_path / 'bazel'}"]
    flags = [*_write_stub_rules(tmp_path / "stubs"), "--experimental_convenience_symlinks=ignore"]
    for config, machine in (("host", platform.machine()), ("arm64", "aarch64")):
        if config == "arm64":
            tool("gcc for arm64")
        chosen = [f"--config={config}"] * (config != "host")
        done = call([*command, "build", *flags, *chosen, f"//benchmarks/runner:{native.RUNNER}"], ROOT)
        assert done.returncode == 0, done.stderr
        built = (tmp_path / "bazel").glob(
            f"*/execroot/patchwork/bazel-out/*/bin/benchmarks/runner/{native.RUNNER}"
        )
        newest = max(built, key=os.path.getmtime)
        found = int.from_bytes(newest.read_bytes()[18:20], "little")  # of the ELF header
        assert found == {"aarch64": 183, "x86_64": 62}[machine]
        if config == "host":
            _, answers = run(echo, "steps=5", "warmup=0", command=host_command(newest))
            np.testing.assert_array_equal(answers["steps"].ravel(), range(1, 6))
    call([*command, "shutdown"], ROOT)
