"""Lists of classes: numbered as the file says, read as written, or refused with the line."""

import pytest

from patchwork_tf.data.class_lists import read_class_list
from patchwork_tf.errors import DataError

LISTS = {
    "list": ("x.yaml", "path: .\nnames: [cat, 'big dog']\n", {0: "cat", 1: "big dog"}),
    "numbers": ("x.yml", "names:\n  1: dog\n  0: cat\n", {0: "cat", 1: "dog"}),
    "gaps": ("x.yaml", "names: {0: cat, 2: dog, 3: bus}", {0: "cat", 2: "dog", 3: "bus"}),
    "quoted": ("x.yaml", "names: {'2': cat, '10': dog}", {2: "cat", 10: "dog"}),
    "quoted or not": ("x.yaml", "names:\n  0: cat\n  '1': dog\n", {0: "cat", 1: "dog"}),
    "as written": (
        "x.yaml",
        "names: [no, yes, 007, 1_0, 2026-01-01]",
        dict(enumerate(["no", "yes", "007", "1_0", "2026-01-01"])),
    ),
    "no names": ("x.yaml", "train: images\n", {}),
    "no mapping": ("x.yaml", "- names\n", {}),
    "lines": ("obj.names", "\ufeffcat \r\nbig dog\r\n\r\n", {0: "cat", 1: "big dog"}),
    "one form": ("classes.txt", "cafe\u0301", {0: "caf\xe9"}),
}


@pytest.mark.parametrize("case", LISTS)
def test_what_is_written_is_read(case, tmp_path):
    name, text, expected = LISTS[case]
    (tmp_path / name).write_bytes(text.encode())
    assert read_class_list(str(tmp_path / name)) == expected


BAD = {
    "text": ("x.yaml", "nc: 1\nnames: cat\n", "x.yaml:2: names is a list"),
    "empty": ("x.yaml", "names: []\n", "x.yaml:1: names is a list"),
    "null": ("x.yaml", "names:\n  - cat\n  - null\n", "x.yaml:3: a name is one line of text"),
    "no name": ("x.yaml", "names:\n  0:\n  1: cat\n", "x.yaml:2: a name is one line of text"),
    "list of lists": ("x.yaml", "names: [[cat]]", "x.yaml:1: a name is one line of text"),
    "number twice": ("x.yaml", "names:\n  0: cat\n  '0': dog\n", "x.yaml:3: class 0 is there twice"),
    "name twice": ("x.yaml", "names:\n  0: cat\n  1: cat\n", "x.yaml:3: class cat is there twice"),
    "names twice": ("x.yaml", "names: [cat]\nnames: [dog]\n", "x.yaml:2: names is there twice"),
    "octal": ("x.yaml", "names: {010: cat}", "a class has a number from 0, not '010'"),
    "word": ("x.yaml", "names: {cat: 0}", "a class has a number from 0, not 'cat'"),
    "no YAML": ("x.yaml", "names: [cat\n", "x.yaml: not YAML"),
    "deep": ("x.yaml", "[" * 5000, "x.yaml: not YAML"),
    "blank line": ("classes.txt", "cat\n\ndog\n", "classes.txt:2: a name is one line of text"),
    "line twice": ("classes.txt", "cat\ndog\ncat \n", "classes.txt:3: class cat is there twice"),
    "nothing": ("classes.txt", "\n", "classes.txt: the list is empty"),
    "bytes": ("classes.txt", "cat\n\udcff", "classes.txt: cannot read"),
    "two lines in one": ("classes.txt", "big\u2028dog", "classes.txt:1: a name is one line of text"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_may_mean_two_things_is_refused(case, tmp_path):
    name, text, message = BAD[case]
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as raised:
        read_class_list(str(tmp_path / name))
    assert message in str(raised.value)
