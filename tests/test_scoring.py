"""Results in files, anybody's and ours: read, scored, written, and what bad ones are told."""

import dataclasses
import json
import os

import numpy as np
import PIL.Image
import pytest
from conftest import save_fresh
from published import make_davis, make_vid, write_xml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from patchwork_tf import evaluate, prepare, train
from patchwork_tf.commands import score_systems
from patchwork_tf.commands.score_file import file_digest
from patchwork_tf.data.datasets import COCO_IDS, AnnotatedVideo
from patchwork_tf.data.imagenet_vid import WORDNET_IDS
from patchwork_tf.data.moving_objects import CLASSES
from patchwork_tf.errors import DataError
from patchwork_tf.metrics.coco import STATISTICS, CocoMetric
from patchwork_tf.metrics.formats import DetectionWriter
from patchwork_tf.runtime.answers import Detections


def run(*flags):
    return evaluate.main(list(flags))


@pytest.fixture
def vid_files(tmp_path):
    """Two frames: one with a small and a large airplane and an antelope, one without objects."""
    airplane, antelope = WORDNET_IDS[:2]
    things = [(airplane, 0, 0, 0, 9, 9), (airplane, 1, 100, 100, 199, 199), (antelope, 2, 300, 0, 399, 99)]
    write_xml(f"{tmp_path}/xml/clip/000000.xml", things, size=(500, 500))
    write_xml(f"{tmp_path}/xml/clip/000001.xml", [], size=(500, 500))
    (tmp_path / "set.txt").write_text("clip/000000 1\nclip/000001 2\n")
    return tmp_path


def score_vid(folder, lines):
    (folder / "detections.txt").write_text("\n".join(lines) + "\n")
    code = run(
        "--task=detection",
        f"--predictions={folder}/detections.txt",
        f"--ground_truth={folder}/xml",
        f"--image_set={folder}/set.txt",
        f"--json={folder}/out.json",
    )
    assert code == 0
    return json.loads((folder / "out.json").read_text())


def test_vid_detections_by_hand(vid_files):
    """Airplanes: large hit (0.9), false alarm in the empty frame (0.8), small hit at IoU 0.43 (0.7); the antelope
    twice. VID: airplane 1/2 + 1/2 * 2/3, antelope 1. At 0.5 the small one is missed: airplane 1/2.
    """
    result = score_vid(
        vid_files,
        [
            "1 1 0.9 100 100 199 199",
            "2 1 0.8 0 0 50 50",
            "1 1 0.7 4 0 13 9",  # 6 of 10 columns overlap: 60 / 140; the threshold is 100 / 400
            "1 2 0.6 300 0 399 99",
            "1 2 0.5 300 0 399 99",
        ],
    )
    assert result["per_class"]["airplane"]["AP_vid"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert result["per_class"]["antelope"]["AP_vid"] == 1
    assert result["mAP_vid"] == pytest.approx((5 / 6 + 1) / 2)
    assert result["per_class"]["airplane"]["AP_50"] == pytest.approx(1 / 2)
    assert result["mAP_50"] == pytest.approx(3 / 4)
    assert result["per_class"]["zebra"] == {"objects": 0, "AP_vid": None, "AP_50": None}
    assert result["frames"] == 2
    assert set(result["coco"]) == set(STATISTICS)


def test_no_detections_score_nothing(vid_files):
    result = score_vid(vid_files, [""])
    assert (result["mAP_vid"], result["mAP_50"], result["coco"]["AP"]) == (0, 0, 0)


def test_no_objects_have_no_score(vid_files):
    (vid_files / "set.txt").write_text("clip/000001 2\n")
    result = score_vid(vid_files, ["2 1 0.8 0 0 50 50"])
    assert result["mAP_vid"] is None
    assert result["coco"]["AP"] is None


BAD_LINES = {
    "1 1 0.9 0 0 9": "detections.txt:1: expected 'frame_id class_id score x1 y1 x2 y2'",
    "1 1 high 0 0 9 9": "detections.txt:1: expected",
    "1 1 nan 0 0 9 9": "finite",
    "7 1 0.9 0 0 9 9": "frame id 7 is not in the image set",
    "1 31 0.9 0 0 9 9": "class id 31; there are 1 to 30",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_detections_are_named(line, vid_files, capsys):
    (vid_files / "detections.txt").write_text(line + "\n")
    flags = [f"--predictions={vid_files}/detections.txt", f"--ground_truth={vid_files}/xml"]
    assert run("--task=detection", *flags, f"--image_set={vid_files}/set.txt") == 1
    assert BAD_LINES[line] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clip/000000\n", "set.txt:1: expected"),
        ("a 1\nb 1\n", "set.txt:2: frame id 1 is there twice"),
        ("", "empty"),
    ],
)
def test_bad_image_sets_are_named(content, message, vid_files, capsys):
    (vid_files / "set.txt").write_text(content)
    (vid_files / "detections.txt").write_text("")
    flags = [f"--predictions={vid_files}/detections.txt", f"--ground_truth={vid_files}/xml"]
    assert run("--task=detection", *flags, f"--image_set={vid_files}/set.txt") == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_classes_are_scored_as_pascal_voc_does(tmp_path, capsys):
    """By hand: of 8 pixels one is not counted, and dog is nowhere."""
    (tmp_path / "labels.txt").write_text("background\ncat\ndog\ncow\n")
    for folder, rows in (("truth", [[0, 0, 1, 1], [1, 3, 3, 255]]), ("found", [[0, 1, 1, 1], [0, 3, 0, 3]])):
        (tmp_path / folder / "clip").mkdir(parents=True)
        PIL.Image.fromarray(np.array(rows, np.uint8)).save(tmp_path / folder / "clip/00000.png")
    flags = [f"--predictions={tmp_path}/found", f"--ground_truth={tmp_path}/truth", "--task=segmentation"]
    assert run(*flags, f"--labels={tmp_path}/labels.txt", f"--json={tmp_path}/score.json") == 0
    result = json.loads((tmp_path / "score.json").read_text())
    assert result["per_class"] == pytest.approx({"background": 1 / 4, "cat": 2 / 4, "dog": None, "cow": 1 / 2})
    assert result["mIoU"] == pytest.approx((1 / 4 + 1 / 2 + 1 / 2) / 3)
    (tmp_path / "labels.txt").write_text("background\ncat\n")
    assert run(*flags, f"--labels={tmp_path}/labels.txt") == 1
    assert "there is a class 3, names are given for 0 to 1" in capsys.readouterr().err


