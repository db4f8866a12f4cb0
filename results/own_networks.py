"""What `pw.patch` makes of well-known networks: still video in Keras, and exported files beside the network.

  python results/own_networks.py --still --json=results/still_video.json     # every network of keras.applications
  python results/own_networks.py --json=results/own_networks.json            # four networks at 384 px

Weights and statistics are random. A still frame is looked at in raster sweeps until the answer is the network's
own, to 1e-4 of the largest number. Files take turns: the whole network, the step, and the network on as many
pixels as a window has, which is the floor.
"""

import argparse
import json
import tempfile

import keras
import numpy as np
import tensorflow as tf

import patchwork_tf as pw
from patchwork_tf import files
from patchwork_tf.benchmarks import harness, workloads
from patchwork_tf.benchmarks.host import Host
from patchwork_tf.benchmarks.plan import Settings
from patchwork_tf.benchmarks.text import device
from patchwork_tf.errors import UsageError
from patchwork_tf.export import inspect
from patchwork_tf.grid import Grid

SIDE, SWEEPS, CLOSE = 128, 60, 1e-4
TIMED = ("MobileNetV2", "EfficientNetB0", "MobileNetV3Large", "ResNet50V2")


def network_of(name, side):
    """One of keras.applications, of frames in [-1, 1], with random weights and statistics."""
    keras.utils.set_random_seed(0)
    image = keras.Input((side, side, 3))
    scaled = keras.layers.Rescaling(127.5, 127.5)(image) if _takes_bytes(name) else image
    network = getattr(keras.applications, name)(input_tensor=scaled, include_top=False, weights=None)
    rng = np.random.default_rng(0)
    for variable in network.variables:
        kind = variable.path.split("/")[-1]
        if kind in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.8, 1.2, variable.shape))
        elif kind in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return network


def noise(side) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (1, side, side, 3)).astype(np.float32)


def _takes_bytes(name) -> bool:
    return name.startswith(("EfficientNet", "MobileNetV3", "ConvNeXt"))


def still_video(name) -> dict:
    """How a still frame converges; or why the network is refused."""
    frame = noise(SIDE)
    try:
        network = network_of(name, SIDE)
        model = pw.patch(network, 4, 2)
    except (UsageError, ValueError) as error:
        return {"network": name, "refused": str(error).splitlines()[0]}
    expected = network(frame).numpy()
    largest = np.abs(expected).max()
    (key,) = model.plan.outputs

    def error(outputs):
        return float(np.abs(outputs[key].numpy() - expected).max() / largest)

    step, state = tf.function(model.step, autograph=False), model.initial_state()
    errors = []
    while len(errors) < SWEEPS and (not errors or errors[-1] > CLOSE):
        for window in Grid(4, 2).raster:
            outputs, state = step(tf.constant(frame), tf.constant([window]), state)
        errors.append(error(outputs))
    whole = error(model(frame))
    return {
        "network": name,
        "whole_frame": whole,
        "first_sweep": errors[0],
        "last": errors[-1],
        "sweeps": len(errors),
    }


def timed(name, steps) -> dict:
    """Files of a network, whole, on windows and on as many pixels."""
    found = {"network": name}
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for title, cells, window, side in (
            ("whole", 1, 1, 384),
            ("floor N=2", 1, 1, 192),
            ("floor N=1", 1, 1, 96),
            ("N=2", 4, 2, 384),
            ("N=1", 4, 1, 384),
        ):
            paths[title] = f"{folder}/{title}.tflite"
            network = network_of(name, side)
            exported = pw.export(pw.patch(network, cells, window), paths[title], verify_steps=50)
            found[title] = {
                "difference": exported.comparison.max_difference,
                "partitions": inspect.operators(paths[title])[1],
                "state_mb": inspect.state_bytes(workloads.metadata.read(paths[title])) / 1e6,
            }
        run = {title: workloads.from_file(path) for title, path in paths.items()}
        target = Host(Settings(steps=steps, repeats=3))
        (report,) = harness.measure(harness.Benchmark(run, f"{folder}/kept"), [target])
        for title in paths:
            found[title]["median_ms"] = report.runs[title].statistics["median_ms"]
        found["machine"] = device(report)
    return found


def main():
    """Writes a row per network as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--networks", default="", help="separated by commas")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", required=True)
    given = parser.parse_args()
    every = [name for name in dir(keras.applications) if name[0].isupper()]
    names = given.networks.split(",") if given.networks else every if given.still else TIMED
    rows = []
    for name in names:
        rows.append(still_video(name) if given.still else timed(name, given.steps))
        print(json.dumps(rows[-1]), flush=True)
        files.write_json(given.json, rows, indent=1)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
