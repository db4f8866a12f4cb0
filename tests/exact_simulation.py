"""What windows are worth, found out the slow way: the network is run on every window, with borders as stale as
a stream has. `training.simulation` is held against it.
"""

import keras
from keras import ops

from patchwork_tf.streaming.policies import answer_score
from patchwork_tf.training.clip_model import model_frame, start
from patchwork_tf.training.simulation import Simulation


def restored_state(model) -> str:
    """The name of the state that is the map of the full frame that attention looks at."""
    restored = model.plan.outputs["restored"]
    return next(step.state for step in model.plan.steps if step.call.outputs[0] is restored)


class ExactSimulation(Simulation):
    """Runs the network on all windows of every frame."""

    def _begin(self, clip):
        answer, memory = start(self.network, clip)
        return {"frames": clip["frames"]}, self._state(answer, memory)

    def _look(self, seen, action, state, truth):
        network, count = self.network, len(self.covered)
        windows = ops.tile(ops.convert_to_tensor(network.grid.windows, dtype="int32"), (action.shape[0], 1))
        answers, memories = network.step(model_frame(seen["frames"]), windows, state["memory"])
        truths = {key: ops.repeat(x, count, axis=0) for key, x in truth.items()}
        scores = ops.reshape(answer_score(network, answers, truths), (-1, count))
        after = self._state({key: answers[key] for key in state["answer"]}, memories)
        found = {"rewards": scores - answer_score(network, state["answer"], truth)[:, None]}
        for name, attention in (("next_online", network.attention), ("next_target", self.target)):
            found[name] = ops.reshape(self._values(attention, after)["q_values"], (-1, count, count))
        chosen = ops.arange(action.shape[0], dtype="int32") * count + action
        return found, keras.tree.map_structure(lambda x: ops.take(x, chosen, axis=0), after)

    def _state(self, answer, memory):
        restored = memory[restored_state(self.network)]
        return {"restored": restored, "freshness": memory["freshness"], "answer": answer, "memory": memory}
