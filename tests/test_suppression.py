"""Suppression for every backend, held against TensorFlow's; and that fresh detections come before stale ones."""

import numpy as np
import pytest
import tensorflow as tf

from patchwork_tf.models.suppression import (
    IOU_THRESHOLD,
    SCORE_THRESHOLD,
    best_classes,
    every_class,
    suppress,
)


def crowd(rng, count, size=0.4):
    """Boxes (count, 4) that overlap in long chains."""
    corner = rng.uniform(0, 1 - size, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0.5 * size, size, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize(("size", "count"), [(0.05, 300), (0.05, 1500), (0.4, 300), (0.9, 1500)])
def test_what_is_kept_is_what_tensorflow_keeps(size, count):
    """Of few boxes and of more than are held against each other at once, some of which score the same."""
    rng = np.random.default_rng(0)
    boxes = np.stack([crowd(rng, count, size) for _ in range(2)])
    scores, classes = rng.uniform(0, 0.5, (2, count)).astype(np.float32), rng.integers(0, 3, (2, count), np.int32)
    scores[:, 50:] = scores[:, 50:].round(2)
    weights = rng.uniform(0.1, 1, (2, count)).astype(np.float32)
    weights[:, 50:] = 1.0
    found = [np.array(x) for x in suppress(boxes, scores, classes, weights, max_detections=60)]
    for item in range(2):
        kept = tf.image.non_max_suppression(
            boxes[item] + 2.0 * classes[item][:, None],
            scores[item] * weights[item],
            60,
            IOU_THRESHOLD,
            SCORE_THRESHOLD,
        ).numpy()
        assert found[3][item] == len(kept)
        for values, expected in zip(found, (boxes, scores, classes), strict=False):
            np.testing.assert_array_equal(values[item, : len(kept)], expected[item, kept])
            assert not values[item, len(kept) :].any()


def test_a_fresh_detection_beats_a_stale_one_that_scores_higher():
    boxes = np.array([[[0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.52, 0.5], [0.6, 0.6, 0.9, 0.9]]], np.float32)
    scores, classes = np.array([[0.8, 0.7, 0.011]], np.float32), np.zeros((1, 3), np.int32)
    fresh = [np.array(x)[0] for x in suppress(boxes, scores, classes)]
    assert fresh[3] == 2
    np.testing.assert_array_equal(fresh[0][0], boxes[0, 0])
    stale = [np.array(x)[0] for x in suppress(boxes, scores, classes, np.float32([[0.9**3, 1, 0.9]]))]
    assert stale[3] == 1  # the third has fallen below the threshold
    np.testing.assert_array_equal(stale[0][0], boxes[0, 1])
    assert stale[1][0] == np.float32(0.7)  # and is told as it was


def test_a_box_that_float32_cannot_shift_to_its_class_is_none():
    """LiteRT's operator would return it again and again."""
    boxes = np.float32([[[0.0002, 0.0002, 0.00020001, 0.00020001], [0.1, 0.1, 0.5, 0.5]]])
    found = suppress(boxes, np.float32([[0.9, 0.8]]), np.zeros((1, 2), np.int32))
    assert int(found[3][0]) == 1
    np.testing.assert_array_equal(found[0][0, 0], boxes[0, 1])


def test_nothing_and_too_much():
    boxes = np.zeros((1, 5, 4), np.float32)
    nothing = suppress(boxes, np.zeros((1, 5), np.float32), np.zeros((1, 5), np.int32))
    assert int(nothing[3][0]) == 0
    assert nothing[0].shape == (1, 100, 4)
    apart = np.array([[[k / 10, k / 10, k / 10 + 0.05, k / 10 + 0.05] for k in range(5)]], np.float32)
    _, scores, _, count = suppress(
        apart, np.float32([[0.2, 0.9, 0.5, 0.7, 0.1]]), np.zeros((1, 5), np.int32), None, 3
    )
    assert int(count[0]) == 3
    np.testing.assert_allclose(scores[0], [0.9, 0.7, 0.5])


def test_an_anchor_may_speak_for_several_classes():
    boxes = np.array([[[0.1, 0.1, 0.5, 0.5]]], np.float32)
    scores = np.array([[[0.3, 0.6, 0.005]]], np.float32)
    found = suppress(*every_class(boxes, scores, np.ones((1, 1), np.float32)))
    assert int(found[3][0]) == 2
    np.testing.assert_array_equal(np.array(found[2])[0, :2], [1, 0])
    best, label = best_classes(scores)
    assert (float(best[0, 0]), int(label[0, 0])) == (np.float32(0.6), 1)
