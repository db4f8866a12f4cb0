"""From a model to a file that is proven, quantized if wanted, and only then written."""

import contextlib
import dataclasses
import itertools
import os
import tempfile

import numpy as np

from patchwork_tf import files
from patchwork_tf.bars import progress
from patchwork_tf.choices import CALIBRATION_FRAMES, QUANTIZATIONS
from patchwork_tf.data import moving_objects
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.export import metadata, verify
from patchwork_tf.export.quantize import load_quantizer, quantize
from patchwork_tf.export.tflite import Step, convert
from patchwork_tf.models.maps import video_model
from patchwork_tf.runtime.network import Network
from patchwork_tf.streaming.stream import model_input

_CALIBRATION_CLIPS = 4  # of moving_objects, if no video is given


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written."""

    comparison: verify.Comparison | None  # with Keras, of the file in float32; None if it was left out
    quantized: verify.Comparison | None = None  # the same of the quantized file, None if it is in float32

    def __str__(self):
        if self.quantized is None:
            return str(self.comparison)
        return f"in float32 {self.comparison}; quantized {self.quantized}"


def export(model, output, suppression=True, verify_steps=50, quantization="none", calibration=None) -> Exported:
    """Converts, verifies and writes a model.

    Args:
        model: as from `build`, `load` or `patch`.
        output: path of the .tflite file; it appears when everything is good.
        suppression: as for `Step`.
        verify_steps: how many random steps must agree; 0 leaves that to whoever compares the file.
        quantization: one of QUANTIZATIONS. A quantized file is held against Keras too, and the difference told.
        calibration: for int8, path or (h, w, 3) uint8 frames of a video; by default clips of moving_objects.

    Raises:
        DataError: if the file in float32 does not agree with Keras, or cannot be written.
        UsageError: if there is calibration of anything but int8, or ai-edge-quantizer is not installed.
    """
    model = video_model(model)
    if quantization not in QUANTIZATIONS:
        raise UsageError(f"quantization must be one of {', '.join(QUANTIZATIONS)}, not {quantization}")
    if calibration is not None and quantization != "int8":
        raise UsageError("calibration is for int8, --quantize=int8")
    if quantization == "int8":
        load_quantizer()  # if it is missing, that is said before minutes of work
    if isinstance(calibration, str | os.PathLike):
        calibration = itertools.islice(Video(os.fspath(calibration)), CALIBRATION_FRAMES)
    step = Step(model, suppression, in_8_bits=quantization == "int8")
    facts = {**metadata.describe(step), "quantization": quantization}
    comparison = quantized = None
    if verify_steps or quantization != "float16":
        content = convert(step, facts)
    if verify_steps:
        comparison = _compared(model, content, verify_steps)
        verify.check(comparison, output)
    if quantization == "float16":
        content = convert(step, facts, float16=True)
    elif quantization == "int8":
        content, facts["states"] = quantize(content, _samples(model, content, calibration))
        content = metadata.insert(content, facts)
    if verify_steps and quantization != "none":
        quantized = _compared(model, content, verify_steps, verify.QUANTIZED_TOLERANCE)
    with files.atomic_file(output) as file:
        file.write(content)
    return Exported(comparison, quantized)


def _compared(model, content, steps, tolerance=verify.TOLERANCE):
    with _saved(content) as path, progress(total=steps, unit="step", desc="verifying") as bar:
        return verify.compare(model, path, steps, tolerance=tolerance, progress=bar.update)


@contextlib.contextmanager
def _saved(content):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(content)
        yield path


def _samples(model, content, frames) -> list[dict]:
    """Inputs of a file while it runs over a video, in windows at random, its states rolling on."""
    rng, samples = np.random.default_rng(0), []
    if frames is None:
        size, count = max(model.config.image_size), CALIBRATION_FRAMES // _CALIBRATION_CLIPS
        clips = (moving_objects.render_clip(index, count, size, "train") for index in range(_CALIBRATION_CLIPS))
        frames = itertools.chain.from_iterable(clip.frames for clip in clips)
    with _saved(content) as path:
        network = Network(path)
        for frame in frames:
            window = rng.integers(0, model.grid.positions, 2, dtype=np.int32)
            image = model_input(frame, model.config.image_size, model.info.resize_mode)
            samples.append({"frame": image, "window": window, **network.states()})
            network.step(image, window)
    return samples
