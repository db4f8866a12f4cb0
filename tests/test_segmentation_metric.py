"""J and F of DAVIS 2016 against the official numbers of real masks, and by hand."""

import csv
import os

import cv2
import numpy as np
import pytest

from patchwork_tf.metrics.segmentation import (
    STATISTICS,
    SegmentationMetric,
    contour,
    contour_accuracy,
    region_similarity,
    statistics,
)


def read_mask(path):
    return cv2.imread(path, cv2.IMREAD_GRAYSCALE) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "masks", "frames"), [("davis2016_dev", "osvos_masks", 359), ("generated_masks", "found", 27)]
)
def test_masks_get_the_official_numbers(data, masks, frames, real_data):
    root = real_data(data)
    metric = SegmentationMetric()
    sequences = sorted(os.listdir(f"{root}/{masks}"))
    for sequence in sequences:
        for name in sorted(os.listdir(f"{root}/Annotations/480p/{sequence}")):
            truth = read_mask(f"{root}/Annotations/480p/{sequence}/{name}")
            metric.add_frame(sequence, read_mask(f"{root}/{masks}/{sequence}/{name}"), truth)
    result = metric.result()
    compared = 0
    with open(f"{root}/{masks}_jf_per_sequence.csv", newline="") as file:
        for row in csv.DictReader(file):
            for measure in "JF":
                found = result[measure]["per_sequence"][row["sequence"]]
                for key in STATISTICS:
                    assert found[key] == pytest.approx(float(row[f"{measure}_{key}"]), abs=1e-6)
                    compared += 1
    with open(f"{root}/{masks}_jf_per_frame.csv", newline="") as file:
        for row in csv.DictReader(file):
            for measure in "JF":
                found = result[measure]["per_sequence"][row["sequence"]]["per_frame"][int(row["frame"])]
                assert found == pytest.approx(float(row[measure]), abs=1e-6)
                compared += 1
    assert compared == 6 * len(sequences) + 2 * frames
    for measure in "JF":
        for key in STATISTICS:
            per_sequence = [result[measure]["per_sequence"][sequence][key] for sequence in sequences]
            assert result[measure][key] == pytest.approx(np.mean(per_sequence))


def square(first, last, size=20):
    mask = np.zeros((size, size), bool)
    mask[first:last, first:last] = True
    return mask


def test_region_similarity_by_hand():
    assert region_similarity(square(0, 4), square(0, 2)) == 4 / 16
    assert region_similarity(square(0, 2), square(4, 6)) == 0
    assert region_similarity(square(0, 0), square(0, 0)) == 1


def test_contour_by_hand():
    """Official: a pixel that differs from its right, lower or lower right neighbour."""
    mask = np.zeros((4, 4), bool)
    mask[2, 2] = True
    expected = np.zeros((4, 4), bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(contour(mask), expected)


def test_contour_accuracy_by_hand():
    empty = square(0, 0)
    assert contour_accuracy(square(5, 9), square(5, 9)) == 1
    assert contour_accuracy(empty, empty) == 1
    assert contour_accuracy(empty, square(5, 9)) == 0
    assert contour_accuracy(square(5, 9), empty) == 0
    assert contour_accuracy(square(1, 3), square(14, 18)) == 0
    # At 20 x 20 a contour may be off by one pixel, ceil(0.008 * 28.3): shifted by one all is found.
    assert contour_accuracy(np.roll(square(5, 9), 1, axis=1), square(5, 9)) == 1


def test_statistics_by_hand():
    """First and last frame are left out; eight remain, bins share their edges."""
    values = [9, 1.0, 0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.1, 9]
    found = statistics(values)
    assert found["mean"] == pytest.approx(4.4 / 8)
    assert found["recall"] == 4 / 8
    # linspace(1, 8, 5) = 1, 2.75, 4.5, 6.25, 8, rounded (half up) 1, 3, 5, 6, 8: three frames a bin at the ends.
    assert found["decay"] == pytest.approx((1.0 + 0.9 + 0.8) / 3 - (0.3 + 0.2 + 0.1) / 3)
    assert statistics([1, 1]) == {"mean": None, "recall": None, "decay": None}
