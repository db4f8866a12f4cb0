import pytest

from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid


def test_windows_are_numbered_row_by_row():
    grid = Grid(cells=4, window_cells=2)
    assert len(grid.windows) == 9
    assert grid.windows[5] == (1, 2)  # action a = r (M - N + 1) + q


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5, 7])
def test_raster_covers_every_cell_with_the_fewest_windows(cells):
    for window in range(1, cells + 1):
        raster = Grid(cells, window).raster
        covered = {(r + i, q + j) for r, q in raster for i in range(window) for j in range(window)}
        assert covered == {(i, j) for i in range(cells) for j in range(cells)}
        assert len(raster) == (-(-cells // window)) ** 2


def test_window_larger_than_grid_is_refused():
    with pytest.raises(UsageError, match="N must be between 1 and M"):
        Grid(cells=2, window_cells=3)
