"""Every frame answered, by every system; when, and with what."""

import numpy as np
import pytest

import patchwork_tf as pw
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.data.video import Video
from patchwork_tf.streaming import overlay
from patchwork_tf.streaming.policies import POLICIES
from patchwork_tf.streaming.stream import model_input


@pytest.fixture(scope="module")
def frames():
    return render_clip(0, 10, 128).frames


def run(small, name, frames, **options):
    system = pw.get_system(name)
    return list(pw.stream(system, small(name), frames, **options))


def same(a, b):
    return np.array_equal(a.boxes, b.boxes) and np.array_equal(a.scores, b.scores)


def test_interval_repeats_the_key_frame_s_answer(small, frames):
    every, fourth = run(small, "vid-sf", frames), run(small, "vid-sf-int4", frames)
    assert len(fourth) == len(frames)
    for t, answer in enumerate(fourth):
        assert (answer.window is not None) == (t % 4 == 0)
        np.testing.assert_allclose(answer.scores, every[t - t % 4].scores, atol=1e-6)


def test_delay_answers_late(small, frames):
    fourth, late = run(small, "vid-sf-int4", frames), run(small, "vid-sf-int4-delay3", frames)
    assert [len(answer.boxes) for answer in late[:3]] == [0, 0, 0]
    for t in range(3, len(frames)):
        assert same(late[t], fourth[t - 3])


def test_policies_choose_the_windows(small, frames):
    raster = run(small, "vid-pw-m4n2", frames)
    assert [a.window for a in raster[:5]] == [(0, 0), (0, 2), (2, 0), (2, 2), (0, 0)]
    random = run(small, "vid-pw-m4n2", frames, policy="random", seed=3)
    again = run(small, "vid-pw-m4n2", frames, policy="random", seed=3)
    assert [a.window for a in random] == [a.window for a in again]
    assert all(same(a, b) for a, b in zip(random, again, strict=True))


def test_random_windows_are_all_equally_likely():
    grid = pw.get_system("vid-pw-m4n2").model.grid
    windows = POLICIES["random"](grid, seed=0)
    counts = dict.fromkeys(grid.windows, 0)
    for _ in range(900):
        counts[next(windows)] += 1
    assert min(counts.values()) > 60


def test_flip_sees_what_the_plain_system_sees_and_its_mirror(small, frames, monkeypatch):
    """Its best detection is the best of the plain system on the video or, turned back, on the mirrored one."""
    flip = pw.get_system("vid-pw-m4n2-d1.4-flip")
    plain = pw.get_system("vid-pw-m4n2-d1.4")
    model = small(flip.name)

    def mirrored_raster(grid, seed):
        for row, column in POLICIES["raster"](grid, seed):
            yield row, grid.positions - 1 - column

    monkeypatch.setitem(POLICIES, "mirrored", mirrored_raster)
    merged = list(pw.stream(flip, model, frames))
    direct = list(pw.stream(plain, model, frames))
    turned = list(pw.stream(plain, model, frames[:, :, ::-1], policy="mirrored"))
    for both, left, right in zip(merged, direct, turned, strict=True):
        ymin, xmin, ymax, xmax = right.boxes[0]
        boxes = {left.scores[0]: left.boxes[0], right.scores[0]: [ymin, 1 - xmax, ymax, 1 - xmin]}
        best = max(boxes)
        np.testing.assert_allclose(both.scores[0], best, atol=1e-5)
        np.testing.assert_allclose(both.boxes[0], boxes[best], atol=1e-4)


def test_answers_are_fractions_of_a_frame_of_any_shape(small):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (90, 400, 3)).astype(np.uint8)
    model = small("vid-sf")
    assert model_input(wide, model).shape == (1, 128, 128, 3)
    (answer,) = pw.stream(pw.get_system("vid-sf"), model, [wide])
    assert answer.boxes.min() >= 0
    assert answer.boxes.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", pw.list_systems())
def test_every_system_answers_every_frame_of_a_real_clip(name, small, real_data):
    video = Video(real_data("vid_clip_00007010/frames"))
    few = [frame for frame, _ in zip(video, range(18), strict=False)]
    fields = {"image_size": 64} if name == "vid-sf-r0.25" else {}
    answers = list(pw.stream(pw.get_system(name), small(name, **fields), few))
    assert len(answers) == 18
    assert any(len(answer.boxes) for answer in answers)


def test_ages_and_drawing(frames, small):
    grid = pw.get_system("vid-pw-m4n1").model.grid
    ages = overlay.fresh_ages(grid)
    for window in [(0, 0), (1, 1), None]:
        ages = overlay.advance_ages(ages, grid, window)
    assert ages[0, 0] == 2
    assert ages[1, 1] == 1
    assert ages[3, 3] == overlay.NEVER
    ages = overlay.advance_ages(ages, grid, (1, 1))
    answer = run(small, "vid-pw-m4n1", frames[:1])[0]
    image = overlay.draw(frames[0], answer, ages, [str(c) for c in range(10)], "title", min_score=0.0)
    assert min(image.shape[:2]) >= overlay.MIN_SIDE
    assert image.dtype == np.uint8
    bright, unseen = image[110:180, 110:180].mean(), image[300:350, 300:350].mean()
    assert unseen < bright  # cell (1, 1) against one never seen
