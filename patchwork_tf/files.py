"""Files that are whole or not there, and folders that can be written to."""

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
import sys
import tempfile

from patchwork_tf.errors import DataError

# Endings of what commands write: what has one, in a folder that is read, is not what is read from there.
_WRITTEN = (".gif", ".html", ".json", ".mp4", ".tflite")


@contextlib.contextmanager
def atomic_file(path: str, mode: str = "wb"):
    """Opens a temporary file that takes the place of `path` if all goes well, else is removed.

    Links are followed: what they lead to is replaced, and keeps its mode. Devices and pipes are written to, all at
    once, in the end.

    Raises DataError if it cannot be written. What is complete and cannot be put in place stays, and is named.
    """
    with _told(path):
        temporary = _new_file(path)
        try:
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
        except BaseException:
            os.remove(temporary)
            raise
        _put_in_place(temporary, path)


@contextlib.contextmanager
def _told(path):
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot write there ({error.strerror or error})") from None


def _new_file(path) -> str:
    """An empty file: where it can be renamed to `path`, with the mode that the umask leaves."""
    folder = tempfile.gettempdir() if is_stream(path) else os.path.dirname(_followed(path))
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.part")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _put_in_place(temporary, path):
    try:
        if is_stream(path):
            with open(temporary, "rb") as content, _opened(path) as stream:
                shutil.copyfileobj(content, stream)
            os.remove(temporary)
        else:
            target = _followed(path)
            with contextlib.suppress(OSError):  # nothing is there, or the file system knows no modes
                os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
            os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"{path}: cannot write there ({error.strerror}); all of it is in {temporary}") from None


def is_stream(path: str) -> bool:
    """Whether a path is a device, a pipe or the program's output (/dev/stdout), which cannot be replaced."""
    is_other = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    return is_other or _standard(path) is not None


def _standard(path):
    """The program's output, or error output, if a path is that."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the path or the stream is not there
            if os.path.samestat(os.stat(path), os.fstat(stream.fileno())):
                return stream
    return None


def _opened(path):
    if not (stream := _standard(path)):
        return open(path, "wb")
    stream.flush()
    return os.fdopen(os.dup(stream.fileno()), "wb")


def _followed(path) -> str:
    """Where links lead. Raises OSError if they lead in a circle."""
    target = os.path.realpath(path)
    if os.path.islink(target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def make_folder(path: str):
    """Makes a folder, and makes sure that it can be written to. Raises DataError if not."""
    check_folder(path)
    if "://" not in path:  # in a bucket there are no folders to make
        os.makedirs(path, exist_ok=True)


def check_folder(path: str):
    """Makes sure that a folder can be written to, and made if need be. Raises DataError if not."""
    if "://" in path:
        return
    there = os.path.realpath(path)
    while not os.path.exists(there):
        there = os.path.dirname(there)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise DataError(f"{path}: cannot write to this folder ({error.strerror})") from None


def check_output(path: str):
    """Makes sure that a file can be written in the end. Raises DataError if not."""
    if os.path.isdir(path):
        raise DataError(f"{path}: cannot write a file there, it is a folder")
    if is_stream(path):
        return
    with _told(path):
        target = _followed(path)
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise DataError(f"{path}: cannot write there, the file is protected")
    check_folder(os.path.dirname(target))


def would_lose(output: str, source: str) -> bool:
    """Whether to write a file or folder `output` is to write over `source`, or over what is read from that folder.

    Links are followed.
    """
    if is_stream(output):
        return False
    output, source = os.path.realpath(output), os.path.realpath(source)
    if output == source:
        return True
    if not (os.path.exists(output) and os.path.exists(source)):
        return False
    is_inside = os.path.isfile(output) and output.startswith(os.path.join(source, ""))
    return os.path.samefile(output, source) or (is_inside and not output.lower().endswith(_WRITTEN))


def read_bytes(path: str) -> bytes:
    """The content of a file. Raises DataError if it is missing."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def read_json(path: str):
    """The content of a JSON file. Raises DataError if it is missing or something else."""
    try:
        return json.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error})") from None


def write_json(path: str, content, indent: int | None = None):
    """Writes a JSON file. Raises DataError if it cannot be written."""
    with atomic_file(path, "w") as file:
        json.dump(content, file, indent=indent)
