"""A model's step as the exported graph computes it: for one stream, weights folded, memory as strips.

The same as `model.step`, gone through call by call, and made for speed on a CPU:

- Batch normalisation and activations are folded into the convolution before them (`fusing.py`).
- Layers that look at the same features remember them once, with a border as wide as the widest needs.
- A convolution that looks at features which a 1 x 1 convolution has just made many of remembers what that was
  made of: six times fewer channels in MobileNetV2. An indicator comes with it, 1 where there is a pixel, and the
  bias is the indicator's weight: outside of the frame, and where no window has been, the activation of 0 is 0,
  which is what the dense memory has there.
- Of what runs on the map of the full frame, the first convolutions are renewed beside the window only.
"""

from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

from patchwork_tf.errors import UsageError
from patchwork_tf.export import renewal
from patchwork_tf.export.float_scope import in_float
from patchwork_tf.export.fusing import Operation, constant, frozen, fused
from patchwork_tf.export.memory import number_of
from patchwork_tf.grid import Grid
from patchwork_tf.layers import rules
from patchwork_tf.layers.cell import PatchworkCell, cut
from patchwork_tf.layers.memory import CellMeans, Look, Remember
from patchwork_tf.models.attention import best_window
from patchwork_tf.models.maps import relative
from patchwork_tf.models.patch import plan_of
from patchwork_tf.models.patchwork_model import RESTORED
from patchwork_tf.models.rule import FRESHNESS_DECAY, first_windows_first

ATTENTION_BORDER = (2, 2)

# Stride of the features down to which narrow features are remembered: deeper windows are so small that expanding
# their borders anew takes longer than moving six times as many numbers.
NARROW_TO = 16
_LOWEST = -6e4  # in place of minus infinity, within the range of half precision


