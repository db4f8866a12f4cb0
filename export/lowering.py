"""A model's step as the exported graph computes it: for one stream, weights folded, memory as strips.

The same function as `model.step`, made for speed on a CPU:

- Batch normalisation is folded into the convolution before it.
- A bottleneck remembers its narrow input instead of its expanded features, six times fewer channels.
  An indicator comes with it, 1 where there is a pixel, and the expansion's bias is the indicator's weight:
  outside of the frame, and where no window has been, the expansion gives relu6(0) = 0, which is what the
  dense memory has there.
- Layers that look at the same features remember them once.
- Of what runs on the restored map, the first convolutions are renewed beside the window only.
"""

import functools
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

from patchwork_tf.errors import UsageError
from patchwork_tf.export.memory import number_of
from patchwork_tf.grid import Grid
from patchwork_tf.layers.blocks import ConvCell, Pointwise, SepConvCell
from patchwork_tf.models.attention import best_window
from patchwork_tf.models.backbone import STRIDE
from patchwork_tf.models.mobilenet_v2 import Bottleneck
from patchwork_tf.models.rule import FRESHNESS_DECAY

# Border of the restored map: one pixel for what looks at it, one more for the outputs beside the window that
# change, and one after it, for a convolution of stride 2 may start at either of two pixels.
RESTORED_BORDER = (2, 3)

# Stride of the features down to which bottlenecks remember their input: deeper windows are so small that expanding
# their borders anew takes longer than moving six times as many numbers.
UNEXPANDED_TO = 16


# Everything in this name scope stays in floating point when the rest is quantized.
FLOAT_SCOPE = "in_float"


def in_float(method):
    """Puts what a method computes into FLOAT_SCOPE."""

    @functools.wraps(method)
    def scoped(*args, **kwargs):
        with tf.name_scope(f"{FLOAT_SCOPE}/"):
            return method(*args, **kwargs)

    return scoped


