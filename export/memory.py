"""What an exported step remembers, and how it is read and written with the fewest copies.

A cell needs the remembered pixels around its window. Windows are aligned to the grid, so of a whole
map only the pixels beside the grid's lines are ever read: those strips are kept (the halo), bit for bit
what a dense memory would give. Small maps are kept whole, for strips would be no smaller.

Maps of one geometry are packed side by side into the channels of one tensor: one slice reads them
all. So are means of cells, of which the mean over the full frame is made. All reads come before the
network and all writes after it, so that between them a delegate finds one unbroken graph. Where to read
and write is looked up in one table by the window's number.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from patchwork_tf.export.float_scope import in_float
from patchwork_tf.grid import Grid

# Rows of a map per pixel of a window's border; of smaller maps strips would take more room than the whole.
STRIPS_FROM = 24
CELL_MEANS = "cell_means"  # the state of all that is remembered as means of cells


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A remembered map of the full frame, in pixels, and the width of the borders of a window that are read."""

    height: int
    width: int
    before: int
    after: int
    alone: str = ""  # name of the only one that is in it; else all of these sizes are


class _Map:
    """Kept whole, in a ring of zeros as wide as the border. One tensor, [1, H + ring, W + ring, C]."""

    def __init__(self, grid: Grid, geometry: Geometry):
        self.grid, self.geometry = grid, geometry
        self.cell = (geometry.height // grid.cells, geometry.width // grid.cells)
        self.size = (self.cell[0] * grid.window_cells, self.cell[1] * grid.window_cells)

    def name(self, kind: str) -> str:
        """The state tensor's, of a kind in `shapes`."""
        g = self.geometry
        return f"{kind}_{g.height}x{g.width}_{g.before}{g.after}{g.alone and '_'}{g.alone}"

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Size of the state tensors by kind."""
        g = self.geometry
        return {"map": (g.height + g.before + g.after, g.width + g.before + g.after)}

    def reads(self, row, column) -> list[tuple[str, tuple, tuple]]:
        """Tensor, first pixel and size of the strips above, below, left and right of a window."""
        g, (height, width) = self.geometry, self.size
        y, x = row * self.cell[0], column * self.cell[1]
        wide = width + g.before + g.after
        above, below = ("map", (y, x), (g.before, wide)), ("map", (y + g.before + height, x), (g.after, wide))
        left = ("map", (y + g.before, x), (height, g.before))
        return [above, below, left, ("map", (y + g.before, x + g.before + width), (height, g.after))]

    def writes(self, row, column) -> list[tuple[str, tuple]]:
        """Tensor and first pixel of what `updates` gives."""
        before = self.geometry.before
        return [("map", (row * self.cell[0] + before, column * self.cell[1] + before))]

    def updates(self, x) -> list:
        """What of a window's pixels x (1, h, w, C) goes into each tensor."""
        return [x]


class _Strips(_Map):
    """Kept beside the grid's lines only. Two tensors: rows, as wide as the frame, and columns, as high.

    Of the rows, the first `before` lines are zero. Then follow, cell row by cell row, the first `after` rows of
    its pixels, which are below a window that ends there, and the last `before`, which are above one that begins
    after it. The last `after` lines are zero again; pixels along a row have a ring. Columns are likewise, without
    a ring, since corners come from the rows.
    """

    def __init__(self, grid: Grid, geometry: Geometry):
        super().__init__(grid, geometry)
        self.per_cell = geometry.before + geometry.after

    @property
    def shapes(self):
        g, lines = self.geometry, self.per_cell * (self.grid.cells + 1)
        return {"rows": (lines, g.width + self.per_cell), "columns": (g.height, lines)}

    def reads(self, row, column):
        """As _Map's: strips above and below from the rows, left and right from the columns."""
        g, n, (height, width) = self.geometry, self.grid.window_cells, self.size
        y, x = row * self.cell[0], column * self.cell[1]  # the window's first pixel on the map
        wide = width + self.per_cell
        above, below = self.per_cell * row, self.per_cell * (row + n) + g.before
        left, right = self.per_cell * column, self.per_cell * (column + n) + g.before
        return [
            ("rows", (above, x), (g.before, wide)),  # (before, w + ring)
            ("rows", (below, x), (g.after, wide)),  # (after, w + ring)
            ("columns", (y, left), (height, g.before)),  # (h, before)
            ("columns", (y, right), (height, g.after)),  # (h, after)
        ]

    def writes(self, row, column):
        before = self.geometry.before
        y, x = row * self.cell[0], column * self.cell[1]
        return [
            ("rows", (self.per_cell * row + before, x + before)),
            ("columns", (y, self.per_cell * column + before)),
        ]

    def updates(self, x):
        return [self._beside_lines(x, axis) for axis in (1, 2)]

    def _beside_lines(self, x, axis):
        """The first lines of pixels of each cell along an axis, and the last ones, in their order."""
        cell, n, g = self.cell[axis - 1], self.grid.window_cells, self.geometry
        # What ends one cell lies beside what begins the next.
        spans = [(0, g.after), *((k * cell - g.before, k * cell + g.after) for k in range(1, n))]
        spans += [(n * cell - g.before, n * cell)]
        parts = [x[:, a:b] if axis == 1 else x[:, :, a:b] for a, b in spans if a < b]
        return _joined(parts, axis)


class FirstMemory:
    """The memory of a first step, which looks at the whole frame: nothing is read, and all of it is written.

    What a step asks of it is what the steps after it ask for: a `Memory` is made of it. Maps of `strips_from` rows
    per pixel of border, and more, are kept as strips.
    """

    def __init__(self, grid: Grid, strips_from: int = STRIPS_FROM):
        self.grid, self._strips_from = grid, strips_from
        self.bordered = {}  # channels by name of what is read around windows, by its geometry
        self.averaged = {}  # channels by name of what is remembered as means of cells
        self.kept = {}  # shapes by name of maps that are kept whole
        self.places = {}  # functions of row and column of a window by name
        self._seen, self._cells, self._new_states = {}, {}, {}

    def packs(self, grid: Grid) -> list[tuple[_Map, dict[str, int]]]:
        """Forms of what is bordered, for windows of a grid, each with the channels by name that are in it."""
        found = []
        for geometry, names in self.bordered.items():
            border, side = max(geometry.before, geometry.after), min(geometry.height, geometry.width)
            is_within_cell = 0 < border * self.grid.cells <= side
            kind = _Strips if is_within_cell and geometry.height >= self._strips_from * border else _Map
            found.append((kind(grid, geometry), names))
        return found

    @property
    def state_shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """Shape (1, h, w, C) of every state tensor by name."""
        packed = {
            form.name(kind): (1, *size, sum(channels.values()))
            for form, channels in self.packs(self.grid)
            for kind, size in form.shapes.items()
        }
        cells = (1, self.grid.cells, self.grid.cells, sum(self.averaged.values()))
        return {**packed, **({CELL_MEANS: cells} if self.averaged else {}), **self.kept}

    def place(self, name, at):
        """As Memory's: the first pixel of all there is."""
        self.places[name] = at
        return tf.constant([0, *at(0, 0), 0], tf.int32)

    def surround(self, name, x, frame_size, before, after, alone=False):
        """As Memory's: there is nothing around a frame."""
        geometry = Geometry(*frame_size, before, after, name if alone else "")
        self.bordered.setdefault(geometry, {})[name] = x.shape[-1]
        self._seen[name] = x
        return tf.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))

    def mean(self, name, cells):
        """As Memory's: all cells are in the window."""
        self.averaged[name], self._cells[name] = cells.shape[-1], cells
        return tf.reduce_mean(cells, (1, 2))

    def before(self, name, x, at):
        """As Memory's: nothing has changed yet."""
        self.places[name] = at
        return x

    def paste(self, name, x, size, at):
        """As Memory's: x and, where it does not reach, zeros."""
        self.places[name] = at
        return self.blend(name, x, size, at)

    def blend(self, name, x, size, at, decay=1.0):
        """As `paste`."""
        self.kept[name] = (1, *size, x.shape[-1])
        self._new_states[name] = _placed(x, size, at(0, 0))
        return self._new_states[name]

    def finish(self) -> dict:
        """The states by name."""
        for form, channels in self.packs(Grid(self.grid.cells, self.grid.cells)):
            for kind, corner, x in _written(form, channels, self._seen):
                self._new_states[form.name(kind)] = _placed(x, form.shapes[kind], corner)
        if self._cells:
            self._new_states[CELL_MEANS] = _joined(list(self._cells.values()), 3)
        return self._new_states