def test_flags_of_scoring(capsys):
    assert run("--task=segmentation", "--predictions=x") == 2
    assert "--ground_truth is required" in capsys.readouterr().err
    assert run("--task=detection", "--predictions=x.txt", "--ground_truth=x") == 2
    assert "--image_set is required" in capsys.readouterr().err
    assert run("--task=segmentation", "--predictions=/nowhere", "--ground_truth=/nowhere") == 1
    assert "/nowhere: no such folder" in capsys.readouterr().err
    assert run("--predictions=x", "--ground_truth=y") == 2
    assert "--predictions scores files: say --task" in capsys.readouterr().err
    assert run("--task=segmentation", "--system=vid-sf") == 2
    assert "--system is for scoring systems" in capsys.readouterr().err
    assert run("--system=") == 2
    assert "--system is empty" in capsys.readouterr().err
    assert run("--json=/tmp") == 1
    assert "/tmp: cannot write a file there" in capsys.readouterr().err


def test_coco_numbers_are_pycocotools_own(tmp_path, capsys):
    """Random boxes, scored through our collector, through the command, and by pycocotools called directly."""
    rng = np.random.default_rng(0)
    metric = CocoMetric(["a", "b", "c"])
    for _ in range(8):
        low = rng.uniform(0, 200, (6, 2))
        truth = np.concatenate([low, low + rng.uniform(5, 150, (6, 2))], axis=1)
        boxes = np.concatenate([truth + rng.normal(0, 6, truth.shape), truth[:2] + 40])
        labels = rng.integers(0, 3, 6)
        metric.add_frame(boxes, rng.random(8), np.concatenate([labels, labels[:2]]), truth, labels)
    found = metric.result()
    for name, content in zip(("instances", "detections"), metric.in_coco_format(), strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    direct = COCO(str(tmp_path / "instances.json"))
    evaluation = COCOeval(direct, direct.loadRes(str(tmp_path / "detections.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = dict(zip(STATISTICS, evaluation.stats.tolist(), strict=True))
    assert 0.1 < expected["AP"] < 0.9
    assert found == pytest.approx(expected, abs=1e-12)
    flags = [f"--predictions={tmp_path}/detections.json", f"--ground_truth={tmp_path}/instances.json"]
    assert run("--task=detection", *flags, f"--json={tmp_path}/out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text())["coco"] == pytest.approx(expected, abs=1e-12)
    (tmp_path / "detections.json").write_text(
        '[{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]'
    )
    assert run("--task=detection", *flags) == 1
    assert "image 99" in capsys.readouterr().err
    for row, message in (
        ({"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1], "score": 1}, "category 9"),
        ({"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 1}, "bbox of 4 finite numbers"),
        ({"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": float("nan")}, "finite score"),
    ):
        (tmp_path / "detections.json").write_text(json.dumps([row]))
        assert run("--task=detection", *flags) == 1
        assert message in capsys.readouterr().err
    (tmp_path / "detections.json").write_text("{")
    assert run("--task=detection", *flags) == 1
    assert "not JSON" in capsys.readouterr().err


@pytest.fixture
def scored(tmp_path, monkeypatch, small_networks):
    """Function that scores two systems, or one, by three policies, and tells which were run; one may raise."""
    weights = save_fresh(tmp_path / "weights", "small-boxes", CLASSES, num_classes=len(CLASSES))

    def score(*more, raises=None):
        ran = []

        def fake(score, step, video, policy, **options):
            ran.append((step.info.system, policy))
            if policy == raises:
                raise DataError("a policy of one's own")

        found = {"mAP_vid": 0.5, "mAP_50": 0.25, "videos": 1, "frames": 1}
        monkeypatch.setattr(score_systems.Score, "add", fake)
        monkeypatch.setattr(score_systems.Score, "result", lambda *_: found)
        monkeypatch.setattr(
            score_systems, "annotated_videos", lambda *_, **__: ([AnnotatedVideo("one", [], [])], 1)
        )
        all_of_them = () if "--system=small-boxes" in more else ("--system=small-boxes-sf,small-boxes",)
        policies = () if "--policy=random" in more else ("--policy=rule,raster,random",)
        flags = (*all_of_them, *policies, f"--checkpoint={weights}", f"--json={tmp_path}/scores.json")
        code = run(*flags, *more)
        assert code == (1 if raises else 0)
        return ran

    return score


@pytest.mark.slow
def test_an_evaluation_goes_on_where_it_was_broken_off_with_what_is_the_same(scored, tmp_path):
    assert len(scored(raises="random")) == 4
    before = json.loads((tmp_path / "scores.json").read_text())
    assert [row["policy"] for row in before] == ["whole frame", "rule", "raster"]
    assert scored() == [("small-boxes", "random")]
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert rows[:3] == before
    assert scored() == []
    assert json.loads((tmp_path / "scores.json").read_text()) == rows
    assert scored("--system=small-boxes", "--policy=random") == []
    assert json.loads((tmp_path / "scores.json").read_text()) == rows[3]
    (path,) = (tmp_path / "weights").glob("*.npz")
    with np.load(path) as arrays:
        other = {key: array + 1 if key.endswith("/gamma") else array for key, array in arrays.items()}
    np.savez(path, **other)
    file_digest.cache_clear()  # as in a new process
    changes = (["--seed=1"], ["--num_videos=2"], ["--start=sweep"], ["--config=sparse"], ["--image_size=128"])
    for more in ([], *changes):
        assert scored("--system=small-boxes", "--policy=random", *more) == [("small-boxes", "random")], more
    assert scored("--system=small-boxes", "--policy=random", *more) == []


def test_files_of_masks_get_the_official_numbers(tmp_path):
    root = "tests/data/generated_masks"
    flags = [f"--predictions={root}/found", f"--ground_truth={root}", f"--json={tmp_path}/out.json"]
    assert run("--task=segmentation", *flags) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    with open(f"{root}/found_jf_per_sequence.csv") as file:
        first = file.read().splitlines()[1].split(",")
    assert result["J"]["per_sequence"][first[0]]["mean"] == pytest.approx(float(first[3]), abs=1e-6)
    assert result["F"]["per_sequence"][first[0]]["decay"] == pytest.approx(float(first[8]), abs=1e-6)


def mask_folders(tmp_path):
    for kind in ("found", "true"):
        os.makedirs(tmp_path / kind / "clip")
        for t in range(4):
            PIL.Image.new("L", (20, 10), 255).save(tmp_path / kind / "clip" / f"{t:05d}.png")
    return [f"--predictions={tmp_path}/found", f"--ground_truth={tmp_path}/true", "--task=segmentation"]


def test_bad_masks_are_named(tmp_path, capsys):
    flags = mask_folders(tmp_path)
    assert run(*flags) == 0
    assert "100.0" in capsys.readouterr().out
    path = tmp_path / "found" / "clip" / "00002.png"
    PIL.Image.new("L", (5, 5)).save(path)
    assert run(*flags) == 1
    assert "00002.png: the mask has 5x5 pixels, the true one 20x10" in capsys.readouterr().err.splitlines()[-1]
    path.write_bytes(b"no picture")
    assert run(*flags) == 1
    assert "00002.png: not a readable image" in capsys.readouterr().err.splitlines()[-1]
    path.unlink()
    assert run(*flags) == 1
    assert "00002.png: this mask is missing" in capsys.readouterr().err.splitlines()[-1]


TINY = ["--image_size=64", "--depth=0.35", "--batch_size=2", "--clip_frames=1", "--steps=2", "--warmup_steps=1"]


@pytest.mark.slow
def test_davis_from_its_folder_to_scores_that_anybody_can_repeat(eagerly, tmp_path):
    """Train, score, save masks; the masks scored as files get the same J and F."""
    root, data = make_davis(tmp_path / "davis"), f"--data_dir={tmp_path}/tfds"
    assert prepare.main(["--dataset=davis2016", f"--manual_dir={root}", data]) == 0
    flags = ["--system=small", "--plugins=small_network", "--dataset=davis2016", data]
    assert train.main([*flags, *TINY, "--stride=2", f"--model_dir={tmp_path}/run"]) == 0
    saved, scores = f"--save_predictions={tmp_path}/masks", f"--json={tmp_path}/ours.json"
    assert run(*flags, f"--checkpoint={tmp_path}/run", saved, scores) == 0
    ours = json.loads((tmp_path / "ours.json").read_text())
    assert ours["frames"] == 5
    assert list(ours["J"]["per_sequence"]) == ["cow"]
    again = [f"--predictions={tmp_path}/masks", f"--ground_truth={root}", f"--json={tmp_path}/again.json"]
    assert run("--task=segmentation", *again) == 0
    assert json.loads((tmp_path / "again.json").read_text())["J"] == ours["J"]
    assert PIL.Image.open(tmp_path / "masks/cow/00003.png").size == (64, 48)


@pytest.mark.slow
def test_vid_from_its_folder_to_scores_that_anybody_can_repeat(eagerly, tmp_path, monkeypatch):
    """With a detector that sees what a ground truth with some noise says, so that there is something to score."""
    root, data = make_vid(tmp_path / "vid", frames=6), f"--data_dir={tmp_path}/tfds"
    assert prepare.main(["--dataset=imagenet_vid", f"--manual_dir={root}", data]) == 0
    flags = ["--system=small-boxes", "--plugins=small_network", "--dataset=imagenet_vid", data]
    assert train.main([*flags, *TINY, "--resize_mode=letterbox", f"--model_dir={tmp_path}/run"]) == 0
    rng = np.random.default_rng(0)

    def noisy_truth(step, frames, policy, *, truth, **kwargs):
        (video,) = truth.args  # of functools.partial
        for boxes, labels, _ in zip(video.boxes, video.labels, frames, strict=True):
            seen = np.concatenate([boxes + rng.normal(0, 0.03, boxes.shape), rng.uniform(0, 1, (2, 4))])
            classes = np.concatenate([labels, [0, 1]]).astype(np.int32)
            yield Detections(boxes=seen, scores=rng.random(len(seen)), classes=classes)

    monkeypatch.setattr(score_systems, "stream", noisy_truth)
    saved, scores = f"--save_predictions={tmp_path}/found", f"--json={tmp_path}/ours.json"
    assert run(*flags, f"--checkpoint={tmp_path}/run", saved, scores) == 0
    ours = json.loads((tmp_path / "ours.json").read_text())
    assert (ours["videos"], ours["frames"]) == (2, 12)
    assert 0.1 < ours["mAP_vid"] < 0.999
    again = [f"--predictions={tmp_path}/found/detections.txt", f"--image_set={tmp_path}/found/image_set.txt"]
    again += [f"--ground_truth={root}/Annotations/VID/val", f"--json={tmp_path}/again.json"]
    assert run("--task=detection", *again) == 0
    found = json.loads((tmp_path / "again.json").read_text())
    for key in ("mAP_vid", "mAP_50"):
        assert found[key] == pytest.approx(ours[key], abs=1e-6)
    assert found["coco"]["AP"] == pytest.approx(ours["coco"]["AP"], abs=0.02)  # coordinates are rounded to 0.01
    assert found["per_class"]["airplane"]["objects"] == ours["per_class"]["airplane"]["objects"] == 4


def test_detections_are_written_as_the_devkit_and_coco_want_them(tmp_path):
    """A frame of 100 x 200 pixels. Frames are numbered by their names, in whatever order they come."""
    box = np.array([[0.1, 0.05, 0.3, 0.25]], np.float32)  # rows 10 to 29, columns 10 to 49
    answer = Detections(boxes=box, scores=np.array([0.75]), classes=np.array([4], np.int32))
    nothing = Detections(boxes=box[:0], scores=np.zeros(0), classes=np.zeros(0, np.int32))
    writer = DetectionWriter(str(tmp_path / "vid"))
    writer.add_frame("clip_b", "000000", answer, (100, 200))
    writer.add_frame("clip_a", "000001", nothing, (100, 200))
    writer.close()
    assert (tmp_path / "vid/image_set.txt").read_text() == "clip_a/000001 1\nclip_b/000000 2\n"
    assert (tmp_path / "vid/detections.txt").read_text() == "2 5 0.75 10.00 10.00 49.00 29.00\n"
    (row,) = json.loads((tmp_path / "vid/detections.json").read_text())
    assert row == {"image_id": 2, "category_id": 5, "bbox": [10.0, 10.0, 40.0, 20.0], "score": 0.75}
    writer = DetectionWriter(str(tmp_path / "coco"), COCO_IDS)
    writer.add_frame("397133", "000000", dataclasses.replace(answer, classes=np.array([79])), (100, 200))
    writer.close()
    (row,) = json.loads((tmp_path / "coco/detections.json").read_text())
    assert (row["image_id"], row["category_id"]) == (397133, 90)


def test_crowds_and_areas_count_as_pycocotools_has_it(tmp_path):
    """One object, found, and two detections in a crowd, which are not false alarms; its area makes it medium."""
    metric = CocoMetric(["person"])
    truth = np.array([[0, 0, 100, 100], [0, 200, 300, 500]], float)
    found = np.array([[0, 0, 100, 100], [10, 210, 100, 300], [100, 300, 200, 400]], float)
    scores, crowds, areas = np.array([0.5, 0.9, 0.8]), np.array([False, True]), np.array([5000.0, 60000.0])
    metric.add_frame(found, scores, np.zeros(3, int), truth, np.zeros(2, int), crowds, areas)
    result = metric.result()
    assert result["AP"] == pytest.approx(1)
    assert result["AP_medium"] == pytest.approx(1)  # by area; its box, of 10000 pixels, would be large
    assert result["AP_large"] is None
    without = CocoMetric(["person"])
    without.add_frame(found, scores, np.zeros(3, int), truth, np.zeros(2, int))
    assert without.result()["AP"] < 0.9


def test_sequences_that_were_not_predicted_are_named(tmp_path, capsys):
    flags = mask_folders(tmp_path)
    os.makedirs(tmp_path / "true" / "other")
    PIL.Image.new("L", (20, 10)).save(tmp_path / "true" / "other" / "00000.png")
    assert run(*flags, f"--json={tmp_path}/out.json") == 0
    assert "NOT PREDICTED, AND NOT COUNTED: other" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["missing_sequences"] == ["other"]


def test_a_data_set_must_fit_the_task_and_be_there(tmp_path, capsys):
    flags = [f"--model_dir={tmp_path}/run", f"--data_dir={tmp_path}"]
    assert train.main(["--system=davis-sf", "--dataset=davis2016", *flags]) == 1
    assert "patchwork-prepare --dataset=davis2016" in capsys.readouterr().err.splitlines()[-1]
    assert train.main(["--system=davis-sf", "--dataset=davis2016", flags[0]]) == 2
    assert "--data_dir is required" in capsys.readouterr().err
    assert evaluate.main(["--system=vid-sf", "--dataset=imagenet_vid", flags[1]]) == 1
    assert "patchwork-prepare --dataset=imagenet_vid" in capsys.readouterr().err.splitlines()[-1]
    assert not os.path.exists(tmp_path / "run")
