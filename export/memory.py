"""What an exported step remembers, and how it is read and written with the fewest copies.

A cell needs the remembered pixels around its window. Windows are aligned to the grid, so of a whole
map only the pixels beside the grid's lines are ever read: those strips are kept (the halo), bit for bit
what a dense memory would give. Small maps are kept whole, for strips would be no smaller.

Maps of one geometry are packed side by side into the channels of one tensor: one slice reads them
all. All reads come before the network and all writes after it, so that between them a delegate finds
one unbroken graph. Where to read and write is looked up in one table by the window's number.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from patchwork_tf.grid import Grid

STRIPS_FROM = 24  # rows of a map; of smaller ones strips would take more room than the whole


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A remembered map of the full frame, in pixels, and the width of the borders of a window that are read."""

    height: int
    width: int
    before: int
    after: int


class _Map:
    """Kept whole, in a ring of zeros as wide as the border. One tensor, [1, H + ring, W + ring, C]."""

    def __init__(self, grid: Grid, geometry: Geometry):
        self.grid, self.geometry = grid, geometry
        self.cell = (geometry.height // grid.cells, geometry.width // grid.cells)
        self.size = (self.cell[0] * grid.window_cells, self.cell[1] * grid.window_cells)

    def name(self, kind: str) -> str:
        """The state tensor's, of a kind in `shapes`."""
        g = self.geometry
        return f"{kind}_{g.height}x{g.width}_{g.before}{g.after}"

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

    With a border on both sides, line 0 of the rows is zero, 1 + 2 g and 2 + 2 g are the first and the last
    row of pixels of cell row g, and the line after them is zero again; pixels along a row have a ring. With
    a border after only, line g is the first row of cell row g. Columns are likewise, without a ring, since
    corners come from the rows.
    """

    def __init__(self, grid: Grid, geometry: Geometry):
        super().__init__(grid, geometry)
        self.per_cell = 1 + geometry.before

    @property
    def shapes(self):
        g, lines = self.geometry, self.per_cell * self.grid.cells + 1 + self.geometry.before
        return {"rows": (lines, g.width + g.before + 1), "columns": (g.height, lines)}

    def reads(self, row, column):
        """As _Map's: strips above and below from the rows, left and right from the columns."""
        g, n, (height, width) = self.geometry, self.grid.window_cells, self.size
        y, x = row * self.cell[0], column * self.cell[1]  # the window's first pixel on the map
        wide = width + g.before + 1
        # The line above cell row g is the last one of cell row g - 1: line 2 g of rows, or none without a border
        # before. The line below a window of n cell rows is the first one of cell row g + n.
        above, below = self.per_cell * row, self.per_cell * (row + n) + g.before
        left, right = self.per_cell * column, self.per_cell * (column + n) + g.before
        return [
            ("rows", (above, x), (g.before, wide)),  # (before, w + ring)
            ("rows", (below, x), (1, wide)),  # (1, w + ring)
            ("columns", (y, left), (height, g.before)),  # (h, before)
            ("columns", (y, right), (height, 1)),  # (h, 1)
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
        """The first lines of pixels of each cell along an axis, and the last ones if there is a border before."""
        cell, n = self.cell[axis - 1], self.grid.window_cells
        if self.geometry.before:
            spans = [(0, 1), *((k * cell - 1, k * cell + 1) for k in range(1, n)), (n * cell - 1, n * cell)]
        else:
            spans = [(k * cell, k * cell + 1) for k in range(n)]
        parts = [x[:, a:b] if axis == 1 else x[:, :, a:b] for a, b in spans]
        return tf.concat(parts, axis) if len(parts) > 1 else parts[0]


@dataclasses.dataclass
class Plan:
    """Finds out what a network wants remembered: it is run once on this in place of a Memory.

    Attributes:
        grid: that windows are counted in.
        bordered: channels by name of what is read around windows, by its geometry.
        pasted: shapes by name of maps that are kept whole.
        places: functions of row and column of a window by name.
    """

    grid: Grid
    bordered: dict[Geometry, dict[str, int]] = dataclasses.field(default_factory=dict)
    pasted: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    places: dict[str, Callable] = dataclasses.field(default_factory=dict)

    def place(self, name, at):
        self.places[name] = at
        return tf.zeros(4, tf.int32)

    def surround(self, name, x, frame_size, before, after):
        self.bordered.setdefault(Geometry(*frame_size, before, after), {})[name] = x.shape[-1]
        return tf.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))

    def paste(self, name, x, size, at, decay=1.0):
        self.places[name] = at
        return self.blend(name, x, size, at, decay)

    def blend(self, name, x, size, at, decay=1.0):
        self.pasted[name] = (1, *size, x.shape[-1])
        return tf.zeros(self.pasted[name])


