"""The cell against a slow numpy reference, and each item of a batch alone."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchwork_tf.grid import Grid
from patchwork_tf.layers.cell import PatchworkCell, read, write

CHANNELS = 3


def make_cell(kind, grid, size, stride, rate=1):
    options = {"strides": stride, "dilation_rate": rate, "padding": "same", "name": "cell"}
    kinds = {"full": (keras.layers.Conv2D, {"filters": 5}), "depthwise": (keras.layers.DepthwiseConv2D, {})}
    convolution, more = kinds[kind]
    return PatchworkCell(convolution(kernel_size=3, **options, **more), grid, (size, size, CHANNELS))


def reference_step(memory, x, window, grid, kernel, bias, stride, rate):
    """The definition of a cell, word by word, on an unpadded memory (H, W, C); changes the memory."""
    cell = memory.shape[0] // grid.cells
    r, q, n = window[0] * cell, window[1] * cell, grid.window_cells * cell
    memory[r : r + n, q : q + n] = x
    before = 0 if stride == 2 else rate
    depthwise = kernel.shape[3] == 1 and kernel.shape[2] == CHANNELS
    out = np.zeros((n // stride, n // stride, CHANNELS if depthwise else kernel.shape[3]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for a in range(3):
                for b in range(3):
                    y, z = r + i * stride + a * rate - before, q + j * stride + b * rate - before
                    if 0 <= y < memory.shape[0] and 0 <= z < memory.shape[1]:
                        pixel = memory[y, z]
                        out[i, j] += pixel * kernel[a, b, :, 0] if depthwise else pixel @ kernel[a, b]
    return out + bias


STRIDES_AND_RATES, GRIDS = [(1, 1), (2, 1), (1, 2), (1, 3)], [(4, 1), (4, 2), (2, 1), (3, 2)]


@pytest.mark.parametrize(
    ("kind", "steps", "grid"),
    [
        *(("full", steps, grid) for steps in STRIDES_AND_RATES for grid in GRIDS[:2]),
        *(("depthwise", steps, grid) for steps in STRIDES_AND_RATES[:2] for grid in GRIDS[2:]),
    ],
)
def test_cell_equals_reference_over_random_steps(kind, steps, grid):
    (stride, rate), (cells, window) = steps, grid
    grid, size, batch = Grid(cells, window), 4 * cells, 3
    cell = make_cell(kind, grid, size, stride, rate)
    rng = np.random.default_rng(0)
    side = 4 * window
    memory = np.zeros((batch, *cell.memory_shape), np.float32)
    memories = np.zeros((batch, size, size, CHANNELS))
    for _ in range(6):
        x = rng.normal(size=(batch, side, side, CHANNELS)).astype(np.float32)
        windows = rng.integers(0, grid.positions, (batch, 2)).astype(np.int32)
        y, memory = cell(x, windows, memory)
        kernel, bias = (np.array(w) for w in cell.layer.weights)
        for item in range(batch):
            expected = reference_step(memories[item], x[item], windows[item], grid, kernel, bias, stride, rate)
            np.testing.assert_allclose(y[item], expected, atol=1e-5)


def test_one_item_takes_the_same_values_as_a_batch():
    """Slices for one stream and gathers for many are two forms of one thing."""
    rng = np.random.default_rng(1)
    memory = rng.normal(size=(3, 8, 9, 2)).astype(np.float32)
    x = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    corner = np.array([[0, 0], [4, 4], [1, 3]], np.int32)
    written, part = write(memory, x, corner), read(memory, corner, (4, 5))
    for item in range(3):
        one = slice(item, item + 1)
        np.testing.assert_array_equal(write(memory[one], x[one], corner[one]), np.array(written)[one])
        np.testing.assert_array_equal(read(memory[one], corner[one], (4, 5)), np.array(part)[one])


def test_several_windows_tried_on_one_memory_are_what_each_is_alone():
    grid, size = Grid(4, 2), 16
    cell = make_cell("depthwise", grid, size, stride=2)
    rng = np.random.default_rng(2)
    memory = rng.normal(size=(2, *cell.memory_shape)).astype(np.float32)
    x = rng.normal(size=(6, 8, 8, CHANNELS)).astype(np.float32)
    windows = rng.integers(0, 3, (6, 2)).astype(np.int32)
    y, after = cell(x, windows, memory)
    for tried in range(6):
        one, stream = slice(tried, tried + 1), slice(tried // 3, tried // 3 + 1)
        alone, alone_after = cell(x[one], windows[one], memory[stream])
        np.testing.assert_allclose(np.array(y)[one], alone, atol=1e-6)
        np.testing.assert_array_equal(np.array(after)[one], alone_after)


@settings(deadline=None, max_examples=40)
@given(
    cells=st.integers(2, 5),
    cell_pixels=st.sampled_from([2, 4]),
    stride=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_a_window_never_writes_outside_itself_and_items_stay_apart(cells, cell_pixels, stride, data):
    window = data.draw(st.integers(1, cells - 1))
    grid, size = Grid(cells, window), cells * cell_pixels
    cell = make_cell("depthwise", grid, size, stride)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    before = rng.normal(size=(2, *cell.memory_shape)).astype(np.float32)
    side = window * cell_pixels
    x = rng.normal(size=(2, side, side, CHANNELS)).astype(np.float32)
    position = st.integers(0, grid.positions - 1)
    windows = np.array(data.draw(st.tuples(*[st.tuples(position, position)] * 2)), np.int32)
    y, after = map(np.array, cell(x, windows, before))
    assert after.shape == before.shape
    for item, (r, q) in enumerate(windows * cell_pixels + cell.border.rows[0]):
        np.testing.assert_array_equal(after[item, r : r + side, q : q + side], x[item])
        unchanged = after[item].copy()
        unchanged[r : r + side, q : q + side] = before[item, r : r + side, q : q + side]
        np.testing.assert_array_equal(unchanged, before[item])
        alone, _ = cell(x[item : item + 1], windows[item : item + 1], before[item : item + 1])
        np.testing.assert_allclose(alone[0], y[item], atol=1e-6)
