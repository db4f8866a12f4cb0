"""Errors that are the user's to mend; commands print them as one line (see cli.py)."""


class UsageError(ValueError):
    """A wrong flag, argument or configuration: says what would be right. Exit code 2."""


class DataError(Exception):
    """A file that is missing, corrupt or of another kind: names it. Exit code 1."""