class Memory:
    """The memory of one step: read when it is made, before the network runs on it, and written by `finish`.

    Args:
        plan: what is remembered.
        window: (2,) int32, on the grid.
        states: tensors by name, of the shapes of `state_shapes`.
        strips_from: as for `state_shapes`.
    """

    def __init__(self, plan: Plan, window, states: dict, strips_from: int = STRIPS_FROM):
        self._states, self._new_states = states, {}
        self._packs = _packs(plan, strips_from)
        self._grid = plan.grid
        self._position = number_of(window, plan.grid)
        begins = iter(tf.unstack(tf.gather(_table(plan, self._packs), self._position)))
        self._borders, self._seen = {}, {}
        for form, channels in self._packs:
            strips = [self._strip(form, kind, next(begins), size) for kind, _, size in form.reads(0, 0)]
            first = 0
            for name, count in channels.items():
                self._borders[name] = [_channels(strip, first, count) for strip in strips]
                first += count
        self._write_at = {
            form.name(kind): next(begins) for form, _ in self._packs for kind, _ in form.writes(0, 0)
        }
        self._places = {name: next(begins) for name in plan.places}

    def _strip(self, form, kind, begin, size):
        state = self._states[form.name(kind)]
        return tf.slice(state, begin, (1, *size, state.shape[-1])) if math.prod(size) else None

    def place(self, name, at):
        """First pixel (4,) int32 for `tf.slice`, `at(row, column)` of the window."""
        del at  # the plan knows
        return self._places[name]

    def surround(self, name, x, frame_size, before, after):
        """The pixels x (1, h, w, C) of a window with what is remembered around them, and takes note of them.

        Args:
            name: of what is remembered.
            x: float32.
            frame_size: (H, W) of the full frame's map.
            before, after: width of the border above and left, and below and right.

        Returns:
            (1, before + h + after, before + w + after, C).
        """
        del frame_size
        above, below, left, right = self._borders[name]
        self._seen[name] = x
        row = tf.concat([left, x, right] if before else [x, right], 2)
        return tf.concat([above, row, below] if before else [row, below], 1)

    def paste(self, name, x, size, at, decay=1.0):
        """A map that is kept whole, with a part of it renewed.

        Args:
            name: of what is remembered.
            x: (1, h, w, C) float32.
            size: (H, W) of the map.
            at: function of the window's row and column to the first pixel (y, x) of the part.
            decay: by what everything else is multiplied.

        Returns:
            (1, H, W, C).
        """
        del size, at
        old = self._states[name] if decay == 1.0 else decay * self._states[name]
        self._new_states[name] = xla.dynamic_update_slice(old, x, self._places[name])
        return self._new_states[name]

    def blend(self, name, x, size, at, decay=1.0):
        """As `paste`, by arithmetic: an update amid the network would cut the delegate's graph in two.

        For small maps. What of the part lies outside of the map is left out.
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
            updates = zip(*(form.updates(self._seen[name]) for name in channels), strict=True)
            for (kind, _), parts in zip(form.writes(0, 0), updates, strict=True):
                key = form.name(kind)
                x = tf.concat(parts, 3) if len(parts) > 1 else parts[0]
                self._new_states[key] = xla.dynamic_update_slice(self._states[key], x, self._write_at[key])
        return self._new_states


class FirstMemory:
    """The memory of a first step, which looks at the whole frame: nothing is read, and all of it is written.

    Args:
        plan: what is remembered.
        strips_from: as for `state_shapes`.
    """

    def __init__(self, plan: Plan, strips_from: int = STRIPS_FROM):
        whole = Grid(plan.grid.cells, plan.grid.cells)
        self._packs = _packs(dataclasses.replace(plan, grid=whole), strips_from)
        self._seen, self._new_states = {}, {}

    def place(self, name, at):
        """As Memory's: the first pixel of all there is."""
        del name
        return tf.constant([0, *at(0, 0), 0], tf.int32)

    def surround(self, name, x, frame_size, before, after):
        """As Memory's: there is nothing around a frame."""
        del frame_size
        self._seen[name] = x
        return tf.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))

    def paste(self, name, x, size, at, decay=1.0):
        """As Memory's: x and, where it does not reach, zeros."""
        del decay
        self._new_states[name] = _placed(x, size, at(0, 0))
        return self._new_states[name]

    blend = paste

    def finish(self) -> dict:
        """The states by name."""
        for form, channels in self._packs:
            updates = zip(*(form.updates(self._seen[name]) for name in channels), strict=True)
            for (kind, corner), parts in zip(form.writes(0, 0), updates, strict=True):
                x = tf.concat(parts, 3) if len(parts) > 1 else parts[0]
                self._new_states[form.name(kind)] = _placed(x, form.shapes[kind], corner)
        return self._new_states


