"""A network of one's own as a video model: it answers with its outputs, and looks where these change."""

import dataclasses
import functools

import keras
from keras import ops

from patchwork_tf.errors import UsageError
from patchwork_tf.layers.cell import crop_window, remember
from patchwork_tf.layers.memory import Remember
from patchwork_tf.models import networks
from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.patch import AUTO, PatchedModel
from patchwork_tf.models.patchwork_model import PatchworkModel
from patchwork_tf.models.rule import Rule
from patchwork_tf.runtime.answers import WINDOW_OUTPUTS

LEAST_CHANGE = 1e-3  # of an answer, relative to how large it is, that is more than rounding
MOST_SURPRISE = 4.0  # of a cell, as a multiple of the mean


@keras.saving.register_keras_serializable("patchwork_tf")
class PatchworkMaps(PatchworkModel):
    """What `pw.stream` and `pw.export` run of a network that `pw.patch` has made.

    Outputs of `step` are those of the network by their names, of the full frame, and 0 where no window has been
    yet; and 'next_window' and the windows' values, as of all models.

    The network is a functional Keras model of frames (H, W, 3) in [-1, 1], by default the one that `config` names.
    """

    # Tuned on memories composed of DeepLabV3's answers to whole frames, on every other sequence of DAVIS 2016's
    # training set. Exported, on the first 24 frames of all 30, agreement (J) with whole frames: N = 2 67.0, raster
    # 60.8, every 4th frame 67.7, every 3rd and two late 52.5; N = 1 38.8, raster 40.3, every 16th 46.0.
    rule = Rule(background=1.0, neighbours=1.0)

    def __init__(self, config, info, network=None, on_map=AUTO):
        network = network or networks.get_network(config.network).build(config.network_size)
        if taken := sorted(set(WINDOW_OUTPUTS) & set(network.output_names)):
            raise UsageError(
                f"an output of {network.name} is called {taken[0]!r}, which is what a step says of windows"
            )
        super().__init__(config, info, None, network, on_map)
        self._on_map = on_map if on_map == AUTO else list(on_map)
        together = [step for step in self.plan.steps if isinstance(step.call.layer, Remember)]
        answers = {id(x) for x in self.plan.outputs.values()}
        shown = [step for step in together if id(step.call.outputs[0]) in answers]
        # Names of the states whose changes are surprise: outputs, or if none is put together of windows what is.
        self.remembered = [step.state for step in shown or together]

    def get_config(self):
        described = networks.describe(self.network, self.config.network, self.config.image_size, {})
        facts = {"config": dataclasses.asdict(self.config), "info": dataclasses.asdict(self.info)}
        return {**facts, "network": dataclasses.asdict(described), "on_map": self._on_map}

    @classmethod
    def from_config(cls, config):
        """A model as it was, from what `get_config` returns."""
        network = networks.Network.from_json(config["network"])
        networks.register_network(network.name, network)
        model = ModelConfig(**config["config"])
        info = ModelInfo.from_json(config["info"])
        return cls(model, info, network.build(model.network_size), config["on_map"])

    def head_memory_shapes(self):
        return {"surprise": (self.grid.cells, self.grid.cells, 2)} if self.remembered else {}

    def _predictions(self, outputs):
        return outputs

    def look(self, frame, window, state):
        predictions, restored, renewed = super().look(frame, window, state)
        if self.remembered and not self.grid.is_whole_frame:
            renewed["surprise"] = self._surprise(state, renewed, window)
        return predictions, restored, renewed

    def _surprise(self, state, renewed, window):
        """What is remembered of each cell, (B, M, M, 2), when it was last looked at.

        By how much the answer changed, 0 in a whole frame, and how large its numbers were.
        """
        covered = self.grid.cells if window is None else self.grid.window_cells
        found = 0.0
        for name in self.remembered:
            new = crop_window(renewed[name], window, self.grid)
            old = new if window is None else crop_window(state[name], window, self.grid)
            cell = tuple(side // covered for side in new.shape[1:3])
            of_pixels = (ops.mean(ops.abs(x), axis=-1, keepdims=True) for x in (new - old, new))
            of_pixels = ops.concatenate(list(of_pixels), axis=-1)
            found += ops.average_pool(of_pixels, cell, cell, data_format="channels_last")
        return remember(state["surprise"], found, window, self.grid)

    def _answer(self, predictions, window, state):
        if "surprise" in state:
            predictions = {**predictions, "need": relative(state["surprise"])}
        return predictions, state

    def need(self, answer, freshness):
        """Surprise, as a multiple of its mean over the cells."""
        return answer.get("need", ops.zeros_like(freshness))

    def blank_answer(self, batch_size):
        return {name: ops.zeros((batch_size, *x.shape[1:])) for name, x in self.plan.outputs.items()}


def relative(surprise):
    """By how much cells changed, as a multiple of the mean, (B, M, M, 1): units of answers play no part.

    Of changes and how large numbers are, (B, M, M, 2): what is next to nothing beside these may be rounding. It is
    at most MOST_SURPRISE: one restless cell shall not keep all others waiting.
    """
    means = ops.mean(surprise, axis=(1, 2), keepdims=True)
    mean = ops.maximum(ops.maximum(means[..., :1], LEAST_CHANGE * means[..., 1:]), 1e-6)
    return ops.minimum(surprise[..., :1] / mean, MOST_SURPRISE)


@functools.lru_cache(maxsize=8)
def video_model(model) -> PatchworkModel:
    """A model as streams and exports take it: of a `PatchedModel` its PatchworkMaps, the same one every time."""
    if not isinstance(model, PatchedModel):
        return model
    network, grid = model.network, model.grid
    size = network.inputs[0].shape[1:3]
    config = ModelConfig("maps", grid.cells, grid.window_cells, image_size=size, network=network.name)
    system = "sf" if grid.is_whole_frame else f"pw-m{grid.cells}n{grid.window_cells}"
    info = ModelInfo(system, reference="sf", weights=f"of {network.name}")
    return PatchworkMaps(config, info, network, model.on_map)
