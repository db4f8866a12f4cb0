"""patchwork-compare: rivals at equal cost on the same frames, and sentences that are true."""

import itertools
import json
import types

import numpy as np
import pytest
from exports import export
from test_library import CLIP

import patchwork_tf as pw
from patchwork_tf import compare
from patchwork_tf.commands import compare_report, compare_run
from patchwork_tf.commands.compare_files import File
from patchwork_tf.commands.compare_methods import Comparison, Method
from patchwork_tf.data.datasets import AnnotatedVideo
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.metrics.flicker import BoxFlicker, MaskFlicker
from patchwork_tf.runtime import Detections, Mask, Model
from patchwork_tf.task import get_task
from patchwork_tf.zoo import checkpoints

FRAMES = 32


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The shipped detector, small, on the demo's clip; its page and table."""
    folder = tmp_path_factory.mktemp("compare")
    flags = [
        "--system=oid-pw-m4n2",
        f"--video={CLIP}",
        "--image_size=256",
        "--types=none",
        f"--max_frames={FRAMES}",
    ]
    assert compare.main([*flags, f"--json={folder}/c.json", f"--html={folder}/c.html"]) == 0
    return json.loads((folder / "c.json").read_text()), (folder / "c.html").read_text()


@pytest.mark.slow
def test_rivals_are_chosen_by_cost_and_score_as_they_do_alone(compared):
    result, page = compared
    rows = {row["title"]: row for row in result["rows"]}
    every, windows = rows["every frame"], rows["pw-m4n2"]
    assert every["agreement"] == 1
    assert every["flicker"] == 0
    assert result["finished"]
    assert result["frames"] == len(every["samples"]) == FRAMES
    skip, *_ = (row for row in rows.values() if row["kind"] == "skip")
    late, *_ = (row for row in rows.values() if row["kind"] == "late")
    k = skip["interval"]
    assert k >= 2
    assert skip["rival_of"] == {"mean": ["pw-m4n2"]}
    assert late["rival_of"] == {"worst": ["pw-m4n2"]}
    assert late["late"] == late["interval"] - 1 == k - 1
    assert len(late["samples"]) == FRAMES - (k - 1)  # first blanks do not count
    assert skip["samples"][1:k] == [0] * (k - 1)
    assert skip["mean_ms"] == pytest.approx(sum(every["samples"][::k]) / FRAMES, rel=0.01)
    assert late["samples"][:k] == pytest.approx(k * [every["samples"][0] / k], rel=0.01)
    assert {row["kind"] for row in rows.values()} >= {"smaller", "no memory", "swept", "patchwork"}
    assert rows["pw-m4n2 from a sweep"]["agreement"] < windows["agreement"]  # whose first frame is whole
    model = checkpoints.build_from(pw.get_system("oid-sf"), checkpoints.read("oid-sf"), image_size=256)
    frames = [frame for frame, _ in zip(Video(CLIP), range(FRAMES), strict=False)]
    answers = list(pw.stream(model, frames))
    metric = get_task("detection").agreement_metric(model.info.class_names)
    for number, answer in enumerate(answers):
        metric.add_frame(answers[number - number % k], answer, frames[0].shape[:2])
    assert skip["agreement"] == pytest.approx(metric.result(), abs=0.02)
    assert len(result["judgement"]) == 1
    for text in ("<svg", "pw-m4n2 without memory", compare_report.html.escape(result["judgement"][0])):
        assert text in page


def row(title, kind, agreement, interval=1, **more):
    times = {"mean_ms": 1.0, "p99_ms": 1.0, "max_ms": 1.0, "mflops": 1.0, "peak_mb": None, "file_mb": 1.0}
    about = {"title": title, "kind": kind, "interval": interval, "agreement": agreement, "flicker": None}
    return {**times, **about, "rival_of": {}, "accuracy": {}, **more}


def result(rows, frames=100, **more):
    about = {"finished": True, "reference": "every frame", "task": "detection", "videos": ["v"], "found": True}
    return {**about, "frames": frames, "timed_frames": frames, "rows": rows, **more}


