"""Files that are whole or not there, and folders that can be written to."""

import json
import os
import tempfile
from contextlib import contextmanager

from patchwork_tf.errors import DataError


@contextmanager
def atomic_file(path: str, mode: str = "wb"):
    """Opens a temporary file next to `path` that takes its place if all goes well, else is removed.

    Raises:
        DataError: if the folder cannot be made or written to.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
        os.close(handle)
    except OSError as error:
        raise DataError(f"{path}: cannot write there ({error.strerror})") from None
    try:
        with open(temporary, mode) as file:
            yield file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot write ({error.strerror or error})") from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def make_folder(path: str):
    """Makes a folder, and makes sure that it can be written to. Raises DataError if not."""
    if "://" in path:  # in a bucket there are no folders to make
        return
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise DataError(f"{path}: cannot write to this folder ({error.strerror})") from None


def check_output(path: str):
    """Makes the folder of a file that will be written in the end. Raises DataError if it cannot be."""
    if os.path.isdir(path):
        raise DataError(f"{path}: cannot write a file there, it is a folder")
    make_folder(os.path.dirname(os.path.abspath(path)))


def read_json(path: str):
    """The content of a JSON file. Raises DataError if it is missing or something else."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error})") from None
