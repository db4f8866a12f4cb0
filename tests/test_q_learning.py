"""Double Q-learning by hand, on a toy with a known answer, and in the commands."""

import csv
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import fresh_model
from exact_simulation import ExactSimulation, restored_state
from keras import ops

from patchwork_tf import evaluate, train
from patchwork_tf.data import clips
from patchwork_tf.data.datasets import Source, annotated_videos
from patchwork_tf.data.moving_objects import render_clip
from patchwork_tf.grid import Grid
from patchwork_tf.streaming import policies
from patchwork_tf.streaming.policies import answer_score
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.training import q_learning
from patchwork_tf.training.clip_policy import ClipPolicy, _RunningSpread
from patchwork_tf.training.simulation import Simulation
from patchwork_tf.zoo import checkpoints

pytestmark = pytest.mark.usefixtures("small_networks")


def test_the_online_network_chooses_and_the_target_network_judges():
    """Online prefers action 1 (3 > 2), to the target worth 5; the target's own favourite, 9, does not count."""
    online, target = np.array([[2.0, 3.0, 1.0]]), np.array([[9.0, 5.0, 7.0]])
    found = q_learning.double_q_target(np.array([1.0]), 0.5, online, target)
    assert np.array(found).tolist() == [1.0 + 0.5 * 5.0]


def test_huber_by_hand():
    found = np.array(q_learning.huber(np.array([0.5, -0.5, 3.0])))
    np.testing.assert_allclose(found, [0.125, 0.125, 0.5 + 2.0])


def test_epsilon_greedy_and_its_schedule():
    values = np.array([[1.0, 5.0, 2.0]] * 3, np.float32)
    explores, random = np.array([False, True, True]), np.array([0, 0, 2], np.int32)
    assert np.array(q_learning.epsilon_greedy(values, explores, random)).tolist() == [1, 0, 2]
    schedule = clips.Exploration(first=1.0, last=0.2, clips=100)
    np.testing.assert_allclose([schedule.epsilon(k) for k in (0, 50, 100, 1000)], [1.0, 0.6, 0.2, 0.2], atol=1e-6)


def test_the_target_follows():
    target, online = keras.Variable([0.0, 4.0]), keras.Variable([1.0, 0.0])
    q_learning.move_towards([target], [online], 0.25)
    assert np.array(target).tolist() == [0.25, 3.0]


