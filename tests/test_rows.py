"""A row says what it is: whose weights, of what depth and size, held against what."""

import dataclasses
import hashlib
import json
import types
from pathlib import Path

import pytest
from conftest import save_fresh

import patchwork_tf as pw
from patchwork_tf import __version__, evaluate, provenance, train
from patchwork_tf.commands import agreement
from patchwork_tf.commands.given import Given
from patchwork_tf.errors import UsageError
from patchwork_tf.export import __main__ as export_command
from patchwork_tf.zoo import checkpoints

CLIP = str(Path(__file__).parents[1] / "docs/photos.mp4")


def weights_of(system: str, **fields) -> checkpoints.Checkpoint:
    """What a checkpoint would be that was trained as a system, with flags that set fields of its model."""
    model = dataclasses.asdict(dataclasses.replace(pw.get_system(system).model, **fields))
    return checkpoints.Checkpoint("w.npz", {}, {"step": 1, "system": system, "class_names": [], "model": model})


TRAINED_SMALL = ("vid-sf", {"depth": 0.35, "image_size": 128, "num_classes": 10})


@pytest.mark.parametrize(
    ("trained", "run_as", "overrides", "refused"),
    [
        (TRAINED_SMALL, "vid-sf", {}, None),
        (TRAINED_SMALL, "vid-pw-m4n2", {}, None),
        (
            TRAINED_SMALL,
            "vid-sf-d0.5",
            {},
            "vid-sf-d0.5 has depth 0.5, the weights of w.npz have 0.35: .*--depth=0.35",
        ),
        (TRAINED_SMALL, "vid-sf-d0.5", {"depth": 0.35}, None),
        (TRAINED_SMALL, "vid-pw-m4n2-d1.4", {}, "has depth 1.4"),
        (("vid-sf-d0.5", {}), "vid-sf", {}, "vid-sf has depth 1.0"),
        (("vid-sf-d0.5", {}), "vid-sf-d0.5", {}, None),
        (("oid-sf", {}), "vid-sf", {}, "vid-sf has num_classes 30|vid-sf has heads patchwork"),
        (("vid-sf", {"memory": "pixels"}), "vid-pw-m4n2", {}, None),
    ],
)
def test_what_sets_a_system_apart_is_not_replaced_by_other_weights(trained, run_as, overrides, refused):
    name, fields = trained
    given = (pw.get_system(run_as), weights_of(name, **fields), overrides)
    if refused:
        with pytest.raises(UsageError, match=refused):
            checkpoints.fields_of_weights(*given)
    else:
        found = checkpoints.fields_of_weights(*given) | overrides
        assert found["depth"] == fields.get("depth", pw.get_system(name).model.depth)


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (evaluate.main, ["--system=vid-sf,vid-sf-d0.5", "--num_videos=1"]),
        (export_command.main, ["--system=vid-pw-m4n2-d1.4"]),
        (train.main, ["--system=vid-pw-m4n2-d1.4"]),
    ],
)
def test_every_command_refuses_weights_of_another_depth(main, flags, tmp_path, capsys):
    """vid.npz is of depth 0.35."""
    written = {
        evaluate.main: ["--checkpoint=vid-sf", f"--json={tmp_path}/out.json"],
        export_command.main: ["--checkpoint=vid-sf", f"--output={tmp_path}/out.tflite"],
        train.main: ["--init_checkpoint=vid-sf", f"--model_dir={tmp_path}/out"],
    }
    assert main([*flags, *written[main]]) == 2
    assert "vid.npz have 0.35" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_rows_have_all_that_tells_them_apart_and_a_reference_has_its_own_size(tmp_path, capsys):
    """Agreement of a smaller network with itself at its own size is not perfect."""
    folder = tmp_path / "weights"
    path = save_fresh(folder, "oid-sf", image_size=128, depth=0.35)
    flags = [f"--checkpoint={folder}", "--against=oid-sf", f"--video={CLIP}", "--max_frames=2"]
    sized = ["--system=oid-sf,oid-pw-m2n1", "--image_size=64", f"--json={tmp_path}/out.json"]
    assert evaluate.main([*sized, *flags]) == 0
    single, patchwork = json.loads((tmp_path / "out.json").read_text())
    with open(path, "rb") as file:
        weights = {"name": path, "sha256": hashlib.sha256(file.read()).hexdigest()}
    about = {"depth": 0.35, "weights": weights, "version": provenance.version()}
    assert about.items() <= single.items()
    assert (single["image_size"], single["against"]["image_size"]) == ([64, 64], [128, 128])
    assert about.items() <= single["against"].items()
    assert patchwork["grid"] == {"cells": 2, "window_cells": 1}
    said = capsys.readouterr().out
    assert f"agreement with oid-sf at 128x128, weights {path}, on every whole frame" in said
    assert "64x64" in said


def test_the_version_names_the_commit_of_a_checkout():
    assert provenance.version().startswith(__version__)


def _given(name, source, weights_sha256):
    return Given(name, "detection", None, source, weights_sha256)


SHIPPED = checkpoints.find_pretrained("oid-sf")


@pytest.mark.parametrize(
    ("checkpoint", "tflite", "given", "expected"),
    [
        # A file of shipped weights, and one of others.
        ([], ["pw.tflite"], [("oid-pw-m4n2", "pw.tflite", provenance.sha256(SHIPPED))], "oid-sf"),
        (
            [],
            ["pw.tflite"],
            [("oid-pw-m4n2", "pw.tflite", "0123")],
            "pw.tflite is not of the weights that are shipped",
        ),
        ([], ["old.tflite"], [("oid-pw-m4n2", "old.tflite", None)], "old.tflite is not of the weights"),
        (["mine"], ["pw.tflite"], [("oid-pw-m4n2", "pw.tflite", "0123")], "mine"),
        (["mine", "other"], ["pw.tflite"], [("oid-pw-m4n2", "pw.tflite", "0123")], "name one"),
        # Systems with weights each: the reference's own, if it is there.
        (
            ["mine", "other"],
            [],
            [("oid-sf", "mine/c.npz", "01"), ("oid-pw-m4n1", "other/c.npz", "23")],
            "mine/c.npz",
        ),
        (
            ["a", "b"],
            [],
            [("oid-pw-m4n2", "a/c.npz", "01"), ("oid-pw-m4n1", "b/c.npz", "23")],
            "a/c.npz is not of",
        ),
    ],
)
def test_the_reference_is_of_the_weights_that_the_others_are_of(checkpoint, tflite, given, expected):
    flags = types.SimpleNamespace(checkpoint=checkpoint, tflite=tflite)
    arguments = (flags, pw.get_system("oid-sf"), [_given(*one) for one in given])
    if " " in expected:
        with pytest.raises(UsageError, match=expected):
            agreement._weights_of_reference(*arguments)
    else:
        assert agreement._weights_of_reference(*arguments) == expected