WINDOWS = [
    row("every frame", "every", 1.0),
    row("pw-m4n2", "patchwork", 0.8),
    row("pw-m4n2, int8", "patchwork", 0.7),
    row("pw-m4n2 from a sweep", "swept", 0.78),
]
SKIP = row("every 3rd frame", "skip", 0.6, 3, rival_of={"mean": ["pw-m4n2"]})
LATE = row("every 3rd frame, 2 late", "late", 0.3, 3, rival_of={"worst": ["pw-m4n2"]})
SMALL = row("frames of 224 x 224", "smaller", 0.779, rival_of={"mean": ["pw-m4n2"], "worst": ["pw-m4n2"]})


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        (
            [SKIP, LATE],
            {},
            "pw-m4n2 keeps 80.0. At an equal mean cost it wins by 20.0 against the best rival, every 3rd",
        ),
        (
            [SKIP, LATE],
            {},
            "worst case (pw-m4n2 from a sweep: 78.0) it wins by 48.0 against the best rival, every 3rd",
        ),
        ([SKIP, LATE, SMALL], {}, "it is level with the best rival, frames of 224 x 224 (77.9 in"),
        (
            [row("x", "skip", 0.9, 3, rival_of={"mean": ["pw-m4n2"]})],
            {},
            "it loses by 10.0 against the best rival, x",
        ),
        ([SKIP], {}, "there is no rival."),
        ([SKIP, LATE], {"frames": 10}, "Too short to tell: 10 frames."),
        (
            [SKIP, row("every 6th frame", "skip", 0.97, 6)],
            {},
            "Too still to tell: every 6th frame already agrees to 97.0",
        ),
        ([SKIP, LATE], {"found": False}, "every frame finds nothing that it is sure of"),
    ],
)
def test_sentences_are_true(rows, more, said):
    found = compare_report.sentences(result([*WINDOWS, *rows], **more))
    assert len(found) == 1
    assert said in found[0]


def test_truth_counts_more_than_agreement_and_what_is_unfinished_is_said():
    rows = [{**each, "accuracy": {"AP50": 0.5}} for each in WINDOWS]
    assert compare_report.kept(rows[1]) == 0.5
    assert compare_report.measure_of(result(rows)) == "AP50"
    assert "INTERRUPTED" in compare_report.table(result(rows, finished=False))
    assert "interrupted" in compare_report.page(result(rows, finished=False, machine={"cpu": "<c>"}, version="1"))
    assert "&lt;c&gt;" in compare_report.page(result(rows, machine={"cpu": "<c>"}, version="1"))


def boxes(*objects):
    places = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in objects], np.float32)
    return Detections(boxes=places, scores=scores, classes=np.zeros(len(objects), np.int32))


