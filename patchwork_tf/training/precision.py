"""Training in half precision: what layers compute on the way has 16 bits.

Weights, what is remembered of earlier frames, batch statistics, answers and losses stay in float32, and so do
checkpoints.
"""

import keras

from patchwork_tf.layers.cell import PatchworkCell


def compute_in(model, precision: str):
    """Has a model's network compute in 'float32', 'bfloat16' or 'float16', but for the layers that answer."""
    if precision == "float32":
        return
    answers = {id(symbol) for symbol in model.plan.outputs.values()}
    for step in model.plan.steps:
        layer = step.call.layer
        if isinstance(layer, PatchworkCell):
            layer = layer.layer
        elif step.looks or step.remembers or any(id(symbol) in answers for symbol in step.call.outputs):
            continue
        if isinstance(layer, keras.layers.Layer):
            layer.dtype_policy = f"mixed_{precision}"
