"""How windows are chosen: by the rule, and by an attention network that adds to it; and how fresh cells are."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import fresh_model, save_fresh, untrain_attention
from exports import export

import patchwork_tf as pw
from patchwork_tf.commands import train_run
from patchwork_tf.errors import DataError
from patchwork_tf.grid import Grid
from patchwork_tf.models.detector import objects_in_cells
from patchwork_tf.models.rule import FRESHNESS_DECAY, Rule, advance_freshness
from patchwork_tf.models.weights import assign_weights, get_weights
from patchwork_tf.zoo import checkpoints


def test_freshness_by_hand():
    grid = Grid(2, 1)
    fresh = np.zeros((2, 2, 2, 1), np.float32)
    for windows in ([[0, 0], [1, 1]], [[0, 1], [1, 1]]):
        fresh = advance_freshness(fresh, np.array(windows, np.int32), grid)
    d = FRESHNESS_DECAY
    np.testing.assert_allclose(np.array(fresh)[..., 0], [[[d, 1], [0, 0]], [[0, 0], [0, 1]]])
    np.testing.assert_array_equal(advance_freshness(fresh, None, grid), np.ones((2, 2, 2, 1)))


def test_rule_by_hand():
    """Windows of 1 x 2... of 3 x 3 cells: need 1 in the middle, of which every neighbour gets its share."""
    need, freshness = np.zeros((1, 3, 3, 1), np.float32), np.ones((1, 3, 3, 1), np.float32)
    need[0, 1, 1] = 1
    freshness[0, :, 0] = 0.5
    freshness[0, 1, 1] = 0.25
    rule = Rule(background=0.1, neighbours=0.5)
    # A corner has 4 cells around it, itself among them, an edge 6, the middle 9.
    corner, edge, middle = 0.1 + 0.5 / 4, 0.1 + 0.5 / 6, 1.1 + 0.5 / 9
    of_cells = np.array([corner, 0, 0, edge, 1.5 * middle, 0, corner, 0, 0]) * 0.5
    np.testing.assert_allclose(rule.values(need, freshness, Grid(3, 1))[0], of_cells, atol=1e-4)
    left = 0.5 * (corner + edge) + 0.75 * middle
    np.testing.assert_allclose(
        rule.values(need, freshness, Grid(3, 2))[0], [left, 0.75 * middle, left, 0.75 * middle], atol=1e-4
    )


def test_without_need_the_rule_sweeps_the_frame():
    """It looks where it has not looked for longest: for ever a raster."""
    for grid in (Grid(4, 1), Grid(4, 2), Grid(2, 1)):
        freshness, visited, rule = np.zeros((1, grid.cells, grid.cells, 1), np.float32), [], Rule(0.1, 0.5)
        for _ in range(3 * len(grid.raster)):
            values = np.array(rule.values(np.zeros_like(freshness), freshness, grid))
            visited.append(grid.windows[int(values.argmax())])
            freshness = np.array(advance_freshness(freshness, np.array(visited[-1:], np.int32), grid))
        assert visited == 3 * grid.raster


def test_objects_count_once_however_many_cells_they_are_in():
    """One of score 0.8 in half of the top right cell of 2 x 2; one of 0.6 across all; one too doubtful."""
    boxes = np.array([[[0.0, 0.5, 0.25, 1.0], [0.25, 0.0, 1.0, 1.0], [0.6, 0.6, 0.9, 0.9]]], np.float32)
    scores = np.array([[0.8, 0.6, 0.09]], np.float32)
    found = np.array(objects_in_cells(boxes, scores, Grid(2, 1)))[0, ..., 0]
    np.testing.assert_allclose(found, [[0.1, 0.8 + 0.1], [0.2, 0.2]], atol=1e-6)
    assert not np.array(objects_in_cells(np.zeros((1, 3, 4), np.float32), scores, Grid(2, 1))).any()
    squared = objects_in_cells(boxes, scores, Grid(2, 1), squares=True)
    np.testing.assert_allclose(np.sum(squared), np.sum(scores[scores >= 0.1] ** 2), rtol=1e-5)


@pytest.mark.slow
def test_need_of_a_mask_is_how_undecided_it_is(small):
    model = small("davis-pw-m2n1")
    height, width = model.logits_shape[:2]
    probability = np.full((1, height, width, 1), 1e-7)
    probability[0, : height // 2, : width // 2] = 0.5
    probability[0, height // 2 :, : width // 2] = 0.9
    probability[0, height // 2 :, width // 2 : 3 * width // 4] = 1 - 1e-7  # an edge goes through the last cell
    margin = np.log(probability / (1 - probability)).astype(np.float32)
    np.testing.assert_allclose(model.undecided(margin)[0, ..., 0], [[1, 0], [4 * 0.9 * 0.1, 1]], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vid-pw-m4n1", "davis-pw-m4n2"])
def test_an_untrained_network_adds_nothing_to_the_rule(name):
    model = fresh_model(name)
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (3, 128, 128, 3)).astype(np.float32)
    state = model.initial_state(3)
    windows = rng.integers(0, model.grid.positions, (3, 2), dtype=np.int32)
    assert model.attention.is_trained
    outputs, _ = model.step(frames, windows, state)
    assert np.abs(np.array(outputs["q_values"]) - np.array(outputs["rule_values"])).max() > 0.01
    untrain_attention(model)
    assert not model.attention.is_trained
    outputs, _ = model.step(frames, windows, state)
    np.testing.assert_array_equal(outputs["q_values"], outputs["rule_values"])


@pytest.mark.slow
def test_a_policy_without_the_rule_is_one_in_files_and_of_weights_that_learn_on(small_networks, tmp_path):
    model, beside = (fresh_model("small", image_size=64, policy_prior=prior) for prior in ("none", "rule"))
    export(model, str(tmp_path / "alone.tflite"), verify_steps=4)
    frames = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    answers, of_file, ruled = (
        list(pw.stream(network, frames)) for network in (model, str(tmp_path / "alone.tflite"), beside)
    )
    for answer, other in zip(answers, of_file, strict=True):
        assert answer.window == other.window
        np.testing.assert_allclose(answer.q_values, other.q_values, atol=1e-4)
    assert np.abs(answers[-1].q_values - ruled[-1].q_values).max() > 0.01
    untrain_attention(model)
    assert model.follows_attention  # there is nothing else
    weights = checkpoints.read(save_fresh(tmp_path, "small", image_size=64, policy_prior="none"))
    given = SimpleNamespace(init_checkpoint=weights.path)
    assert train_run._of_weights(given, pw.get_system("small"), weights, None, {})["policy_prior"] == "none"


@pytest.mark.slow
def test_next_window_is_the_best_by_q_values(small):
    model = small("vid-pw-m4n1")
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (3, 128, 128, 3)).astype(np.float32)
    windows = rng.integers(0, 4, (3, 2), dtype=np.int32)
    outputs, _ = model.step(frames, windows, model.initial_state(3))
    q_values = np.array(outputs["q_values"])
    assert q_values.shape == (3, 16)
    assert q_values.std() > 0.01  # these weights do look at the frame
    chosen = np.array(outputs["next_window"])
    assert chosen.dtype == np.int32
    np.testing.assert_array_equal(chosen[:, 0] * 4 + chosen[:, 1], q_values.argmax(axis=1))


@pytest.mark.slow
def test_an_untrained_policy_is_left_behind_and_a_trained_one_is_not(small):
    """The rest of the network is the same; nine windows are not sixteen."""
    nine, sixteen = small("vid-pw-m4n2"), fresh_model("vid-pw-m4n1", seed=2)
    before, source = get_weights(sixteen.variables), get_weights(nine.variables)
    with pytest.raises(DataError, match=r"m4n2\.npz: it has learned a policy for windows, which fits only"):
        assign_weights(sixteen.variables, source, "m4n2.npz")
    for key, value in get_weights(sixteen.variables).items():
        np.testing.assert_array_equal(value, before[key])
    for part in ("kernel", "bias"):
        source[f"attention_value/{part}"] = np.zeros_like(source[f"attention_value/{part}"])
    assign_weights(sixteen.variables, source, "m4n2.npz")
    for key, value in get_weights(sixteen.variables).items():
        np.testing.assert_array_equal(value, before[key] if key.startswith("attention_") else source[key])
    single = {key: value for key, value in source.items() if not key.startswith("attention_")}
    assign_weights(sixteen.variables, single, "sf.npz")


@pytest.mark.slow
def test_build_of_another_size_with_a_policy_is_refused(tmp_path, small):
    """At another image size the attention network has other weights."""
    policy, larger = get_weights(small("davis-pw-m2n1").variables), fresh_model("davis-pw-m2n1", image_size=192)
    with pytest.raises(DataError, match="only the system and the image size"):
        assign_weights(larger.variables, policy, "policy.npz")
    single = fresh_model("davis-sf", image_size=192)
    assign_weights(single.variables, policy, "policy.npz")  # which looks at whole frames, and needs none