class Lowering:
    """What all models share: the backbone on a window, and attention on the restored map.

    Args:
        model: a model of the zoo.
        memory: memory.Memory, or memory.Plan to find out what must be remembered. None for a single-frame model.
        unexpanded: whether bottlenecks remember their input; else their expanded features.
        starts: whether the step looks at the whole frame.
        suppression: of detectors, whether it is in the graph.
    """

    def __init__(self, model, memory, unexpanded: bool = True, starts: bool = False, suppression: bool = True):
        self.model = model
        self.remembers = not model.feature_grid.is_whole_frame
        whole = Grid(model.grid.cells, model.grid.cells)
        self.windows = whole if starts else model.grid  # what one step looks through
        self.grid = self.windows if self.remembers else Grid()  # what the layers see of it
        self.memory = memory
        self.unexpanded, self.suppression = unexpanded, suppression
        self.maps = {}  # features of the window by their keras.applications names
        self.contexts = {}  # the same with a border of one pixel, of those in `wanted_contexts`
        self.restored = None  # the last features with their border, see RESTORED_BORDER
        self.fresh = None  # freshness of the cells (1, M, M, 1) after this step

    restored_border = RESTORED_BORDER
    wanted_contexts = ()
    predictions = MappingProxyType({})  # names of the tensors that make up an output, if it is in several

    def run(self, frame, window):
        """One step; `memory.finish` then has the new state.

        Args:
            frame: (1, H, W, 3) float32 in [-1, 1].
            window: (2,) int32.

        Returns:
            Outputs by name; what they are is the task's.
        """
        self.position = number_of(window, self.windows)
        self.fresh = self._freshness(frame)
        self._backbone(self._look(frame))
        outputs, need = self._answer()
        if self.model.attention is None:
            return {**outputs, "next_window": window}  # there is no other
        return {**outputs, "next_window": self._next_window(need)}

    @property
    def attention_is_trained(self) -> bool:
        with tf.init_scope():
            return self.model.attention is not None and self.model.attention.is_trained

    @property
    def wants_restored(self) -> bool:
        """Whether the last features of the full frame must be remembered."""
        return self.attention_is_trained

    def _answer(self) -> tuple:
        """Outputs by name, and `model.need` (1, M, M, 1) of them; None if there is no window to choose."""
        raise NotImplementedError

    @in_float
    def _freshness(self, frame):
        """`rule.advance_freshness`; None if there is no window to choose."""
        if self.model.attention is None:
            return None
        fresh = tf.ones((1, self.windows.window, self.windows.window, 1))
        if self.windows.is_whole_frame:  # LiteRT warns of outputs that are constants: make it depend on the frame
            fresh = tf.clip_by_value(frame[:, : self.windows.cells, : self.windows.cells, :1], 1.0, 1.0)
        return self.blended_cells("freshness", fresh, FRESHNESS_DECAY)

    def blended_cells(self, name, x, decay: float = 1.0):
        """A number per cell (1, M, M, 1), renewed in the window by x (1, N, N, 1); see `Memory.blend`."""
        cells = (self.windows.cells, self.windows.cells)
        return self.memory.blend(name, x, cells, self.at_window(cells), decay)

    @in_float
    def _look(self, frame):
        config, grid = self.model.config, self.windows
        if config.network_size != config.image_size:
            frame = tf.image.resize(frame, config.network_size)
        if self.model.grid.is_whole_frame:
            return frame
        height, width = config.network_size
        size = (height * grid.window // grid.cells, width * grid.window // grid.cells)
        at = self.at_window(config.network_size)
        pixels = self._pixels(frame, at, size)
        if config.memory == "pixels":
            return self.memory.paste("pixels", pixels, config.network_size, at)
        return pixels

    def _pixels(self, frame, at, size):
        """The pixels (1, h, w, 3) of a window, of `size`, whose first one is `at`.

        Rows first, then a part of each: SLICE would copy three numbers at a time, and take three times as long.
        """
        _, y, x, _ = tf.unstack(self.memory.place("frame", at))
        rows = tf.gather(frame, y + np.arange(size[0], dtype=np.int32), axis=1)
        rows = tf.reshape(rows, (size[0], -1))
        return tf.reshape(tf.slice(rows, (0, 3 * x), (size[0], 3 * size[1])), (1, *size, 3))

    def at_window(self, frame_size, shift: int = 0):
        """Function of a window's row and column to its first pixel, moved by `shift`, on a map of `frame_size`."""
        cells = self.model.grid.cells
        return lambda row, column: (
            row * frame_size[0] // cells + shift,
            column * frame_size[1] // cells + shift,
        )

    def window_size(self, frame_size) -> tuple[int, int]:
        """(h, w) of a window on a map of `frame_size`."""
        return tuple(side * self.grid.window // self.grid.cells for side in frame_size[:2])

    def map_of(self, stride: int):
        """The window's feature map of a stride (1, h, w, C), without a border."""
        return self.maps[self.model.backbone.endpoint(stride)]

    def _backbone(self, x):
        net = self.model.backbone
        for name, part in zip(net.names, net.parts, strict=True):
            x = self.maps[name] = (
                self._bottleneck(x, part) if isinstance(part, Bottleneck) else self.block(x, part)
            )
        if not (self.remembers and self.wants_restored):
            return
        before, after = self.restored_border
        self.restored = self.memory.surround("restored", x, net.out_shape[:2], before, after)
        self.contexts[net.endpoint(STRIDE)] = self.restored_part(1)

    def restored_part(self, border: int):
        """The last features of a window (1, h, w, C) and `border` pixels around it."""
        height, width = self.map_of(STRIDE).shape[1:3]
        first = self.restored_border[0] - border
        return self.restored[:, first : first + height + 2 * border, first : first + width + 2 * border]

    def _bottleneck(self, x, block):
        if not (self.remembers and block.expand):
            expanded = pointwise(x, block.expand) if block.expand else x
            y = self.cell(expanded, block.depthwise)
        else:
            expanded, y = self._stateful_bottleneck(x, block)
        self.maps[f"{block.prefix}expand_relu"] = expanded
        y = pointwise(y, block.project)
        return x + y if block.has_shortcut else y

    def _stateful_bottleneck(self, x, block):
        """Expanded features of the window, and what the depthwise convolution makes of them."""
        cell, name = block.depthwise.cell, f"{block.prefix}expand_relu"
        frame_size = cell.frame_shape[:2]
        wanted = name in self.wanted_contexts
        before, after = (1, 1) if wanted else cell.border.rows
        stride = self.model.config.network_size[0] // frame_size[0]
        if self.unexpanded and stride <= UNEXPANDED_TO:
            ones = tf.ones((*x.shape[:3], 1))
            narrow = self.memory.surround(block.prefix, tf.concat([ones, x], 3), frame_size, before, after)
            context = expand_indicated(narrow, block.expand)
            height, width = x.shape[1:3]
            expanded = context[:, before : before + height, before : before + width]
        else:
            expanded = pointwise(x, block.expand)
            context = self.memory.surround(block.prefix, expanded, frame_size, before, after)
        if wanted:
            self.contexts[name] = context
        extra = before - cell.border.rows[0]
        # A slice that leaves nothing out would be a copy all the same.
        return expanded, convolve(context[:, extra:, extra:] if extra else context, block.depthwise)

    def cell(self, x, part, context=None):
        """A ConvCell on the features x of a window; `context` is x with its border if that is known."""
        if not self.remembers:
            return convolve(x, part, "SAME")
        if context is None:
            cell = part.cell
            context = self.memory.surround(cell.key, x, cell.frame_shape[:2], *cell.border.rows)
        return convolve(context, part)

    def block(self, x, part, context=None, whole_map=False):
        """A block of `layers.blocks` on the features x of a window, or of the full frame's map.

        `context` is x with its border, if that is known.
        """
        if isinstance(part, Pointwise):
            return pointwise(x, part)
        if isinstance(part, SepConvCell):
            return pointwise(self.block(x, part.depthwise, context, whole_map), part.pointwise)
        if not isinstance(part, ConvCell):
            raise UsageError(
                f"{type(part).__name__} cannot be exported: make it of the blocks of patchwork_tf.layers.blocks"
            )
        return convolve(x, part, "SAME") if whole_map else self.cell(x, part, context)

    @in_float
    def renewed(self, name, x, size, at, blank):
        """`memory.blend` of x (1, h, w, C), with `blank` (H, W, C) where nothing has been renewed yet."""
        remembered = self.memory.blend(name, tf.concat([tf.ones((*x.shape[:3], 1)), x], 3), size, at)
        return remembered[..., 1:] + (1 - remembered[..., :1]) * blank

    def _next_window(self, need):
        attention, grid = self.model.attention, self.model.grid
        values = self._rule_values(need)
        if self.attention_is_trained:  # one that adds nothing need not run
            if self.remembers:
                at = self.at_window(attention.size, shift=-1)
                x = self.block(None, attention.reduce, self.restored_part(2))
                blank = output_of_zeros([attention.reduce], self.model.backbone.out_shape)
                x = self.renewed("attention", x, attention.size, at, blank)
            else:
                x = self.block(self.map_of(STRIDE), attention.reduce)
            values = self._corrected(values, x, need)
        return best_window(values, grid)[0]

    @in_float
    def _rule_values(self, need):
        return self.model.rule.values(need, self.fresh, self.model.grid)

    @in_float
    def _corrected(self, values, x, need):
        """Values (1, windows) with what the attention network makes of its first layer's output x (1, H, W, C)."""
        attention = self.model.attention
        cells = tf.image.resize(tf.concat([self.fresh, need], 3), attention.size)
        x = tf.concat([x, cells], 3)
        x = pointwise(convolve(x, attention.mix.depthwise, "SAME"), attention.mix.pointwise)
        value = attention.value
        features = tf.reshape(x, (1, value.kernel.shape[0]))
        return values + tf.matmul(features, constant(value.kernel)) + constant(value.bias)


def constant(variable) -> np.ndarray:
    """The value of a variable, also while a function is being traced."""
    with tf.init_scope():
        return np.array(variable)


def fold(convolution, norm):
    """Kernel and bias, float32 numpy, of a convolution without a bias and the batch normalisation after it."""
    gamma, beta, mean, variance = map(constant, (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    scale = gamma / np.sqrt(variance + norm.epsilon)
    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    kernel = constant(convolution.kernel) * (scale[:, None] if depthwise else scale)
    return kernel.astype(np.float32), (beta - mean * scale).astype(np.float32)


def pointwise(x, part):
    """`layers.blocks.Pointwise`."""
    kernel, bias = fold(part.convolution, part.norm)
    x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, kernel.shape[0], "VALID"), bias)
    return tf.nn.relu6(x) if part.activation else x


def expand_indicated(x, part):
    """A Pointwise on features (1, h, w, 1 + C) whose first channel is 1 where they are known, and else all 0."""
    kernel, bias = fold(part.convolution, part.norm)
    kernel = np.concatenate([bias[None, None, None], kernel], axis=2)
    return tf.nn.relu6(tf.nn.conv2d(x, kernel, 1, "VALID"))


def convolve(context, part, padding="VALID"):
    """Convolution, normalisation and ReLU6 of a `layers.blocks.ConvCell`."""
    convolution = part.cell.layer
    kernel, bias = fold(convolution, part.norm)
    stride, rate = convolution.strides[0], convolution.dilation_rate[0]
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        x = tf.nn.depthwise_conv2d(context, kernel, (1, stride, stride, 1), padding)
    else:
        x = tf.nn.conv2d(context, kernel, stride, padding, dilations=rate)
    return tf.nn.relu6(tf.nn.bias_add(x, bias))


def predictor(x, convolution):
    """A 1 x 1 convolution with a bias."""
    return tf.nn.bias_add(tf.nn.conv2d(x, constant(convolution.kernel), 1, "VALID"), constant(convolution.bias))


def output_of_zeros(blocks, shape) -> np.ndarray:
    """What blocks of `layers.blocks` make of a full frame's map of zeros of `shape` (H, W, C): (h, w, filters)."""
    with tf.init_scope():
        x = tf.zeros((1, *shape))
        for block in blocks:
            x, _ = block.step(x, None, {})
        return x[0].numpy()
