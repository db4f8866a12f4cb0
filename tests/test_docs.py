"""All commands and all Python in README.md and docs/, run as they are written, by networks of four layers."""

import concurrent.futures
import dataclasses
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import exports
import keras
import needs
import numpy as np
import pytest
import tensorflow as tf
from conftest import save_fresh
from PIL import Image

import patchwork_tf as pw
from patchwork_tf.benchmarks import native
from patchwork_tf.commands import compare_files
from patchwork_tf.data import video
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.export import exporting
from patchwork_tf.zoo import checkpoints, systems

ROOT = Path(__file__).parents[1]
# Each goes on with what those before it have left in the folder.
PAGES = ("your_data", "README", "use", "measure", "your_network", "systems", "extending")
LANGUAGES = {"": "commands", "python": "python"}
FEWER = {
    "train": "--steps=1 --batch_size=1 --clip_frames=1 --warmup_steps=0",
    "demo": "--max_frames=3",
    "compare": "--max_frames=3 --types=none",
    "evaluate": "--num_videos=1 --max_frames=3",
    "benchmark": "--steps=8",
    "export": "--verify_steps=1",
    "recipe": "--dry_run",
}
# What takes what is not here, or is run whole by another test.
ELSEWHERE = {
    "make demo": ".ci/run",
    "make test": ".ci/run",
    "make web": "test_web.py::test_command",
    "patchwork-web": "test_web.py::test_command",
    "--target=adb": "test_phone_command.py",
    "--dataset=imagenet_vid": "test_prepare.py",
    "--dataset=coco_scenes": "test_coco_scenes.py",
    "--dataset=coco ": "needs 25 GB",
    "--report=": "test_report.py",
    "--task=": "test_scoring.py",
    "--camera": "needs cameras",
    "patchwork-tables": "test_zoo.py",
    "vid-pw-m8n3": "test_extending.py",
    "ffmpeg": "test_library.py",
    "cmake": "test_library.py",
    "make native": "test_runner_builds.py",
    "make bundle": "test_runner_builds.py",
    "build/native": "test_runner.py",
    "bazel": "test_runner_builds.py",
    "$NDK": "needs the NDK",
    "libLiteRt.so pw.tflite golden": "test_library.py",
}


def blocks(page):
    """(language, text) of every block of a page that can be run."""
    text = (ROOT / ("README.md" if page == "README" else f"docs/{page}.md")).read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(language, body.replace("\\\n", " ")) for language, body in found if language in LANGUAGES]


class InThisProcess(concurrent.futures.ThreadPoolExecutor):
    """A pool of one thread, in the place of processes."""

    def __init__(self, workers, **options):
        super().__init__(1)


