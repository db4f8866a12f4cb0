"""The native runner: where it and the LiteRT library are, and all it needs on another machine in one folder.

  python -m patchwork_tf.benchmarks.native                                 # this machine's runner and library
  python -m patchwork_tf.benchmarks.native --bundle=build/bundle-arm64     # everything an arm64 phone needs

docs/measure.md describes the runner, its builds and the two ways onto a phone.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from patchwork_tf import cli, files
from patchwork_tf.errors import DataError, UsageError

SOURCES = Path(__file__).with_name("runner")
LIBRARY_SOURCES = Path(__file__).parents[1] / "runtime" / "c"  # of which the runner takes what is not about frames
RUNNER = "patchwork_runner"
LIBRARY = "libLiteRt.so"


class Architecture(NamedTuple):
    """What `uname -m` says there, Debian's compiler, the dynamic loader, and the platform of LiteRT's wheel."""

    machine: str
    compiler: str
    loader: str
    wheel: str


ARCHITECTURES = {
    "arm64": Architecture("aarch64", "aarch64-linux-gnu-gcc", "ld-linux-aarch64.so.1", "manylinux_2_27_aarch64"),
    "x86_64": Architecture("x86_64", "x86_64-linux-gnu-gcc", "ld-linux-x86-64.so.2", "manylinux_2_27_x86_64"),
}
_SYSTEM_LIBRARIES = ("libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6")  # what libLiteRt.so needs

_FLAGS = cli.Flags()
_FLAGS.string("bundle", "Folder to fill with runner, LiteRT, system libraries and loader, for arm64.")


class Bundle(NamedTuple):
    """A folder that holds all that the runner needs, its files by name, and what runs it there; flags follow."""

    folder: str
    files: list[str]
    command: list[str]

    @property
    def kind(self) -> str:
        """A 'bundle' brings loader and C library along, an 'ndk' build uses Android's."""
        return "bundle" if any(name.startswith("ld-") for name in self.files) else "ndk"


def read_bundle(folder: str) -> Bundle:
    """A folder that was filled elsewhere. Raises DataError if runner or library are missing."""
    if not os.path.isdir(folder):
        raise DataError(f"--runner={folder}: no such folder")
    files = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    if missing := [name for name in (RUNNER, LIBRARY) if name not in files]:
        raise DataError(f"--runner={folder}: no {' and no '.join(missing)} in this folder")
    loader = [name for name in files if name.startswith("ld-")]
    start = [f"./{loader[0]}", "--library-path", "."] if loader else []
    return Bundle(folder, files, [*start, f"./{RUNNER}", f"--library=./{LIBRARY}"])


def library_path() -> str:
    """The LiteRT library that pip installed. Raises DataError, saying how to get it, if there is none."""
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = spec.submodule_search_locations if spec else []
    paths = [os.path.join(folder, name) for folder in folders for name in (LIBRARY, "libLiteRt.dylib")]
    for path in filter(os.path.exists, paths):
        return path
    raise DataError(f"no {LIBRARY} here: pip install 'ai-edge-litert>=2.3'")


def runner_path() -> str:
    """The runner for this machine, built once and kept in the user's cache.

    Raises DataError if there is no C compiler, or it fails.
    """
    content = b"".join(source.read_bytes() for source in source_files()) + platform.platform().encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "patchwork_tf"
    path = cache / f"{RUNNER}-{hashlib.sha256(content).hexdigest()[:16]}"
    if not path.exists():
        compile_c(host_compiler(), source_files("c"), path)
    return str(path)


def source_files(kinds: str = "ch") -> list[Path]:
    """The runner's sources, of these kinds, in a stable order."""
    shared = [LIBRARY_SOURCES / f"{name}.{kind}" for name in ("context", "litert", "model") for kind in "ch"]
    sources = [*SOURCES.glob("*.[ch]"), *shared, LIBRARY_SOURCES / "fail.h"]
    return sorted(source for source in sources if source.suffix[1:] in kinds)