def number_of(window, grid: Grid):
    """Number () int32 of a window (2,) int32 among `grid.windows`."""
    return window[0] * grid.positions + window[1]


def state_shapes(plan: Plan, strips_from: int = STRIPS_FROM) -> dict[str, tuple[int, int, int, int]]:
    """Shape (1, h, w, C) of every state tensor by name; maps of `strips_from` rows and more are kept as strips."""
    packed = {
        form.name(kind): (1, *size, sum(channels.values()))
        for form, channels in _packs(plan, strips_from)
        for kind, size in form.shapes.items()
    }
    return {**packed, **plan.pasted}


def _packs(plan, strips_from):
    return [(_form(plan.grid, geometry, strips_from), channels) for geometry, channels in plan.bordered.items()]


def _form(grid, geometry, strips_from):
    """Wider borders are of the last maps: as strips they would be most of the map, and are kept whole."""
    narrow = max(geometry.before, geometry.after) == 1
    return (_Strips if narrow and geometry.height >= strips_from else _Map)(grid, geometry)


def _table(plan, packs):
    """First pixels (windows, slices, 4) of all slices, in the order in which a Memory takes them."""
    rows = []
    for row, column in plan.grid.windows:
        places = [begin for form, _ in packs for _, begin, _ in form.reads(row, column)]
        places += [begin for form, _ in packs for _, begin in form.writes(row, column)]
        places += [at(row, column) for at in plan.places.values()]
        rows.append([(0, y, x, 0) for y, x in places])
    return tf.constant(np.array(rows, np.int32))


def _placed(x, size, corner):
    """x (1, h, w, C) in a map of zeros of `size`, its first pixel at `corner`; what is outside is left out."""
    cut, padding = [slice(None)], [(0, 0)]
    for side, first, length in zip(size, corner, x.shape[1:3], strict=True):
        low, high = max(-first, 0), min(length, side - first)
        cut.append(slice(low, high))
        padding.append((first + low, side - first - high))
    return tf.pad(x[tuple(cut)], [*padding, (0, 0)])


def _channels(strip, first, count):
    if strip is None or strip.shape[-1] == count:
        return strip
    return strip[..., first : first + count]
