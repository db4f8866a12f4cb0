"""TFLite export. `pw.export(model, path)` is `exporting.export`."""

import sys
import types


class _Callable(types.ModuleType):
    """This package, which can be called like the function that it is for."""

    def __call__(
        self, model, output, suppression=True, verify_steps=50, quantization="none", calibration=None
    ):
        """Writes a model's .tflite file, proven against Keras: `help(patchwork_tf.export.exporting.export)`."""
        from patchwork_tf.export.exporting import export

        return export(model, output, suppression, verify_steps, quantization, calibration)


sys.modules[__name__].__class__ = _Callable
