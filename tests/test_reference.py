"""The backbone against a slow, independent numpy implementation, over random video and windows.

It knows nothing of the library but its weights: one plain (H, W, C) memory per convolution, a
loop over the nine taps, and the three sentences that define a cell.
"""

import numpy as np
import pytest
from conftest import random_frames

from patchwork_tf.models.weights import get_weights

# Table 3: t, c, n, s.
ROWS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class ReferenceBackbone:
    def __init__(self, weights, size, cells, window):
        self.weights, self.size, self.cells, self.n = weights, size, cells, window
        self.memories = {}

    def norm(self, x, name):
        w = {key: self.weights[f"{name}/{key}"].astype(np.float64) for key in ("gamma", "beta")}
        mean, variance = (self.weights[f"{name}/moving_{key}"].astype(np.float64) for key in ("mean", "variance"))
        return (x - mean) / np.sqrt(variance + 1e-3) * w["gamma"] + w["beta"]

    def pointwise(self, x, name, norm):
        return self.norm(x @ self.weights[f"{name}/kernel"][0, 0].astype(np.float64), norm)

    def cell(self, x, name, stride, window):
        """Write, read with the border, convolve VALID."""
        channels = x.shape[-1]
        side = x.shape[0] * self.cells // self.n
        memory = self.memories.setdefault(name, np.zeros((side, side, channels)))
        c = side // self.cells
        r, q, n = window[0] * c, window[1] * c, self.n * c
        memory[r : r + n, q : q + n] = x
        before = 0 if stride == 2 else 1
        read = np.zeros((n + 1 + before, n + 1 + before, channels))
        for i in range(read.shape[0]):
            for j in range(read.shape[1]):
                y, z = r + i - before, q + j - before
                if 0 <= y < side and 0 <= z < side:
                    read[i, j] = memory[y, z]
        kernel = self.weights[f"{name}/kernel"].astype(np.float64)
        out = 0
        for i in range(3):
            for j in range(3):
                tap = read[i : i + n - (stride == 2) : stride, j : j + n - (stride == 2) : stride]
                out = out + (tap @ kernel[i, j] if name == "Conv1" else tap * kernel[i, j, :, 0])
        return out

    def step(self, frame, window):
        c = self.size // self.cells
        (r, q), n = np.array(window) * c, self.n * c
        relu6 = lambda x: np.clip(x, 0, 6)  # noqa: E731
        x = relu6(self.norm(self.cell(frame[r : r + n, q : q + n], "Conv1", 2, window), "bn_Conv1"))
        maps = {"Conv1_relu": x}
        number = 0
        for t, _, repetitions, first_stride in ROWS:
            for repetition in range(repetitions):
                p = f"block_{number}_" if number else "expanded_conv_"
                stride = 1 if repetition else first_stride
                y = x
                if t > 1:
                    y = maps[p + "expand_relu"] = relu6(self.pointwise(y, p + "expand", p + "expand_BN"))
                y = self.norm(self.cell(y, p + "depthwise", stride, window), p + "depthwise_BN")
                y = maps[p + "depthwise_relu"] = relu6(y)
                y = maps[p + "project_BN"] = self.pointwise(y, p + "project", p + "project_BN")
                if repetition:
                    y = maps[p + "add"] = x + y
                x = y
                number += 1
        maps["out_relu"] = relu6(self.pointwise(x, "Conv_1", "Conv_1_bn"))
        return maps


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vid-pw-m4n1", "vid-pw-m4n2", "davis-pw-m2n1"])
def test_every_endpoint_equals_the_reference(name, small):
    model = small(name, backbone="mobilenet_v2")
    grid = model.grid
    weights = get_weights(model.backbone.network.variables)
    reference = ReferenceBackbone(weights, 128, grid.cells, grid.window_cells)
    rng = np.random.default_rng(0)
    state = model.initial_state(1)
    for frame in random_frames(rng, 6, (128, 128)):
        window = rng.integers(0, grid.positions, 2, dtype=np.int32)
        found, state = model.backbone.step(frame[None], window[None], state)
        expected = reference.step(frame, window)
        assert expected.keys() <= found.keys()
        assert len(expected) == 62
        for key, value in expected.items():
            np.testing.assert_allclose(found[key][0], value, atol=1e-4 * max(1, np.abs(value).max()), err_msg=key)
