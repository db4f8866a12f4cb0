"""A functional Keras model as a list of calls, which can be gone through with any tensors."""

import dataclasses
import functools

import keras

from patchwork_tf.errors import UsageError


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """A layer, or an operation of keras.ops, that is called once. One that is called again is in another call."""

    layer: keras.Operation
    args: tuple  # symbolic tensors in here and in kwargs stand for outputs of calls before
    kwargs: dict
    outputs: list[keras.KerasTensor]

    @functools.cached_property
    def inputs(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among its arguments."""
        return [x for x in keras.tree.flatten((self.args, self.kwargs)) if isinstance(x, keras.KerasTensor)]

    def with_inputs(self, replace) -> "Call":
        """The same of other symbolic tensors: `replace` is a function of each."""

        def replaced(x):
            return replace(x) if isinstance(x, keras.KerasTensor) else x

        args, kwargs = keras.tree.map_structure(replaced, (self.args, self.kwargs))
        return dataclasses.replace(self, args=args, kwargs=kwargs)

    def run(self, tensors: dict, *more):
        """Calls the layer on tensors by the `id` of the symbolic tensor that each stands for, and on some more."""
        args, kwargs = keras.tree.map_structure(lambda x: tensors.get(id(x), x), (self.args, self.kwargs))
        return self.layer(*args, *more, **kwargs)


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network with one input."""

    input: keras.KerasTensor  # the symbolic frame (None, H, W, C)
    calls: list[Call]  # in an order in which they can be made, those of nested models among them
    outputs: dict[str, keras.KerasTensor]


def graph_of(network: keras.Model) -> Graph:
    """The calls of a functional or sequential model. Raises UsageError if it is something else."""
    if not getattr(network, "inputs", None):
        raise UsageError(f"{network.name} is no functional Keras model, or is not built yet")
    shapes = [x.shape for x in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise UsageError(
            f"{network.name} has inputs of {', '.join(map(str, shapes))}; windows are of one input of a fixed "
            "size, (None, height, width, channels)"
        )
    calls, inputs, outputs = _recorded(network)
    names = network.output_names
    if isinstance(network.output, dict):
        names = keras.tree.flatten({name: name for name in network.output})
    return Graph(inputs[0], calls, dict(zip(names, outputs, strict=True)))


class _Recorded(keras.Operation):
    """Stands for a call while a graph is gone through: it has the layer's outputs' shapes, and nothing else."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, *args, **kwargs):
        raise NotImplementedError

    def compute_output_spec(self, *args, **kwargs):
        return self.layer.compute_output_spec(*args, **kwargs)


def _recorded(network):
    """Calls of a model, its input and its output tensors."""
    calls = []

    def record(layer, *args, **kwargs):
        outputs = _Recorded(layer)(*args, **kwargs)
        calls.append(Call(layer, args, kwargs, keras.tree.flatten(outputs)))
        return outputs

    plain = keras.Model(network.inputs, network.outputs)  # whatever its class
    clone = keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=record)
    calls, outputs = _flat(calls, clone.outputs)
    return calls, clone.inputs, outputs


def _flat(calls, outputs):
    """Calls with those of nested models in the place of these, and what the outputs are then."""
    flat, replaced = [], {}

    def known(x):
        return replaced.get(id(x), x)

    for call in calls:
        call = call.with_inputs(known)
        if not isinstance(call.layer, keras.Model):
            flat.append(call)
            continue
        inner, inputs, results = _recorded(call.layer)
        replaced |= {id(x): y for x, y in zip(inputs, call.inputs, strict=True)}
        flat += [step.with_inputs(known) for step in inner]
        replaced |= {id(x): known(y) for x, y in zip(call.outputs, results, strict=True)}
    return flat, [known(x) for x in outputs]
