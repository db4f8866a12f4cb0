"""What detector and segmenter share: backbone, restored map, attention, and the state of it all."""

import dataclasses
import functools

import keras
import numpy as np
from keras import ops

from patchwork_tf import backend
from patchwork_tf.errors import UsageError
from patchwork_tf.layers.cell import crop_window, remember
from patchwork_tf.models import mobilenet_v2  # noqa: F401  makes it known
from patchwork_tf.models.attention import AttentionNetwork, best_window
from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.costs import layer_costs
from patchwork_tf.models.networks import Network, get_network, register_network
from patchwork_tf.models.patch import plan_of
from patchwork_tf.models.rule import Rule, advance_freshness, first_windows_first
from patchwork_tf.task import get_task

RESTORED = "restored"  # the network's output that is the backbone's last map


class PatchworkModel(keras.Model):
    """A video model that looks at one window per frame and remembers the rest.

    A subclass makes the network, and adds

        head_memory_shapes()                  shapes (H, W, C) by name, where there is a cell at every convolution
        _predictions(outputs)                 what the heads freshly predict, of the network's outputs
        _answer(predictions, window, state)   outputs for the full frame, and the new state
        need(answer, freshness)               how much of an answer that matters is in each cell, (B, M, M, 1)
        blank_answer(batch_size)              outputs, but for windows' values, before anything was seen

    and, to learn which windows pay, properties:

        part_centers   centres (P, 2), as fractions of the frame, of the pixels or anchors that windows renew
        answer_cells   by key of `blank_answer`, numbers of the cells in which what windows renew of it is

    Args:
        config: the ModelConfig.
        info: the ModelInfo. It may be set later.
        backbone: Backbone, of which the network is made; None of one that was imported.
        network: functional Keras model of one frame; its output RESTORED, if there is one, is the map that
            attention looks at, the backbone's last.
        on_map: as for `patch`.
        kept: names of outputs that stay those of the window.

    Attributes:
        rule: the Rule by which windows are chosen.
        grid: the grid that windows are counted in.
        plan: how the network runs on windows.
        backbone: `backbone.step` gives the feature maps of windows by layer name; None of an imported network.
        attention: AttentionNetwork; None in single-frame models, and without a map to look at.
    """

    rule: Rule

    def __init__(self, config: ModelConfig, info: ModelInfo, backbone, network, on_map=(), kept=()):
        backend.check_precision()
        super().__init__(name=f"patchwork_{network.name}")
        self.config = config
        if info.class_names is None:  # it has not learned any yet
            info = dataclasses.replace(info, class_names=tuple(get_task(config.task).class_names(config)))
        self.info = info
        self.grid = config.grid
        self.feature_grid = config.feature_grid
        self.network = network
        self.plan = plan_of(network, self.feature_grid, on_map, kept)
        self.backbone = backbone and BackboneOnWindows(backbone.network, self.feature_grid)
        self.map_shape = self.plan.outputs[RESTORED].shape[1:] if RESTORED in self.plan.outputs else None
        attends = self.map_shape and not self.grid.is_whole_frame
        self.attention = AttentionNetwork(self.grid, self.map_shape) if attends else None
        self.built = True

    def answer_weights(self, state):
        """What the parts of an answer count for, (B, P), when they compete; None if they do not."""

    def map_part(self, answer) -> dict:
        """The part of an answer that `map_answer` gives."""
        return {}

    def map_answer(self, restored) -> dict:
        """What comes after these in an answer, if anything: what the map (B, H, W, C) of the full frame shows."""
        return {}

    def memory_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape (H, W, C) of every state tensor by name; empty for a single-frame model."""
        if self.grid.is_whole_frame:
            return {}
        if self.config.memory == "pixels":
            shapes = {"pixels": (*self.config.network_size, 3)}
        else:
            shapes = self.plan.state_shapes | self.head_memory_shapes()
        return {**shapes, "freshness": (self.grid.cells, self.grid.cells, 1)}

    def initial_state(self, batch_size: int = 1) -> dict:
        """The memory before the first frame: zeros, (batch_size, H, W, C) float32 by name."""
        return {name: ops.zeros((batch_size, *shape)) for name, shape in self.memory_shapes().items()}

    def step(self, frame, window, state):
        """One frame.

        Args:
            frame: (B, H, W, 3) float32 in [-1, 1].
            window: (B, 2) int32, row and column of the window's top left cell. None looks at the whole frame, at
                the cost of the single-frame network, and renews all memory: a warm start.
            state: dict name -> (B, h, w, C) float32, from `initial_state` or the last step.

        Frames and state may also be of fewer streams than windows: B of them and B K windows, K in a row
        for each, which are tried on one frame. All that comes out has B K items then.

        Returns:
            outputs: the task's answer for the full frame, see the subclass; 'next_window' (B, 2)
                int32; and of Patchwork models how the choice was made, float32: 'need' (B, M, M, 1), see `need`,
                'freshness' (B, M, M, 1) of the cells, and what windows are worth (B, windows): 'rule_values' by
                the rule, and 'q_values' with what the attention network adds.
            state: the new state, same names and shapes.
        """
        predictions, restored, state = self.look(frame, window, state)
        return self.conclude(predictions, restored, window, state)

    def conclude_outputs(self, outputs):
        """The same of what a single-frame model's network says of a frame, by the names of its outputs."""
        return self.conclude(self._predictions(outputs), None, None, {})

    def conclude(self, predictions, restored, window, state):
        """The outputs and the new state of a `step`, of what `look` returns."""
        outputs, state = self._answer(predictions, window, state)
        if self.grid.is_whole_frame:
            batch = ops.shape(keras.tree.flatten(outputs)[0])[0]
            return {**outputs, "next_window": ops.zeros((batch, 2), "int32")}, state
        freshness = advance_freshness(state["freshness"], window, self.grid)
        outputs |= {**self.window_values(outputs, restored, freshness), "freshness": freshness}
        outputs["next_window"] = best_window(outputs["q_values"], self.grid)
        return outputs, {**state, "freshness": freshness}

    def window_values(self, answer, restored, freshness, attention=None) -> dict:
        """'need', 'rule_values' and 'q_values', see `step`, of an answer, the map (B, H, W, C) and freshness.

        The AttentionNetwork is by default the model's own.
        """
        attention, need = attention or self.attention, self.need(answer, freshness)
        values = self.rule.values(need, freshness, self.grid)
        corrections = attention.corrections(restored, freshness, need) if attention else 0.0
        prior = values if self.config.policy_prior == "rule" else first_windows_first(self.grid)
        return {"need": need, "rule_values": values, "q_values": prior + corrections}

    @property
    def follows_attention(self) -> bool:
        """Whether attention has a say in `next_window`: it was trained, or there is nothing beside it."""
        if self.attention is None:
            return False
        return self.config.policy_prior == "none" or self.attention.is_trained

    def get_layer(self, name=None, index=None):
        """A layer by name, those of the network among them, or by index. Raises ValueError if there is none."""
        names = {layer.name for layer in self.layers}
        return (super() if index is not None or name in names else self.network).get_layer(name, index)

    def fit(self, *args, **options):
        """Raises UsageError: a frame alone has no memory to learn from."""
        raise UsageError("patchwork_tf.training.ClipModel(model) is what fits: it unrolls a model over clips")

    def call(self, inputs, window=None, state=None):
        """What Keras calls: `model(frame)` answers whole frames (B, H, W, 3), each on its own, without a memory.

        `model({"frame": frame, "window": window, **state})` is a step, as `step` returns it, and so is
        `model(frame, window, state)`.
        """
        if isinstance(inputs, dict):
            state = {name: value for name, value in inputs.items() if name not in ("frame", "window")}
            inputs, window = inputs["frame"], inputs["window"]
        shape = (*self.config.image_size, 3)
        if tuple(inputs.shape[1:]) != shape:
            raise UsageError(f"frames are (batch, {', '.join(map(str, shape))}), not {tuple(inputs.shape)}")
        if state is None:
            outputs, _ = self.step(inputs, None, self.initial_state(ops.shape(inputs)[0]))
            return outputs
        return self.step(inputs, window, state)

    def get_config(self):
        network = dataclasses.asdict(get_network(self.config.network)) if self.config.network else None
        return {
            "config": dataclasses.asdict(self.config),
            "info": dataclasses.asdict(self.info),
            "network": network,
        }

    @classmethod
    def from_config(cls, config):
        """A model as `build` makes it, from what `get_config` returns."""
        if config.get("network"):
            network = Network.from_json(config["network"])
            register_network(network.name, network)
        model = ModelConfig(**config["config"])
        return get_task(model.task).build(model, ModelInfo.from_json(config["info"]))

    def summary(self, print_fn=print, **kwargs):
        """Prints each layer with its output's shape, parameters and multiply-adds. Keras' options do nothing."""
        what = self.info.system or self.name
        print_fn(f"{what}: {self.info.weights}, {len(self.info.class_names)} classes, one step at batch size 1")
        line = "{:<34}{:<20}{:>18}{:>12}{:>15}{:>14}".format
        print_fn(line("layer", "kind", "output", "parameters", "multiply-adds", "state, bytes"))
        rows, counted = layer_costs(self), ("parameters", "macs", "state_bytes")
        for row in rows:
            counts = (f"{getattr(row, key):,}" for key in counted)
            print_fn(line(row.name, row.kind, " x ".join(map(str, row.output)), *counts))
        print_fn(line("total", "", "", *(f"{sum(getattr(row, key) for row in rows):,}" for key in counted)))

    def predict_window(self, frame, window, state):
        """The fresh predictions of one frame, as losses want them, and the new state but for `freshness`."""
        predictions, _, state = self.look(frame, window, state)
        return predictions, state

    def look(self, frame, window, state):
        """The first half of a `step`: predictions, as losses want them, the map RESTORED, the new state."""
        if self.config.network_size != self.config.image_size:
            frame = ops.image.resize(
                frame, self.config.network_size, interpolation="bilinear", data_format="channels_last"
            )
        if "pixels" in state:
            pixels = remember(state["pixels"], crop_window(frame, window, self.grid), window, self.grid)
            frame, window, state = pixels, None, {**state, "pixels": pixels}
        outputs, renewed = self.plan.run(frame, window, state)
        return self._predictions(outputs), outputs.get(RESTORED), {**state, **renewed}


class BackboneOnWindows:
    """A backbone alone, for whoever wants its feature maps. `network` shares its layers with the model."""

    def __init__(self, network, grid):
        inner = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
        maps = {layer.name: layer.output for layer in inner}
        self.network = keras.Model(network.inputs, maps, name=network.name)
        self._make_plan = functools.cache(lambda: plan_of(self.network, grid, kept=tuple(maps)))

    def step(self, frame, window, state):
        """Maps (B, h, w, C) of the window by their layers' names, and the new state; arguments as of a model."""
        maps, renewed = self._make_plan().run(frame, window, state)
        return maps, {**state, **renewed}


def pixel_centers(shape) -> np.ndarray:
    """Centres (H W, 2) of a map's pixels as fractions of the frame, row by row; `shape` is (H, W, ...)."""
    rows, columns = np.meshgrid(*((np.arange(side) + 0.5) / side for side in shape[:2]), indexing="ij")
    return np.stack([rows, columns], axis=-1).reshape(-1, 2)
