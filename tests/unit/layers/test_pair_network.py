import numpy as np
import pytest
import tensorflow as tf

from tests.reference import cold as reference
from tfrs_twotower.layers import pair_network
from tfrs_twotower.layers.seeded import WeightMaker

R, H, DIM, DIMS = 3, 2, 5, (6, 4)


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def case(seed, batch=4, columns=7, dims=DIMS):
    """Heads of queries and candidates, and weights of any size, in the network's order."""
    random = np.random.default_rng(seed)
    shapes = [weight.shape for weight in network(dims).weights]
    return (
        unit(random.normal(size=(batch, R, DIM))),
        unit(random.normal(size=(columns, H, DIM))),
        [random.normal(size=shape) for shape in shapes],
    )


def network(dims=DIMS):
    return pair_network.PairNetwork(WeightMaker(1), (R, DIM), H, dims)


def constant(parts):
    return [tf.constant(part) for part in parts]


def listed(query_heads, candidate_heads, weights):
    """Every candidate in everyone's list."""
    every = np.broadcast_to(candidate_heads, (len(query_heads), *candidate_heads.shape))
    return pair_network.listed_scores(*constant((query_heads, every)), constant(weights)).numpy()


def in_batch(query_heads, candidate_heads, weights):
    heads = constant((query_heads, candidate_heads))
    return pair_network.all_scores(*heads, constant(weights)).numpy()


both_forms = pytest.mark.parametrize("score", [listed, in_batch])


@both_forms
def test_a_score_by_hand(score):
    """One head of one number each, and one layer of width 1: q = 1, c = -1, product -1.

    The layer is relu(2 * 1 + 3 * -1 + 4 * -1 + 6) = 1, so that the score is 5 * -1 + 7 * 1.
    """
    weights = [np.array([5.0]), [[2.0]], [[3.0]], [[4.0]], [6.0], [[7.0]]]
    weights = [np.array(weight) for weight in weights]
    assert score(np.ones((1, 1, 1)), -np.ones((1, 1, 1)), weights) == 5 * -1 + 7 * 1


@both_forms
@pytest.mark.parametrize("dims", [(6,), (6, 4), (3, 5, 2)])
def test_scores_are_the_oracles(score, dims):
    query_heads, candidate_heads, weights = case(1, dims=dims)
    expected = [[reference.score(u, v, weights) for v in candidate_heads] for u in query_heads]
    np.testing.assert_allclose(
        score(query_heads, candidate_heads, weights), expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("most_numbers", [1, 150, 2**21])
def test_chunks_change_neither_scores_nor_gradients(monkeypatch, most_numbers):
    """The oracle is the list of all candidates, which is computed whole by TensorFlow's tape."""
    query_heads, candidate_heads, weights = case(2)
    upstream = tf.constant(np.random.default_rng(3).normal(size=(4, 7)))
    monkeypatch.setattr(pair_network, "_MOST_NUMBERS", most_numbers)

    def scores_and_gradients(in_lists):
        inputs = [*constant((query_heads, candidate_heads)), *constant(weights)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            if in_lists:
                every = tf.repeat(inputs[1][tf.newaxis], 4, axis=0)
                scores = pair_network.listed_scores(inputs[0], every, inputs[2:])
            else:
                scores = pair_network.all_scores(inputs[0], inputs[1], inputs[2:])
        return [scores, *tape.gradient(scores, inputs, upstream)]

    for actual, expected in zip(
        scores_and_gradients(False), scores_and_gradients(True), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-10)


def test_a_new_network_starts_close_to_the_mean_of_the_products():
    query_heads, candidate_heads, _ = case(4, batch=30, columns=40)
    weights = [weight.numpy().astype(np.float64) for weight in network((64, 32)).weights]
    means = np.einsum("rid,cjd->rc", query_heads, candidate_heads) / (R * H)
    apart = in_batch(query_heads, candidate_heads, weights) - means
    assert 0.0 < apart.std() < 0.5 * means.std() + 0.2
    without = [*weights[:-1], 0.0 * weights[-1]]
    np.testing.assert_allclose(in_batch(query_heads, candidate_heads, without), means, atol=1e-6)
