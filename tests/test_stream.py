"""Every frame answered, by every system; when, and with what."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from conftest import small_model

import patchwork_tf as pw
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.models.config import StreamConfig
from patchwork_tf.models.costs import count_macs
from patchwork_tf.runtime.answers import Mask
from patchwork_tf.streaming import overlay, policies
from patchwork_tf.streaming.policies import View
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.streaming.stream import model_input
from patchwork_tf.task import Answer, get_task


@pytest.fixture(scope="module")
def frames():
    return render_clip(0, 10, 128).frames


def step_of(name):
    """What runs a small model of a system; systems that run the same model share what is compiled of it."""
    stream = pw.get_system(name).stream
    return _compiled(small_model(name), stream.flip).run_as(stream=stream)


@functools.lru_cache(maxsize=16)
def _compiled(model, flip):
    return KerasStep(model, StreamConfig(flip=flip))


def run(name, frames, policy=None, **options):
    return list(pw.stream(step_of(name), frames, policy, **options))


def same(a, b):
    return np.array_equal(a.boxes, b.boxes) and np.array_equal(a.scores, b.scores)


@pytest.mark.slow
def test_interval_repeats_the_key_frame_s_answer(frames):
    every, fourth = run("vid-sf", frames), run("vid-sf-int4", frames)
    assert len(fourth) == len(frames)
    for t, answer in enumerate(fourth):
        assert (answer.window is not None) == (t % 4 == 0)
        np.testing.assert_allclose(answer.scores, every[t - t % 4].scores, atol=1e-6)


def test_delay_answers_late(frames):
    fourth, late = run("vid-sf-int4", frames), run("vid-sf-int4-delay3", frames)
    assert [len(answer.boxes) for answer in late[:3]] == [0, 0, 0]
    for t in range(3, len(frames)):
        assert same(late[t], fourth[t - 3])


@pytest.mark.slow
def test_policies_choose_the_windows(frames):
    raster = run("vid-pw-m4n2", frames, "raster", start="sweep")
    assert [a.window for a in raster[:5]] == [(0, 0), (0, 2), (2, 0), (2, 2), (0, 0)]
    random = run("vid-pw-m4n2", frames, "random", seed=3)
    again = run("vid-pw-m4n2", frames, "random", seed=3)
    assert [a.window for a in random] == [a.window for a in again]
    assert all(same(a, b) for a, b in zip(random, again, strict=True))


def test_random_windows_are_all_equally_likely():
    grid = pw.get_system("vid-pw-m4n2").model.grid
    choose = policies.random(grid, seed=0)
    counts = dict.fromkeys(grid.windows, 0)
    for number in range(900):
        counts[choose(View(number))] += 1
    assert min(counts.values()) > 60


@pytest.mark.slow
def test_rule_and_learned_follow_what_the_last_step_said(frames):
    """These weights are as if trained, so that both differ; without a name the model does as it learned."""
    learned, rule, default = (run("davis-pw-m4n2", frames, name) for name in ("learned", "rule", None))
    assert [a.window for a in default] == [a.window for a in learned] != [a.window for a in rule]
    grid = pw.get_system("davis-pw-m4n2").model.grid
    for before, after in itertools.pairwise(learned):
        assert after.window == grid.windows[int(before.q_values.argmax())]


@pytest.mark.slow
def test_policies_that_cannot_be_followed_are_refused(frames):
    untrained = pw.build(pw.get_system("vid-pw-m2n1").model, image_size=64, depth=0.35)
    with pytest.raises(UsageError, match="no policy was learned"):
        pw.stream(untrained, frames, "learned")
    with pytest.raises(UsageError, match="needs to be told the truth"):
        pw.stream(untrained, frames, "oracle")
    with pytest.raises(UsageError, match="unknown policy 'best'; there are rule, learned, raster, random, "):
        pw.stream(untrained, frames, "best")


@pytest.mark.slow
def test_two_streams_of_one_model_do_not_disturb_each_other(frames):
    others = frames[::-1]
    alone = run("vid-pw-m4n2", frames), run("vid-pw-m4n2", others)
    step = step_of("vid-pw-m4n2")
    together = list(zip(pw.stream(step, frames), pw.stream(step, others), strict=True))
    for (a, b), first, second in zip(together, *alone, strict=True):
        assert same(a, first)
        assert same(b, second)
        assert (a.window, b.window) == (first.window, second.window)


@pytest.mark.slow
def test_flip_sees_what_the_plain_system_sees_and_its_mirror(frames):
    """Its best detection is the best of the plain system on the video or, turned back, on the mirrored one."""
    flip, plain = pw.get_system("vid-pw-m4n2-d1.4-flip"), pw.get_system("vid-pw-m4n2-d1.4")
    model = small_model(flip.name)

    def seen(stream, frames, mirror):
        """What is said of each frame alone, through windows of a raster, or of its mirror image."""
        step, answers = KerasStep(model, stream), []
        for number, frame in enumerate(frames):
            row, column = model.grid.raster[number % 4]
            window = (row, model.grid.positions - 1 - column) if mirror else (row, column)
            answers.append(step(model_input(frame, (128, 128)), window, step.initial_state())[0])
        return answers

    merged, direct = seen(flip.stream, frames, False), seen(plain.stream, frames, False)
    for both, left, right in zip(merged, direct, seen(plain.stream, frames[:, :, ::-1], True), strict=True):
        ymin, xmin, ymax, xmax = right["boxes"][0]
        boxes = {left["scores"][0]: left["boxes"][0], right["scores"][0]: [ymin, 1 - xmax, ymax, 1 - xmin]}
        best = max(boxes)
        np.testing.assert_allclose(both["scores"][0], best, atol=1e-5)
        np.testing.assert_allclose(both["boxes"][0], boxes[best], atol=1e-4)


def test_answers_are_fractions_of_a_frame_of_any_shape():
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (90, 400, 3)).astype(np.uint8)
    assert model_input(wide, (128, 128)).shape == (1, 128, 128, 3)
    (answer,) = run("vid-sf", [wide])
    assert answer.boxes.min() >= 0
    assert answer.boxes.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(pw.list_systems(), key=lambda name: str(pw.get_system(name).model)))
def test_every_system_answers_every_frame_of_a_real_clip(name, small, clip):
    """And the dearest frame and the average one cost what the tables say."""
    few = list(itertools.islice(Video(clip), 16))
    system = pw.get_system(name)
    answers = run(name, few, start="sweep")
    assert len(answers) == 16
    if system.task == "detection":
        assert any(len(answer.boxes) for answer in answers)
    else:
        assert all(answer.mask.shape == few[0].shape[:2] and answer.mask.dtype == np.uint8 for answer in answers)
        assert any(np.ptp(answer.probability) > 0 for answer in answers)
    single = small(f"{name.split('-')[0]}-sf")
    step = 2 * count_macs(small(name)) if system.stream.flip else count_macs(small(name))
    if single.grid == system.model.grid and system.model.resolution == 1:
        assert step == count_macs(single)
    costs = [answer.mflops * 1e6 for answer in answers]
    assert max(costs) == pytest.approx(step / (system.stream.delay + 1))
    assert sum(costs) == pytest.approx(step * 16 / system.stream.interval)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vid-pw-m4n2", "davis-pw-m4n2"])
def test_a_stream_looks_at_the_whole_first_frame_and_pays_for_it(name, frames):
    blind, seeing = run(name, frames[:3], start="sweep"), run(name, frames[:3])
    assert [answer.whole_frame for answer in seeing] == [True, False, False]
    assert seeing[0].window is None
    assert seeing[0].mflops == pytest.approx(count_macs(small_model(name), whole_frame=True) / 1e6)
    assert seeing[0].mflops > 2.5 * blind[0].mflops
    assert seeing[1].mflops == blind[1].mflops
    single = run(name.replace("pw-m4n2", "sf"), frames[:1])
    assert single[0].mflops < seeing[0].mflops < 1.2 * single[0].mflops
    if name.startswith("davis"):
        assert np.all(blind[0].probability[:, 80:] == 0.5)  # never seen
        assert np.all(seeing[0].probability != 0.5)
        assert not blind[0].mask[:, 80:].any()


@pytest.mark.slow
def test_flipped_segmenter_answers_the_mean_of_both(small, frames):
    """On a frame that is its own mirror image, both streams see the same, so the mask is symmetric."""
    frame = np.concatenate([frames[0][:, :64], frames[0][:, :64][:, ::-1]], axis=1)
    flip = dataclasses.replace(pw.get_system("davis-sf").stream, flip=True)
    (answer,) = pw.stream(KerasStep(small("davis-sf"), flip), [frame])
    np.testing.assert_allclose(answer.probability, answer.probability[:, ::-1], atol=1e-6)
    (plain,) = run("davis-sf", [frame])
    mirrored = (plain.probability + plain.probability[:, ::-1]) / 2
    np.testing.assert_allclose(answer.probability, mirrored, atol=1e-5)
    assert answer.mflops == 2 * plain.mflops


@pytest.mark.slow
def test_ages_and_drawing(frames):
    grid = pw.get_system("vid-pw-m4n1").model.grid
    ages = overlay.fresh_ages(grid)
    for window in [(0, 0), (1, 1), None]:
        ages = overlay.advance_ages(ages, grid, Answer(window=window))
    assert ages[0, 0] == 2
    assert ages[1, 1] == 1
    assert ages[3, 3] == overlay.NEVER
    assert np.all(overlay.advance_ages(ages, grid, Answer(whole_frame=True)) == 0)
    ages = overlay.advance_ages(ages, grid, Answer(window=(1, 1)))
    answer = run("vid-pw-m4n1", frames[:1])[0]
    style = overlay.Style(get_task("detection"), list("0123456789"), min_score=0.0)
    image = overlay.draw(frames[0], answer, ages, style, "title")
    assert min(image.shape[:2]) >= overlay.MIN_SIDE
    assert image.dtype == np.uint8
    bright, unseen = image[110:180, 110:180].mean(), image[300:350, 300:350].mean()
    assert unseen < bright  # cell (1, 1) against one never seen


@pytest.mark.slow
def test_values_are_drawn_with_the_best_window_brightest(frames):
    answer = run("vid-pw-m4n2", frames[:1])[0]
    assert answer.q_values.shape == (9,)
    values = np.zeros(9, np.float32)
    values[4] = 1.0  # the middle of 3 x 3
    answer = dataclasses.replace(answer, q_values=values)
    style = overlay.Style(get_task("detection"), ["x"] * 10, min_score=2, show_values=True)
    image = overlay.draw(frames[0], answer, np.zeros((4, 4), int), style)
    square = image.shape[0] // 15
    inset = image[6 : 6 + 3 * square, -6 - 3 * square : -6].mean(axis=-1)
    assert inset[square : 2 * square, square : 2 * square].mean() > 1.5 * inset[:square, :square].mean()


def test_masks_are_drawn(frames):
    mask = np.zeros(frames[0].shape[:2], bool)
    mask[20:60, 20:60] = True
    answer = Mask(probability=mask.astype(np.float32), size=mask.shape, window=(0, 0))
    ages = np.zeros((1, 1), int)
    style = overlay.Style(get_task("segmentation"), ["foreground"])
    plain = overlay.draw(
        frames[0], dataclasses.replace(answer, probability=np.zeros_like(answer.probability)), ages, style
    )
    tinted = overlay.draw(frames[0], answer, ages, style)
    changed = np.any(plain != tinted, axis=-1)
    assert changed[70:170, 70:170].all()
    assert not changed[190:, 190:].any()