@pytest.fixture(scope="module")
def small_zoo(small_networks, tmp_path_factory):
    """Every system of the zoo under its name, with a network of four layers, and weights of it as if shipped."""
    pretrained, before = tmp_path_factory.mktemp("pretrained"), dict(systems._BY_NAME)
    patch = pytest.MonkeyPatch()
    for name, system in before.items():
        if name.startswith(("vid-", "davis-", "oid-")):
            more = {"heads": "ssd", "num_classes": 3} if system.task == "detection" else {}
            model = dataclasses.replace(system.model, backbone="four layers", depth=0.5, image_size=128, **more)
            systems._BY_NAME[name] = dataclasses.replace(system, model=model)
    for weights in ("vid", "oid", "davis"):
        path = save_fresh(pretrained / weights, f"{weights}-sf")
        shutil.copy(path, pretrained / f"{weights}.npz")
    patch.setattr(checkpoints, "_PRETRAINED", pretrained)
    export = exporting.export

    def cached(*args, **options):
        with pytest.MonkeyPatch.context() as real:
            real.setattr(exporting, "export", export)
            return exports.export(*args, **options)

    patch.setattr(exporting, "export", cached)
    patch.setattr(compare_files, "export", cached)
    patch.setattr(concurrent.futures, "ProcessPoolExecutor", InThisProcess)  # others would not know the networks
    yield
    patch.undo()
    systems._BY_NAME.clear()
    systems._BY_NAME.update(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_zoo):
    """Where a reader is who has the checkout beside, with the clips and files that pages speak of."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("runtime", "recipes", "tools"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "libLiteRt.so").symlink_to(native.library_path())
    frames = render_clip(3, 4, 128).frames
    video.write_video(str(folder / "clip.mp4"), frames, 1 / 25)
    for number in range(10):
        clip = folder / f"MINE/clip{number}"
        clip.mkdir(parents=True)
        for t in range(2):
            Image.fromarray(frames[t]).save(clip / f"{t}.jpg")
            (clip / f"{t}.txt").write_text(f"{number % 2} 0.5 0.5 0.25 0.25\n")
    (folder / "MINE/data.yaml").write_text("names: [Person, mug]\n")
    (folder / "FOLDER/train/one").mkdir(parents=True)
    Image.fromarray(frames[0]).save(folder / "FOLDER/train/one/000.jpg")
    (folder / "FOLDER/train/one/boxes.csv").write_text("000.jpg,cup,8,8,64,64\n")
    shutil.copytree(folder / "FOLDER/train", folder / "FOLDER/validation")
    tiny = [sys.executable, str(ROOT / "recipes/tiny.py"), "--layout=davis2016", f"--output={folder}/DAVIS"]
    subprocess.run(tiny, check=True, capture_output=True)
    (folder / "labels.txt").write_text("a\nb\nc\n")
    (folder / "yours.tflite").write_bytes(eight_bits())
    exporting.export(pw.build("oid-sf"), str(folder / "sf.tflite"), True, 1)
    return folder


def eight_bits() -> bytes:
    """A segmenter of three classes and background."""
    frame = keras.Input((64, 64, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu")(frame)
    converter = tf.lite.TFLiteConverter.from_keras_model(
        keras.Model(frame, keras.layers.Softmax()(keras.layers.Conv2D(4, 1)(x)))
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [
        [np.linspace(-1, 1, 12288, dtype=np.float32).reshape(1, 64, 64, 3)]
    ]
    converter.inference_input_type = tf.uint8
    return converter.convert()


def run(line) -> str:
    """Runs a line as it is, but for fewer steps and frames; returns what other programs than ours print."""
    words = shlex.split(line, comments=True)
    if any(mark in line for mark in ELSEWHERE):
        return ""
    if not words[0].startswith("patchwork-"):
        paths = {
            "PYTHONPATH": f"{ROOT}/runtime/python",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(line, shell=True, capture_output=True, text=True, env={**os.environ, **paths})
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout
    ((module, function),) = re.findall(rf'"{words[0]} = ([\w.]+):(\w+)"', (ROOT / "setup.py").read_text())
    flags = [word for word in words[1:] if not word.startswith("--backbone_weights")]  # which are downloaded
    fewer = FEWER.get(words[0].removeprefix("patchwork-"), "").split()
    fewer = [word for word in fewer if not ("--tflite" in line and word.startswith("--verify"))]
    assert getattr(importlib.import_module(module), function)([*flags, *fewer]) == 0, line
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page(page, small_zoo, folder, monkeypatch, capsys):
    needs.compiler()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    said = {"pw": pw, "frames": render_clip(5, 3, 128).frames, "model": pw.build("davis-pw-m4n2")}
    printed, of_page = "", blocks(page)
    for (language, text), (_, following) in zip(of_page, [*of_page[1:], ("", "")], strict=True):
        if not language:
            printed += "".join(run(line) for line in text.splitlines())
        elif "--plugins=mine" in following:  # commands are to find it there
            (folder / "mine.py").write_text(f"import patchwork_tf as pw\n{text}")
            sys.modules.pop("mine", None)
        elif "patchwork_runtime" not in text:  # test_runtime.py has that, without us
            if "Recorded" in text:
                recorded(folder)
            exec(text, said)
    if check := CHECKS.get(page):
        check(said, printed, capsys.readouterr().out)


def recorded(folder):
    """What a target of one's own reads."""
    for name in ("vid-sf", "vid-pw-m4n2"):
        exporting.export(pw.build(name), str(folder / f"{name}.tflite"), True, 1)
        (folder / f"{name}.txt").write_text("3.5\n" * 100)


def check_network(said, printed, told):
    """The C library says of the file what Python says."""
    assert "ratios to sf" in told
    answers = list(pw.stream("mask.tflite", said["frames"]))
    lines = re.findall("frame .*|  foreground .*", printed)
    assert len(lines) == 2 * len(answers)
    for frame, foreground, answer in zip(lines[::2], lines[1::2], answers, strict=True):
        window = "whole" if answer.window is None else "window {} {}".format(*answer.window)
        assert frame.endswith(window)
        np.testing.assert_allclose(float(foreground.split()[1]), answer.maps["mask"].mean(), atol=1e-4)


def check_data(said, printed, told):
    assert len(Path("log.csv").read_text().splitlines()) == 3
    assert pw.load("mine.keras").config.cells == 4
    assert np.isfinite(float(said["loss"]))


def check_extending(said, printed, told):
    assert "ratios to v3-sf" in told
    answers = list(pw.stream(said["model"], said["frames"], "impatient"))
    assert answers[1].window != answers[2].window
    image = keras.Input((64, 64, 3))
    network = keras.Model(image, said["Sharpen"]()(keras.layers.Conv2D(4, 3, padding="same")(image)))
    model, frame = pw.patch(network, cells=4, window=2), said["frames"][:1, :64, :64] / np.float32(127.5) - 1
    state = model.initial_state(1)
    for _ in range(3):
        for window in model.grid.raster:
            answer, state = model.step(frame, np.array([window], np.int32), state)
    (found,) = (value for value in answer.values() if value.shape[1:] == (64, 64, 4))
    np.testing.assert_allclose(found, network(frame), atol=1e-5)


CHECKS = {"your_network": check_network, "your_data": check_data, "extending": check_extending}


def test_the_marks_of_what_runs_elsewhere_are_true():
    lines = "\n".join(text for page in PAGES for language, text in blocks(page) if not language)
    for mark, where in ELSEWHERE.items():
        assert mark in lines
        name, _, test = where.partition("::")
        if name.startswith("test_"):
            assert f"def {test or 'test_'}" in (ROOT / "tests" / name).read_text()
