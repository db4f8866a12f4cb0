"""First pass of the export: a plan's calls as operations, with what is folded into convolutions."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from patchwork_tf.layers.cell import PatchworkCell
from patchwork_tf.models.patch import Plan, Step

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_ACTIVATIONS = (keras.layers.ReLU, keras.layers.Activation)


@dataclasses.dataclass(eq=False)
class Operation:
    """A call, and what is folded into it if it is a convolution."""

    step: Step  # of the plan
    output: keras.KerasTensor  # the symbol of what it computes
    norm: keras.layers.BatchNormalization | None = None
    activation: keras.layers.Layer | None = None  # after that

    @property
    def layer(self):
        """The Keras layer, without a cell around it."""
        layer = self.step.call.layer
        return layer.layer if isinstance(layer, PatchworkCell) else layer

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def input(self) -> keras.KerasTensor:
        return self.step.call.inputs[0]

    @property
    def is_relu6(self) -> bool:
        """Whether what it computes is from 0 to 6."""
        last = self.activation or self.layer
        if isinstance(last, keras.layers.ReLU):
            return last.max_value == 6
        return getattr(last, "activation", None) is keras.activations.relu6

    @property
    def is_convolution(self) -> bool:
        return type(self.layer) in _CONVOLUTIONS and getattr(self.layer, "groups", 1) == 1

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a convolution without neighbours."""
        return self.is_convolution and tuple(self.layer.kernel_size) == tuple(self.layer.strides) == (1, 1)

    @functools.cached_property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of the convolution with the normalisation after it, float32."""
        kernel, bias = constant(self.layer.kernel), 0.0
        if self.layer.use_bias:
            bias = constant(self.layer.bias)
        if norm := self.norm:
            mean, variance = constant(norm.moving_mean), constant(norm.moving_variance)
            scale = (constant(norm.gamma) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
            shift = (constant(norm.beta) if norm.center else 0.0) - mean * scale
            bias = shift + bias * scale
            kernel = kernel * (scale[:, None] if self.is_depthwise else scale)
        elif not self.layer.use_bias:
            bias = np.zeros(kernel.shape[2] if self.is_depthwise else kernel.shape[3])
        return kernel.astype(np.float32), bias.astype(np.float32)

    @property
    def is_depthwise(self) -> bool:
        return isinstance(self.layer, keras.layers.DepthwiseConv2D)

    def convolve(self, x, padding: str = "VALID"):
        """Convolution, normalisation and activation of features x (1, h, w, C)."""
        kernel, bias = self.weights
        (stride, _), (rate, _) = self.layer.strides, self.layer.dilation_rate
        if self.is_depthwise:
            x = tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), padding, dilations=(rate, rate))
        else:
            x = tf.nn.conv2d(x, kernel, self.layer.strides, padding, dilations=rate)
        return self.activated(tf.nn.bias_add(x, bias))

    def convolve_padded(self, x):
        """The same of a map of the full frame, padded as the layer says."""
        return self.convolve(x, "VALID" if self.is_pointwise else self.layer.padding.upper())

    def convolve_indicated(self, x):
        """A pointwise convolution of features (1, h, w, 1 + C); the first channel is 1 where they are known."""
        kernel, bias = self.weights
        kernel = np.concatenate([bias[None, None, None], kernel], axis=2)
        return self.activated(tf.nn.conv2d(x, kernel, 1, "VALID"))

    def activated(self, x):
        """What comes after the convolution and the normalisation."""
        if self.layer.activation is not keras.activations.linear:
            x = self.layer.activation(x)
        if self.activation is None:
            return x
        if isinstance(self.activation, keras.layers.ReLU) and self.activation.max_value == 6:
            return tf.nn.relu6(x)
        return self.activation(x)

    @property
    def is_linear(self) -> bool:
        """Whether there is no activation after the convolution."""
        return self.activation is None and self.layer.activation is keras.activations.linear

    @functools.cached_property
    def keeps_zero(self) -> bool:
        """Whether the activation of 0 is 0."""
        with tf.init_scope():
            return not np.any(self.activated(tf.zeros((1, 1, 1, 1))).numpy())


def fused(plan: Plan) -> list[Operation]:
    """The calls of a plan in their order, those that are folded into others left out."""
    found, folded = [], set()
    for step in plan.steps:
        if id(step) in folded:
            continue
        operation = Operation(step, step.call.outputs[0])
        if operation.is_convolution:
            for kinds, part in ((keras.layers.BatchNormalization, "norm"), (_ACTIVATIONS, "activation")):
                following = _only_reader(plan, operation.output)
                is_kind = following is not None and isinstance(following.call.layer, kinds)
                if is_kind and operation.layer.activation is keras.activations.linear:
                    setattr(operation, part, following.call.layer)
                    operation.output = following.call.outputs[0]
                    folded.add(id(following))
        found.append(operation)
    return found


def _only_reader(plan, symbol) -> Step | None:
    """The step that alone needs a symbol."""
    readers = [step for step in plan.steps for x in step.call.inputs if x is symbol]
    is_output = any(x is symbol for x in plan.outputs.values())
    return readers[0] if len(readers) == 1 and not is_output else None


def frozen(layer) -> keras.StatelessScope:
    """In this scope a layer's variables are constants."""
    variables = getattr(layer, "variables", ())
    return keras.StatelessScope([(variable, tf.constant(constant(variable))) for variable in variables])


def constant(variable) -> np.ndarray:
    """The value of a variable, also while a function is being traced."""
    with tf.init_scope():
        return np.array(variable)