class Memory:
    """The memory of one step: read when it is made, before the network runs on it, and written by `finish`.

    Args:
        first: the FirstMemory of a step, which knows what is remembered.
        window: (2,) int32, on the grid.
        states: tensors by name, of the shapes of `first.state_shapes`.
    """

    def __init__(self, first: FirstMemory, window, states: dict):
        self._states, self._new_states = states, {}
        self._packs = first.packs(first.grid)
        self._grid = first.grid
        self._position = number_of(window, first.grid)
        begins = iter(tf.unstack(tf.gather(self._table(first), self._position)))
        self._borders, self._seen = {}, {}
        for form, channels in self._packs:
            strips = [self._strip(form, kind, next(begins), size) for kind, _, size in form.reads(0, 0)]
            start = 0
            for name, count in channels.items():
                self._borders[name] = [_channels(strip, start, count) for strip in strips]
                start += count
        self._write_at = {
            form.name(kind): next(begins) for form, _ in self._packs for kind, _ in form.writes(0, 0)
        }
        self._write_at[CELL_MEANS] = next(begins)
        self._places = {name: next(begins) for name in first.places}
        self._means, self._cells = self._stale_means(first.averaged), {}

    def _table(self, first):
        """First pixels (windows, slices, 4) of all slices, in the order in which they are taken."""
        rows = []
        for row, column in self._grid.windows:
            places = [begin for form, _ in self._packs for _, begin, _ in form.reads(row, column)]
            places += [begin for form, _ in self._packs for _, begin in form.writes(row, column)]
            places += [(row, column), *(at(row, column) for at in first.places.values())]
            rows.append([(0, y, x, 0) for y, x in places])
        return tf.constant(np.array(rows, np.int32))

    @in_float  # as is all of cells' means: they are few, and each layer's have a range of their own
    def _stale_means(self, averaged) -> dict:
        """By name, what cells outside of the window add to the mean (1, C) over the full frame."""
        if not averaged:
            return {}
        outside = tf.gather(1 - self._grid.coverage.astype(np.float32), self._position)
        outside = tf.reshape(outside, (1, self._grid.cells, self._grid.cells, 1))
        stale = tf.reduce_mean(self._states[CELL_MEANS] * outside, (1, 2))
        return dict(zip(averaged, tf.split(stale, list(averaged.values()), 1), strict=True))

    def _strip(self, form, kind, begin, size):
        state = self._states[form.name(kind)]
        return tf.slice(state, begin, (1, *size, state.shape[-1])) if math.prod(size) else None

    def place(self, name, at):
        """First pixel (4,) int32 for `tf.slice`: by the table, `at(row, column)` of the window."""
        return self._places[name]

    def surround(self, name, x, frame_size, before, after, alone=False):
        """The pixels x (1, h, w, C) of a window with what is remembered around them, and takes note of them.

        Args:
            name: of what is remembered.
            frame_size: (H, W) of the full frame's map.
            before, after: width of the border above and left, and below and right.
            alone: whether its state is not packed with others.
        """
        above, below, left, right = self._borders[name]
        self._seen[name] = x
        row = _joined([left, x, right], 2)
        return _joined([above, row, below], 1)

    @in_float
    def mean(self, name, cells):
        """The mean (1, C) over the full frame, of means (1, N, N, C) of the window's cells and the memory."""
        self._cells[name] = cells
        part = (self._grid.window_cells / self._grid.cells) ** 2
        return self._means[name] + part * tf.reduce_mean(cells, (1, 2))

    def paste(self, name, x, size, at):
        """A map (1, H, W, C) that is kept whole, with a part of it renewed.

        Args:
            name: of what is remembered.
            x: (1, h, w, C) float32, the part.
            size: (H, W) of the map.
            at: function of the window's row and column to the first pixel (y, x) of the part.
        """
        self._new_states[name] = xla.dynamic_update_slice(self._states[name], x, self._places[name])
        return self._new_states[name]

    def before(self, name, x, at):
        """What of a map that is kept whole was where x (1, h, w, C) goes; arguments as of `paste`."""
        return tf.slice(self._states[name], self._places[name], x.shape)

    def blend(self, name, x, size, at, decay=1.0):
        """As `paste`, by arithmetic: an update amid the network would cut the delegate's graph in two.

        For small maps. What of the part lies outside of the map is left out, all else multiplied by `decay`.
        """
        height, width, channels = x.shape[1:]
        corners = np.array([at(row, column) for row, column in self._grid.windows])
        # rows[y, i] is 1 if row i of the part is row y of the map: a product moves rows and rounds nothing.
        rows, columns = (
            np.float32(np.arange(whole)[:, None] == corners[:, axis, None, None] + np.arange(part))
            for axis, (whole, part) in enumerate(zip(size, (height, width), strict=True))
        )
        kept = decay * (1 - rows.sum(2)[:, :, None] * columns.sum(2)[:, None])
        rows, columns, kept = (
            tf.gather(table, self._position) for table in (rows, columns, kept[:, None, ..., None])
        )  # (H, h), (W, w), (1, H, W, 1)
        x = tf.matmul(rows, tf.reshape(x, (height, width * channels)))  # (H, h) (h, w C) -> (H, w C)
        x = tf.matmul(columns, tf.reshape(x, (size[0], width, channels)))  # (W, w) (H, w, C) -> (H, W, C)
        self._new_states[name] = self._states[name] * kept + x[None]
        return self._new_states[name]

    def finish(self) -> dict:
        """Writes what was seen; returns the new states by name."""
        for form, channels in self._packs:
            for kind, _, x in _written(form, channels, self._seen):
                key = form.name(kind)
                self._new_states[key] = xla.dynamic_update_slice(self._states[key], x, self._write_at[key])
        if self._cells:
            self._new_states[CELL_MEANS] = self._renewed_means()
        return self._new_states

    @in_float
    def _renewed_means(self):
        cells, at = _joined(list(self._cells.values()), 3), self._write_at[CELL_MEANS]
        return xla.dynamic_update_slice(self._states[CELL_MEANS], cells, at)


