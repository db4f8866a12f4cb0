"""One reader of pictures and videos: what people really have is the same for all who read it."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

import patchwork_tf as pw
from patchwork_tf import demo, evaluate, pictures
from patchwork_tf.data.video import Video, write_video
from patchwork_tf.errors import DataError, UsageError

HEIGHT, WIDTH = 48, 64


def marked(count=12, height=HEIGHT, width=WIDTH):
    """Frames with a red upper left corner, whose brightness tells their number."""
    frames = np.repeat(np.arange(count, dtype=np.uint8)[:, None, None, None] * 8 + 40, 3, axis=3)
    frames = np.tile(frames, (1, height, width, 1))
    frames[:, :16, :16] = (230, 20, 20)
    return frames


def corner_of(frame):
    """Where the red corner is: (bottom, right)."""
    rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 100))
    return bool(rows.mean() > frame.shape[0] / 2), bool(columns.mean() > frame.shape[1] / 2)


@pytest.mark.parametrize("turned", [1, 3, 6, 8])
def test_a_photo_is_upright_whoever_reads_it(turned, tmp_path):
    """Orientation by EXIF; OpenCV is the witness."""
    exif = PIL.Image.Exif()
    exif[0x0112] = turned
    path = str(tmp_path / "photo.jpg")
    PIL.Image.fromarray(marked(1)[0]).save(path, exif=exif, quality=95)
    expected = cv2.imread(path)[..., ::-1]
    content, size = pictures.read_stored(path)
    (frame,) = Video(str(tmp_path))
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    for found in (pictures.read_picture(path), frame, stored[..., ::-1]):
        assert found.shape == expected.shape == (*size, 3)
        assert np.abs(found.astype(int) - expected).mean() < 3
    (frame,) = Video(path)  # a single file
    assert corner_of(frame) == corner_of(expected)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_phone_s_clip_is_shown_as_it_was_held(degrees, tmp_path):
    plain, path = str(tmp_path / "plain.mp4"), str(tmp_path / "turned.mp4")
    write_video(plain, marked(), 0.04)
    content = bytearray(Path(plain).read_bytes())
    # The track's matrix, 16.16 fixed point, as phones write it: it follows the flags of the header of the track.
    matrix = content.index(b"tkhd") + 4 + 40
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    for place, value in ((0, cosine), (4, sine), (12, -sine), (16, cosine)):
        content[matrix + place : matrix + place + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    Path(path).write_bytes(content)
    ok, expected = cv2.VideoCapture(path).read()
    assert ok
    frames = list(Video(path))
    assert len(frames) == 12
    assert frames[0].shape == expected.shape
    assert corner_of(frames[0]) == corner_of(expected[..., ::-1])
    assert frames[0].shape[:2] == ((HEIGHT, WIDTH) if degrees in (0, 180) else (WIDTH, HEIGHT))


def test_frames_are_shown_when_they_were(tmp_path):
    """A variable frame rate stays one, in files that we write too."""
    seconds = [0.04, 0.5, 0.04, 1.0, 0.2, 0.22]
    path = str(tmp_path / "uneven.mp4")
    write_video(path, marked(6), seconds)
    assert [s for _, s in Video(path).shown()] == pytest.approx(seconds, abs=0.002)


@pytest.mark.slow
def test_the_annotated_video_lasts_as_long_and_its_frames_are_counted(tmp_path, monkeypatch, capsys):
    path, out = str(tmp_path / "uneven.mp4"), str(tmp_path / "out.mp4")
    write_video(path, marked(4), [0.5, 0.04, 1.0, 0.46])
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert demo.main(["--system=davis-pw-m2n1", "--image_size=64", f"--video={path}", f"--output={out}"]) == 0
    assert f"wrote {out}: 4 frames" in capsys.readouterr().out
    assert sum(seconds for _, seconds in Video(out).shown()) == pytest.approx(2.0, abs=0.01)


def test_pictures_that_are_cut_off_change_size_or_are_hidden(tmp_path):
    for number in (1, 2, 10):
        PIL.Image.fromarray(marked(11)[number]).save(tmp_path / f"{number}.png")
    (tmp_path / "._1.png").write_bytes(b"of macOS")
    assert [int(frame[-1, -1, 0]) for frame in Video(str(tmp_path))] == [48, 56, 120]  # 10 comes after 2
    PIL.Image.fromarray(marked(1)[0][:, :32]).save(tmp_path / "3.png")
    with pytest.raises(DataError, match="frame 2 has 32x48 pixels, those before it 64x48"):
        list(Video(str(tmp_path)))
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(
        tmp_path / "3.jpg"
    )
    content = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"3\.png: not a readable image, or cut off"):
        list(Video(str(tmp_path)))


@pytest.mark.parametrize("name", ["x.webp", "x.png"])
def test_an_animation_is_no_picture(name, tmp_path):
    first, *others = [PIL.Image.fromarray(frame) for frame in marked(3)]
    first.save(tmp_path / name, save_all=True, append_images=others, duration=100)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(
            DataError, match=rf"{name}: an animation of 3 frames, not a picture; make it a folder of"
        ):
            list(Video(str(path)))
    first.save(tmp_path / name)
    assert len(list(Video(str(tmp_path / name)))) == 1


def test_what_is_no_rgb_is_converted_or_refused(small, small_networks):
    grey = marked(1)[0][..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    for frame in (grey, grey[..., None], grey.astype(np.uint16) * 257):
        np.testing.assert_array_equal(pictures.as_rgb(frame), expected)
    rgba = np.concatenate([expected, expected[..., :1]], axis=2)
    np.testing.assert_array_equal(pictures.as_rgb(rgba), expected)
    model = small("small", image_size=64)
    for wrong, message in (
        (expected / 255, "frame 0: .*float64"),
        (expected[..., :2], r"frame 0: .*\(48, 64, 2\)"),
    ):
        with pytest.raises(UsageError, match=message):
            next(pw.stream(model, [wrong]))


def test_pictures_of_every_mode_are_stored_as_what_they_show(tmp_path):
    rgb = marked(1)[0]
    image = PIL.Image.fromarray(rgb)
    deep = PIL.Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
    pictures_of = {"rgba.png": image.convert("RGBA"), "palette.png": image.quantize(64), "deep.png": deep}
    pictures_of |= {"plain.bmp": image, "cmyk.jpg": image.convert("CMYK")}
    for name, picture in pictures_of.items():
        picture.save(tmp_path / name)
        content, size = pictures.read_stored(str(tmp_path / name))
        stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        expected = np.repeat(rgb[..., :1], 3, axis=2) if name == "deep.png" else rgb
        assert size == (HEIGHT, WIDTH)
        assert np.abs(stored.astype(int) - expected).mean() < 3, name


def test_masks_in_the_alpha_channel(tmp_path):
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[10:20, 10:30] = 255
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    path = str(tmp_path / "mask.png")
    PIL.Image.fromarray(np.dstack([white, alpha])).save(path)
    np.testing.assert_array_equal(pictures.read_mask(path) > 0, alpha > 0)
    PIL.Image.fromarray(np.dstack([np.repeat(alpha[..., None], 3, 2), white[..., 0]])).save(path)
    np.testing.assert_array_equal(pictures.read_mask(path) > 0, alpha > 0)
    white[:15] = 0  # black and opaque, white and opaque, and transparent
    PIL.Image.fromarray(np.dstack([white, alpha])).save(path)
    with pytest.raises(DataError, match=r"mask\.png: colour and transparency say different things"):
        pictures.read_mask(path)


def test_255_of_davis_2017_is_background_and_of_2016_foreground(tmp_path):
    """As the official code has it: `all_objs[all_objs == 255] = 0` of indexed masks."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:10], values[10:20] = 2, 255
    indexed = PIL.Image.fromarray(values, mode="P")
    indexed.putpalette(list(range(256)) * 3)
    indexed.save(tmp_path / "2017.png")
    PIL.Image.fromarray(values).save(tmp_path / "2016.png")
    assert np.unique(pictures.read_mask(str(tmp_path / "2017.png"))).tolist() == [0, 2]
    assert np.unique(pictures.read_mask(str(tmp_path / "2016.png"))).tolist() == [0, 2, 255]


