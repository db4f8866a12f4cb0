"""Progress bars."""

import sys

from tqdm import tqdm


def progress(**options) -> tqdm:
    """A progress bar: of the terminal's width, or, in a log file, a line a minute."""
    if sys.stderr is None:  # of daemons
        return tqdm(**options, disable=True)
    if not sys.stderr.isatty():
        options = {"mininterval": 60, "maxinterval": 120, "ncols": 100, **options}
    return tqdm(**{"dynamic_ncols": sys.stderr.isatty(), **options})
