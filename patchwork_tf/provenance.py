"""What a result was made by: the version of this project, and files by their digests."""

import functools
import hashlib
import subprocess
from pathlib import Path

import patchwork_tf

_CHECKOUT = Path(__file__).parents[1]


@functools.cache
def version() -> str:
    """The project's version, and in a checkout its commit: '0.1.0 (1f35c16)', or '0.1.0 (1f35c16, changed)'."""
    if not (_CHECKOUT / ".git").exists():
        return patchwork_tf.__version__
    command = ["git", "-C", str(_CHECKOUT), "describe", "--always", "--exclude=*", "--dirty=, changed"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git here, or the checkout is another user's
        return patchwork_tf.__version__
    return f"{patchwork_tf.__version__} ({commit})"


def sha256(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