def test_a_chain_with_a_known_best_policy_is_solved():
    """Five states in a row: right of the last is worth 1, left of the first 0.05, and both start over.

    The values of the best policy come from value iteration; Q-learning finds them by trying.
    """
    states, discount = 5, 0.9

    def move(state, action):
        if action == 1:
            return (0, 1.0) if state == states - 1 else (state + 1, 0.0)
        return (0, 0.05) if state == 0 else (state - 1, 0.0)

    best = np.zeros((states, 2))
    for _ in range(500):
        for s in range(states):
            for a in range(2):
                after, reward = move(s, a)
                best[s, a] = reward + discount * best[after].max()
    online, target = keras.Variable(np.zeros((states, 2))), keras.Variable(np.zeros((states, 2)))
    walkers, steps = 20, 400
    rng, schedule = np.random.default_rng(0), clips.Exploration(first=1.0, last=0.2, clips=steps // 2)
    where = np.zeros(walkers, int)
    for step in range(steps):
        explores, random = (
            rng.random(walkers) < schedule.epsilon(step),
            rng.integers(0, 2, walkers, dtype=np.int32),
        )
        table = np.array(online)
        actions = np.array(q_learning.epsilon_greedy(table[where], explores, random))
        after, rewards = (np.array(x) for x in zip(*map(move, where, actions), strict=True))
        wanted = np.array(
            q_learning.double_q_target(np.float32(rewards), discount, table[after], np.array(target)[after])
        )
        for state, action, value in zip(where, actions, wanted, strict=True):
            table[state, action] += 0.1 * (value - table[state, action])
        online.assign(table)
        q_learning.move_towards([target], [online], 0.2)
        where = after
    np.testing.assert_allclose(np.array(online), best, atol=0.05)
    np.testing.assert_array_equal(np.array(online).argmax(axis=1), best.argmax(axis=1))


def test_exploration_depends_on_the_clip_alone():
    exploration = clips.Exploration(first=1.0, last=0.0, clips=40)
    always, actions = clips.exploration_of(Grid(4, 2), 200, exploration, index=0)
    assert always.all()
    assert set(actions) == set(range(9))
    half, _ = clips.exploration_of(Grid(4, 2), 200, exploration, index=20)
    assert 0.3 < half.mean() < 0.7
    never, _ = clips.exploration_of(Grid(4, 2), 200, exploration, index=40)
    assert not never.any()


def perfect(model, boxes, labels):
    """An answer that says the truth at every anchor that is an object's."""
    from patchwork_tf.models import boxes as box_ops
    from patchwork_tf.models.losses import match_anchors

    classes, codes = match_anchors(model.anchors, boxes, labels)
    scores = ops.one_hot(ops.maximum(classes - 1, 0), 10) * ops.cast(classes > 0, "float32")[..., None]
    return {"boxes": box_ops.CODER.decode(codes, model.anchors[None]), "scores": scores}


def score_of(model, outputs, truth) -> float:
    return float(answer_score(model, outputs, truth)[0])


@pytest.mark.slow
def test_answer_score_is_1_for_the_truth_and_0_for_nothing(small):
    model = small("vid-pw-m4n2")
    boxes = np.array([[[0.1, 0.1, 0.4, 0.4], [0, 0, 0, 0]]], np.float32)
    truth = {"boxes": boxes, "labels": np.array([[3, 0]], np.int32)}
    answer = perfect(model, boxes, truth["labels"])
    assert score_of(model, answer, truth) == pytest.approx(1, abs=1e-3)
    assert score_of(model, model.blank_answer(1), truth) == 0
    wrong_class = {**answer, "scores": np.roll(np.array(answer["scores"]), 1, axis=-1)}
    assert score_of(model, wrong_class, truth) == 0
    elsewhere = {**answer, "boxes": 1 - np.array(answer["boxes"])[..., [2, 3, 0, 1]]}
    assert score_of(model, elsewhere, truth) < -0.1  # false detections count against it


@pytest.mark.slow
def test_score_of_a_mask_is_its_overlap(small):
    model = small("davis-pw-m4n2")
    masks = np.zeros((1, 128, 128), np.uint8)
    masks[:, :50] = 1
    assert score_of(model, model.blank_answer(1), {"masks": masks}) == 0
    assert score_of(model, {"mask": masks.astype(np.float32)}, {"masks": masks}) == 1
    half = {"mask": np.roll(masks, 25, axis=1).astype(np.float32)}
    assert score_of(model, half, {"masks": masks}) == pytest.approx(25 / 75)
    unknown = np.where(np.roll(masks, 25, axis=1) > masks, 255, masks).astype(np.uint8)
    assert score_of(model, half, {"masks": unknown}) == pytest.approx(25 / 50)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy"), [("small-boxes", "oracle"), ("small", "foresight")])
def test_the_oracle_s_window_is_the_best_of_all(name, policy, small):
    """By the truth; foresight's by what the model says of the whole frame."""
    model, step = small(name), KerasStep(small(name))
    (video,), _ = annotated_videos(Source(split="validation"), num_frames=3, size=128, only=0)
    choose = policies.make_policy(
        policy,
        step,
        truth=lambda t, size: step.task.frame_truth(video, t, size, model.config.image_size, "stretch"),
    )
    state = model.initial_state(1)
    for t, frame in enumerate(video.frames):
        image = frame[None].astype(np.float32) / 127.5 - 1
        truth = step.task.frame_truth(video, t, (128, 128), (128, 128), "stretch")
        if policy == "foresight":
            truth = step.task.believed_truth(step(image, None, step.initial_state())[0])
        scores = {}
        for window in model.grid.windows:
            outputs, _ = model.step(image, np.array([window], np.int32), state)
            scores[window] = score_of(model, outputs, truth)
        best = choose(policies.View(t, image, (128, 128), None, state))
        assert scores[best] >= max(scores.values()) - 1e-5
        _, state = model.step(image, np.array([best], np.int32), state)


def clip_of(model, rendered, actions, warm):
    """What a simulation takes, of rendered clips that are looked at through windows by their numbers (B, T)."""
    if model.config.task == "segmentation":
        truth = {"masks": np.stack([(clip.instances > 0).astype(np.uint8) for clip in rendered])}
    else:
        truth = {key: np.stack([getattr(clip, key) for clip in rendered]) for key in ("boxes", "labels")}
    clip = {"frames": np.stack([clip.frames for clip in rendered]), "truth": truth, "random_actions": actions}
    return {**clip, "explores": np.ones(actions.shape[:2], bool), "warm": np.array(warm, np.float32)}


def simulated(model, clip, simulation):
    policy = ClipPolicy(model, discount=0.9, target_rate=0.1, simulation=simulation)
    return policy, {key: np.array(value) for key, value in policy(clip).items()}


def image_of(clip, item, t):
    return clip["frames"][item, t][None].astype(np.float32) / 127.5 - 1


def truth_of(clip, item, t):
    return {key: value[item, t][None] for key, value in clip["truth"].items()}


@pytest.mark.slow
def test_every_window_is_rewarded_and_only_attention_learns():
    """The exact simulation against plain steps: the windows that are tried do not change what comes after."""
    model = fresh_model("small", image_size=64)
    actions = np.array([[0, 3, 1], [2, 2, 0]], np.int32)  # (clip, frame)
    clip = clip_of(model, [render_clip(index, 3, 64) for index in range(2)], actions, warm=[0, 1])
    policy, found = simulated(model, clip, ExactSimulation)
    np.testing.assert_array_equal(found["actions"], actions)
    for item, warm in enumerate(clip["warm"]):
        answer, state = model.blank_answer(1), model.initial_state(1)
        if warm:
            answer, state = model.step(image_of(clip, item, 0), None, state)
        for t in range(3):
            before = score_of(model, answer, truth_of(clip, item, t))
            expected = model.window_values(answer, state[restored_state(model)], state["freshness"])
            for key in ("rule_values", "q_values"):
                np.testing.assert_allclose(found[key][item, t], expected[key][0], atol=1e-4)
            steps = [
                model.step(image_of(clip, item, t), np.array([window], np.int32), state)
                for window in model.grid.windows
            ]
            for number, (outputs, _) in enumerate(steps):
                rise = score_of(model, outputs, truth_of(clip, item, t)) - before
                assert found["rewards"][item, t, number] == pytest.approx(rise, abs=1e-4)
                np.testing.assert_allclose(
                    found["next_online"][item, t, number], outputs["q_values"][0], atol=1e-4
                )
            answer, state = steps[actions[item, t]]
    trainable = {variable.path for variable in policy.trainable_variables}
    assert all("attention" in path and "_BN" not in path for path in trainable)
    assert len(trainable) == 4 + 2


@pytest.mark.slow
def test_errors_are_of_what_windows_differ_by_in_the_rule_s_units():
    """Rewards are 0.1 from their mean, the rule's values 0.5: a reward of 0.1 more is worth 0.5 more."""
    policy = ClipPolicy(fresh_model("small", image_size=64), discount=0.0, target_rate=0.1)
    steps = {
        "rewards": np.float32([[[0.3, 0.1, 0.3, 0.1]]]),
        "rule_values": np.float32([[[1.0, 2.0, 1.0, 2.0]]]),
        "q_values": np.float32([[[7.5, 6.5, 7.5, 6.9]]]),
        "actions": np.int32([[0]]),
    }
    loss = policy.compute_loss({"explores": np.zeros((1, 1), bool)}, y_pred=steps)
    errors = np.array([1, -1, 1, -1]) - np.array([0.4, -0.6, 0.4, -0.2]) / 0.5
    assert float(loss) == pytest.approx(np.mean(0.5 * errors**2), abs=1e-4)
    assert float(policy.means["reward"].result()) == pytest.approx(0.1)
    assert float(policy.means["rule_reward"].result()) == pytest.approx(-0.1)


@pytest.mark.slow
def test_channels_of_the_map_are_hidden_in_training_only():
    model = fresh_model("small", image_size=64)
    clip = clip_of(model, [render_clip(0, 2, 64)], np.array([[0, 3]], np.int32), warm=[1])
    hiding = ClipPolicy(model, discount=0.0, target_rate=0.1, dropout=0.5)
    seeing = ClipPolicy(model, discount=0.0, target_rate=0.1)
    expected = np.array(seeing(clip)["q_values"])
    np.testing.assert_array_equal(seeing(clip, training=True)["q_values"], expected)
    np.testing.assert_array_equal(hiding(clip)["q_values"], expected)
    first, second = (np.array(hiding(clip, training=True)["q_values"]) for _ in range(2))
    assert np.abs(first - expected).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3
    assert [v.path for v in hiding.saved_variables[len(seeing.saved_variables) :]] == [
        "map_dropout/seed_generator_state"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small-boxes", "small"])
def test_simulated_clips_are_those_of_whole_frames(name):
    """Every cell of memory and answer is that of the frame in which it was last looked at, put together by hand;
    on a clip that stands still, and whose first frame was seen whole, that is what the exact simulation has.
    """
    model = fresh_model(name, image_size=64)
    moving, still = render_clip(0, 3, 64), render_clip(1, 3, 64)
    for field in ("frames", "instances", "boxes", "labels"):
        getattr(still, field)[:] = getattr(still, field)[0]
    looked_at = [0, 3, 0]
    clip = clip_of(model, [moving, still], np.array([looked_at] * 2, np.int32), warm=[0, 1])
    _, found = simulated(model, clip, Simulation)
    _, exact = simulated(model, clip, ExactSimulation)
    np.testing.assert_allclose(exact["rewards"][1], 0, atol=1e-5)
    for key in ("rewards", "q_values", "next_online", "next_target"):
        np.testing.assert_allclose(exact[key][1], found[key][1], rtol=1e-3, atol=1e-4)
    whole = [model.step(image_of(clip, 0, t), None, model.initial_state(1)) for t in range(3)]
    last_seen = np.full(4, -1)
    for t in range(3):
        before, _ = composed_by_hand(model, whole, last_seen, t)
        for action in range(4):
            seen = last_seen.copy()
            seen[action] = t
            answer, memory = composed_by_hand(model, whole, seen, t)
            truth = truth_of(clip, 0, t)
            rise = score_of(model, answer, truth) - score_of(model, before, truth)
            assert found["rewards"][0, t, action] == pytest.approx(rise, rel=1e-3, abs=1e-5)
            values = model.window_values(answer, **memory)["q_values"][0]
            np.testing.assert_allclose(found["next_online"][0, t, action], values, atol=1e-4)
        last_seen[looked_at[t]] = t


def composed_by_hand(model, whole, last_seen, now):
    """An answer and what is remembered, of 2 x 2 cells that were last seen in frames (4,), or never (-1).

    `whole` is the outputs and the state of every whole frame.
    """

    def cell(centers):
        row, column = (np.asarray(centers) >= 0.5).astype(int).T
        return 2 * row + column

    def put_together(values, blank, cells):
        sources = np.stack([*(np.asarray(value)[0] for value in values), np.asarray(blank)])
        return sources[np.asarray(last_seen)[cells], np.arange(len(cells))].astype(np.float32)

    height, width, channels = model.map_shape
    assert (height, width) == (2, 2)  # one pixel per cell
    maps = [ops.reshape(state[restored_state(model)], (1, 4, channels)) for _, state in whole]
    restored = put_together(maps, np.zeros((4, channels)), np.arange(4)).reshape(1, 2, 2, channels)
    freshness = np.where(last_seen < 0, 0.0, 0.9 ** (now - last_seen)).astype(np.float32).reshape(1, 2, 2, 1)
    memory = {"restored": restored, "freshness": freshness}
    if model.config.task == "segmentation":
        middles = (np.arange(64) + 0.5) / 64
        centers = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2)
        masks = [ops.reshape(outputs["mask"], (1, -1)) for outputs, _ in whole]
        needs = [ops.reshape(outputs["undecided"], (1, 4)) for outputs, _ in whole]
        return {
            "mask": put_together(masks, np.full(64 * 64, 0.5), cell(centers)).reshape(1, 64, 64),
            "undecided": put_together(needs, np.ones(4), np.arange(4)).reshape(1, 2, 2, 1),
        }, memory
    of_map = model.map_answer(restored)
    windowed = len(model.anchors) - of_map["boxes"].shape[1]
    cells, answer = cell(model.anchors[:windowed, :2]), {}
    for key, fresh in of_map.items():
        parts = [outputs[key][:, :windowed] for outputs, _ in whole]
        mine = put_together(parts, np.zeros(parts[0].shape[1:]), cells)[None]
        answer[key] = np.concatenate([mine, fresh], axis=1)
    return answer, memory


def test_spread_is_what_windows_differ_by():
    """By hand: deviations of 1 and 3 from the frames' own means, whose mean square is 5."""
    spread = _RunningSpread("rewards")
    rewards = np.array([[[1.0, 3.0], [100.0, 106.0]]], np.float32)
    for _ in range(2):
        spread.update(ops.convert_to_tensor(rewards))
        assert float(spread.value) == pytest.approx(5**0.5, rel=1e-4)


SMALL = ["--system=small", "--plugins=small_network"]
TINY = [
    "--image_size=64",
    "--depth=0.35",
    "--batch_size=2",
    "--clip_frames=2",
    "--log_every=1",
    "--warmup_steps=1",
]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Training folder of a segmenter, a step old, for its policy to be trained."""
    folder = str(tmp_path_factory.mktemp("net"))
    assert train.main([*SMALL, *TINY, f"--model_dir={folder}", "--steps=1"]) == 0
    return folder


@pytest.mark.slow
def test_policy_stage_resumes_exactly_and_all_policies_are_scored(net, tmp_path, capsys):
    flags = [*SMALL, *TINY, "--stage=policy", f"--init_checkpoint={net}"]
    flags += ["--steps=4", "--save_every=2"]
    assert train.main([*flags, f"--model_dir={tmp_path}/whole"]) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    os.remove(tmp_path / "broken" / "checkpoint-00000004.npz")
    assert train.main([*flags, f"--model_dir={tmp_path}/broken"]) == 0
    rows = []
    for run in ("whole", "broken"):
        with open(tmp_path / run / "history.csv", newline="") as file:
            rows.append(list(csv.DictReader(file)))
    assert {"reward", "mean_q", "td_error", "exploring", "visit_entropy"} <= rows[0][0].keys()
    (events,) = (tmp_path / "whole").glob("events*")
    pictures = {
        value.tag: value.tensor.string_val[2]
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag.startswith("windows/")
    }
    assert pictures.keys() == {"windows/visits", "windows/q_values"}
    assert all(tf.io.decode_png(picture).shape == (96, 96, 1) for picture in pictures.values())
    for expected, found in zip(*rows, strict=True):
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-4)
    whole, broken = (checkpoints.read(str(tmp_path / run)).arrays for run in ("whole", "broken"))
    before = checkpoints.read(net).arrays
    assert any(key.startswith("target_") for key in whole)
    for key, value in whole.items():
        np.testing.assert_allclose(broken[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
        if not key.startswith(("attention_", "target_", "spread_of_", "map_dropout/", "optimizer/", "running/")):
            np.testing.assert_array_equal(before[key], value)
    assert not before["attention_value/kernel"].any()  # it starts from the rule
    assert np.abs(whole["attention_value/kernel"]).max() > 1e-5
    assert train.main([*SMALL, *TINY, "--stage=policy", f"--model_dir={net}"]) == 2
    assert "trained with --stage=supervised" in capsys.readouterr().err
    out = f"--json={tmp_path}/scores.json"
    policies = "--policy=rule,learned,raster,random,foresight,oracle"
    flags = [*SMALL, f"--checkpoint={tmp_path}/whole", "--num_videos=1", "--max_frames=6"]
    assert evaluate.main([*flags, policies, out]) == 0
    with open(tmp_path / "scores.json") as file:
        scores = json.load(file)
    assert [row["policy"] for row in scores] == ["rule", "learned", "raster", "random", "foresight", "oracle"]
    for row in scores:  # one of four cells in every frame but the first
        assert np.sum(row["cell_visits"]) == pytest.approx(5 / 6, abs=1e-3)
    larger = [*flags, "--image_size=128"]
    assert evaluate.main(larger) == 1
    assert "it has learned a policy for windows, which fits only the system" in capsys.readouterr().err


@pytest.mark.slow
def test_policy_stage_on_jax(net, on_jax, tmp_path):
    flags = [*SMALL, *TINY, "--stage=policy", f"--init_checkpoint={net}"]
    flags += ["--steps=2", f"--model_dir={tmp_path}/policy"]
    subprocess.run([sys.executable, "-m", "patchwork_tf.train", *flags], env=on_jax, check=True)
    arrays = checkpoints.read(str(tmp_path / "policy")).arrays
    assert arrays["map_dropout/seed_generator_state"][1] == 2 * 2  # one draw per step and frame


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--system=vid-sf", "--init_checkpoint=x"], "vid-sf has no windows to choose"),
        (["--system=vid-pw-m4n2"], "needs --init_checkpoint"),
    ],
)
def test_wrong_use_of_the_policy_stage(flags, message, tmp_path, capsys):
    assert train.main([*flags, "--stage=policy", f"--model_dir={tmp_path}/run"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
