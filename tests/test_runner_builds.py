"""How the native runner is built: by whatever compiler, make, Bazel, and as a bundle for another machine."""

import os
import platform
import shutil
import subprocess

import numpy as np
import pytest
from conftest import random_frames
from native_runner import CROSS_COMPILER, ROOT, STEPS, call, host_command, or_skip, steps_in_python, write_frames

from patchwork_tf.benchmarks import native
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export.exporting import export


@pytest.mark.parametrize("compiler", ["gcc", "clang", CROSS_COMPILER])
def test_compilers_have_nothing_to_complain_of(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    native.compile_c(compiler, native.source_files("*.c"), tmp_path / "runner", "-Werror", "-pedantic")


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make_native_needs_no_python(program):
    done = subprocess.run(["make", "native", "PYTHON=none"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert native.runner_path() == str(ROOT / "build" / "native" / native.RUNNER)
    assert call([native.runner_path(), "--version"]).returncode == 0


def test_without_make_the_runner_is_built_once_into_the_cache(echo, run, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "_MADE", tmp_path / "nowhere")
    path = native.runner_path()
    assert path.startswith(str(tmp_path / "cache"))
    run(echo, "steps=3", command=host_command(path))
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
        native.compile_c(or_skip(native.host_compiler), [tmp_path / "wrong.c"], tmp_path / "program")
    assert not (tmp_path / "program").exists()


def bundle_or_skip(folder, arch):
    """Runner, LiteRT and system libraries for an architecture."""
    if not shutil.which(native.ARCHITECTURES[arch].compiler):
        pytest.skip(f"no {native.ARCHITECTURES[arch].compiler} here")
    try:
        bundle = native.make_bundle(str(folder), arch)
    except DataError as error:
        if "pip cannot download" not in str(error):
            raise
        pytest.skip(str(error))
    assert sorted(bundle.files) == sorted(os.listdir(folder))
    return bundle


@pytest.mark.skipif(platform.machine() != "x86_64", reason="not an x86_64 machine")
def test_a_bundle_needs_nothing_of_the_system(echo, run, tmp_path):
    bundle = bundle_or_skip(tmp_path / "bundle", "x86_64")
    _, found = run(echo, "steps=5", "warmup=0", command=bundle.command, cwd=bundle.folder)
    np.testing.assert_array_equal(found["steps"].ravel(), range(1, 6))


# XNNPACK asks /proc/cpuinfo what the processor can do, and qemu would show it this machine's.
_CPUINFO = """processor\t: 0
Features\t: {}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {}
CPU revision\t: 4

"""
# What qemu calls it, its features and number.
CORTEX_A53 = "cortex-a53", "fp asimd", "0xd03"
CORTEX_A76 = "cortex-a76", "fp asimd fphp asimdhp", "0xd0b"


def emulator_or_skip(root, name, features, part) -> list:
    """What starts an arm64 program on that processor: qemu, with files in the folder `root`."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not emulator:
        pytest.skip("no qemu-aarch64 here: apt-get install qemu-user-static")
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(_CPUINFO.format(features, part))
    return [emulator, "-cpu", name, "-L", root]


@pytest.mark.slow
def test_the_arm64_bundle_equals_litert_in_python(detector, run, tmp_path):
    """Under qemu, a hundred stateful steps; its times mean nothing."""
    bundle = bundle_or_skip(tmp_path / "bundle", "arm64")
    frames = random_frames(np.random.default_rng(0), 30, (128, 128))
    command = [*emulator_or_skip(tmp_path / "root", *CORTEX_A53), *bundle.command]
    flags = [write_frames(tmp_path / "frames", frames), f"steps={STEPS}", "warmup=0"]
    _, found = run(detector, *flags, command=command, cwd=bundle.folder)
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
def test_float16_files_are_computed_in_half_precision_where_arm64_has_it(small, run, tmp_path):
    """By the same bundle; the answers show that it was so, and are nearly the same."""
    path, frames = tmp_path / "model.tflite", random_frames(np.random.default_rng(0), 4, (64, 64))
    export(small("davis-pw-m2n1", image_size=64), str(path), verify_steps=2, quantization="float16")
    bundle = bundle_or_skip(tmp_path / "bundle", "arm64")
    flags = [write_frames(tmp_path / "frames", frames), "steps=4", "warmup=0"]
    differences = []
    for processor in (CORTEX_A53, CORTEX_A76):
        command = [*emulator_or_skip(tmp_path / processor[0], *processor), *bundle.command]
        _, found = run(path, *flags, command=command, cwd=bundle.folder)
        differences.append(np.abs(found["mask"] - steps_in_python(str(path), frames, 4)["mask"]).max())
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
@pytest.mark.skipif(not shutil.which("bazel"), reason="no bazel here: apt-get install bazel-bootstrap")
@pytest.mark.parametrize("config", ["host", "arm64"])
def test_bazel_builds_the_same_runner(config, echo, run, tmp_path):
    if config == "arm64" and not shutil.which(CROSS_COMPILER):
        pytest.skip(f"no {CROSS_COMPILER} here")
    command = ["bazel", "--batch", f"--output_user_root={tmp_path / 'bazel'}", "build"]
    command += [*_write_stub_rules(tmp_path / "stubs"), "--experimental_convenience_symlinks=ignore"]
    command += [f"--config={config}"] * (config != "host")
    done = call([*command, f"//benchmarks/runner:{native.RUNNER}"], ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = (tmp_path / "bazel").glob(f"*/execroot/patchwork/bazel-out/*/bin/benchmarks/runner/{native.RUNNER}")
    machine = int.from_bytes(built.read_bytes()[18:20], "little")  # of the ELF header
    assert machine == {"aarch64": 183, "x86_64": 62}["aarch64" if config == "arm64" else platform.machine()]
    if config == "host":
        _, found = run(echo, "steps=5", "warmup=0", command=host_command(built))
        np.testing.assert_array_equal(found["steps"].ravel(), range(1, 6))
