"""The weights that ship: that they load, say what their cards say, and are models as Keras users know them."""

import json
import re
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from conftest import random_frames
from pycocotools import mask as coco_masks

import patchwork_tf as pw
from patchwork_tf import demo, evaluate
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError
from patchwork_tf.runtime.network import Network
from patchwork_tf.zoo import checkpoints

ROOT = Path(__file__).parents[1]
CLIP = str(ROOT / "docs/photos.mp4")
# What the cards in docs/systems.md say of small sets, in per cent: name, command's flags, key, score.
CARDS = json.loads((ROOT / "results/regression.json").read_text())


def test_what_is_pretrained():
    names = pw.list_pretrained()
    assert {"oid-sf", "oid-pw-m4n2", "vid-pw-m4n1", "davis-pw-m4n2", "davis-sf-int4"} <= set(names)
    assert not any("d0.5" in name or "d1.4" in name or "r0.25" in name for name in names)
    with pytest.raises(DataError, match="oid-pw-m4n2"):
        pw.load("oid-pw-m4n3")
    assert pw.load("davis-pw-m4n2").info.class_names == ("foreground",)
    assert checkpoints.find_pretrained("oid-pw-m4n1") == checkpoints.find_pretrained("oid-sf")


@pytest.mark.slow
def test_it_finds_what_is_in_a_video_with_no_more_than_its_name():
    """A cat and a cup, and windows that follow them."""
    model = pw.load("oid-pw-m4n2")
    names, windows = set(), set()
    for number, answer in enumerate(pw.stream(model, Video(CLIP))):
        if number == 24:
            break
        names |= {model.info.class_names[label] for label in answer.classes[answer.scores > 0.4]}
        windows.add(answer.window)
    assert names >= {"Cat", "Coffee cup"}
    assert len(windows) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oid-pw-m4n2", "davis-sf"])
def test_keras_saves_and_loads_it(name, tmp_path):
    model = pw.build(name, depth=0.35, image_size=128)
    for path, other in (
        ("config", type(model).from_config(json.loads(json.dumps(model.get_config())))),
        ("file", None),
    ):
        if path == "file":
            model.save(tmp_path / "model.keras")
            other = keras.models.load_model(tmp_path / "model.keras")
        assert (other.config, other.info) == (model.config, model.info)
        assert [v.path for v in other.variables] == [v.path for v in model.variables]
    frame = random_frames(np.random.default_rng(0), 1, (128, 128))
    inputs = {"frame": frame, "window": np.zeros((1, 2), np.int32), **model.initial_state(1)}
    for found, expected in zip(other(inputs), model(inputs), strict=True):
        assert found.keys() == expected.keys()
        for key in found:
            np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.slow
def test_summary_has_shapes_and_sums():
    lines = []
    model = pw.build("oid-pw-m4n2", depth=0.35, image_size=128)
    model.summary(print_fn=lines.append)
    assert "oid-pw-m4n2: random weights, 23 classes" in lines[0]
    assert re.search(r"head_16_classes +Conv2D +4 x 4 x 72", "\n".join(lines))
    assert f"{model.count_params():,}" in lines[-1]


@pytest.mark.slow
def test_export_is_a_function_too(tmp_path):
    path = str(tmp_path / "model.tflite")
    pw.export(pw.build("oid-sf", depth=0.35, image_size=96), path, verify_steps=2)
    assert Network(path).step(np.zeros((1, 96, 96, 3), np.float32), (0, 0))["boxes"].shape == (100, 4)


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card["name"])
def test_shipped_networks_score_what_their_cards_say(card, tmp_path):
    assert evaluate.main([*card["flags"], f"--json={tmp_path}/scores.json"]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    scores = scores if isinstance(scores, list) else [scores]
    assert [row["system"] for row in scores] == list(card["scores"])
    for row in scores:
        value = row[card["key"]]
        value = 100 * (value["mean"] if isinstance(value, dict) else value)
        assert value == pytest.approx(card["scores"][row["system"]], abs=0.5), row["system"]


@pytest.mark.slow
def test_demo_shows_systems_side_by_side_and_writes_their_answers(tmp_path, capsys):
    out, answers = tmp_path / "out.mp4", tmp_path / "answers.json"
    flags = [f"--video={CLIP}", "--max_frames=5", f"--json={answers}"]
    assert demo.main(["--system=oid-sf,oid-pw-m4n2", *flags, f"--output={out}"]) == 0
    height, width, _ = next(iter(Video(str(out)))).shape
    assert (height, width) == (384, 2 * 512)
    found = json.loads(answers.read_text())
    assert list(found) == ["oid-sf", "oid-pw-m4n2"]
    first, second = found["oid-pw-m4n2"][:2]
    assert (first["frame"], first["window"], second["frame"]) == (0, None, 1)
    assert len(second["window"]) == 2
    assert "Person" in first["classes"]
    assert all(len(box) == 4 and 0 <= min(box) <= max(box) <= 1 for box in first["boxes"])
    assert len(first["boxes"]) == len(first["scores"]) == len(first["classes"])
    assert re.search(r"oid-pw-m4n2 .* \d+\.\d$", capsys.readouterr().out, re.MULTILINE)
    assert demo.main(["--system=davis-pw-m4n2", *flags]) == 0
    (rows,) = json.loads(answers.read_text()).values()
    mask = coco_masks.decode(rows[0]["mask"])
    assert len(rows) == 5
    assert mask.shape == (384, 512)
    assert demo.main(["--system=oid-sf,voc-sf-int4", *flags, f"--output={out}"]) == 0  # a row for each task
    assert next(iter(Video(str(out)))).shape[:2] == (2 * 384, 512)
    assert json.loads(answers.read_text())["voc-sf-int4"][0]["classes"].keys() <= {"cat", "dog", "person"}
    assert demo.main([f"--video={CLIP}"]) == 2
    assert "or --json" in capsys.readouterr().err


@pytest.mark.slow
def test_packed_weights_are_close_and_say_what_they_are(tmp_path):
    """Large kernels have 8 bits."""
    model = pw.build("vid-sf", depth=0.35, image_size=64)
    arrays = {f"{v.path.split('/')[-2]}/{v.name}": np.array(v) for v in model.variables}
    written = checkpoints.save_weights(
        str(tmp_path), model.config, arrays, {"system": "vid-sf", "class_names": list(model.info.class_names)}
    )
    checkpoints.pack(checkpoints.read(written), str(tmp_path / "packed.npz"))
    packed = checkpoints.read(str(tmp_path / "packed.npz"))
    assert packed.arrays.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_allclose(packed.arrays[key], array, atol=np.abs(array).max() / 127, err_msg=key)


def test_the_clip_is_a_real_video():
    frames = list(Video(CLIP))
    assert len(frames) == 192
    assert frames[0].shape == (384, 512, 3)
    assert cv2.absdiff(frames[0], frames[20]).mean() > 1


def test_anchors_keep_the_pixels_that_weights_were_trained_on():
    """The shipped detector was trained at 300 pixels; a model of one's own at its own size."""
    weights = checkpoints.read("oid-sf")
    for size in (320, 640):
        model = checkpoints.build_from(pw.get_system("oid-sf"), weights, image_size=size)
        assert model.levels[1].anchors[0, 0, 0, 2] * size == pytest.approx(300 * 0.35, rel=1e-3)
    fresh = pw.build("oid-sf", depth=0.35, image_size=128)
    assert fresh.levels[1].anchors[0, 0, 0, 2] == pytest.approx(0.35, rel=1e-3)
