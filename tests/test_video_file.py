"""Training gets the frames that the demo shows, whatever the file: in them frame n is as bright as n says."""

import contextlib
import itertools
import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from patchwork_tf import demo
from patchwork_tf.data import videos
from patchwork_tf.data.media import Frames
from patchwork_tf.data.video import Video
from patchwork_tf.data.video_file import VIDEOS, VideoFile
from patchwork_tf.errors import DataError

FRAMES, GROUP, HEIGHT, WIDTH = 48, 12, 48, 64
X264, X265 = "keyint={0}:bframes={1}:b-adapt=0:scenecut=0:open-gop={2}", "keyint={0}:bframes={1}:log-level=none"
# Container, codec and, if there are some, B-frames between others.
KINDS = """
    mp4 libx264, mp4 libx264 2, mp4 libx264 3, mp4 mpeg4 2, mp4 libx265 3, mov libx264 3, mov mjpeg,
    mkv libx264 3, mkv libvpx-vp9, mkv ffv1, mkv rawvideo, webm libvpx, webm libvpx-vp9,
    ts libx264, ts libx264 2, ts libx264 3, ts mpeg2video 2, mts libx264 3,
    mpg mpeg1video, mpg mpeg2video 2, mpg mpeg2video 3, mpg libx264 2, vob mpeg2video 2,
    avi mpeg4 2, avi libx264 3, avi mjpeg, avi msmpeg4, flv flv, flv libx264 3, wmv wmv2, wmv libx264 3,
    3gp mpeg4 2, 3gp libx264 3, y4m wrapped_avframe
"""
FORMATS = {"mkv": "matroska", "ts": "mpegts", "mts": "mpegts", "mpg": "mpeg", "wmv": "asf", "y4m": "yuv4mpegpipe"}


def format_of(path):
    ending = str(path).rpartition(".")[2]
    return FORMATS.get(ending, ending)


def write(path, codec, b_frames=0, **options):
    """A video whose frame n has the level 16 + 4 n."""
    with av.open(str(path), "w", format=format_of(path), options=options) as container:
        track = container.add_stream(codec, rate=25)
        track.width, track.height, track.pix_fmt = WIDTH, HEIGHT, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        context = track.codec_context
        context.gop_size, context.max_b_frames = GROUP, b_frames
        if codec.startswith("lib"):
            track.bit_rate = 1_000_000
            track.options = {
                "x264-params": X264.format(GROUP, b_frames, int(b_frames == 2)),
                "x265-params": X265.format(GROUP, b_frames),
                **({"preset": "ultrafast"} if "x26" in codec else {"deadline": "realtime", "cpu-used": "8"}),
            }
        else:
            context.qmin = context.qmax = 2
        for number in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 16 + 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=track.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(track.encode(frame))
        container.mux(track.encode())


def trim(source, path, first, shown):
    """A stream copy from packet `first` on, in which number `shown` has the time 0, and those before it less."""
    with av.open(str(source)) as read, av.open(str(path), "w", format=format_of(path)) as written:
        track = written.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size][first:]
        zero = packets[shown].dts or 0
        for packet in packets:
            packet.pts, packet.dts = (None if time is None else time - zero for time in (packet.pts, packet.dts))
            packet.stream = track
            written.mux(packet)


