"""`pw.patch`: any functional Keras network becomes one that looks at windows of frames and remembers the rest.

The network is gone through once. A layer that looks at neighbours becomes a `PatchworkCell`, a mean over the map
`CellMeans`; of what is on the map, after `Remember`, layers run as they are, and so do pointwise layers
(`layers/rules.py`). What comes of it is a functional Keras model again: frame, window and states in, answers and
states out.
"""

import dataclasses
import itertools

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from patchwork_tf import backend
from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.layers import rules
from patchwork_tf.layers.cell import PatchworkCell, crop_window
from patchwork_tf.layers.memory import CellMeans, Look, Remember
from patchwork_tf.models.graph import Call, graph_of

FRAME, WINDOW = "frame", "window"
# Where a tensor is: features of the window, of the full frame, or numbers without a place, such as means.
ON_WINDOW, ON_MAP, NOWHERE = "window", "map", "nowhere"
AUTO = "auto"  # for `on_map`: whatever cannot run on windows


@dataclasses.dataclass(frozen=True)
class Step:
    """A call. `on_window` says whether what it returns is features of the window."""

    call: Call
    on_window: bool = False

    @property
    def looks(self) -> bool:
        """Whether the window is one of its arguments."""
        return isinstance(self.call.layer, Look)

    @property
    def remembers(self) -> bool:
        """Whether it takes the window and the memory of its layer's name, and returns that renewed."""
        return isinstance(self.call.layer, PatchworkCell | CellMeans | Remember)

    @property
    def state(self) -> str:
        """The name of what it remembers."""
        return f"{self.call.layer.name}_memory"


@dataclasses.dataclass
class Plan:
    """How a network runs on windows."""

    grid: Grid
    input: KerasTensor  # the symbolic frame
    steps: list[Step] = dataclasses.field(default_factory=list)
    outputs: dict[str, KerasTensor] = dataclasses.field(default_factory=dict)  # of the full frame, but for:
    on_window: set[str] = dataclasses.field(default_factory=set)  # names of those that are of the window
    state_shapes: dict[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)  # (H, W, C)

    def run(self, frame, window, states: dict):
        """Outputs and new states by name, of tensors, symbolic or not: a frame, a window (B, 2) and states.

        A window of None is the whole frame, for which no states are needed.
        """
        tensors, renewed = {id(self.input): frame}, {}
        for step in self.steps:
            if step.remembers:
                result, renewed[step.state] = step.call.run(tensors, window, states.get(step.state))
            else:
                result = step.call.run(tensors, *([window] if step.looks else []))
            tensors |= {
                id(symbol): x for symbol, x in zip(step.call.outputs, keras.tree.flatten(result), strict=True)
            }
        return {name: tensors[id(symbol)] for name, symbol in self.outputs.items()}, renewed