def number_of(window, grid: Grid):
    """Number () int32 of a window (2,) int32 among `grid.windows`."""
    return window[0] * grid.positions + window[1]


def _written(form, channels, seen):
    """Kind, first pixel at the first window, and content of each state tensor of a form."""
    updates = zip(*(form.updates(seen[name]) for name in channels), strict=True)
    for (kind, corner), parts in zip(form.writes(0, 0), updates, strict=True):
        yield kind, corner, _joined(parts, 3)


def _placed(x, size, corner):
    """x (1, h, w, C) in a map of zeros of `size`, its first pixel at `corner`; what is outside is left out."""
    cut, padding = [slice(None)], [(0, 0)]
    for side, first, length in zip(size, corner, x.shape[1:3], strict=True):
        low, high = max(-first, 0), min(length, side - first)
        cut.append(slice(low, high))
        padding.append((first + low, side - first - high))
    return tf.pad(x[tuple(cut)], [*padding, (0, 0)])


def _joined(parts, axis):
    """Those parts that there are, one after the other."""
    parts = [part for part in parts if part is not None]
    return tf.concat(parts, axis) if len(parts) > 1 else parts[0]


def _channels(strip, first, count):
    if strip is None or strip.shape[-1] == count:
        return strip
    return strip[..., first : first + count]
