"""Scores in a file: there as soon as they are made, and taken over when the command is given again."""

import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from patchwork_tf import files, provenance
from patchwork_tf.errors import DataError


class ScoreFile:
    """Rows in the order in which they are added, each written to a JSON file at once, as a list.

    A row has 'made_of', all that its numbers depend on. What the file had before is taken over if it was made of
    the same. `done` are the rows so far.
    """

    def __init__(self, path: str | None, run: dict):
        """`run` is what all rows are made of. Without a path, or with that of a pipe, nothing is written here."""
        self._path = path if path and not files.is_stream(path) else None
        self._run = _plain(run)
        self._left = [row for row in _read(self._path) if row["made_of"].get("run") == self._run]
        self.done = []

    def add(self, made_of: dict, make: Callable[[], dict]):
        """Takes over a row, or makes it: always, if its weights are random, or its predictions no longer there.

        It is `made_of` this beside what all are: SHA-256 of its 'weights' or None, folder of its 'predictions' or
        None, and more.
        """
        made_of = {**_plain(made_of), "run": self._run}
        row = next((row for row in self._left if row["made_of"] == made_of), None)
        self._left = [row for row in self._left if row["made_of"] != made_of]
        if row and made_of["weights"] and os.path.isdir(made_of["predictions"] or "."):
            print(f"{row['system']}, {row['policy']}: scored before, see {self._path}")
        else:
            row = {**make(), "made_of": made_of}
        self.done.append(row)
        if self._path:
            files.write_json(self._path, self.done + self._left, indent=1)


def _read(path) -> list[dict]:
    """The rows of a file, if it is there and has some."""
    try:
        content = files.read_json(path) if path else []
    except DataError:  # it is going to be written over
        content = []
    rows = content if isinstance(content, list) else [content]
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("made_of"), dict)]


def _plain(facts):
    """As JSON gives it back: without tuples."""
    return json.loads(json.dumps(facts))


file_digest = functools.cache(provenance.sha256)  # files are not written while they are scored


def folder_digest(folder) -> str:
    """SHA-256 of names, sizes and times of what is in a folder, an epath.Path: contents may be large."""
    facts = ((path.name, path.stat().length, path.stat().mtime) for path in sorted(folder.iterdir()))
    return hashlib.sha256(repr(list(facts)).encode()).hexdigest()


def code_digest(modules: list[str]) -> str:
    """SHA-256 of the code of modules and packages that are imported: other code may give other numbers."""
    digests = []
    for name in modules:
        path = Path(sys.modules[name].__file__)
        sources = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
        digests += [file_digest(str(source)) for source in sources]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
