"""A pass of the export: of what begins on the map of the full frame, only what a window changes is computed.

The first convolutions after a map was put together look at a few pixels beside the window. What they make of the
rest of the map is remembered, and blended with what is new.
"""

import numpy as np
import tensorflow as tf

from patchwork_tf.export.float_scope import in_float
from patchwork_tf.export.fusing import Operation
from patchwork_tf.layers.rules import Border

# Border of the map: one pixel for what looks at it, one more for the outputs beside the window that
# change, and one after it, for a convolution of stride 2 may start at either of two pixels.
RESTORED_BORDER = (2, 3)


def chain_on(symbol, readers_of) -> list[Operation]:
    """What begins on a map, a symbol: 1 x 1 convolutions, and amid them one 3 x 3 of stride 2; else nothing."""
    chain, strided, readers = [], 0, readers_of(symbol)
    while len(readers) == 1 and (readers[0].is_pointwise or (_is_strided(readers[0]) and not strided)):
        chain += readers
        strided += not readers[0].is_pointwise
        readers = readers_of(chain[-1].output)
    return chain if strided else []


def renewed(lowering, features, chain):
    """What the convolutions of a chain make of the full frame: only what a window changes is computed.

    Those before the one of stride 2 have no neighbours, and run on the window alone. `features` is the symbol of
    what the map is put together of.
    """
    number = next(k for k, operation in enumerate(chain) if not operation.is_pointwise)
    before, (strided, *after) = chain[:number], chain[number:]
    frame_size, blank = features.shape[1:3], output_of_zeros(chain, features.shape[1:])
    if not before:
        context = lowering.part(features, strided.name, RESTORED_BORDER, RESTORED_BORDER)
    else:
        context = _with_blanks(lowering, features, before)
    part = _strided_part(lowering, strided.name, context, frame_size)
    x, at = run_on_map(after, strided.convolve(part)), _first_output(lowering, frame_size)
    return blended(lowering, strided.name, x, strided.output.shape[1:3], at, blank)


def _with_blanks(lowering, features, chain):
    """What a chain makes of the window, with a RESTORED_BORDER: what is remembered, and zeros off the frame.

    Where no window has been, that is what the chain makes of zeros: the difference from it is remembered.
    """
    x = run_on_map(chain, lowering.tensors[id(features)])
    frame_size = features.shape[1:3]
    blank = output_of_zeros(chain, features.shape[1:])[:1, :1]
    known = lowering.memory.surround(chain[-1].name, x - blank, frame_size, *RESTORED_BORDER, lowering.in_8_bits)
    return known + lowering.inside(features, Border(RESTORED_BORDER, RESTORED_BORDER)) * blank


def _strided_part(lowering, name, context, frame_size):
    """What the outputs that changed of a convolution of stride 2 look at; `context` has a RESTORED_BORDER."""
    corner, before = lowering.at_window(frame_size), RESTORED_BORDER[0]
    first = _first_output(lowering, frame_size)

    def at(row, column):
        return tuple(
            2 * start - side % 2 - (pixel - before)
            for start, side, pixel in zip(first(row, column), frame_size, corner(row, column), strict=True)
        )

    # A window of w pixels changes no more outputs than this.
    counts = [side // 2 + 1 + side % 2 for side in lowering.grid.window_size(frame_size)]
    size = (1, *(2 * count + 1 for count in counts), context.shape[3])
    # A slice that depends on the window cuts the delegate's graph in two. To take both that there can be, and
    # one of them by arithmetic, keeps it whole, and costs up to 2 % of a step.
    return tf.slice(context, lowering.memory.place(name, at), size)


def _first_output(lowering, frame_size):
    """Function of a window to the first output that it changes; -1 is just outside of the map.

    Output i looks at the pixels 2 i to 2 i + 2; of maps with an odd side at one before: SAME padding.
    """
    corner = lowering.at_window(frame_size)
    return lambda row, column: tuple(
        (pixel - 1 + side % 2) // 2 for pixel, side in zip(corner(row, column), frame_size, strict=True)
    )


@in_float
def blended(lowering, name, x, size, at, blank):
    """`memory.blend` of x (1, h, w, C), with `blank` (H, W, C) where nothing has been renewed yet."""
    remembered = lowering.memory.blend(name, tf.concat([tf.ones((*x.shape[:3], 1)), x], 3), size, at)
    return remembered[..., 1:] + (1 - remembered[..., :1]) * blank


def _is_strided(operation) -> bool:
    layer = operation.layer
    if not operation.is_convolution:
        return False
    return (layer.kernel_size, layer.strides, layer.dilation_rate) == ((3, 3), (2, 2), (1, 1))


def run_on_map(operations, x):
    """Convolutions one after the other, on a map (1, H, W, C) of the full frame."""
    for operation in operations:
        x = operation.convolve_padded(x)
    return x


def output_of_zeros(operations, shape) -> np.ndarray:
    """What convolutions make of a map of zeros of `shape` (H, W, C): (h, w, filters)."""
    with tf.init_scope():
        return run_on_map(operations, tf.zeros((1, *shape)))[0].numpy()
