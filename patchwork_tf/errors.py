"""Errors that are the user's to mend; commands print them as one line (see cli.py)."""

from patchwork_tf.runtime.errors import DataError, UsageError

__all__ = ["DataError", "UsageError"]
