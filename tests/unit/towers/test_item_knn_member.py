import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from tests.unit.specs.documents import spec_data
from tfrs_twotower.closed_form.neighbours import cosine_neighbours
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.item_knn_member import (
    ItemKnnMember,
    load_item_knn_member,
    neighbours_by_token,
    save_item_knn_member,
)
from tfrs_twotower.towers.linear_member import history_inputs

ITEMS = [f"i{number}" for number in range(12)]
LAST, HALF_LIVES = 3, (None, 2.0)


@pytest.fixture
def spec():
    lengths = {"views": 5, "buys": 2}
    histories = [
        {"name": name, "kind": "history", "max_length": length} for name, length in lengths.items()
    ]
    item = {"name": "item", "kind": "id"}
    return FeatureSpec.model_validate(
        spec_data(query={"features": histories}, candidate={"features": [item]})
    )


@pytest.fixture
def assets(spec):
    return Assets({spec.candidate_id_feature.vocabulary_name: ITEMS}, {})


@pytest.fixture
def chosen():
    return (np.random.default_rng(0).random((40, 14)) < 0.3).astype(np.float32)


@pytest.fixture
def member(spec, assets, chosen):
    """14 candidates in the order of rows; the vocabulary knows the first twelve, backwards."""
    similar = cosine_neighbours(sparse.csr_matrix(chosen), 4)
    rows = np.array([-1, -1, *range(11, -1, -1)], np.int32)
    inputs = history_inputs(spec, assets)
    return ItemKnnMember(inputs, LAST, HALF_LIVES, *neighbours_by_token(similar, rows, 4))


def raw(views, buys):
    def padded(histories, length):
        return tf.constant([[*history, *[""] * (length - len(history))] for history in histories])

    return {"views": padded(views, 5), "buys": padded(buys, 2)}


def test_the_latest_distinct_candidates_of_all_histories(member):
    """views 3 1 3 ? 2, buys 5 1: 3 and 5 at 0 (the lower token first), 1 at 1, then 2 at 4."""
    asked = raw([["i3", "i1", "i3", "?", "i2"], []], [["i5", "i1"], []])
    np.testing.assert_array_equal(member.query_heads(asked), [[5, 7, 3], [0, 0, 0]])


def test_scores_equal_those_of_dense_matrices(member, chosen):
    similar = cosine_neighbours(sparse.csr_matrix(chosen), 4).toarray()
    similar[:, 12:] = 0.0  # without a token, nobody's neighbour
    asked = raw([["i3", "i1", "i3", "?", "i2"]], [[]])
    rows = tf.constant([list(range(14))])
    found = member.scores(member.query_heads(asked), rows).numpy()[0]
    history = [11 - 3, 11 - 1, 11 - 2]
    for scores, life in zip(found, HALF_LIVES, strict=True):
        weights = [1.0 if life is None else 2.0 ** (-place / life) for place in range(3)]
        expected = sum(w * similar[row] for w, row in zip(weights, history, strict=True))
        expected[12:] = 0.0
        np.testing.assert_allclose(scores, expected, atol=1e-6)
    weighted = member.weighted(member.query_heads(asked), rows, tf.constant([0.5, -2.0]))
    np.testing.assert_allclose(weighted[0], 0.5 * found[0] - 2.0 * found[1], atol=1e-6)


def test_a_query_without_a_history_scores_nothing(member):
    heads = member.query_heads(raw([["?"]], [[]]))
    assert not member.scores(heads, tf.constant([list(range(14))])).numpy().any()


def test_it_is_read_back_as_it_was_written(member, spec, assets, tmp_path):
    save_item_knn_member(member, spec, assets, tmp_path)
    loaded = load_item_knn_member(tmp_path)
    asked, rows = raw([["i3", "i1"]], [["i5"]]), tf.constant([list(range(14))])
    assert loaded.features == member.features == ("item_knn_all", "item_knn_2")
    np.testing.assert_array_equal(
        loaded.scores(loaded.query_heads(asked), rows),
        member.scores(member.query_heads(asked), rows),
    )


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("neighbours.npz", None, MissingArtifact),
        ("neighbours.npz", b"no", CorruptArtifact),
        ("architecture.json", b"{}", CorruptArtifact),
    ],
)
def test_damaged_files(member, spec, assets, tmp_path, name, content, error):
    save_item_knn_member(member, spec, assets, tmp_path)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=r"rain .*again|train the pre-ranker first"):
        load_item_knn_member(tmp_path)
