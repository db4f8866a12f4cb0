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
from keras import layers, ops

from patchwork_tf import backend
from patchwork_tf.grid import Grid


class PatchworkCell(layers.Layer):
    """A 3 x 3 convolution on a window, its border filled from a memory of the full frame.

    Args:
        convolution: `layers.Conv2D` or `layers.DepthwiseConv2D`, the class.
        grid: the frame's grid. If its window is the whole frame, the cell is the plain
            convolution with SAME padding and keeps no memory.
        frame_shape: (H, W, C) of the full-frame feature map at the convolution's input.
        name: the convolution's name, also the key of the cell's memory in the state.
        strides, dilation_rate, **kwargs: passed on to the convolution.
    """

    def __init__(self, convolution, grid: Grid, frame_shape, *, name, strides=1, dilation_rate=1, **kwargs):
        backend.check_precision()
        super().__init__(name=f"{name}_cell")
        self.key = name
        self.grid = grid
        self.frame_shape = tuple(frame_shape)
        # SAME padding of an even-sized map at stride 2 adds a pixel at the bottom and right only.
        self.border = (0, 1) if strides == 2 else (dilation_rate, dilation_rate)
        self.convolution = convolution(
            kernel_size=3,
            strides=strides,
            dilation_rate=dilation_rate,
            padding="same" if grid.is_whole_frame else "valid",
            name=name,
            **kwargs,
        )

    def memory_shapes(self) -> dict[str, tuple[int, int, int]]:
        """The state this cell needs, by name: none if the window is the whole frame."""
        if self.grid.is_whole_frame:
            return {}
        height, width, channels = self.frame_shape
        ring = sum(self.border)
        return {self.key: (height + ring, width + ring, channels)}

    def step(self, x, window, state):
        """Convolves one window and remembers it.

        Args:
            x: (B, h, w, C) float32, the features of the window.
            window: (B, 2) int32, row and column of the window's top left cell. None if x is
                the full frame: all of the memory is renewed then.
            state: dict with this cell's memory (B, H + ring, W + ring, C) among others, or of
                fewer streams that windows are tried on.

        Returns:
            The convolution's output (B, h / stride, w / stride, F), and the state with the
            memory updated.
        """
        if self.grid.is_whole_frame:
            return self.convolution(x), state
        before, after = self.border
        if window is None:
            memory = context = ops.pad(x, ((0, 0), self.border, self.border, (0, 0)))
        else:
            height, width = x.shape[1:3]
            corner = window_corner(window, self.grid, self.frame_shape)
            context = read(state[self.key], corner, (before + height + after, before + width + after))
            context = _fill(context, x, before, after)
            memory = write(state[self.key], x, corner + before)
        return self.convolution(context), {**state, self.key: memory}


def window_corner(window, grid: Grid, frame_shape):
    """Top left pixel (B, 2) int32 of windows (B, 2) on a feature map of `frame_shape` (H, W, ...)."""
    cell = [frame_shape[0] // grid.cells, frame_shape[1] // grid.cells]
    return window * ops.convert_to_tensor(cell, dtype="int32")


def remember(memory, x, window, grid: Grid):
    """A full-frame map (B, H, W, C) with the window renewed by x; all of it if `window` is None."""
    return x if window is None else write(memory, x, window_corner(window, grid, memory.shape[1:3]))


def write(memory, x, corner):
    """Replaces the part of each memory that starts at `corner`.

    Args:
        memory: (B, H, W, C), or of fewer streams, each of which gets B / streams contents on their own.
        x: (B, h, w, C), the new content.
        corner: (B, 2) int32, where its top left pixel goes.

    Returns:
        The new memory (B, H, W, C).
    """
    if memory.shape[0] != x.shape[0]:
        memory = ops.repeat(memory, x.shape[0] // memory.shape[0], axis=0)
    if x.shape[0] == 1:  # One stream: a slice, which is what a mobile runtime is good at.
        return ops.slice_update(memory, _start(corner), x)
    flat = ops.reshape(memory, (-1, memory.shape[-1]))
    rows = ops.reshape(_pixels(memory, corner, x.shape[1:3]), (-1, 1))
    flat = ops.scatter_update(flat, rows, ops.reshape(x, (-1, x.shape[-1])))
    return ops.reshape(flat, ops.shape(memory))


def read(memory, corner, size):
    """Cuts parts of `size` (h, w) out of memories (B, H, W, C), from `corner` (B, 2) on, or (B K, 2): K of each.

    Returns:
        (B, h, w, C), or (B K, h, w, C).
    """
    if corner.shape[0] == 1:
        return ops.slice(memory, _start(corner), (1, *size, memory.shape[-1]))
    flat = ops.reshape(memory, (-1, memory.shape[-1]))
    return ops.take(flat, _pixels(memory, corner, size), axis=0)


def _start(corner):
    return [0, corner[0, 0], corner[0, 1], 0]


def _fill(context, x, before, after):
    """Puts x (B, h, w, C) into the middle of a context that is `before` and `after` pixels wider and higher."""
    beside = context[:, before : before + x.shape[1]]
    left, right = beside[:, :, :before], beside[:, :, -after:]
    row = ops.concatenate([left, x, right] if before else [x, right], axis=2)
    top, bottom = context[:, :before], context[:, -after:]
    return ops.concatenate([top, row, bottom] if before else [row, bottom], axis=1)


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
    height, width = frame.shape[1:3]
    size = (height * grid.window // grid.cells, width * grid.window // grid.cells)
    return read(frame, window_corner(window, grid, frame.shape[1:3]), size)


def window_of(action, grid: Grid):
    """The window (..., 2) int32 of an action number (...,), as in `grid.windows`."""
    action = ops.cast(action, "int32")
    return ops.stack([action // grid.positions, action % grid.positions], axis=-1)
