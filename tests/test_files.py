"""What is written is whole or not there, lands where it is to, and loses nothing."""

import contextlib
import errno
import os
import stat
import threading

import pytest

from patchwork_tf import files
from patchwork_tf.errors import DataError


def write(path, text="new"):
    with files.atomic_file(str(path), "w") as file:
        file.write(text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a file, a hard link to it, a folder, and links."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("old")
    os.link("file", "twin")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "frame.png").write_text("a frame")
    (tmp_path / "below" / "answers.json").write_text("ours")
    os.symlink("file", "link")
    os.symlink("link", "second")
    os.symlink("below", "other_name")
    os.symlink("below/new", "dangling")
    os.symlink("round", "round")
    return tmp_path


@pytest.mark.parametrize(("link", "target"), [("link", "file"), ("second", "file"), ("dangling", "below/new")])
def test_links_are_followed(link, target, folder):
    files.check_output(link)
    write(link)
    assert os.path.islink(link)
    assert not os.path.islink(target)
    assert (folder / target).read_text() == "new"


@pytest.mark.parametrize("write", [write, files.check_output])
def test_links_in_a_circle_are_an_error(write, folder):
    with pytest.raises(DataError, match="round: cannot write there"):
        write("round")
    assert os.path.islink("round")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_are_those_of_the_umask_or_of_what_was_there(umask, mode, folder):
    os.chmod("file", 0o640)
    before = os.umask(umask)
    try:
        write("fresh")
        write("link")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("fresh").st_mode) == mode
    assert stat.S_IMODE(os.stat("file").st_mode) == 0o640


def test_a_pipe_is_written_to_at_once_and_stays_a_pipe(folder):
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((folder / "pipe").read_text()), daemon=True)
    files.check_output("pipe")  # does not wait for anybody to read
    reader.start()
    with files.atomic_file("pipe", "w") as file:
        file.write("one ")
        file.seek(0, os.SEEK_END)  # as writers of video do
        file.write("two")
    reader.join(10)
    assert read == ["one two"]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    assert files.is_stream("/dev/null")
    assert not any(map(files.is_stream, ("file", "link", "below", "fresh")))


def test_standard_output_is_written_to_in_its_turn(capfd, folder):
    os.symlink("/dev/stdout", "shown")
    print("before")
    files.check_output("shown")
    write("shown", "between\n")
    print("after")
    assert capfd.readouterr().out == "before\nbetween\nafter\n"


def fail_with(code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_system_without_modes_loses_nothing(folder, monkeypatch):
    monkeypatch.setattr(os, "chmod", fail_with(errno.EPERM))
    write("link")
    assert (folder / "file").read_text() == "new"


def test_what_cannot_be_put_in_place_is_kept_and_named(folder, monkeypatch):
    monkeypatch.setattr(os, "replace", fail_with(errno.EBUSY))
    with pytest.raises(DataError, match=r"file: cannot write there .*busy.*; all of it is in ") as raised:
        write("file")
    with open(str(raised.value).split()[-1]) as kept:
        assert kept.read() == "new"
    assert (folder / "file").read_text() == "old"


def test_nothing_is_left_of_what_was_not_finished(folder):
    before = sorted(os.listdir())
    with contextlib.suppress(RuntimeError), files.atomic_file("file") as file:
        file.write(b"half")
        raise RuntimeError
    assert sorted(os.listdir()) == before
    assert (folder / "file").read_text() == "old"


def test_names_may_be_as_long_as_the_system_has_it(folder):
    write("n" * 255)
    with pytest.raises(DataError, match="cannot write there"):
        write("n" * 256)


def test_a_check_leaves_nothing_behind(folder, monkeypatch):
    files.check_output("new/newer/file")
    assert not os.path.exists("new")
    for path, said in {"file/below": "cannot write to this folder", "below": "it is a folder"}.items():
        with pytest.raises(DataError, match=said):
            files.check_output(path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match="file: cannot write there, the file is protected"):
        files.check_output("file")


@pytest.mark.parametrize(
    ("output", "source", "loses"),
    [
        ("file", "file", True),
        ("./below/../file", "file", True),
        ("second", "file", True),
        ("file", "second", True),
        ("twin", "file", True),
        ("below", "other_name", True),
        ("other_name/frame.png", "below", True),
        ("below/answers.json", "below", False),  # from the last time
        ("below/new.png", "below", False),
        ("dangling", "file", False),
        ("fresh", "file", False),
        ("file", "missing", False),
        ("/dev/null", "/dev/null", False),
    ],
)
def test_what_would_be_lost(output, source, loses, folder):
    assert files.would_lose(output, source) == loses