KERAS_JSON = '{"floatx": "float32", "backend": "tensorflow", "image_data_format": "channels_first"}'


@pytest.mark.parametrize(
    ("environment", "flags", "code", "message"),
    [
        ({"KERAS_BACKEND": "torch"}, [], 2, "KERAS_BACKEND=torch: Patchwork runs on tensorflow and jax"),
        ({"KERAS_HOME": "HERE"}, [], 2, "keras.json: image_data_format is channels_first"),
        ({"KERAS_BACKEND": "torch"}, ["--help"], 0, ""),
        ({"PYTHONOPTIMIZE": "2"}, ["--help"], 0, ""),
    ],
)
def test_what_the_environment_says_of_keras(environment, flags, code, message, tmp_path):
    (tmp_path / "keras.json").write_text(KERAS_JSON)
    environment = {key: str(tmp_path) if value == "HERE" else value for key, value in environment.items()}
    command = [sys.executable, "-m", "patchwork_tf.tables", *flags]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == (1 if code else 0)


def test_lists_and_json_with_a_byte_order_mark(tmp_path, capsys):
    bom = "\ufeff"
    (tmp_path / "set.txt").write_text(f"{bom}a/000000 1\n", encoding="utf-8")
    (tmp_path / "found.txt").write_text(f"{bom}1 1 0.9 5 5 20 20\n", encoding="utf-8")
    os.makedirs(tmp_path / "xml/a")
    box = "<xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax>"
    thing = f"<object><name>n02691156</name><bndbox>{box}</bndbox></object>"
    size = "<size><width>64</width><height>48</height></size>"
    (tmp_path / "xml/a/000000.xml").write_text(f"{bom}<annotation>{size}{thing}</annotation>", encoding="utf-8")
    flags = [f"--predictions={tmp_path}/found.txt", f"--ground_truth={tmp_path}/xml"]
    assert evaluate.main(["--task=detection", *flags, f"--image_set={tmp_path}/set.txt", "--nococo"]) == 0
    assert "100.0" in capsys.readouterr().out


@pytest.mark.slow
def test_without_standard_error(tmp_path):
    """As a daemon or pythonw has it; and closed, where the next file must not get what native code writes."""
    code = (
        "import sys; sys.stderr = None; import patchwork_tf as pw; pw.build('davis-sf', image_size=64, depth=0.35)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    out = tmp_path / "scores.json"
    command = f"{sys.executable} -m patchwork_tf.evaluate --system=davis-sf --image_size=64 --num_videos=1"
    shell = f"{command} --max_frames=2 --json={out} 2>&-"
    assert subprocess.run(shell, shell=True, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert out.read_text().startswith("{")
