"""Whole models over grids, windows, sizes and depths drawn at random."""

import numpy as np
import pytest
from conftest import random_frames, randomise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import patchwork_tf as pw
from patchwork_tf.layers.cell import PatchworkCell
from patchwork_tf.models.config import ModelConfig


@st.composite
def configs(draw):
    cells = draw(st.integers(2, 4))
    sides = st.integers(1, 2).map(lambda factor: 32 * cells * factor)
    return ModelConfig(
        task=draw(st.sampled_from(["detection", "segmentation"])),
        cells=cells,
        window_cells=draw(st.integers(1, cells - 1)),
        depth=draw(st.sampled_from([0.35, 0.5, 0.75])),
        image_size=(draw(sides), draw(sides)),
        num_classes=1,
        memory=draw(st.sampled_from(["features", "features", "pixels"])),
    )


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(config=configs(), seed=st.integers(0, 1000))
def test_windows_write_only_into_themselves_and_items_stay_apart(config, seed):
    model = pw.build(config)
    randomise(model, seed)
    grid, rng = model.grid, np.random.default_rng(seed)
    state = {
        name: rng.uniform(0, 1, (2, *shape)).astype(np.float32) for name, shape in model.memory_shapes().items()
    }
    frames = random_frames(rng, 2, config.image_size)
    windows = rng.integers(0, grid.positions, (2, 2), dtype=np.int32)
    outputs, after = model.step(frames, windows, state)
    after = {name: np.array(value) for name, value in after.items()}

    assert {name: value.shape for name, value in after.items()} == {
        name: value.shape for name, value in state.items()
    }
    cells = {
        step.state: step.call.layer for step in model.plan.steps if isinstance(step.call.layer, PatchworkCell)
    }
    borders = {name: cell.border.rows for name, cell in cells.items() if cell.border.fill == 0}
    for name in after.keys() - {"freshness"}:  # which ages everywhere
        for item, window in enumerate(windows):
            changed = np.any(after[name][item] != state[name][item], axis=-1)
            rows, columns = np.nonzero(changed)
            before, after_it = borders.get(name, (0, 0))  # the ring of zeros around a cell's memory
            for positions, side, first in zip((rows, columns), changed.shape, window, strict=True):
                pixels = (side - before - after_it) // grid.cells
                assert positions.min() == first * pixels + before
                assert positions.max() == (first + grid.window_cells) * pixels + before - 1

    other = 1 - rng.integers(0, 2)
    frames[other] = 0
    changed_state = {name: np.array(value) for name, value in state.items()}
    for value in changed_state.values():
        value[other] = 0
    same = 1 - other
    again, _ = model.step(frames, windows, changed_state)
    for key in outputs:
        np.testing.assert_allclose(again[key][same], outputs[key][same], atol=1e-4, err_msg=key)
