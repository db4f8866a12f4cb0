"""Rounding of kernels and ranges of activations, against what they promise."""

import numpy as np
import pytest
import tensorflow as tf

from patchwork_tf.export import calibration


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("strides", "dilations", "same"),
    [((1, 1), (1, 1), True), ((2, 2), (1, 1), True), ((2, 1), (1, 1), False), ((1, 1), (2, 3), True)],
)
def test_moments_weigh_kernels_as_the_convolution_does(strides, dilations, same, depthwise):
    """Of few enough places all count: k' M k is the sum of the squared outputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 9, 12, 5)).astype(np.float32)
    moment = calibration.moments(x, calibration.Window((3, 2), strides, dilations, same, depthwise), rng)
    kernel = rng.normal(size=(3, 2, 5, 1 if depthwise else 4)).astype(np.float32)

    def squares(x, kernel):
        outputs = tf.nn.conv2d(x, kernel, strides, "SAME" if same else "VALID", dilations=dilations)
        return (outputs.numpy() ** 2).sum((0, 1, 2))

    if depthwise:
        rows = kernel[..., 0].transpose(2, 0, 1).reshape(5, 6)
        found = np.einsum("cn,cnm,cm->c", rows, moment, rows)
        expected = np.concatenate([squares(x[..., c : c + 1], kernel[:, :, c : c + 1]) for c in range(5)])
    else:
        assert moment.shape == (6, 5, 5)
        rows = kernel.reshape(6, 5, 4)
        found = np.einsum("pno,pnm,pmo->po", rows, moment, rows)  # of kernels with one place each
        expected = [squares(x, kernel * place.reshape(3, 2, 1, 1)) for place in np.eye(6, dtype=np.float32)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("of_each", [False, True])
def test_rounded_kernels_say_what_they_said_before(of_each):
    """On inputs that go together, as those of images do, the error is a fraction of that of nearest steps."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 40))
    inputs = np.maximum(rng.normal(1, 0.3, (500, 1)) + 0.3 * rng.normal(size=(500, 40)), 0)
    moment = inputs.T @ inputs
    found = calibration.rounded(rows, calibration.scales(rows), np.stack([moment] * 8) if of_each else moment)
    steps = found / calibration.scales(rows)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert np.abs(np.round(steps)).max() <= calibration.STEPS
    nearest = np.round(rows / calibration.scales(rows)) * calibration.scales(rows)
    error, usual = (np.square(inputs @ (rows - other).T).sum() for other in (found, nearest))
    assert error < 0.3 * usual


def test_channels_without_weights_or_inputs_stay():
    rows = np.array([[0.0, 0.0, 0.0], [1.0, -0.5, 0.25]])
    found = calibration.rounded(rows, calibration.scales(rows), np.zeros((3, 3)))
    np.testing.assert_allclose(found, rows, atol=0.5 / calibration.STEPS)
    assert not found[0].any()


def test_a_rare_large_value_is_clipped_and_common_ones_are_not():
    rng = np.random.default_rng(0)
    even = rng.uniform(-2, 6, 20_000)
    low, high = calibration.least_error_range(even)
    assert (low, high) == pytest.approx((even.min(), even.max()))
    _, high = calibration.least_error_range(np.append(rng.normal(size=20_000), 12.0))
    assert 4 < high < 12
    assert calibration.least_error_range(np.array([2.0, 3.0])) == pytest.approx((0, 3))
    assert calibration.least_error_range(np.zeros(3)) == (0, 0)
