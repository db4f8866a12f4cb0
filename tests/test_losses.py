import keras
import numpy as np
import pytest
from keras import ops

from patchwork_tf.grid import Grid
from patchwork_tf.models import boxes as box_ops
from patchwork_tf.models import losses

ANCHORS = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]], np.float32)


def match(boxes, labels):
    classes, codes = losses.match_anchors(ANCHORS, np.array(boxes, np.float32), np.array(labels, np.int32))
    return np.array(classes), np.array(codes)


def test_codes_decode_to_the_box():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (50, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.02, 0.5, (50, 2))], axis=1).astype(np.float32)
    anchors = rng.uniform(0.1, 0.9, (50, 4)).astype(np.float32)
    np.testing.assert_allclose(box_ops.CODER.decode(box_ops.encode(boxes, anchors), anchors), boxes, atol=1e-5)


def test_anchors_match_what_they_overlap():
    classes, codes = match([[0, 0, 0.5, 0.5], [0, 0, 0, 0]], [4, 0])
    assert classes.tolist() == [4, 0, 0]
    np.testing.assert_allclose(codes[0], 0, atol=1e-5)


def test_between_the_thresholds_nothing_is_asked():
    """A box over the top 45 % of the frame: IoU 0.45 with the large anchor, a forced match of its best."""
    classes, _ = match([[0, 0, 0.45, 1.0], [0, 0, 1, 1]], [2, 3])
    assert classes[2] == 3
    assert classes[0] == losses.IGNORED or classes[0] == 2
    anchors = np.array([[0.5, 0.5, 1, 1], [0.5, 0.25, 1, 0.5]], np.float32)
    classes, _ = losses.match_anchors(anchors, np.array([[0, 0, 1, 0.45]], np.float32), np.array([1], np.int32))
    assert np.array(classes).tolist() == [losses.IGNORED, 1]


def test_an_object_no_anchor_fits_gets_its_best():
    classes, _ = match([[0.0, 0.0, 0.3, 0.2]], [1])
    assert classes.tolist() == [1, 0, 0]


def test_padding_matches_nothing():
    classes, _ = match([[0, 0, 0.5, 0.5]], [0])
    assert classes.tolist() == [0, 0, 0]


def test_unseen_objects_are_not_asked_for():
    """M=2, N=1: looking at the top left cell, then at the bottom right one."""
    boxes = np.tile(np.array([[0, 0, 0.4, 0.4], [0.6, 0.6, 1, 1], [0.6, 0, 1, 0.4]], np.float32), (1, 2, 1, 1))
    labels = np.array([[[1, 2, 3]] * 2], np.int32)
    windows = np.array([[[0, 0], [1, 1]]], np.int32)
    seen = losses.seen_labels(boxes, labels, windows, Grid(2, 1))
    assert np.array(seen).tolist() == [[[1, -1, -1], [1, 2, -1]]]


def test_focal_loss_by_hand():
    """One positive anchor of class 1 at p = 1/2, one background anchor at p = 1/2: (1/2)^2 ln 2 each."""
    logits = np.array([[[0.0, 0.0]] * 3], np.float32)
    codes = np.array([[[2.0, 0.5, 0, 0]] * 3], np.float32)
    targets = np.array([[1, 0, losses.IGNORED]], np.int32)
    class_loss, box_loss = losses.detection_loss(logits, codes, targets, np.zeros_like(codes))
    assert float(class_loss) == pytest.approx(2 * 0.25 * np.log(2), rel=1e-5)
    assert float(box_loss) == pytest.approx(1.5 + 0.125, rel=1e-5)


def test_no_object_no_nan():
    logits = keras.random.normal((2, 5, 4), seed=0)
    codes = ops.zeros((2, 5, 4))
    class_loss, box_loss = losses.detection_loss(logits, codes, np.zeros((2, 5), np.int32), codes)
    assert np.isfinite(float(class_loss))
    assert float(box_loss) == 0


def test_sigmoid_focal_loss_is_retinanets():
    """Lin et al., Equation 5, by hand: one positive of class 2, one background, one ignored."""
    logits = np.array([[0.3, -1.0, 2.0], [0.0, 0.5, -0.5], [9.0, 9.0, 9.0]], np.float32)
    classes = np.array([2, 0, losses.IGNORED], np.int32)
    zeros = np.zeros((3, 4), np.float32)
    class_loss, _ = losses.detection_loss(logits, zeros, classes, zeros, sigmoid=True)
    p = 1 / (1 + np.exp(-logits[:, 1:]))  # the first column, background, plays no part
    expected = -0.25 * (1 - p[0, 1]) ** 2 * np.log(p[0, 1])
    for q in (p[0, 0], *p[1]):
        expected -= 0.75 * q**2 * np.log(1 - q)
    assert float(class_loss) == pytest.approx(expected, rel=1e-5)
