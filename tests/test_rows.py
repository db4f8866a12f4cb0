"""A row says what it is: whose weights, of what depth and size."""

import dataclasses
from pathlib import Path

import pytest

import patchwork_tf as pw
from patchwork_tf import __version__, evaluate, provenance, train
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


def test_the_version_names_the_commit_of_a_checkout():
    assert provenance.version().startswith(__version__)
