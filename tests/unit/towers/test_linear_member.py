import json

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import linear_member as oracle
from tests.unit.specs.documents import spec_data
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.linear_member import (
    LinearMember,
    history_inputs,
    load_linear_member,
    save_linear_member,
)

ITEMS = ["c", "a", "b"]
HALF_LIVES = (None, 2.0)


@pytest.fixture
def spec():
    """Two histories, five and two long."""
    histories = [
        {"name": "views", "kind": "history", "max_length": 5},
        {"name": "buys", "kind": "history", "max_length": 2},
    ]
    return FeatureSpec.model_validate(
        spec_data(
            query={"features": histories}, candidate={"features": [{"name": "item", "kind": "id"}]}
        )
    )


@pytest.fixture
def assets(spec):
    return Assets({spec.candidate_id_feature.vocabulary_name: ITEMS, "other": ["x"]}, {})


@pytest.fixture
def member(spec, assets):
    history = np.array([[0, 0], [0, 0], [1, 0], [0, 1], [2, 2]], np.float32)
    candidates = np.array([[1, 1], [1, -1], [0, 3], [0, 0]], np.float32)
    return LinearMember(history_inputs(spec, assets), HALF_LIVES, history, candidates)


def raw(views, buys):
    def padded(histories, length):
        return tf.constant([[*history, *[""] * (length - len(history))] for history in histories])

    return {"views": padded(views, 5), "buys": padded(buys, 2), "unread": tf.constant(["x"])}


def test_heads_and_scores_by_hand(member):
    """views c a c stranger: c at 0, a at 1; buys a b: a at 0 beats the view, b at 1.

    All alike: (1, 0) + (0, 1) + (2, 2) = (3, 3). Half-life 2: 1 (1, 0) + 1 (0, 1) + r (2, 2) with
    r = 2^-.5.
    """
    heads = member.query_heads(raw([["c", "a", "c", "?"]], [["a", "b"]]))
    with_b = 1 + 2 * 2**-0.5
    np.testing.assert_allclose(heads, [[[3, 3], [with_b, with_b]]], rtol=1e-6)
    scores = member.scores(heads, tf.constant([[2, 0, 1]]))
    expected = [[[9, 6, 0], [3 * with_b, 2 * with_b, 0]]]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert member.features == ("ease_all", "ease_2")


def test_a_repeated_candidate_counts_where_it_is_most_recent(member):
    once = member.query_heads(raw([["b", "", "c"]], [[]]))
    again = member.query_heads(raw([["b", "b", "c", "b", "c"]], [["", "c"]]))
    np.testing.assert_allclose(again[0, 0], once[0, 0], rtol=1e-6)
    # c at 1 instead of 2.
    np.testing.assert_allclose(again[0, 1], [2 + 2**-0.5, 2], rtol=1e-6)


def test_an_empty_history_scores_nothing(member):
    assert not member.query_heads(raw([[], ["?", "?"]], [[], ["?"]])).numpy().any()


def test_random_histories_equal_the_oracle(member):
    random = np.random.default_rng(0)
    tokens = {
        "views": random.integers(0, 5, (50, 5)).astype(np.int32),
        "buys": random.integers(0, 5, (50, 2)).astype(np.int32),
    }
    vectors = random.normal(size=(5, 2)).astype(np.float32)
    vectors[:2] = 0.0
    member.history_vectors.assign(vectors)
    heads = member.encode(tokens).numpy()
    for query in range(50):
        histories = [tokens[name][query] for name in ("views", "buys")]
        for position, half_life in enumerate(HALF_LIVES):
            weights = oracle.history_weights(histories, half_life, 5)
            np.testing.assert_allclose(heads[query, position], weights @ vectors, atol=1e-5)


def test_storage_keeps_every_bit(member, spec, assets, tmp_path):
    save_linear_member(member, spec, assets, tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "architecture.json",
        "candidate_vectors.npy",
        "history_vectors.npy",
        "statistics.json",
        "vocabularies/item.txt",
    ]
    loaded = load_linear_member(tmp_path)
    features = raw([["c", "a", "?"], ["b"]], [["a"], []])
    np.testing.assert_array_equal(loaded.query_heads(features), member.query_heads(features))
    np.testing.assert_array_equal(loaded.candidate_vectors, member.candidate_vectors)
    assert loaded.half_lives == HALF_LIVES
    assert loaded.features == member.features


def test_it_runs_in_a_saved_graph_from_raw_features(member, tmp_path):
    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.member = member
            self.heads = tf.function(member.query_heads, [member.inputs.signature])

    tf.saved_model.save(Served(), str(tmp_path))
    features = raw([["c", "a", "?"], ["b"]], [["a"], []])
    del features["unread"]
    served = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(served.heads(features), member.query_heads(features), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "history_vectors.npy",
            np.zeros((4, 2), np.float32),
            r"history_vectors.npy: is float32 of shape \(4, 2\), expected float32 of shape "
            r"\(5, any\). Train again.",
        ),
        (
            "candidate_vectors.npy",
            np.zeros((4, 3), np.float32),
            r"candidate_vectors.npy: is float32 of shape \(4, 3\), expected float32 of shape "
            r"\(any, 2\)",
        ),
        ("candidate_vectors.npy", np.zeros((4, 2)), "is float64 of shape"),
        ("candidate_vectors.npy", np.zeros(8, np.float32), r"of shape \(8,\), expected"),
    ],
)
def test_parts_that_do_not_fit_are_refused(member, spec, assets, tmp_path, name, value, message):
    save_linear_member(member, spec, assets, tmp_path)
    np.save(tmp_path / name, value)
    with pytest.raises(CorruptArtifact, match=message):
        load_linear_member(tmp_path)


def test_a_missing_or_damaged_file_is_named(member, spec, assets, tmp_path):
    save_linear_member(member, spec, assets, tmp_path)
    architecture = tmp_path / "architecture.json"
    document = json.loads(architecture.read_text())
    (tmp_path / "history_vectors.npy").unlink()
    with pytest.raises(MissingArtifact, match=r"history_vectors.npy: is missing"):
        load_linear_member(tmp_path)
    architecture.write_text(json.dumps({**document, "half_lives": ["soon"]}))
    with pytest.raises(CorruptArtifact, match=r"architecture.json: cannot be read"):
        load_linear_member(tmp_path)
    architecture.unlink()
    with pytest.raises(MissingArtifact, match=r"architecture.json: is missing; train the pre-"):
        load_linear_member(tmp_path)
