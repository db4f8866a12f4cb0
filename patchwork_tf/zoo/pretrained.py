"""The weights that come with the package, one file for all systems that share them.

What they were trained on, what they score and what they cannot do is in docs/models.
"""

from pathlib import Path

from patchwork_tf.zoo.systems import get_system, list_systems

_FOLDER = Path(__file__).parents[1] / "pretrained"


def list_pretrained() -> list[str]:
    """Names of the systems that `load` has weights for."""
    return [name for name in list_systems() if find(name)]


def find(name: str) -> str | None:
    """Path of the weights of a system, None if there are none or there is no such system."""
    if name not in list_systems():
        return None
    config = get_system(name).model
    path = _FOLDER / f"{name.partition('-')[0]}.npz"
    # Of the paper's systems those are left out that the weights were not made for: other depths, fewer pixels.
    return str(path) if path.exists() and config.depth == 1.0 and config.resolution == 1.0 else None