def test_flicker_counts_what_comes_and_goes_though_it_stays():
    still, gone = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9)
    truth = boxes((still, 0.9), (gone, 0.9))
    metric = BoxFlicker()
    for number, seen in enumerate((truth, boxes((still, 0.9)), boxes((still, 0.9), (gone, 0.2)), truth)):
        metric.add_frame(seen, truth, number == 0)
    assert metric.result() == 2 / 6  # it goes once and comes once, of two objects in three pairs of frames
    assert BoxFlicker().result() is None
    masks = MaskFlicker()
    for number, values in enumerate(([0, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 1])):
        seen = Mask(probability=np.float32([values]), size=(1, 4))
        true = Mask(probability=np.float32([[0, 1, 1, number == 2]]), size=(1, 4))
        masks.add_frame(seen, true, number == 0)
    assert masks.result() == 2 / 5  # the first pixel twice; the last one is true to change


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("detection", lambda rng: boxes(*((np.sort(rng.random(4)), score) for score in rng.random(8)))),
        ("segmentation", lambda rng: Mask(probability=np.float32(rng.random((4, 4))), size=(4, 4))),
        ("maps", lambda rng: types.SimpleNamespace(maps={"x": rng.random((4, 4))})),
    ],
)
def test_videos_apart_say_what_they_say_together(task, answer):
    rng, make = np.random.default_rng(0), lambda: Method(get_task(task), ["thing"], False, "x", "every", "x")
    whole, parts = make(), [make(), make()]
    for part, number in itertools.product(parts, range(4)):
        said = None, number, (4, 4), answer(rng), 1.0, answer(rng)
        part.take(*said)
        whole.take(*said)
    parts[0].merge(parts[1])
    assert parts[0].agreement.result() == whole.agreement.result() is not None
    if whole.flicker:
        assert parts[0].flicker.result() == whole.flicker.result() is not None


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(small, small_networks, tmp_path, monkeypatch):
    path = str(tmp_path / "pw.tflite")
    export(small("small-boxes", image_size=64), path, verify_steps=1)
    files = [File("every frame", "s", "s", "every"), File("pw-m4n2", "s", "s", "patchwork")]
    about = files, {file.title: path for file in files}, get_task("detection"), Model(path).labels
    comparison = Comparison(*about)
    comparison.add_skips({"every frame": 4.0, "pw-m4n2": 1.0})
    assert [method.title for method in comparison.methods][-2:] == ["every 5th frame", "every 5th frame, 4 late"]

    other = Comparison(*about)
    other.reference = "yours.tflite"
    other.add_skips({"every frame": 4.0, "pw-m4n2": 1.0, "own": 2.5})
    titles = [method.title for method in other.methods if method.file == "yours.tflite"]
    assert titles[::2] == ["yours.tflite, every 2nd frame", "yours.tflite, every 3rd frame"]

    def frames(count, stops):
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        if stops:
            raise KeyboardInterrupt

    def videos(*counts):
        return [AnnotatedVideo("v", frames(count, stops), []) for count, stops in counts]

    assert comparison.measure(videos((70, False), (5, True))) is False
    assert comparison.frames == 70
    every = next(method for method in comparison.methods if method.title == "every frame")
    assert len(every.milliseconds) == 70
    with pytest.raises(KeyboardInterrupt):
        Comparison(*about).measure(videos((5, True)))


def test_a_detector_is_scored_by_the_classes_that_it_shares_with_a_data_set(capsys):
    weights = types.SimpleNamespace(class_names=("Person", "Boot", "Car"), path="w.npz")
    numbers = compare_run._common(weights, ["car", "zebra", "person"], "zoo")
    np.testing.assert_array_equal(numbers, [2, -1, 0])
    assert "scored by the 2 classes that zoo has, too: car, person" in capsys.readouterr().out
    assert compare_run._common(weights, list(weights.class_names), "same") is None
    with pytest.raises(UsageError, match="knows 3 classes"):
        compare_run._common(weights, ["zebra"], "zoo")
    boxes = [np.arange(12).reshape(3, 4), np.zeros((0, 4))]
    labels = [np.array([1, 0, 2]), np.zeros(0, int)]
    video = AnnotatedVideo("v", [], [], boxes, labels, crowds=[labels[0] == 2, labels[1] == 2])
    changed = video.renumbered(numbers)
    np.testing.assert_array_equal(changed.labels[0], [2, 0])
    np.testing.assert_array_equal(changed.boxes[0], boxes[0][1:])
    np.testing.assert_array_equal(changed.crowds[0], [False, True])
    assert not len(changed.labels[1])
    assert not changed.areas


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--video=a.mp4"], 2, "--system"),
        (["--system=oid-pw-m4n2"], 2, "name videos, --video=FILE_OR_FOLDER,..., or a data set with truth"),
        (["--system=oid-pw-m4n2,voc-pw-m4n2", f"--video={CLIP}"], 2, "name windows of one network"),
        (["--system=oid-sf", f"--video={CLIP}"], 2, "name windows, such as oid-pw-m4n2"),
        (["--system=davis-pw-m4n1-x", f"--video={CLIP}"], 2, "unknown system"),
        (["--system=oid-pw-m4n2", "--video=none.mp4"], 1, "none.mp4"),
        (["--tflite=none.tflite", f"--video={CLIP}"], 1, "none.tflite"),
    ],
)
def test_what_cannot_be_is_one_line(flags, code, said, capsys):
    assert compare.main(flags) == code
    assert said in capsys.readouterr().err
