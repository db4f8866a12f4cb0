"""TFLite export.

`pw.export(model, path, suppression=True, verify_steps=50, quantization="none", calibration=None)` writes a model's
.tflite file, proven against Keras. The quantization is "none", "float16" or "int8", calibrated on a clip, its path
or its frames. `help(patchwork_tf.export.exporting.export)` says more.
"""

import sys
import types


class _Callable(types.ModuleType):
    """This package, which can be called like the function that it is for."""

    def __call__(self, model, output, *args, **options):
        from patchwork_tf.export.exporting import export

        return export(model, output, *args, **options)


sys.modules[__name__].__class__ = _Callable
