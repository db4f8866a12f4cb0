"""Average precision on cases that a reader can check on paper."""

import numpy as np
import pytest

from patchwork_tf.metrics.coco import CocoMetric
from patchwork_tf.metrics.detection import DetectionMetric, average_precision, match_thresholds


def score(detections, objects, names=("cat", "dog")):
    """One frame: detections (box, score, class), objects (box, class)."""
    metric = DetectionMetric(names)
    metric.add_frame(
        np.array([d[0] for d in detections], float).reshape(-1, 4),
        np.array([d[1] for d in detections], float),
        np.array([d[2] for d in detections], int),
        np.array([o[0] for o in objects], float).reshape(-1, 4),
        np.array([o[1] for o in objects], int),
    )
    return metric.result()


BOX, FAR = (0, 0, 100, 100), (200, 200, 300, 300)


def test_parts_are_merged_as_if_they_were_one():
    """Precision at a recall depends on the order of equal scores, too."""
    rng = np.random.default_rng(0)
    for make in (lambda: DetectionMetric("abc"), lambda: CocoMetric("abc")):
        whole, merged, parts = make(), make(), [make(), make(), make()]
        for number, part in enumerate(np.repeat(parts, 4)):
            boxes = rng.uniform(0, 100, (6, 2, 2)).cumsum(axis=1).reshape(6, 4)
            scores, labels = rng.integers(1, 4, 6) / 4, rng.integers(0, 3, 6)
            for metric in (whole, part):
                metric.add_frame(boxes, scores, labels, boxes[number % 5 :] + 5, labels[number % 5 :])
        for part in parts:
            merged.merge(part)
        assert merged.result() == whole.result()


def test_everything_found():
    result = score([(BOX, 0.9, 0), (FAR, 0.8, 1)], [(BOX, 0), (FAR, 1)])
    assert result["mAP_50"] == result["mAP_vid"] == 1.0


def test_a_duplicate_is_a_false_positive():
    """Ranks: hit, duplicate, hit of 2 objects: precision 1 at recall 1/2, 2/3 at recall 1."""
    result = score([(BOX, 0.9, 0), (BOX, 0.8, 0), (FAR, 0.7, 0)], [(BOX, 0), (FAR, 0)])
    assert result["mAP_50"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_mean_is_over_classes_with_objects():
    result = score([(BOX, 0.9, 0)], [(BOX, 0)], names=("cat", "dog", "cow"))
    assert result["mAP_50"] == 1.0
    assert result["per_class"]["cow"] == {"objects": 0, "AP_vid": None, "AP_50": None}
    assert score([(BOX, 0.9, 1)], [(BOX, 0)])["mAP_50"] == 0.0  # right box, wrong class


def test_small_objects_may_be_missed_by_more():
    """10 x 10 pixels: threshold 100 / 400 = 0.25. The box shifted by 4 overlaps 60 / 140 = 0.43."""
    box, shifted = (0, 0, 10, 10), (0, 4, 10, 14)
    assert match_thresholds(np.array([box]), "vid") == pytest.approx(0.25)
    result = score([(shifted, 0.9, 0)], [(box, 0)])
    assert (result["mAP_vid"], result["mAP_50"]) == (1.0, 0.0)


def test_large_objects_have_the_plain_threshold():
    assert match_thresholds(np.array([[0, 0, 30, 30], [0, 0, 24, 24]]), "vid") == pytest.approx(
        [0.5, 0.498], abs=1e-3
    )


def test_a_box_takes_the_best_free_object():
    near, exact = (0, 0, 100, 90), (0, 0, 100, 100)
    result = score([(exact, 0.9, 0), (exact, 0.8, 0)], [(near, 0), (exact, 0)])
    assert result["mAP_50"] == 1.0  # the second detection takes the object that is left


def test_empty_frames():
    assert score([], [])["mAP_50"] is None
    assert score([(BOX, 0.9, 0)], [])["mAP_50"] is None
    assert score([], [(BOX, 0)])["mAP_50"] == 0.0


def test_false_positives_in_empty_frames_count():
    metric = DetectionMetric(["cat"])
    nothing = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)
    metric.add_frame(np.array([FAR]), np.array([0.9]), np.array([0]), nothing[0], nothing[2])
    metric.add_frame(np.array([BOX]), np.array([0.8]), np.array([0]), np.array([BOX]), np.array([0]))
    assert metric.result()["mAP_50"] == pytest.approx(0.5)


def test_precision_envelope():
    """Hits at ranks 1, 3, 4 of 4 objects: precision 1, 2/3 -> 3/4, 3/4, recall 3/4."""
    assert average_precision([4, 3, 2, 1], [True, False, True, True], 4) == pytest.approx((1 + 0.75 + 0.75) / 4)
