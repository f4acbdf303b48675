import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.fixtures.tiny_pre_ranker import PRE_RANKING, write_tiny_pre_ranker
from tests.reference.inttower import interaction_scores
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.towers.pre_ranker import Combination, load_pre_ranker

RETRIEVAL = tf.constant([[1.0, 2.0]])
INTERACTIONS = [tf.constant([[10.0, 20.0]]), tf.constant([[100.0, 200.0]])]
SIGNALS = tf.constant([[[0.5, 7.0], [0.25, 9.0]]])


def test_the_combination_by_hand():
    names = ("retrieval", "interaction_0", "interaction_1", "a", "b")
    combination = Combination(2, names, (2.0, -1.0, 0.5, 4.0, 1.0))
    expected = [[2 - 10 + 50 + 2 + 7, 4 - 20 + 100 + 1 + 9]]
    np.testing.assert_allclose(combination(RETRIEVAL, INTERACTIONS, SIGNALS), expected)


def test_each_weight_multiplies_its_own_feature():
    parts = [RETRIEVAL, *INTERACTIONS, SIGNALS[:, :, 0], SIGNALS[:, :, 1]]
    for position, part in enumerate(parts):
        weights = tuple(float(number == position) for number in range(5))
        combination = Combination(2, ("x",) * 5, weights)
        np.testing.assert_array_equal(combination(RETRIEVAL, INTERACTIONS, SIGNALS), part)


def test_the_combination_without_signals():
    combination = Combination(2, ("retrieval", "interaction_0"), (1.0, 1.0))
    scores = combination(RETRIEVAL, INTERACTIONS[:1], tf.zeros([1, 2, 0]))
    np.testing.assert_array_equal(scores, [[11.0, 22.0]])


def test_a_combination_that_lacks_a_weight_is_refused():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        Combination(2, ("retrieval",), (1.0,))(RETRIEVAL, INTERACTIONS, SIGNALS)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    context = tiny_context(tmp_path_factory.mktemp("run"), pre_ranking=PRE_RANKING)
    write_tiny_model(context)
    write_tiny_pre_ranker(context, weights=(0.5, 1.0, 0.7, -0.1))
    return context.layout.pre_ranker


@pytest.fixture
def saved(written, tmp_path):
    return shutil.copytree(written, tmp_path / "pre_ranker")


def test_round_trip(saved, test_queries):
    pre_ranker = load_pre_ranker(saved)
    raw = tensors({name: values[:6] for name, values in test_queries.inputs.items()})
    rows = np.random.default_rng(0).integers(0, 40, (6, 5))
    retrieval = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    heads = pre_ranker.query_heads(raw)
    expected = 0.5 * retrieval
    for weight, member, own in zip((1.0, 0.7), pre_ranker.members, heads, strict=True):
        every = interaction_scores(own.numpy(), member.candidate_heads.numpy())
        expected += weight * np.take_along_axis(every, rows, axis=1)
    expected -= 0.1 * np.load(saved / "candidate_signals.npy")[rows, 0]
    actual = pre_ranker.scores(heads, tf.constant(rows), tf.constant(retrieval))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_missing_candidate_gets_the_lowest_score(saved, test_queries):
    pre_ranker = load_pre_ranker(saved)
    raw = tensors({name: values[:1] for name, values in test_queries.inputs.items()})
    heads = pre_ranker.query_heads(raw)
    # The retrieval score of a missing candidate may even be NaN or -inf.
    retrieval = tf.constant([[0.3, np.nan, -np.inf]])
    scores = pre_ranker.scores(heads, tf.constant([[4, -1, -1]]), retrieval).numpy()
    assert np.isfinite(scores[0, 0])
    np.testing.assert_array_equal(scores[0, 1:], -np.inf)
    alone = pre_ranker.scores(heads, tf.constant([[4]]), tf.constant([[0.3]])).numpy()
    assert scores[0, 0] == alone[0, 0]


FILES = ["combination.json", "candidate_signals.npy", "member-1/candidate_heads.npy"]


@pytest.mark.parametrize("name", [*FILES, "member-0/weights.npz", "member-0/architecture.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(MissingArtifact, match=rf"{name}: is missing; train"):
        load_pre_ranker(saved)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 20])
def test_a_torn_file_is_named(saved, name, keep):
    path = saved / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptArtifact, match=rf"{name}: cannot be read: .*[Tt]rain"):
        load_pre_ranker(saved)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "candidate_signals.npy",
            np.zeros(40, np.float32),
            r"is float32 of shape \(40,\), expected float32 of shape \(any, any\). Train",
        ),
        ("candidate_signals.npy", np.zeros((40, 1)), r"float64 of shape \(40, 1\), expected"),
        ("candidate_signals.npy", np.array([["x"]], object), "cannot be read: Object arrays"),
        (
            "candidate_signals.npy",
            np.zeros((40, 2), np.float32),
            "interaction_1, log_count; the other files hold 3 scores and 2 signals",
        ),
        (
            "member-1/candidate_heads.npy",
            np.zeros((39, 3, 8), np.float32),
            r"member-1: has heads of 39 candidates, and .* signals of 40",
        ),
        (
            "member-0/candidate_heads.npy",
            np.zeros((40, 12), np.float32),
            r"float32 of shape \(40, 12\), expected float32 of shape \(any, any, any\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(saved, name, array, message):
    np.save(saved / name, array, allow_pickle=True)
    with pytest.raises(CorruptArtifact, match=message):
        load_pre_ranker(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": [1.0, 2.0]}, "it has 4 features and 2 weights"),
        ({"weights": [1.0, 2.0, "many", 3.0]}, "could not convert string to float"),
        ({"features": None}, "is not iterable"),
        ({"features": [], "weights": []}, "the other files hold 1 scores and 1 signals"),
    ],
)
def test_a_combination_that_does_not_fit_is_refused(saved, changes, message):
    path = saved / "combination.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CorruptArtifact, match=message):
        load_pre_ranker(saved)