class _Planner:
    """Finds out what each layer of a network needs on windows; the result is its `plan`.

    Symbols are those of the graph, and have shapes of the full frame wherever they are.
    """

    def __init__(self, graph, grid: Grid, on_map, kept):
        self.grid, self.graph, self.on_map = grid, graph, on_map
        self.plan = Plan(grid, graph.input)
        self.places = {id(graph.input): ON_MAP}
        self.names = {}  # by symbol, of the layer that makes it
        self.instead = {}  # by symbol, the one that stands for it on windows
        self.moved = {}  # by place and symbol, the one of the same features there
        self.padded = {}  # by symbol of the graph, the call of the ZeroPadding2D that its reader makes up for
        self._why_on_map = ""  # with AUTO, of the first layer that is
        if not grid.is_whole_frame:
            pixels = self._insert(Look(grid, name="look"), graph.input, ON_WINDOW)
            self.instead[id(graph.input)], self.moved[ON_MAP, id(pixels)] = pixels, graph.input
        for call in graph.calls:
            self._add(call)
        if on_map == AUTO and not any(step.remembers for step in self.plan.steps) and not grid.is_whole_frame:
            raise UsageError(f"nothing of it can run on windows: {self._why_on_map}")
        for name, symbol in graph.outputs.items():
            known = self._known(symbol)
            if name in kept and self.places[id(known)] == ON_WINDOW:
                self.plan.on_window.add(name)
            self.plan.outputs[name] = known if name in kept else self._map_of(symbol)

    def _known(self, symbol):
        return self.instead.get(id(symbol), symbol)

    def _add(self, call):
        places = {self.places[id(self._known(x))] for x in call.inputs}
        if self._is_on_map(call) or ON_WINDOW not in places:
            self._as_it_is(call)
            return
        if isinstance(call.layer, layers.ZeroPadding2D):
            (symbol,), (padded,) = call.inputs, call.outputs
            self.instead[id(padded)], self.padded[id(padded)] = self._known(symbol), call
            return
        padding = next((self.padded[id(x)].layer.padding for x in call.inputs if id(x) in self.padded), None)
        try:
            self._on_windows(call.with_inputs(self._window_of), padding)
        except rules.Refused as why:
            message = f"{call.layer.name} ({type(call.layer).__name__}) cannot run on windows: {why}"
            if self.on_map == AUTO:
                self._why_on_map = self._why_on_map or message
                self._as_it_is(call)
                return
            raise UsageError(
                f"{message}; on_map={call.layer.name!r} runs it, and all after it, on the map of the full frame"
            ) from None

    def _is_on_map(self, call):
        return self.on_map != AUTO and call.layer.name in self.on_map

    def _as_it_is(self, call):
        self._take(call.with_inputs(self._map_of), ON_MAP)

    def _map_of(self, symbol):
        """What stands for a symbol of the graph on the map of the full frame."""
        if id(symbol) not in self.padded:
            return self._to(ON_MAP, self._known(symbol))
        if id(symbol) not in self.places:  # on windows the padding is made up for; here it is not there yet
            self._as_it_is(self.padded[id(symbol)])
        return symbol

    def _window_of(self, symbol):
        """What stands for a symbol of the graph on windows, without the padding that its reader makes up for."""
        return self._to(ON_WINDOW, self._known(symbol))

    def _on_windows(self, call, padding):
        layer, features = call.layer, [x for x in call.inputs if self.places[id(x)] == ON_WINDOW]
        constants = [x for x in keras.tree.flatten((call.args, call.kwargs)) if not isinstance(x, KerasTensor)]
        if any(side != 1 for x in constants for side in getattr(x, "shape", ())[:-1]):
            raise rules.Refused("one of its arguments is a map that is not made of the frame")
        shape = features[0].shape[1:]
        need = rules.need_of(layer, shape, padding)
        if isinstance(need, rules.Instead):
            layer, need = need.layer, rules.need_of(need.layer, shape)
        if need == rules.WHOLE_MAP:
            raise rules.Refused("it looks at the whole map")
        if isinstance(need, rules.Border) and len(call.inputs) > 1:
            raise rules.Refused("a Border is of layers with one input")
        is_own = not type(layer).__module__.startswith(("keras.", "patchwork_tf."))
        if is_own and (need == rules.POINTWISE or isinstance(need, rules.Border)):
            self._check_rule(call, need, shape)
        name = self._unused(layer.name)
        if need == rules.POINTWISE:
            self._take(dataclasses.replace(call, layer=layer), ON_WINDOW)
        elif need == rules.MEAN:
            layer = CellMeans(self.grid, shape, layer.keepdims, name=name)
            self._take(dataclasses.replace(call, layer=layer), NOWHERE)
        else:
            layer = PatchworkCell(layer, self.grid, shape, border=need, name=name)
            self._take(dataclasses.replace(call, layer=layer), ON_WINDOW)

    def _check_rule(self, call, need, shape):
        """Raises UsageError if by a rule a window's answer is not the whole map's; nothing else would tell."""

        def run(features):
            return keras.tree.flatten(call.run(dict(zip(map(id, call.inputs), features, strict=True))))

        def looked(x, window, memory):
            try:
                return cell(x, window, memory)
            except (TypeError, ValueError) as error:
                why = " ".join(str(error).split())
                raise UsageError(f"{call.layer.name}: its rule cannot run on a window: {why}") from None

        def fault(found, whole):
            found, expected = map(ops.convert_to_numpy, (found, crop_window(whole, window, self.grid)))
            if found.shape != expected.shape:
                return f"{found.shape[1:3]} pixels, not {expected.shape[1:3]}"
            error = np.abs(found - expected)
            _, *pixel, _ = np.unravel_index(error.argmax(), (*error.shape, 1, 1)[:4])
            where = f"at {tuple(map(int, pixel))} of the window {(place, place)} of {error.shape[1:3]} pixels"
            is_wrong = error.max() > 1e-4 * max(1, np.abs(expected).max())
            return f"numbers of about {mean} differ by {error.max():.2g} {where}" if is_wrong else ""

        rng, is_border = np.random.default_rng(0), isinstance(need, rules.Border)
        is_seen = [self.places[id(x)] == ON_WINDOW for x in call.inputs]
        cell = PatchworkCell(call.layer, self.grid, shape, border=need) if is_border else None
        for mean in (0, -30, 30):  # what is beyond the frame shows by features that are far from it
            features = [rng.normal(mean, size=(1, *x.shape[1:])).astype(np.float32) for x in call.inputs]
            whole = run(features)
            if cell:
                _, memory = looked(features[0], None, np.zeros((1, *cell.memory_shape), np.float32))
            for place in {0, (self.grid.positions - 1) // 2, self.grid.positions - 1}:
                window = np.full((1, 2), place, np.int32)
                looks = zip(features, is_seen, strict=True)
                seen = [crop_window(x, window, self.grid) if at else x for x, at in looks]
                found = [looked(seen[0], window, memory)[0]] if cell else run(seen)
                if why := next(filter(None, map(fault, found, whole)), ""):
                    raise UsageError(
                        f"{call.layer.name} ({type(call.layer).__name__}): by its rule a window's answer is not "
                        f"the whole map's: {why}; pw.POINTWISE says that it looks at no neighbours, "
                        "pw.Border(rows=(above, below), columns=(left, right), fill=0, run=None)"
                        " says how far it looks, what is beyond the frame (a number or 'edge'), and what "
                        "runs it if its output has another size"
                    )

    def _to(self, place, symbol):
        """The same features on the map of the full frame, or in the window."""
        if self.places[id(symbol)] in (place, NOWHERE):
            return symbol
        if (place, id(symbol)) not in self.moved:
            name = self._unused(f"{self.names[id(symbol)]}_{place}")
            is_map = place == ON_MAP
            layer = Remember(self.grid, symbol.shape[1:], name=name) if is_map else Look(self.grid, name=name)
            self.moved[place, id(symbol)] = self._insert(layer, symbol, place)
        return self.moved[place, id(symbol)]

    def _insert(self, layer, symbol, place):
        """A call that the graph has not; returns the symbol of its output."""
        made = KerasTensor(symbol.shape, symbol.dtype)
        self._take(Call(layer, (symbol,), {}, [made]), place)
        return made

    def _take(self, call, place):
        """Adds a call whose outputs are in a place, if any. Raises Refused if cells do not divide them."""
        for symbol in call.outputs:
            if place == ON_WINDOW and any(side % self.grid.cells for side in symbol.shape[1:3]):
                raise rules.Refused(self._size_advice(symbol.shape))
        step = Step(call, place == ON_WINDOW)
        self.plan.steps.append(step)
        if step.remembers:
            self.plan.state_shapes[step.state] = call.layer.memory_shape
        for symbol in call.outputs:
            self.places[id(symbol)] = place if _is_map(symbol) or place == ON_WINDOW else NOWHERE
            self.names[id(symbol)] = call.layer.name

    def _size_advice(self, shape) -> str:
        """What to do about a map of `shape` that does not divide into cells."""
        frame, later, stride = self.graph.input.shape[1:3], set(), 1
        for call in self.graph.calls:
            if self._is_on_map(call) or any(id(x) in later for x in call.inputs):
                later |= {id(x) for x in call.outputs}
                continue
            maps = [x.shape[1:3] for x in call.outputs if _is_map(x)]
            stride = max([stride, *(round(frame[0] / height) for height, _ in maps)])
        multiple = stride * self.grid.cells
        sizes = "x".join(str(max(1, round(side / multiple)) * multiple) for side in frame)
        cells = f"{self.grid.cells} x {self.grid.cells} cells"
        return f"its map of {shape[1]}x{shape[2]} pixels does not divide into {cells}, frames of {sizes} would"

    def _unused(self, name) -> str:
        taken = {
            FRAME,
            WINDOW,
            *(call.layer.name for call in self.graph.calls if call.layer.name != name),
            *self.names.values(),
        }
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        return name if name not in taken else next(other for other in numbered if other not in taken)


def plan_of(network, grid: Grid, on_map=(), kept=()) -> Plan:
    """How a network runs on windows of a grid; `on_map` and errors are as of `patch`.

    Outputs of the names in `kept` stay those of the window, and are not put together to maps of the full frame.
    """
    graph = graph_of(network)
    unknown = set() if on_map == AUTO else set(on_map) - {call.layer.name for call in graph.calls}
    if unknown:
        raise UsageError(f"on_map: there is no layer {sorted(unknown)[0]!r} in {network.name}")
    return _Planner(graph, grid, on_map, kept).plan


def _is_map(symbol) -> bool:
    return len(symbol.shape) == 4 and symbol.shape[1:3] != (1, 1)


@keras.saving.register_keras_serializable("patchwork_tf")
class PatchedModel(keras.Model):
    """A network that looks at one window of each frame: a functional Keras model, see `patch`.

    `model({"frame": frame, "window": window, **state})` is a step and returns outputs and states, as `step` does;
    `model(frame)` answers whole frames, as the network that was patched.
    """

    def __init__(self, network, cells: int, window: int, on_map=(), name: str | None = None):
        backend.check_precision()
        self.grid = Grid(cells, window)
        on_map = (on_map,) if isinstance(on_map, str) and on_map != AUTO else on_map
        self.plan = plan_of(network, self.grid, on_map)
        self.on_map, self._network = on_map, lambda: network  # which Keras shall not take for a part
        frame = keras.Input(self.plan.input.shape[1:], name=FRAME)
        position = keras.Input((2,), dtype="int32", name=WINDOW)
        states = {key: keras.Input(shape, name=key) for key, shape in self.plan.state_shapes.items()}
        inputs = {FRAME: frame, WINDOW: position, **states}
        super().__init__(inputs, self.plan.run(frame, position, states), name=name or f"{network.name}_patched")

    @property
    def network(self) -> keras.Model:
        """The network that was patched."""
        return self._network()

    def initial_state(self, batch_size: int = 1) -> dict:
        """The memory before the first frame: zeros, (batch_size, H, W, C) float32 by name."""
        return {name: ops.zeros((batch_size, *shape)) for name, shape in self.plan.state_shapes.items()}

    def step(self, frame, window, state):
        """One frame.

        Args:
            frame: (B, H, W, C) float32.
            window: (B, 2) int32, row and column of the window's top left cell. None looks at the whole frame, at
                the cost of the network that was patched, and makes all memory anew.
            state: dict name -> (B, h, w, C) float32, from `initial_state` or the last step.

        As of `PatchworkModel.step`, there may be several windows for each frame and state.

        Returns:
            outputs: by the names of the network's outputs, maps (B, H, W, C) of the full frame.
            state: the new state, same names and shapes.
        """
        return self.plan.run(ops.convert_to_tensor(frame), window, state)

    @property
    def input_spec(self):
        """None: inputs come in two forms, a dict and a frame."""
        return None

    def call(self, inputs, training=None, mask=None):
        if isinstance(inputs, dict):
            return super().call(inputs, training=training, mask=mask)
        outputs, _ = self.plan.run(inputs, None, {})
        return outputs

    def get_config(self):
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "cells": self.grid.cells,
            "window": self.grid.window_cells,
            "on_map": self.on_map if self.on_map == AUTO else list(self.on_map),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "network": keras.saving.deserialize_keras_object(config["network"])})


def patch(network: keras.Model, cells: int = 4, window: int = 2, on_map=()) -> PatchedModel:
    """Makes a network that looks at one window of each frame and remembers the rest, with the same weights.

    Args:
        network: a functional Keras model of one input (H, W, C); it shares its variables with what is returned.
        cells: M, the frame is a grid of M x M cells.
        window: N, one step looks at N x N cells. M = N looks at whole frames.
        on_map: names of layers that run on the map of the full frame, which is put together before them, as does
            what follows them alone; where features from there meet those of a window, they are cut to it. "auto":
            those that cannot run on windows.

    Raises:
        UsageError: names the first layer that cannot run on windows, and what to do about it.
    """
    return PatchedModel(network, cells, window, on_map)
