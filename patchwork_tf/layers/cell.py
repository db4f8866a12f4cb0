"""The Patchwork Cell (paper, Section 3.2 and Figure 1b): a convolution that remembers its frame.

A Patchwork network looks at one window of every frame. Where a convolution needs pixels
just outside of the window, a cell fills in what was there when a window last covered them:

    read     the window's border, from the memory
    convolve window and border with VALID padding
    write    memory[window] = x

All functions are pure: memory goes in and comes out. Every item of a batch has a window of
its own. Several windows of one frame may also be tried on one memory: B K windows on the memory
of B streams, K in a row for each. If the memory that comes out is not used then, it is never
made, which is most of the cost. The memory is kept with a ring of zeros as wide as the border, so that a window at
the frame's edge finds the zeros of SAME padding there without being a special case.

A window of None is the whole frame: a warm start, which renews all memory at once.
"""

import numpy as np
from keras import KerasTensor, layers, ops

from patchwork_tf import backend
from patchwork_tf.grid import Grid
from patchwork_tf.layers import rules


class PatchworkCell(layers.Layer):
    """A layer that looks at neighbours, on a window: its border is filled from a memory of the full frame.

    Args:
        layer: such as a `layers.Conv2D` or `layers.DepthwiseConv2D` with padding 'same', or any other that has a
            rule (`rules.py`). It is not changed.
        grid: the frame's grid.
        frame_shape: (H, W, C) of the full-frame feature map at the layer's input.
        border: what it looks at around the window; by default what its rule says.
        name: by default the layer's with '_cell'.
    """

    def __init__(self, layer, grid: Grid, frame_shape, *, border: rules.Border | None = None, name=None):
        backend.check_precision()
        super().__init__(name=name or f"{layer.name}_cell")
        self.layer = layer
        self.grid = grid
        self.frame_shape = tuple(frame_shape)
        self.border = border or rules.need_of(layer, self.frame_shape)

    @property
    def memory_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of what it remembers, with a ring of zeros if that is what is outside of the frame."""
        if self.border.fill != 0:
            return self.frame_shape
        height, width, channels = self.frame_shape
        return height + sum(self.border.rows), width + sum(self.border.columns), channels

    def call(self, x, window, memory):
        """Runs the layer on one window: its output there, and the new memory.

        Args:
            x: (B, h, w, C) float32, the features of the window.
            window: (B, 2) int32, row and column of the window's top left cell. None if x is
                the full frame: all of the memory is made anew then.
            memory: (B, *memory_shape), or of fewer streams that windows are tried on.
        """
        self._build_layer()
        border = self.border
        # Which pixels are in the frame (1, H, W, 1), with the border around it.
        inside = pad(np.ones((1, *self.frame_shape[:2], 1), np.float32), border)
        if window is None:
            context = pad(x, border)
            memory = x if border.fill != 0 else context
        else:
            corner = window_corner(window, self.grid, self.frame_shape)
            context, memory = self._surround(x, window, memory, corner)
            inside = read(inside, corner, context.shape[1:3])
        return self._run(context, inside), memory

    def compute_output_spec(self, x, window, memory):
        self._build_layer()
        (top, bottom), (left, right) = self.border.rows, self.border.columns
        size = (top + x.shape[1] + bottom, left + x.shape[2] + right)
        context, inside = (KerasTensor((x.shape[0], *size, channels), x.dtype) for channels in (x.shape[3], 1))
        return self._run(context, inside), KerasTensor((x.shape[0], *self.memory_shape), x.dtype)

    def _build_layer(self):
        if not self.layer.built:
            self.layer.build((None, *self.frame_shape))

    def _surround(self, x, window, memory, corner):
        """The window with its border, and the memory with x in it."""
        border = self.border
        size = (sum(border.rows) + x.shape[1], sum(border.columns) + x.shape[2])
        if border.fill != 0:
            memory = remember(memory, x, window, self.grid)
            return read(pad(memory, border), corner, size), memory
        context = _fill(read(memory, corner, size), x, border)
        return context, write(memory, x, corner + np.int32([border.rows[0], border.columns[0]]))

    def _run(self, context, inside):
        border, precision = self.border, self.layer.compute_dtype
        context, inside = ops.cast(context, precision), ops.cast(inside, precision)
        if border.run is None:
            return cut(self.layer(context), border)
        return border.run(self.layer, context, *([inside] if border.counts else []))


def pad(x, border: rules.Border):
    """A map (B, H, W, C) with what is outside of the frame around it."""
    widths = ((0, 0), border.rows, border.columns, (0, 0))
    if border.fill == rules.EDGE:
        return ops.pad(x, widths, mode="symmetric")  # which is the edge itself, for a border of one pixel
    return ops.pad(x, widths, constant_values=border.fill)


def cut(y, border: rules.Border):
    """The output (B, h, w, C) of a layer without that of its border, of which there is as much as of the input."""
    (top, bottom), (left, right) = border.rows, border.columns
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]


def window_corner(window, grid: Grid, frame_shape):
    """Top left pixel (B, 2) int32 of windows (B, 2) on a feature map of `frame_shape` (H, W, ...)."""
    cell = [frame_shape[0] // grid.cells, frame_shape[1] // grid.cells]
    return window * ops.convert_to_tensor(cell, dtype="int32")


def remember(memory, x, window, grid: Grid):
    """A full-frame map (B, H, W, C) with the window renewed by x; all of it if `window` is None."""
    return x if window is None else write(memory, x, window_corner(window, grid, memory.shape[1:3]))


def write(memory, x, corner):
    """Memories (B, H, W, C) with x (B, h, w, C) from `corner` (B, 2) on; of fewer streams, each is repeated."""
    if memory.shape[0] != x.shape[0]:
        memory = ops.repeat(memory, x.shape[0] // memory.shape[0], axis=0)
    if x.shape[0] == 1:  # One stream: a slice, which is what a mobile runtime is good at.
        return ops.slice_update(memory, _start(corner), x)
    flat = ops.reshape(memory, (-1, memory.shape[-1]))
    rows = ops.reshape(_pixels(memory, corner, x.shape[1:3]), (-1, 1))
    flat = ops.scatter_update(flat, rows, ops.reshape(x, (-1, x.shape[-1])))
    return ops.reshape(flat, ops.shape(memory))


def read(memory, corner, size):
    """Cuts parts of `size` (h, w) out of memories (B, H, W, C), from `corner` (B, 2) or (B K, 2) on: K of each."""
    if corner.shape[0] == 1:
        return ops.slice(memory, _start(corner), (1, *size, memory.shape[-1]))
    flat = ops.reshape(memory, (-1, memory.shape[-1]))
    return ops.take(flat, _pixels(memory, corner, size), axis=0)


def _start(corner):
    return [0, corner[0, 0], corner[0, 1], 0]


def _fill(context, x, border):
    """Puts x (B, h, w, C) into the middle of a context that is wider and higher by a border."""
    (top, bottom), (left, right) = border.rows, border.columns
    height, width = x.shape[1:3]
    beside = context[:, top : top + height]
    row = _joined([(left, beside[:, :, :left]), (1, x), (right, beside[:, :, left + width :])], 2)
    return _joined([(top, context[:, :top]), (1, row), (bottom, context[:, top + height :])], 1)


def _joined(parts, axis):
    """Those of (width, tensor) that have a width, one after the other."""
    parts = [part for width, part in parts if width]
    return ops.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]


def _pixels(memory, corner, size):
    """Numbers (B, h, w) of the pixels from `corner` on, counted through the whole batch."""
    height, width = memory.shape[1:3]
    count = ops.shape(corner)[0]
    item = ops.arange(count, dtype="int32") // (count // ops.shape(memory)[0])  # (B,), whose memory it is
    first = item * (height * width) + corner[:, 0] * width + corner[:, 1]  # (B,), the top left pixel
    # One table of offsets, not sums of ranges: TensorFlow's graph optimizer gets their shapes wrong.
    offsets = np.arange(size[0], dtype=np.int32)[:, None] * width + np.arange(size[1], dtype=np.int32)
    return first[:, None, None] + offsets  # (B, 1, 1) + (h, w)


def crop_window(frame, window, grid: Grid):
    """Cuts the window's pixels (B, h, w, C) out of full frames (B, H, W, C); all of them if it is None."""
    if grid.is_whole_frame or window is None:
        return frame
    shape = frame.shape[1:3]
    return read(frame, window_corner(window, grid, shape), grid.window_size(shape))


def window_of(action, grid: Grid):
    """The window (..., 2) int32 of an action number (...,), as in `grid.windows`."""
    action = ops.cast(action, "int32")
    return ops.stack([action // grid.positions, action % grid.positions], axis=-1)