def key_packet(path):
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return next(n for n, packet in enumerate(packets) if packet.is_keyframe and n >= FRAMES // 2)


TRIMS = {
    "from a key frame": lambda path: (key_packet(path), 0),
    "from the middle": lambda path: (GROUP + 5, 0),
    "with an edit list": lambda path: (0, 7),
}


def numbers_in(frames):
    return [round((frame[20, 20, 0] - 15.5) / 4) for frame in frames]


@pytest.mark.parametrize("kind", [kind.strip() for kind in KINDS.split(",")])
def test_training_reads_what_the_demo_shows(kind, tmp_path):
    ending, codec, *b_frames = kind.split()
    whole = tmp_path / f"whole.{ending}"
    write(whole, codec, *map(int, b_frames))
    check(whole, FRAMES)
    for name, how in TRIMS.items():
        path = tmp_path / f"{name}.{ending}"
        with contextlib.suppress(av.FFmpegError):  # not all formats have such files
            trim(whole, path, *how(whole))
            check(path, GROUP)


def check(path, least):
    """There are so many frames, all up to the last, and any few of them are these."""
    video = Video(str(path))
    shown = np.stack(list(video))
    assert len(shown) >= least
    assert numbers_in(shown) == list(range(FRAMES - len(shown), FRAMES))
    last = len(shown) - 1
    for wanted in ([0, 1, 2], [5, 5], [last // 2, last // 2 + 1], [14, 16, last], [38, 39], range(last + 1)):
        wanted = np.minimum(wanted, last)
        np.testing.assert_array_equal(video.read(lambda count, wanted=wanted: wanted), shown[wanted])


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "wmv"])
def test_only_the_first_read_decodes_from_the_start(ending, tmp_path, monkeypatch):
    path = tmp_path / f"x.{ending}"
    write(path, "wmv2" if ending == "wmv" else "libx264", 0 if ending == "wmv" else 3)
    video = Video(str(path))
    assert numbers_in(video.read(lambda count: [count - 1])) == [FRAMES - 1]
    monkeypatch.setattr(VideoFile, "frames", lambda self: pytest.fail("decoded from the start"))
    assert numbers_in(video.read(lambda count: [30, 31, 33])) == [30, 31, 33]


def test_a_file_that_calls_every_frame_a_key_frame(tmp_path):
    """A seek then leads to where nothing can be decoded rightly."""
    path = tmp_path / "x.avi"
    write(path, "msmpeg4")
    content = bytearray(path.read_bytes())
    index = content.rindex(b"idx1") + 8
    for entry in range(index, len(content) - 15, 16):
        content[entry + 4] |= 0x10
    path.write_bytes(content)
    with av.open(str(path)) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    check(path, FRAMES)


@pytest.mark.parametrize(
    ("ending", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"movflags": "faststart"}),
        ("mp4", "libx264", {"movflags": "frag_keyframe"}),
        ("mov", "mjpeg", {"movflags": "faststart"}),
        ("3gp", "mpeg4", {}),
        ("mkv", "libx264", {}),
        ("webm", "libvpx", {}),
        ("ts", "libx264", {}),
        ("avi", "mpeg4", {}),
        ("wmv", "wmv2", {}),
        ("flv", "flv", {}),
        ("ogv", "libvpx", {}),
    ],
)
def test_a_file_that_is_cut_off_is_named(ending, codec, options, tmp_path):
    path = tmp_path / f"x.{ending}"
    write(path, codec, **options)
    assert len(list(Video(str(path)))) == FRAMES
    content = path.read_bytes()
    for part in (0.3, 0.6, 0.85):
        path.write_bytes(content[: int(part * len(content)) // 188 * 188 + 7])
        with pytest.raises(
            DataError, match=rf"x\.{ending}: (cut off|not a readable|cannot be decoded|corrupt|there is no)"
        ):
            list(Video(str(path)))


@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg4"])
def test_a_frame_that_is_damaged_is_named(codec, tmp_path):
    """Decoders make something up where a part of it is missing."""
    path = tmp_path / "x.mkv"
    write(path, codec)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = bytes(next(itertools.islice(container.demux(video=0), 20, None)))
    middle = content.index(packet) + len(packet) // 2
    content[middle : middle + 4] = b"\xff" * 4
    path.write_bytes(content)
    for read in (list, lambda video: video.read(lambda count: [0])):
        with pytest.raises(DataError, match=r"x\.mkv: corrupt after 20 frames"):
            read(Video(str(path)))


def test_what_no_decoder_is_there_for_is_named(tmp_path):
    path = tmp_path / "x.avi"
    write(path, "mjpeg")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ"))
    with pytest.raises(DataError, match=r"x\.avi: .* decode"):
        list(Video(str(path)))


def test_titles_may_be_in_any_encoding(tmp_path):
    path = tmp_path / "x.avi"
    write(path, "mjpeg")
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xe4vf"))
    assert len(list(Video(str(path)))) == FRAMES


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_may_be_longer_than_the_pictures(codec, tmp_path):
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w", format="matroska") as container:
        track = container.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream(codec, rate=8000, layout="mono")
        for number in range(25):
            picture = np.full((HEIGHT, WIDTH, 3), 16 + 4 * number, np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 24_000), np.int16), format="s16", layout="mono")
        silence.rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    assert numbers_in(Video(str(path))) == list(range(25))


@pytest.fixture
def clip(tmp_path):
    write(tmp_path / "clip.mp4", "libx264", 3)
    return tmp_path / "clip.mp4"


NAMES = ["clip:30.mp4", "pipe:0", "clip%03d.mp4", "concat:a|b", "no ending", "größe.MP4", "moving_objects:7.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_name(name, clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    os.rename("clip.mp4", name)
    shown, _ = demo._open(name, HEIGHT, None)
    assert numbers_in(frame for frame, _ in shown) == list(range(FRAMES))


def test_pipes_are_read_once(clip, tmp_path):
    """Even a file that must be read from its end."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)

    def opened(content):
        writer = threading.Thread(target=Path(pipe).write_bytes, args=[content])
        writer.start()
        try:
            return Video(pipe)
        finally:
            writer.join()

    video = opened(clip.read_bytes())
    assert numbers_in(video) == list(range(FRAMES)) == numbers_in(video)
    assert numbers_in(video.read(lambda count: [20, 21])) == [20, 21]
    with pytest.raises(DataError, match="pipe: nothing comes out of this pipe; a pipe can be read only once"):
        opened(b"")
    with pytest.raises(DataError, match=r"pipe: (not a readable video|cut off)"):
        opened(clip.read_bytes()[:900])
    with pytest.raises(DataError, match="/dev/null: neither a file, a folder nor a pipe"):
        Video("/dev/null")


def test_all_who_look_for_videos_find_the_same(tmp_path):
    for ending in VIDEOS:
        (tmp_path / f"clip{ending[1:]}{ending.upper()}").touch()
    assert len(videos.find(str(tmp_path))) == len(Frames(str(tmp_path)).clips) == len(VIDEOS)
    assert {".3gp", ".flv", ".mts", ".wmv", ".y4m"} < set(VIDEOS)
    assert f"`{' '.join(VIDEOS)}`" in (Path(__file__).parents[1] / "docs/your_data.md").read_text()
    (tmp_path / "none").mkdir()
    for look in (videos.find, Frames):
        with pytest.raises(DataError, match=", ".join(VIDEOS)):
            look(str(tmp_path / "none"))
