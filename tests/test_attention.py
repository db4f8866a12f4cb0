"""The attention network, before it is trained and in general, and how fresh cells are."""

import numpy as np
import pytest
from conftest import fresh_model

import patchwork_tf as pw
from patchwork_tf.grid import Grid
from patchwork_tf.models.attention import FRESHNESS_DECAY, advance_freshness
from patchwork_tf.models.weights import assign_weights, get_weights


def test_freshness_by_hand():
    grid = Grid(2, 1)
    fresh = np.zeros((2, 2, 2, 1), np.float32)
    for windows in ([[0, 0], [1, 1]], [[0, 1], [1, 1]]):
        fresh = advance_freshness(fresh, np.array(windows, np.int32), grid)
    d = FRESHNESS_DECAY
    np.testing.assert_allclose(np.array(fresh)[..., 0], [[[d, 1], [0, 0]], [[0, 0], [0, 1]]])
    np.testing.assert_array_equal(advance_freshness(fresh, None, grid), np.ones((2, 2, 2, 1)))


@pytest.mark.parametrize("name", ["vid-pw-m4n1", "vid-pw-m4n2", "davis-pw-m2n1"])
def test_untrained_attention_sweeps_the_frame(name):
    """Whatever is in the frames, it looks where it has not looked for longest: for ever a raster."""
    model = pw.build(pw.get_system(name).model, image_size=128, depth=0.35)
    state, window, visited = model.initial_state(1), np.zeros((1, 2), np.int32), []
    rng = np.random.default_rng(0)
    restored = rng.normal(size=(1, *model.backbone.out_shape)).astype(np.float32)
    freshness = state["freshness"]
    for _ in range(3 * len(model.grid.raster)):
        visited.append(tuple(int(v) for v in window[0]))
        freshness = advance_freshness(freshness, window, model.grid)
        window = np.array(model.attention.next_window(model.attention.q_values(restored, freshness)))
    assert visited == 3 * model.grid.raster


def test_next_window_is_the_best_by_q_values(small):
    model = small("vid-pw-m4n1")
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (3, 128, 128, 3)).astype(np.float32)
    windows = rng.integers(0, 4, (3, 2), dtype=np.int32)
    outputs, _ = model.step(frames, windows, model.initial_state(3))
    q_values = np.array(outputs["q_values"])
    assert q_values.shape == (3, 16)
    assert q_values.std() > 0.01  # these weights do look at the frame
    chosen = np.array(outputs["next_window"])
    assert chosen.dtype == np.int32
    np.testing.assert_array_equal(chosen[:, 0] * 4 + chosen[:, 1], q_values.argmax(axis=1))


def test_weights_for_another_grid_leave_attention_untrained(small):
    """The rest of the network is the same; nine windows are not sixteen."""
    nine, sixteen = small("vid-pw-m4n2"), fresh_model("vid-pw-m4n1", seed=2)
    before = get_weights(sixteen.variables)
    assign_weights(sixteen.variables, get_weights(nine.variables), "m4n2.npz")
    after, source = get_weights(sixteen.variables), get_weights(nine.variables)
    for key, value in after.items():
        np.testing.assert_array_equal(value, before[key] if key.startswith("attention_") else source[key])
