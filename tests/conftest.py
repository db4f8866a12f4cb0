"""Fixtures that several test files share."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest

import patchwork_tf as pw


def _data_folder() -> Path:
    """Real files to try things on, which are not part of the project: named, or found beside the checkout."""
    named = os.environ.get("PATCHWORK_TEST_DATA")
    beside = Path(__file__).parents[2].glob("*/data/imagenet_photos")
    return Path(named) if named else next((folder.parent for folder in beside), Path("real data"))


DATA = _data_folder()


@pytest.fixture(scope="session")
def real_data():
    """Function of a path below the folder of real files, to the path; skips the test if it is missing."""

    def find(relative):
        path = DATA / relative
        if not path.exists():
            pytest.skip(f"no {relative}: set PATCHWORK_TEST_DATA to a folder that holds it")
        return str(path)

    return find


@pytest.fixture(scope="session")
def small():
    """Function that builds a system's model, small unless overridden, with weights as if trained."""

    def build(name, seed=0, **overrides):
        keras.utils.set_random_seed(seed)
        fields = {"image_size": 128, "depth": 0.35, "num_classes": 10, **overrides}
        model = pw.build(pw.get_system(name).model, **fields)
        randomise(model, seed)
        return model

    return build


def randomise(model, seed=0):
    """Gives batch norms and biases values as after training: fresh ones would hide mistakes."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.split("/")[-1]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif "_classes/" in variable.path:
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif "_boxes/" in variable.path:  # sizes are exponentials: tame, or they magnify rounding errors
            variable.assign(rng.normal(0, 0.03, variable.shape))


def random_frames(rng, count, image_size):
    """(count, H, W, 3) float32 in [-1, 1], noise that is coarse and fine."""
    height, width = image_size
    coarse = rng.uniform(-1, 1, (count, height // 16, width // 16, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return (0.7 * coarse + 0.3 * rng.uniform(-1, 1, (count, height, width, 3))).astype(np.float32)
