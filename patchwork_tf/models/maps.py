"""A network of one's own as a video model: it answers with its outputs, and looks where it has not for long."""

import functools

from keras import ops

from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import ModelConfig, ModelInfo
from patchwork_tf.models.patch import PatchedModel
from patchwork_tf.models.patchwork_model import PatchworkModel
from patchwork_tf.models.rule import Rule
from patchwork_tf.task import WINDOW_OUTPUTS


class PatchworkMaps(PatchworkModel):
    """What `pw.stream` and `pw.export` run of a network that `pw.patch` has made.

    Outputs of `step` are those of the network by their names, of the full frame, and 0 where no window has been
    yet; and 'next_window' and the windows' values, as of all models.

    Args:
        network: functional Keras model of frames (H, W, 3) in [-1, 1].
        grid: the frame's Grid.
        on_map: as for `patch`.
    """

    # Nothing is known of what the answer needs: windows differ by how long ago they were looked through.
    rule = Rule(background=1.0, neighbours=0.0)

    def __init__(self, network, grid, on_map=()):
        config = ModelConfig(
            "maps", grid.cells, grid.window_cells, image_size=network.inputs[0].shape[1:3], backbone=network.name
        )
        if taken := sorted(set(WINDOW_OUTPUTS) & set(network.output_names)):
            raise UsageError(
                f"an output of {network.name} is called {taken[0]!r}, which is what a step says of windows"
            )
        system = "sf" if grid.is_whole_frame else f"pw-m{grid.cells}n{grid.window_cells}"
        info = ModelInfo(system, reference="sf", weights=f"of {network.name}")
        super().__init__(config, info, None, network, on_map)

    def head_memory_shapes(self):
        return {}

    def _predictions(self, outputs):
        return outputs

    def _answer(self, predictions, window, state):
        del window
        return predictions, state

    def need(self, answer, freshness):
        del answer
        return ops.zeros_like(freshness)

    def blank_answer(self, batch_size):
        return {name: ops.zeros((batch_size, *x.shape[1:])) for name, x in self.plan.outputs.items()}


@functools.lru_cache(maxsize=8)
def video_model(model) -> PatchworkModel:
    """A model as streams and exports take it: of a `PatchedModel` its PatchworkMaps, the same one every time."""
    if not isinstance(model, PatchedModel):
        return model
    return PatchworkMaps(model.network, model.grid, model.on_map)
