"""The classes that files list by number: data.yaml, obj.names, classes.txt, labels.txt."""

import re
import unicodedata

import yaml

from patchwork_tf.data.schema import read_lines, read_text
from patchwork_tf.errors import DataError

_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)  # 010 is eight to some readers of YAML
_NOT_OF_A_LINE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories


def checked_name(text: str | None, where: str) -> str:
    """A name as data sets keep it. Raises DataError for what is none, such as '' and None."""
    name = unicodedata.normalize("NFC", text.strip()) if isinstance(text, str) else ""
    if not name or any(unicodedata.category(letter) in _NOT_OF_A_LINE for letter in name):
        raise DataError(f"{where}: a name is one line of text, not {text!r:.60}")
    return name


def read_class_list(path: str) -> dict[int, str]:
    """The name of every number, from 0, in a file with a name per line, or below `names` in a YAML file.

    Raises DataError if a name or a number is missing, or there twice. Of a YAML file without `names` it is {}.
    """
    of_yaml = path.lower().endswith((".yaml", ".yml"))
    names, seen = {}, set()
    for number, text, where in _rows_of_yaml(path) if of_yaml else _rows_of_lines(path):
        name = checked_name(text, where)
        if number in names or name in seen:
            twice = str(number) if number in names else name
            raise DataError(f"{where}: class {twice:.60} is there twice")
        names[number] = name
        seen.add(name)
    return dict(sorted(names.items()))


def _rows_of_lines(path):
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{path}: the list is empty")
    return [(number, line, f"{path}:{number + 1}") for number, line in enumerate(lines)]


def _rows_of_yaml(path):
    node = _names_in_yaml(path)
    if node is None:
        return []
    if isinstance(node, yaml.ScalarNode) or not node.value:
        raise DataError(f"{_line(path, node)}: names is a list of names, or numbers with a name each")
    pairs = enumerate(node.value)
    if isinstance(node, yaml.MappingNode):
        pairs = [(_number(path, key), value) for key, value in node.value]
    return [(number, _text(value), _line(path, value)) for number, value in pairs]


def _names_in_yaml(path) -> yaml.Node | None:
    try:  # nodes are as they are written: values would be True for yes and 8 for 010
        root = yaml.compose(read_text(path), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found = [value for key, value in pairs if key.value == "names"]
    if len(found) > 1:
        raise DataError(f"{_line(path, found[1])}: names is there twice")
    return found[0] if found else None


def _line(path, node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def _number(path, node) -> int:
    if not isinstance(node, yaml.ScalarNode) or not _NUMBER.fullmatch(node.value):
        raise DataError(f"{_line(path, node)}: a class has a number from 0, not {node.value!r:.60}")
    return int(node.value)


def _text(node) -> str | None:
    """What a node says; None if that is nothing, or no text."""
    is_text = isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":null")
    return node.value if is_text else None
