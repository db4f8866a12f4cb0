"""Imports point one way: what a part of the package may import is below it. And other packages are asked for."""

import ast
import functools
import re
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "patchwork_tf": "patchwork_tf",
    "export": "patchwork_tf.export",
    "benchmarks": "patchwork_tf.benchmarks",
    "runtime/python/patchwork_runtime": "patchwork_tf.runtime",
}
# The lowest first; parts of one line know nothing of each other.
LAYERS = (
    {"runtime"},  # which has a distribution of its own, too
    {"errors", "choices", "truth", "registry", "interrupts"},
    {"backend", "devices", "files", "provenance", "grid", "bars", "drawing", "resizing", "pictures", "task"},
    {"layers"},
    {"models", "data"},
    {"metrics"},
    {"tasks"},
    {"zoo", "streaming"},
    {"training"},
    {"export"},
    {"cli"},
    {"benchmarks"},
    {"commands"},
)
# Modules that are run: they sit above all others, wherever their file is.
COMMANDS = ("cli.run(", "@cli.command(")


@functools.cache
def modules():
    """(part, path, imported parts) of every module that is no command."""
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text()
            if any(mark in source for mark in COMMANDS) or path.name == "__init__.py":
                continue
            name = ".".join((package, *path.relative_to(ROOT / folder).with_suffix("").parts))
            found.append((name.split(".")[1], path, imported(ast.parse(source))))
    return found


def imported(tree) -> set[str]:
    parts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "patchwork_tf":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("patchwork_tf.")]
        else:
            continue
        parts |= {name.split(".")[1] for name in names}
    return parts


def height(part) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("part", [part for layer in LAYERS for part in sorted(layer)])
def test_a_part_imports_only_what_is_below_it(part):
    found = [(path, names - {part}) for name, path, names in modules() if name == part]
    assert found, f"no module of {part}: is it gone?"
    wrong = {path.name: {name for name in names if height(name) >= height(part)} for path, names in found}
    assert not {path: names for path, names in wrong.items() if names}


def test_every_part_has_its_place():
    assert {part for part, _, _ in modules()} == {part for layer in LAYERS for part in layer}


@pytest.mark.parametrize("part", ["training", "models", "layers"])
def test_what_trains_does_not_draw(part):
    assert not [path for name, path, names in modules() if name == part and "drawing" in names]


def foreign(folders, lazily) -> set[str]:
    """Packages that are neither Python's nor ours, imported anywhere in files, or when these are imported."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    ours = {path.stem for path in paths} | {*folders}
    names = set()
    for tree in (ast.parse(path.read_text()) for path in paths):
        for node in ast.walk(tree) if lazily else tree.body:
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names - ours - sys.stdlib_module_names


def test_the_runtime_needs_no_more_than_it_says():
    folder = "runtime/python/patchwork_runtime"
    assert foreign([folder], lazily=True) == {"ai_edge_litert", "numpy"}
    for path in (ROOT / folder).glob("*.py"):
        assert "patchwork_tf." not in path.read_text()


@pytest.mark.parametrize(
    ("folders", "lazily", "extras"),
    [(list(FOLDERS), False, False), ([*FOLDERS, "tests", "tools", "results"], True, True)],
)
def test_every_package_that_is_imported_is_asked_for(folders, lazily, extras):
    """None is there only because another one needs it. The package itself can be imported without any extra."""
    lines = [line for line in requires("patchwork-tf") if extras or "extra ==" not in line]
    wanted = {re.match(r"[\w-]+", line)[0].lower() for line in lines}
    brought_by = packages_distributions()
    unasked = [
        name for name in foreign(folders, lazily) if not wanted & {*map(str.lower, brought_by.get(name, ()))}
    ]
    assert not unasked