class Lowering:
    """What all models share: the network on a window, and attention on the restored map.

    Args:
        model: a model of the zoo.
        memory: memory.Memory or memory.FirstMemory; None if it is not run.
        in_8_bits: whether the file will be quantized. Features are then remembered as they are, for the bias of an
            expansion must not become a weight of 8 bits; and what is packed, which has one scale, is from 0 to 6.
        starts: whether the step looks at the whole frame.
        suppression: of detectors, whether it is in the graph.
    """

    def __init__(self, model, memory, in_8_bits: bool = False, starts: bool = False, suppression: bool = True):
        self.model = model
        self.remembers = not model.feature_grid.is_whole_frame
        whole = Grid(model.grid.cells, model.grid.cells)
        self.windows = whole if starts else model.grid  # what one step looks through
        self.grid = self.windows if self.remembers else Grid()  # what the layers see of it
        self.memory = memory
        self.in_8_bits, self.suppression = in_8_bits, suppression
        self.operations = fused(model.plan)
        self.tensors, self.contexts = {}, {}  # by symbol: features, and features of a window with their border
        self.fresh = None  # freshness of the cells (1, M, M, 1) after this step
        self.wanted = self._wanted()  # by symbol, the width of the border before and after it

    by_hand = ()  # names of outputs whose last convolution is not run, but computed by the subclass
    predictions = MappingProxyType({})  # names of the tensors that make up an output, if it is in several

    def run(self, frame, window):
        """Outputs by name of one step, of a frame (1, H, W, 3); `memory.finish` then has the new state."""
        self.position = number_of(window, self.windows)
        self.fresh = self._freshness(frame)
        self._network(frame)
        outputs, need = self._answer()
        if self.model.grid.is_whole_frame:
            return {**outputs, "next_window": window}  # there is no other
        return {**outputs, "need": need, **self._window_values(need)}

    @property
    def follows_attention(self) -> bool:
        with tf.init_scope():
            return self.model.follows_attention

    def _answer(self) -> tuple:
        """Outputs by name, and `model.need` (1, M, M, 1) of them; None if there is no window to choose."""
        raise NotImplementedError

    @in_float
    def _freshness(self, frame):
        """`rule.advance_freshness`; None if there is no window to choose."""
        if self.model.grid.is_whole_frame:
            return None
        fresh = tf.ones((1, self.windows.window_cells, self.windows.window_cells, 1))
        if self.windows.is_whole_frame:  # LiteRT warns of outputs that are constants: make it depend on the frame
            fresh = tf.clip_by_value(frame[:, : self.windows.cells, : self.windows.cells, :1], 1.0, 1.0)
        return self.blended_cells("freshness", fresh, FRESHNESS_DECAY)

    def blended_cells(self, name, x, decay: float = 1.0):
        """A number per cell (1, M, M, 1), renewed in the window by x (1, N, N, 1); see `Memory.blend`."""
        cells = (self.windows.cells, self.windows.cells)
        return self.memory.blend(name, x, cells, self.at_window(cells), decay)

    def at_window(self, frame_size, shift: int = 0):
        """Function of a window's row and column to its first pixel, moved by `shift`, on a map of `frame_size`."""
        cells = self.model.grid.cells
        return lambda row, column: (row * frame_size[0] // cells + shift, column * frame_size[1] // cells + shift)

    # What is remembered

    def _wanted(self) -> dict[int, tuple[int, int]]:
        wanted = {}

        def want(symbol, before, after):
            first, last = wanted.get(id(symbol), (0, 0))
            wanted[id(symbol)] = max(first, before), max(last, after)

        for operation in self.operations:
            layer = operation.step.call.layer
            if isinstance(layer, PatchworkCell) and layer.border.fill != rules.EDGE:
                sides = (layer.border.rows, layer.border.columns)
                want(operation.input, max(before for before, _ in sides), max(after for _, after in sides))
            if isinstance(layer, Remember):
                chain = renewal.chain_on(operation.output, self._readers)
                if chain and not chain[0].is_pointwise:
                    want(operation.input, *renewal.RESTORED_BORDER)
        if self.remembers and self.follows_attention:
            want(self._last_features, *ATTENTION_BORDER)
        return wanted

    @property
    def _last_features(self):
        """The symbol of the window's features of which the restored map is put together."""
        restored = self.model.plan.outputs[RESTORED]
        return next(op.input for op in self.operations if op.output is restored)

    def _readers(self, symbol) -> list[Operation]:
        return [op for op in self.operations if any(x is symbol for x in op.step.call.inputs)]

    def _is_narrow(self, operation) -> bool:
        """Whether a convolution's input is remembered in place of its output."""
        if self.in_8_bits or not (operation.step.on_window and operation.is_pointwise):
            return False
        stride = self.model.plan.input.shape[1] // operation.output.shape[1]
        is_less = 1 + operation.input.shape[3] < operation.output.shape[3]
        return id(operation.output) in self.wanted and stride <= NARROW_TO and is_less and operation.keeps_zero

    # The network

    def _network(self, frame):
        pixels = self._pixels(frame)
        self.tensors[id(self.model.plan.input)] = pixels
        skipped = {id(self.model.plan.outputs[name]) for name in self.by_hand}
        for operation in self.operations:
            if id(operation.output) in skipped:
                continue
            layer = operation.step.call.layer
            if isinstance(layer, Look) and operation.input is self.model.plan.input:
                x = pixels
            elif isinstance(layer, Remember):
                x = self._put_together(operation, skipped)
            else:
                x = self._run(operation)
            self.tensors[id(operation.output)] = x

    def _run(self, operation):
        layer, x = operation.step.call.layer, self.tensors[id(operation.input)]
        if isinstance(layer, PatchworkCell):
            context, border = self.context(operation.input, layer), layer.border
            if operation.is_convolution:
                return operation.convolve(context)
            inside = [self.inside(operation.input, border)] if border.counts else []
            with frozen(layer.layer):
                if border.run is None:
                    return cut(layer.layer(context), border)
                return border.run(layer.layer, context, *inside)
        if isinstance(layer, Look):
            return self._cut(operation, x)
        if isinstance(layer, CellMeans):
            mean = self.memory.mean(layer.name, tf.nn.avg_pool2d(x, layer.cell, layer.cell, "VALID"))
            return tf.reshape(mean, (1, 1, 1, -1)) if layer.keepdims else mean
        if self._is_narrow(operation):
            return self._expanded(operation, x)
        if operation.is_convolution:
            return operation.convolve_padded(x)
        with frozen(layer):
            return operation.step.call.run(self.tensors)

    def _expanded(self, operation, x):
        """What a convolution makes of features x that are remembered as they are."""
        before, after = self.wanted[id(operation.output)]
        ones = tf.ones((*x.shape[:3], 1))
        size = operation.output.shape[1:3]
        narrow = self.memory.surround(operation.name, tf.concat([ones, x], 3), size, before, after)
        context = self.contexts[id(operation.output)] = operation.convolve_indicated(narrow)
        return _part(context, (before, before), x.shape[1:3])

    def context(self, symbol, layer):
        """Features of the window with the border that a cell looks at."""
        border = layer.border
        if border.fill == rules.EDGE:
            return self.edges_repeated(self._surrounded(symbol, layer.name, 1, 1))
        context = self.part(symbol, layer.name, border.rows, border.columns)
        if border.fill == 0:
            return context
        inside, outside = self.inside(symbol, border), min(max(border.fill, _LOWEST), -_LOWEST)
        if self.in_8_bits and isinstance(layer.layer, keras.layers.MaxPooling2D):
            # What no maximum takes: in 8 bits _LOWEST would leave no numbers for the rest.
            outside = tf.reduce_min(context, (1, 2), keepdims=True)
        return context * inside + (1 - inside) * outside

    def part(self, symbol, name, rows, columns):
        """Features of the window with so many pixels around them, of what `name` remembers."""
        before, after = self.wanted[id(symbol)]
        x = self.tensors[id(symbol)]
        if id(symbol) not in self.contexts:
            self.contexts[id(symbol)] = self._surrounded(symbol, name, before, after)
        size = (rows[0] + x.shape[1] + rows[1], columns[0] + x.shape[2] + columns[1])
        return _part(self.contexts[id(symbol)], (before - rows[0], before - columns[0]), size)

    def _surrounded(self, symbol, name, before, after):
        alone = self.in_8_bits and not any(op.is_relu6 for op in self.operations if op.output is symbol)
        return self.memory.surround(name, self.tensors[id(symbol)], symbol.shape[1:3], before, after, alone)

    def inside(self, symbol, border):
        """Which pixels (1, h, w, 1) of a window and its border are in the frame, as ones and zeros."""
        size = symbol.shape[1:3]
        mask = np.pad(np.ones(size, np.float32), (border.rows, border.columns))
        height, width = self.grid.window_size(size)
        corners = [self.at_window(size)(*window) for window in self.windows.windows]
        parts = [mask[y : y + height + sum(border.rows), x : x + width + sum(border.columns)] for y, x in corners]
        return tf.gather(np.stack(parts)[..., None], self.position)[None]

    def _cut(self, operation, x):
        size = operation.input.shape[1:3]
        begin = self.memory.place(operation.name, self.at_window(size))
        return tf.slice(x, begin, (1, *self.grid.window_size(size), x.shape[3]))

    def _put_together(self, remember, skipped):
        """The map of the full frame; None if nothing needs all of it, as what begins on it is renewed."""
        chain = renewal.chain_on(remember.output, self._readers)
        if chain:
            self.tensors[id(chain[-1].output)] = renewal.renewed(self, remember.input, chain)
            skipped |= {id(operation.output) for operation in chain}
        outputs = self.model.plan.outputs.items()
        is_output = any(symbol is remember.output for name, symbol in outputs if name != RESTORED)
        if not is_output and len(self._readers(remember.output)) == len(chain[:1]):
            return None
        size = remember.output.shape[1:3]
        return self.memory.paste(remember.name, self.tensors[id(remember.input)], size, self.at_window(size))

    @in_float
    def _pixels(self, frame):
        """What the network looks at: the window's pixels, the whole frame, or the pixels that are remembered."""
        config, grid = self.model.config, self.windows
        if config.network_size != config.image_size:
            frame = tf.image.resize(frame, config.network_size)
        if self.model.grid.is_whole_frame:
            return frame
        at = self.at_window(config.network_size)
        pixels = self._window_of(frame, at, grid.window_size(config.network_size))
        if config.memory == "pixels":
            return self.memory.paste("pixels", pixels, config.network_size, at)
        return pixels

    def _window_of(self, frame, at, size):
        """The pixels (1, h, w, 3) of a window, of `size`, whose first one is `at`.

        Rows first, then a part of each: SLICE would copy three numbers at a time, and take three times as long.
        """
        _, y, x, _ = tf.unstack(self.memory.place("frame", at))
        rows = tf.gather(frame, y + np.arange(size[0], dtype=np.int32), axis=1)
        rows = tf.reshape(rows, (size[0], -1))
        return tf.reshape(tf.slice(rows, (0, 3 * x), (size[0], 3 * size[1])), (1, *size, 3))

    def edges_repeated(self, x):
        """x (1, h + 2, w + 2, C), its outermost pixels replaced by those beside them where they are off the frame.

        By arithmetic: a choice between tensors would break the delegate's graph in two.
        """
        last = self.grid.positions - 1
        at_edge = np.float32([[r == 0, r == last, c == 0, c == last] for r, c in self.grid.windows])
        outside = tf.gather(at_edge, self.position)
        above, below = _or(x[:, :1], x[:, 1:2], outside[0]), _or(x[:, -1:], x[:, -2:-1], outside[1])
        x = tf.concat([above, x[:, 1:-1], below], 1)
        left, right = _or(x[:, :, :1], x[:, :, 1:2], outside[2]), _or(x[:, :, -1:], x[:, :, -2:-1], outside[3])
        return tf.concat([left, x[:, :, 1:-1], right], 2)

    def convolution_of(self, output: str):
        """The convolution that makes an output, and the features that it is to be run on."""
        symbol = self.model.plan.outputs[output]
        operation = next(operation for operation in self.operations if operation.output is symbol)
        return operation, self.tensors[id(operation.input)]

    # Which window is next

    def _window_values(self, need) -> dict:
        """What the rule says windows are worth, and the network if it was trained to; and which is next."""
        attention, grid = self.model.attention, self.model.grid
        values = self._rule_values(need)
        found = {"rule_values": values}
        if self.follows_attention:  # one that adds nothing need not run
            reduce = fused(plan_of(attention.reduce, Grid()))
            if self.remembers:
                at = self.at_window(attention.size, shift=-1)
                around, *after = reduce
                x = self.part(self._last_features, RESTORED, (2, 2), (2, 2))
                x = renewal.run_on_map(after, around.convolve(x))
                blank = renewal.output_of_zeros(reduce, self.model.map_shape)
                x = renewal.blended(self, "attention", x, attention.size, at, blank)
            else:
                x = renewal.run_on_map(reduce, self.tensors[id(self.model.plan.outputs[RESTORED])])
            prior = values if self.model.config.policy_prior == "rule" else first_windows_first(grid)
            found["q_values"] = values = self._corrected(prior, x, need)
        return {**found, "next_window": best_window(values, grid)[0]}

    @in_float
    def _rule_values(self, need):
        return self.model.rule.values(need, self.fresh, self.model.grid)

    @in_float
    def _corrected(self, values, x, need):
        """Values (1, windows) with what the attention network makes of its first layer's output x (1, H, W, C)."""
        attention = self.model.attention
        cells = tf.image.resize(tf.concat([self.fresh, need], 3), attention.size)
        x = renewal.run_on_map(fused(plan_of(attention.mix, Grid())), tf.concat([x, cells], 3))
        value = attention.value
        features = tf.reshape(x, (1, value.kernel.shape[0]))
        return values + tf.matmul(features, constant(value.kernel)) + constant(value.bias)


class MapsLowering(Lowering):
    """The step of a network of one's own: its outputs as they are."""

    def _answer(self):
        symbols = self.model.plan.outputs
        if len(set(map(id, symbols.values()))) < len(symbols):
            raise UsageError(f"two of the outputs {', '.join(symbols)} are the same: a file has one name for each")
        outputs = {name: self.tensors[id(symbol)] for name, symbol in symbols.items()}
        outputs = {name: tf.reshape(x, x.shape[1:]) for name, x in outputs.items()}
        return outputs, None if self.fresh is None else self._need(self._seen())

    def _seen(self) -> list:
        """Of maps whose changes are surprise: a cell's size, what was in the window, and what is (1, h, w, C)."""
        seen = []
        for operation in self.operations:
            if operation.step.state in self.model.remembered:
                x, size = self.tensors[id(operation.input)], operation.output.shape[1:3]
                before = self.memory.before(operation.name, x, self.at_window(size))
                seen.append(([side // self.windows.cells for side in size], before, x))
        return seen

    @in_float
    def _need(self, seen):
        """`model.need`, of what has changed in the window."""
        if not seen:  # LiteRT warns of outputs that are constants: it depends on a state
            return tf.clip_by_value(self.fresh, 0.0, 0.0)
        return relative(self.blended_cells("surprise", sum(self._surprise(*each) for each in seen)))

    def _surprise(self, cell, before, x):
        """By how much a map has changed in the window's cells, and how large numbers are: (1, N, N, 2)."""
        of_cells = (tf.nn.avg_pool2d(tf.abs(y), cell, cell, "VALID") for y in (x - before, x))
        return tf.concat([tf.reduce_mean(y, 3, keepdims=True) for y in of_cells], 3)


def _part(x, corner, size):
    """A part of `size` of x (1, h, w, C); a slice that leaves nothing out would be a copy all the same."""
    if x.shape[1:3] == size:
        return x
    (top, left), (height, width) = corner, size
    return x[:, top : top + height, left : left + width]


def _or(first, second, choice):
    """`second` where `choice` is 1, `first` where it is 0, exactly."""
    return first * (1 - choice) + second * choice