def host_compiler() -> str:
    """A C compiler for this machine. Raises DataError if there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise DataError("no C compiler here: apt-get install gcc, or xcode-select --install")


def compile_c(compiler: str, sources: list, output, *more_flags: str):
    """Compiles C sources to a program, which takes its place when it is complete.

    Raises DataError with what the compiler said first, if it is missing or fails.
    """
    os.makedirs(os.path.dirname(output), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(output)) as folder:
        program = os.path.join(folder, "program")
        command = [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", *more_flags, f"-I{LIBRARY_SOURCES}"]
        command += ["-o", program, *map(str, sources)]
        _run([*command, "-ldl", "-lm", "-lpthread"], f"{compiler} cannot build {os.path.basename(output)}")
        os.replace(program, output)


def make_bundle(folder: str, arch: str = "arm64") -> Bundle:
    """Fills a folder with all that the runner needs on another machine: no NDK, nothing to install there.

    It is made if it is missing; files of the same names are replaced. Raises UsageError unless `arch` is one of
    ARCHITECTURES, DataError if compiler, system libraries or LiteRT for that machine cannot be had.
    """
    if arch not in ARCHITECTURES:
        raise UsageError(f"no bundle for '{arch}'; choose from {', '.join(ARCHITECTURES)}")
    target = ARCHITECTURES[arch]
    if not shutil.which(target.compiler):
        raise DataError(f"no {target.compiler} here: apt-get install {_package_of(target.compiler)}")
    files.make_folder(folder)
    folder = os.path.abspath(folder)
    compile_c(target.compiler, source_files("c"), os.path.join(folder, RUNNER), "-s")
    for name in (target.loader, *_SYSTEM_LIBRARIES):
        _copy(_system_library(target.compiler, name), os.path.join(folder, name))
    with tempfile.TemporaryDirectory() as download:
        _copy(_litert_for(target, download), os.path.join(folder, LIBRARY))
    return read_bundle(folder)


def _package_of(compiler) -> str:
    """Debian's package of a cross compiler: x86_64-linux-gnu-gcc is in gcc-x86-64-linux-gnu."""
    return f"gcc-{compiler.removesuffix('-gcc').replace('_', '-')}"


def _system_library(compiler, name) -> str:
    path = _run([compiler, f"-print-file-name={name}"], f"{compiler} cannot find {name}").strip()
    if not os.path.isabs(path):  # gcc repeats the name of what it does not find
        raise DataError(
            f"no {name} for {compiler}: apt-get install {_package_of(compiler)} libstdc++6-arm64-cross"
        )
    return path


def _litert_for(target, download) -> str:
    """LiteRT's library for that machine: the installed one, or downloaded to a folder, of the same version."""
    if (platform.system(), platform.machine()) == ("Linux", target.machine):
        return library_path()
    wanted = f"ai-edge-litert=={version('ai-edge-litert')}"
    print(f"downloading {wanted} for {target.machine}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    _run([*command, "--platform", target.wheel, "--dest", download, wanted], f"pip cannot download {wanted}")
    (wheel,) = Path(download).glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        return file.extract(f"ai_edge_litert/{LIBRARY}", download)


def _copy(source, target):
    temporary = f"{target}.part"
    shutil.copyfile(source, temporary)
    os.chmod(temporary, 0o755)
    os.replace(temporary, target)


def _run(command, failure) -> str:
    """What a program prints. Raises DataError with what it complains of first, if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise DataError(f"{failure}: no {command[0]} here") from None
    except subprocess.CalledProcessError as error:
        complaints = [line for line in error.stderr.splitlines() if "rror" in line] or error.stderr.splitlines()
        raise DataError(f"{failure}: {complaints[0] if complaints else f'exit code {error.returncode}'}") from None
    return done.stdout


@cli.command("patchwork-native", _FLAGS, __doc__)
def main():
    """Tells where runner and library are, or fills a bundle."""
    if not _FLAGS.bundle:
        print(f"runner   {runner_path()}\nlibrary  {library_path()}")
        return
    bundle = make_bundle(_FLAGS.bundle)
    size = sum(os.path.getsize(os.path.join(bundle.folder, name)) for name in bundle.files)
    print(f"{bundle.folder}: {len(bundle.files)} files, {size / 1e6:.1f} MB. Copy it over, and there:")
    print(f"{' '.join(bundle.command)} --model=F.tflite --samples=OUT.txt")


if __name__ == "__main__":
    sys.exit(main())
