"""TFLite export. `pw.export(model, path)` is `exporting.export`."""

import sys
import types


class _Callable(types.ModuleType):
    """This package, which can be called like the function that it is for."""

    def __call__(self, model, output, **options):
        from patchwork_tf.export.exporting import export

        return export(model, output, **options)


sys.modules[__name__].__class__ = _Callable
