"""What goes wrong, in one line each that says what to do."""


class UsageError(ValueError):
    """What was asked for cannot be. Commands end with exit code 2."""


class DataError(Exception):
    """A file, frame or device is missing, damaged or of another kind. Commands end with exit code 1."""
