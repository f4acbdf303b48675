import numpy as np
import pytest
import tensorflow as tf

from tests.reference import colbert as reference
from tfrs_twotower.layers import fe_block, late_interaction
from tfrs_twotower.layers.late_interaction import TokenVectors, candidate_heads, query_heads

LENGTHS = [[3, 5], [1, 0], [0, 2], [4, 5], [0, 0]]
"""Tokens in each of two texts of five places."""


def texts(seed, lengths=LENGTHS):
    """Unit vectors and positive weights, both arbitrary where there is no token."""
    random = np.random.default_rng(seed)
    made = []
    for column in np.array(lengths).T:
        vectors = random.normal(size=(len(lengths), 5, 4))
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        present = np.arange(5) < column[:, None]
        weights = random.uniform(0.5, 2.0, (len(lengths), 5)) * present
        made.append(TokenVectors(tf.constant(vectors), tf.constant(weights)))
    return made


def tokens_of(made, row, most):
    """Vectors and weights of the tokens that are there, as arrays."""
    pairs = [
        (vector, weight)
        for text in made
        for vector, weight in zip(text.vectors[row].numpy(), text.weights[row].numpy(), strict=True)
        if weight > 0
    ][:most]
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def scores(queries, candidates, most=8):
    return fe_block.all_pairs(
        query_heads(late_interaction.joined(queries, most)),
        candidate_heads(late_interaction.joined(candidates, most)),
    ).numpy()


def test_by_hand():
    """Cosines .6 and .8 with weights 1 and 3: .25 * .6 + .75 * .8."""
    query = TokenVectors(tf.constant([[[1.0, 0], [0, 1], [9, 9]]]), tf.constant([[1.0, 3, 0]]))
    candidate = TokenVectors(tf.constant([[[0.6, 0.8], [9, 9]]]), tf.constant([[1.0, 0]]))
    np.testing.assert_allclose(scores([query], [candidate]), [[0.25 * 0.6 + 0.75 * 0.8]])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("most", [2, 8])
def test_scores_are_the_oracles(seed, most):
    queries, candidates = texts(seed), texts(seed + 10)
    expected = np.zeros((5, 5))
    for i in range(5):
        query, weights = tokens_of(queries, i, most)
        for j in range(5):
            candidate, _ = tokens_of(candidates, j, most)
            expected[i, j] = reference.score(query, candidate, weights) if len(query) else 0.0
    np.testing.assert_allclose(scores(queries, candidates, most), expected, atol=1e-12)


def test_all_cosines_may_be_negative():
    """A mask of zeros would win the maximum."""
    query = TokenVectors(tf.constant([[[1.0, 0]]]), tf.constant([[1.0]]))
    candidate = TokenVectors(tf.constant([[[-0.6, 0.8], [0, 0]]]), tf.constant([[1.0, 0]]))
    np.testing.assert_allclose(scores([query], [candidate]), [[-0.6]])


def test_the_order_of_a_candidates_tokens_does_not_matter():
    queries, (first, second) = texts(1), texts(2)
    np.testing.assert_allclose(
        scores(queries, [first, second], 10), scores(queries, [second, first], 10), atol=1e-12
    )


def test_one_token_on_both_sides_is_their_cosine():
    ones = [[1, 0]] * 5
    queries, candidates = texts(5, ones), texts(6, ones)
    expected = queries[0].vectors.numpy()[:, 0] @ candidates[0].vectors.numpy()[:, 0].T
    np.testing.assert_allclose(scores(queries, candidates), expected, atol=1e-12)


def test_places_without_a_token_change_nothing():
    """On either side, whatever stands there, and where many more are compared than there are."""
    queries, candidates = texts(7), texts(8)
    nothing = TokenVectors(
        tf.constant(np.random.default_rng(9).normal(size=(5, 6, 4))), tf.zeros([5, 6], tf.float64)
    )
    expected = scores(queries, candidates, 10)
    np.testing.assert_allclose(scores([nothing, *queries], candidates, 16), expected, atol=1e-12)
    np.testing.assert_allclose(scores(queries, [*candidates, nothing], 16), expected, atol=1e-12)
    np.testing.assert_allclose(scores(queries, [nothing, *candidates], 16), expected, atol=1e-12)


def test_another_token_never_lowers_a_score():
    queries, candidates = texts(3), texts(4, [[1, 1]] * 5)
    more = [candidates[0], texts(4, [[1, 3]] * 5)[1]]
    assert (scores(queries, more) >= scores(queries, candidates) - 1e-12).all()


def test_the_gradient_of_a_repeated_token_is_that_of_the_token():
    """A candidate of one token in three places learns as one in one place."""
    query = tf.constant([[[0.6, 0.8], [1.0, 0.0]]])
    found = []
    for width in (1, 3):
        vectors = tf.Variable(tf.pad([[[0.8, 0.6]]], [[0, 0], [0, width - 1], [0, 0]]))
        with tf.GradientTape() as tape:
            heads = candidate_heads(TokenVectors(vectors, tf.constant([[1.0] + [0] * (width - 1)])))
            score = fe_block.all_pairs(query, heads)
        found.append(tape.gradient(score, vectors)[0, 0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    np.testing.assert_allclose(found[0], [1.6, 0.8], rtol=1e-6)
