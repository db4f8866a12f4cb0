"""The commands as users run them: end to end, and what they say to bad input."""

import csv
import importlib.util
import io
import json
import os
import re
import subprocess
import sys

import exports
import numpy as np
import pytest
from absl import flags
from absl.flags import FlagValues

from patchwork_tf import cli, demo, evaluate, prepare, train
from patchwork_tf.benchmarks import __main__ as benchmark
from patchwork_tf.commands import train_run
from patchwork_tf.data.video import Video
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.export import __main__ as export
from patchwork_tf.export import exporting, import_command, metadata
from patchwork_tf.models.weights import read_npz
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_networks):
    """Training folder of a single-frame detector, 2 steps old, whose weights Patchwork takes."""
    folder = str(tmp_path_factory.mktemp("runs") / "sf")
    flags = ["--system=small-boxes-sf", "--batch_size=2", "--clip_frames=1", f"--model_dir={folder}"]
    assert train.main([*flags, "--steps=2", "--log_every=1"]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """What was trained, as a Patchwork file."""
    path = str(tmp_path_factory.mktemp("exported") / "pw.tflite")
    flags = ["--system=small-boxes", f"--checkpoint={trained}", "--verify_steps=5"]
    assert export.main([*flags, f"--output={path}"]) == 0
    return path


def fails(command, flags, code, *words):
    """Runs a command that must fail with one line that has all the words."""

    def check(capsys):
        assert command.main(flags) == code
        lines = capsys.readouterr().err.strip().splitlines()
        assert "Traceback" not in "".join(lines)
        for word in words:
            assert word in lines[-1]

    return check


@pytest.mark.slow
def test_from_training_to_the_annotated_video(trained, exported, tmp_path, capsys):
    assert os.path.exists(os.path.join(trained, "checkpoint-00000002.npz"))
    with open(os.path.join(trained, "history.csv"), newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]

    scores = tmp_path / "scores.json"
    flags = [f"--checkpoint={trained}", "--num_videos=2", "--max_frames=5", f"--json={scores}"]
    assert evaluate.main(["--system=small-boxes-sf-int4,small-boxes", "--policy=rule,raster", *flags]) == 0
    rows = json.loads(scores.read_text())
    assert [(row["system"], row["policy"]) for row in rows] == [
        ("small-boxes-sf-int4", "whole frame"),
        ("small-boxes", "rule"),
        ("small-boxes", "raster"),
    ]
    assert all(row["frames"] == 10 and 0 <= row["mAP_vid"] <= 1 and row["step"] == 2 for row in rows)
    assert "mAP@0.5" in capsys.readouterr().out

    assert metadata.read(exported)["weights"] == "trained on moving_objects as small-boxes-sf, step 2"

    video = tmp_path / "out.mp4"
    flags = ["--system=small-boxes", f"--checkpoint={trained}", "--video=moving_objects:1", "--max_frames=6"]
    assert demo.main([*flags, f"--output={video}"]) == 0
    assert Video(str(video)).num_frames == 6


@pytest.mark.slow
def test_benchmark(small_networks, tmp_path, capfd):
    path = tmp_path / "latency.json"
    systems = ["small-boxes", "small-boxes-sf-int4-delay3", "small-boxes-sf-int4"]
    flags = [f"--system={','.join(systems)}", "--steps=132"]
    assert benchmark.main([*flags, f"--json={path}", f"--html={tmp_path}/latency.html"]) == 0
    result = json.loads(path.read_text())
    assert result["machine"]["runner"] == "native"
    assert list(result["systems"]) == ["small-boxes-sf", *systems]
    for row in result["systems"].values():
        assert [len(repeat["samples"]) for repeat in row["repeats"]] == [128, 4]
        assert row["median_ms"] == pytest.approx(np.median(row["samples"]), abs=1e-3)
        assert row["p95_ms"] <= row["p99_ms"] <= max(row["samples"]) + 1e-3
    assert result["systems"]["small-boxes-sf"]["ratio_median"] == 1.0
    kinds = {name: row["kinds"].keys() for name, row in result["systems"].items()}
    assert kinds == {
        "small-boxes-sf": {"whole"},
        "small-boxes": {"window"},
        "small-boxes-sf-int4-delay3": {"part"},
        "small-boxes-sf-int4": {"key", "skip"},
    }
    row = result["systems"]["small-boxes-sf-int4"]
    assert row["kinds"]["skip"]["p99_ms"] < row["kinds"]["key"]["median_ms"] / 10
    assert row["mflops_avg"] == pytest.approx(row["mflops_max"] / 4)
    assert row["file"]["weights"] == "random weights"
    assert result["systems"]["small-boxes"]["file"]["state_bytes"] > row["file"]["state_bytes"] == 0
    assert "small-boxes-sf-int4" in (tmp_path / "latency.html").read_text()
    late = result["systems"]["small-boxes-sf-int4-delay3"]["samples"]
    assert late[0] == late[1] == late[2] == late[3]  # one inference, spread over four frames
    assert result["machine"]["threads"] == 1
    said = capfd.readouterr()
    assert "p95 / p99" in said.out
    assert "INFO" not in said.err


@pytest.mark.slow
def test_types_of_numbers_are_compared_in_one_run(small, tmp_path, capsys):
    model, path = small("oid-sf", image_size=64), tmp_path / "latency.json"
    files = {kind: str(tmp_path / f"{kind}.tflite") for kind in ("none", "float16")}
    for kind, file in files.items():
        exports.export(model, file, verify_steps=1, quantization=kind)
    both = f"--tflite={','.join(files.values())}"
    assert benchmark.main([both, "--steps=4", f"--json={path}", f"--html={tmp_path}/latency.html"]) == 0
    result = json.loads(path.read_text())["systems"]
    assert {name: row["reference"] for name, row in result.items()} == {
        "oid-sf": "oid-sf",
        "oid-sf.float16": "oid-sf.float16",
    }
    assert result["oid-sf.float16"]["file"]["bytes"] < 0.6 * result["oid-sf"]["file"]["bytes"]
    assert benchmark.main([f"{both},{files['float16']}"]) == 2
    assert "two files of oid-sf.float16; measure one of them" in capsys.readouterr().err


def test_benchmark_without_a_compiler(monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", "nowhere")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    fails(benchmark, ["--system=vid-sf"], 1, "no C compiler here: apt-get install gcc")(capsys)


@pytest.mark.slow
def test_demo_on_a_real_video(exported, clip, tmp_path):
    output = str(tmp_path / "out.mp4")
    assert demo.main([f"--tflite={exported}", f"--video={clip}", f"--output={output}", "--max_frames=5"]) == 0
    frames, (height, width, _) = list(Video(output)), next(iter(Video(clip))).shape
    assert len(frames) == 5
    assert frames[0].shape[1] / frames[0].shape[0] == pytest.approx(width / height, rel=0.01)


BAD = {
    "unknown system": (train, ["--system=vid-sg", "--model_dir=x"], 2, "vid-sg", "vid-pw-m4n2"),
    "no model_dir": (train, ["--system=vid-sf"], 2, "--model_dir is required"),
    "size": (train, ["--image_size=100", "--model_dir=x"], 2, "100x100", "128x128"),
    "size text": (train, ["--image_size=big", "--model_dir=x"], 2, "--image_size=big", "HEIGHTxWIDTH"),
    "unknown flag": (train, ["--modeldir=x"], 2, "modeldir"),
    "stray word": (train, ["sf"], 2, "'sf'"),
    "not a number": (train, ["--steps=many"], 2, "steps"),
    "policy": (evaluate, ["--policy=best"], 2, "best", "raster"),
    "too many checkpoints": (evaluate, ["--system=vid-sf", "--checkpoint=a,b"], 2, "2 values for 1 systems"),
    "no checkpoint": (evaluate, ["--checkpoint=/nowhere"], 1, "/nowhere", "no checkpoint file"),
    "no output": (export, [], 2, "--output is required"),
    "no video": (demo, ["--output=x.mp4"], 2, "--video is required"),
    "video": (demo, ["--image_size=128", "--video=/none.mp4", "--output=x.mp4"], 1, "/none.mp4", "no such file"),
    "format": (demo, ["--video=a.mp4", "--output=x.avi"], 2, "x.avi", ".mp4 or a .gif"),
    "clip": (demo, ["--image_size=128", "--video=moving_objects:x", "--output=x.gif"], 2, "moving_objects:3"),
    "benchmark": (benchmark, ["--system=vid-xx"], 2, "vid-xx", "vid-sf"),
    "target": (benchmark, ["--target=moon"], 2, "moon"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command, flags, code, *words = BAD[case]
    fails(command, flags, code, *words)(capsys)
    assert os.listdir(tmp_path) == []


OWN_INPUT = {
    "video": (demo, "--video=moving.mp4,{}", "--output={}"),
    "answers": (demo, "--video={}", "--json={}"),
    "exported file": (demo, "--video=moving.mp4", "--tflite=a.tflite,{}", "--json={}"),
    "scored file": (evaluate, "--tflite={}", "--json={}"),
    "predictions": (evaluate, "--task=detection", "--predictions={}", "--ground_truth=b.json", "--json={}"),
    "data": (evaluate, "--data_dir={}", "--save_predictions={}"),
    "weights": (export, "--checkpoint={}", "--output={}"),
    "calibration": (export, "--calibration={}", "--quantize=int8", "--output={}"),
    "golden": (export, "--checkpoint={}", "--golden={}", "--output=x.tflite"),
    "labels": (import_command, "--tflite=x.tflite", "--labels={}", "--model_dir={}"),
    "report": (benchmark, "--report={}", "--json={}"),
    "scores": (benchmark, "--scores=other.json,{}", "--html={}"),
    "two outputs": (benchmark, "--json={}", "--html={}"),
    "first weights": (train, "--init_checkpoint={}", "--model_dir={}"),
    "videos": (train, "--data_dir={}", "--model_dir={}"),
    "folder to prepare": (prepare, "--dataset=folder", "--manual_dir={}", "--data_dir={}"),
}
OF_FOLDERS = {"data", "golden", "first weights", "videos", "folder to prepare"}


@pytest.mark.parametrize("case", OWN_INPUT)
def test_what_is_read_is_not_written_over(case, tmp_path, monkeypatch, capsys):
    """Through a link, and before anything is read: nothing here could be."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("own.mp4") if case in OF_FOLDERS else (tmp_path / "own.mp4").write_text("mine")
    os.symlink("own.mp4", "link.mp4")
    command, *flags = OWN_INPUT[case]
    names = iter(("own.mp4", "link.mp4"))
    flags = [flag.format(next(names)) if "{}" in flag else flag for flag in flags]
    fails(command, flags, 2, "would be written over --", "own.mp4", "link.mp4")(capsys)
    assert sorted(os.listdir(tmp_path)) == ["link.mp4", "own.mp4"]


def test_first_weights_are_not_among_the_checkpoints_that_are_removed(tmp_path, capsys):
    path = tmp_path / "checkpoint-00000001.npz"
    path.write_text("weights")
    fails(train, [f"--init_checkpoint={path}", f"--model_dir={tmp_path}"], 2, "old checkpoints are removed")(
        capsys
    )


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "?a??"), ("cp1252", "?a\xe9?"), ("utf-8", "日aé?")])
def test_names_that_the_output_cannot_show(encoding, shown, monkeypatch):
    """The last one is of a file name that is no text."""
    output = io.TextIOWrapper(io.BytesIO(), encoding)
    as_a_process(monkeypatch, output)
    assert cli.run(lambda: print("日aé\udcff"), FlagValues(), "command", "") == 0
    assert output.buffer.getvalue() == f"{shown}\n".encode(encoding)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_told(monkeypatch, capsys):
    with open("/dev/full", "w") as output:
        as_a_process(monkeypatch, output)
        assert cli.run(lambda: print("a row"), FlagValues(), "command", "") == 1
    assert capsys.readouterr().err == "command: No space left on device\n"


def as_a_process(monkeypatch, output):
    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")  # leaves standard error alone


@pytest.mark.slow
def test_corrupt_and_foreign_checkpoints(trained, tmp_path, capsys):
    good = checkpoints.latest(trained)
    with open(good, "rb") as file:
        content = file.read()
    cut = tmp_path / "checkpoint-00000002.npz"
    cut.write_bytes(content[: len(content) // 2])
    fails(export, [f"--checkpoint={cut}", f"--output={tmp_path}/x.tflite"], 1, str(cut), "corrupt")(capsys)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    cut.write_bytes(flipped)
    fails(export, [f"--checkpoint={tmp_path}", f"--output={tmp_path}/x.tflite"], 1, str(cut))(capsys)
    foreign = tmp_path / "other.npz"
    np.savez(foreign, weights=np.zeros(3))
    fails(export, [f"--checkpoint={foreign}", f"--output={tmp_path}/x.tflite"], 1, "not a Patchwork checkpoint")(
        capsys
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    fails(evaluate, [f"--checkpoint={empty}"], 1, "no checkpoint-*.npz")(capsys)
    assert not os.path.exists(tmp_path / "x.tflite")


@pytest.mark.slow
def test_image_size_that_does_not_divide_the_system_s_grid(tmp_path, capsys):
    """64 pixels suit M=2, but not M=4."""
    flags = ["--system=oid-pw-m4n2", "--image_size=64", f"--output={tmp_path}/x.tflite"]
    fails(export, flags, 2, "64x64", "multiples of 128")(capsys)


@pytest.mark.slow
def test_model_dir_of_another_model(trained, capsys):
    flags = ["--system=small-boxes-sf", "--image_size=128", f"--model_dir={trained}"]
    fails(train, flags, 2, "holds another model", "image_size")(capsys)


@pytest.mark.slow
def test_resume_says_which_flags_are_not_those_of_before(trained, capsys):
    flags = ["--system=small-boxes-sf", f"--model_dir={trained}", "--steps=2"]
    assert train.main([*flags, "--batch_size=2", "--clip_frames=1", "--learning_rate=0.5"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("resuming from")
    assert line.split("--", 1)[1].startswith("learning_rate=0.5 (was ")  # and no other
    assert line.count("--") == 1


@pytest.mark.slow
def test_unwritable_folders(trained, tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("a file where a folder is wanted")
    fails(train, ["--image_size=128", f"--model_dir={blocker}/run"], 1, "cannot write")(capsys)
    fails(export, [f"--checkpoint={trained}", f"--output={blocker}/x.tflite"], 1, "cannot write")(capsys)
    flags = ["--system=small-boxes", f"--checkpoint={trained}", "--video=moving_objects:0", "--max_frames=2"]
    fails(demo, [*flags, f"--output={blocker}/x.mp4"], 1, "cannot write")(capsys)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk(trained, tmp_path, capsys, monkeypatch):
    """A disk that fills up while the file is written: one line, and no file."""
    import builtins

    real_open = builtins.open

    def open_full(path, mode="r", *args, **kwargs):
        inside = str(path).startswith(str(tmp_path)) and "w" in mode
        return real_open("/dev/full" if inside else path, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", open_full)
    flags = ["--system=small-boxes-sf", f"--checkpoint={trained}", "--verify_steps=1"]
    fails(export, [*flags, f"--output={tmp_path}/x.tflite"], 1, "x.tflite", "No space left")(capsys)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


LISTS = {
    "none": ([], []),
    "commas": (["--video=x,y"], ["x", "y"]),
    "twice": (["--video=x", "--video=y"], ["x", "y"]),
    "a name with a comma": (["--video=a,b.mp4"], ["a,b.mp4"]),
    "and another": (["--video=a,b.mp4", "--video=x,y"], ["a,b.mp4", "x", "y"]),
    "quoted": (['--video="a,b.mp4",x'], ["a,b.mp4", "x"]),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_of_files_and_names_with_commas(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.mp4").touch()
    given, expected = LISTS[case]
    values = flags.FlagValues()
    cli.define(values, "video")
    values(["x", *given])
    assert values.video == expected
    values(["x", values["video"].serialize()])  # as a report's command has it
    assert values.video[len(expected) :] == expected


def test_backbone_weights_are_found_as_checkpoints_are(tmp_path, small_networks):
    config = get_system("vid-sf").model
    for step in (1, 2):
        (tmp_path / f"checkpoint-0000000{step}.npz").touch()
    assert train_run._backbone_weights(str(tmp_path), config) == str(tmp_path / "checkpoint-00000002.npz")
    assert train_run._backbone_weights("oid-sf", config) == checkpoints.find_pretrained("oid-sf")
    for source in ("imagenet", "x.npz", "x.keras", None):
        assert train_run._backbone_weights(source, config) == source
    with pytest.raises(DataError, match=r"no checkpoint-\*.npz in this folder"):
        train_run._backbone_weights(os.path.dirname(__file__), config)
    with pytest.raises(UsageError, match="imagenet weights are mobilenet_v2's; the backbone is four layers"):
        train_run._backbone_weights("imagenet", get_system("small-sf").model)


def test_packed_weights_are_unpacked_wherever_they_are_read():
    arrays = read_npz(checkpoints.find("oid-sf"))
    kernels = [array for key, array in arrays.items() if key.endswith("/kernel")]
    assert not any(key.endswith("_scale") for key in arrays)
    assert all(np.issubdtype(kernel.dtype, np.floating) and np.abs(kernel).max() < 100 for kernel in kernels)


@pytest.mark.parametrize(("module", "package"), [("ai_edge_quantizer", "ai-edge-quantizer"), ("scipy", "scipy")])
def test_what_int8_lacks_is_said_by_its_name_before_anything_is_exported(module, package, monkeypatch, tmp_path):
    if not importlib.util.find_spec("ai_edge_quantizer"):
        package = "ai-edge-quantizer"
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ai_edge_quantizer", "scipy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"needs {package} .*: pip install {package}$"):
        exporting.export(None, str(tmp_path / "x.tflite"), quantization="int8")


COMMANDS = ("train", "evaluate", "export", "export.import_command", "benchmarks", "demo", "prepare", "tables")


@pytest.mark.parametrize("module", COMMANDS)
def test_help_answers_at_once(module):
    """In a process of its own, which never imports TensorFlow: that would take seconds."""
    command = [sys.executable, "-X", "importtime", "-m", f"patchwork_tf.{module}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"^ +--", done.stdout, re.MULTILINE)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "absl.flags" in imported
    assert not {"tensorflow", "keras", "jax"} & imported


@pytest.mark.slow
def test_a_process_that_is_told_nonsense_ends_with_one_line_and_a_code():
    done = subprocess.run(
        [sys.executable, "-m", "patchwork_tf.train", "--system=nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("patchwork-train: unknown system 'nothing'; there are vid-sf,")
    assert len(done.stderr.strip().splitlines()) == 1
