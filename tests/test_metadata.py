"""What stands in a .tflite file, and that a damaged or foreign one is named by whatever reads it."""

import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

import patchwork_tf as pw
from patchwork_tf import demo, evaluate
from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.errors import DataError
from patchwork_tf.export import __main__ as export
from patchwork_tf.export import import_command, metadata

FACTS = {"patchwork": metadata.VERSION, "system": "vid-sf", "labels": ["grüße", '"'], "states": []}


def without_metadata() -> bytes:
    """A model that has weights, and no graph."""
    model = schema.ModelT()
    model.version, model.subgraphs = 3, []
    model.buffers = [schema.BufferT(), schema.BufferT(np.arange(20_000, dtype=np.uint32).view(np.uint8))]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_facts() -> bytes:
    return metadata.insert(without_metadata(), FACTS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.tflite"


def test_facts_come_back_and_new_ones_take_their_place(path):
    content = with_facts()
    path.write_bytes(content)
    facts = metadata.read(str(path))
    assert facts == {**FACTS, "checksum": facts["checksum"]}
    again = metadata.insert(content, {**facts, "system": "vid-pw"})
    path.write_bytes(again)
    assert metadata.read(str(path))["system"] == "vid-pw"
    assert again.count(b'{"patchwork"') == 1
    path.write_bytes(metadata.insert(content, {**facts, "patchwork": 3}))
    with pytest.raises(DataError, match="version 3, we read 5"):
        metadata.read(str(path))


def _damaged(content, rng, number) -> bytes:
    first, second = rng.integers(0, len(content) - 400, 2)
    if number % 8 < 4:  # in the metadata
        first = content.index(b'{"patchwork"') + rng.integers(0, 200)
    rest = [
        b"",
        bytes([content[first] ^ 1 << rng.integers(0, 8)]) + content[first + 1 :],
        bytes(400) + content[first + 400 :],
        content[second : second + 99] + content[first + 99 :],
    ][number % 4]
    return content[:first] + rest


def test_every_damage_is_one_line(path):
    """Cut off, one bit, zeros, bytes of another place: where weights are, too, which LiteRT would run."""
    content, rng = with_facts(), np.random.default_rng(0)
    for number in range(800):
        if (wrong := _damaged(content, rng, number)) == content:
            continue
        path.write_bytes(wrong)
        with pytest.raises(DataError) as error:
            metadata.read(str(path))
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


FOREIGN = {
    "missing": (lambda: None, "No such file"),
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"text", "not a TFLite file"),
    "other": (without_metadata, "no Patchwork metadata in it"),
    "cut": (lambda: metadata.insert(without_metadata(), FACTS)[:-9], "damaged"),
    "old": (
        lambda: metadata.insert(without_metadata(), FACTS).replace(b"checksum", b"checkmate"),
        "damaged, or of",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_every_command_says_it_in_one_line(case, path, tmp_path, capsys):
    make, message = FOREIGN[case]
    if (content := make()) is not None:
        path.write_bytes(content)
    output = tmp_path / "output"
    commands = [
        (export, [f"--inspect={path}"]),
        (demo, [f"--tflite={path}", "--video=moving_objects:7", f"--json={output}"]),
        (evaluate, [f"--tflite={path}", "--num_videos=1", f"--json={output}"]),
        (benchmark, [f"--tflite={path}", f"--json={output}"]),
    ]
    if case not in ("other", "old"):  # which it reads as any other file
        commands.append((import_command, [f"--tflite={path}", f"--model_dir={output}"]))
    for command, flags in commands:
        assert command.main(flags) == 1, command.__name__
        line = capsys.readouterr().err.splitlines()[-1]
        assert f": {path}: " in line
        assert message in line or (command is import_command and "LiteRT cannot load it" in line)
        assert not output.exists()
    with pytest.raises(DataError, match=message):
        pw.stream(path, [])
