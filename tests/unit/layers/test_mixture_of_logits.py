import numpy as np
import pytest
import tensorflow as tf

from tests.reference import mol as reference
from tfrs_twotower.layers import mixture_of_logits as mol
from tfrs_twotower.layers.seeded import WeightMaker

R, H, DIM, PAIRS = 3, 2, 5, 6


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def sides(seed, batch=4, columns=7):
    """Heads and gates of queries and of candidates, and the weights of c."""
    random = np.random.default_rng(seed)
    weights = [random.normal(size=shape) for shape in ((PAIRS, 4), (4,), (4, PAIRS), (PAIRS,))]
    return (
        (unit(random.normal(size=(batch, R, DIM))), random.normal(size=(batch, PAIRS))),
        (unit(random.normal(size=(columns, H, DIM))), random.normal(size=(columns, PAIRS))),
        weights,
    )


def constant(parts):
    return tuple(tf.constant(part) for part in parts)


def listed(query, candidates, weights):
    """Every candidate in everyone's list."""
    batch = len(query[0])
    every = tuple(np.broadcast_to(part, (batch, *part.shape)) for part in candidates)
    return mol.listed_mixtures(constant(query), constant(every), constant(weights)).numpy()


def in_batch(query, candidates, weights):
    return mol.all_mixtures(constant(query), constant(candidates), constant(weights)).numpy()


both_forms = pytest.mark.parametrize("score", [listed, in_batch])


def test_a_mixture_by_hand():
    """Products 1 and -1 with gates log 3 and 0 have the weights 3/4 and 1/4."""
    score = mol.mixture(tf.constant([1.0, -1.0]), tf.constant([np.log(3.0), 0.0], tf.float32))
    np.testing.assert_allclose(score, 3 / 4 * 1 + 1 / 4 * -1, rtol=1e-6)


@both_forms
@pytest.mark.parametrize("seed", range(5))
def test_scores_are_the_oracles(score, seed):
    query, candidates, weights = sides(seed)
    expected = [
        [
            reference.mixture(*(part[i] for part in query), *(part[j] for part in candidates), w)
            for j in range(7)
        ]
        for i in range(4)
        for w in [weights]
    ]
    np.testing.assert_allclose(score(query, candidates, weights), expected, rtol=0, atol=1e-12)


@both_forms
def test_one_head_on_both_sides_is_the_inner_product(score):
    (heads, gates), (columns, b), weights = sides(1)
    one = [weights[0][:1], weights[1], weights[2][:, :1], weights[3][:1]]
    scores = score((heads[:, :1], gates[:, :1]), (columns[:, :1], b[:, :1]), one)
    np.testing.assert_allclose(scores, heads[:, 0] @ columns[:, 0].T, atol=1e-12)


@both_forms
def test_weights_of_a_mixture_sum_to_one(score):
    """Equal heads have equal products, whose mixture is the product for any gates."""
    (heads, gates), (columns, b), weights = sides(9)
    heads, columns = np.repeat(heads[:, :1], R, axis=1), np.repeat(columns[:, :1], H, axis=1)
    scores = score((heads, 5.0 * gates), (columns, 5.0 * b), weights)
    np.testing.assert_allclose(scores, heads[:, 0] @ columns[:, 0].T, atol=1e-12)


@both_forms
def test_no_score_exceeds_the_largest_product(score):
    query, candidates, weights = sides(2, batch=30, columns=40)
    products = np.einsum("rid,cjd->rcij", query[0], candidates[0])
    largest = np.abs(products).max(axis=(2, 3))
    assert (np.abs(score(query, candidates, weights)) <= largest + 1e-12).all()


@pytest.mark.parametrize(("temperature", "error"), [(0.1, 0.2), (0.001, 1e-4)])
def test_gates_of_the_products_themselves_approach_the_maximum(temperature, error):
    products = np.random.default_rng(3).uniform(-1, 1, (50, PAIRS))
    scores = mol.mixture(tf.constant(products), tf.constant(products / temperature))
    np.testing.assert_allclose(scores, products.max(axis=1), atol=error)


@both_forms
def test_heads_permuted_with_their_gates_change_nothing(score):
    (heads, a), (columns, b), weights = sides(4)
    of_query, of_candidate = np.array([2, 0, 1]), np.array([1, 0])
    places = (of_candidate[:, None] * R + of_query).reshape(-1)
    permuted = [weights[0][places], weights[1], weights[2][:, places], weights[3][places]]
    np.testing.assert_allclose(
        score(
            (heads[:, of_query], a[:, places]),
            (columns[:, of_candidate], b[:, places]),
            permuted,
        ),
        score((heads, a), (columns, b), weights),
        atol=1e-12,
    )


@pytest.mark.parametrize("most_numbers", [1, 150, 2**21])
def test_chunks_change_neither_scores_nor_gradients(monkeypatch, most_numbers):
    """The oracle is the list of all candidates, which is computed whole by TensorFlow's tape."""
    query, candidates, weights = sides(5)
    upstream = tf.constant(np.random.default_rng(6).normal(size=(4, 7)))
    monkeypatch.setattr(mol, "_MOST_NUMBERS", most_numbers)

    def scores_and_gradients(in_lists):
        inputs = [constant(query), constant(candidates), constant(weights)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            if in_lists:
                every = [tf.repeat(part[tf.newaxis], 4, axis=0) for part in inputs[1]]
                scores = mol.listed_mixtures(inputs[0], every, inputs[2])
            else:
                scores = mol.all_mixtures(*inputs)
        return [scores, *tf.nest.flatten(tape.gradient(scores, inputs, upstream))]

    for actual, expected in zip(
        scores_and_gradients(False), scores_and_gradients(True), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-10)


@pytest.mark.parametrize("num_pairs", [1, 5, 6, 10])
def test_gates_are_rows_behind_the_heads(num_pairs):
    random = np.random.default_rng(7)
    heads, gates = random.normal(size=(4, R, DIM)), random.normal(size=(4, num_pairs))
    rows = mol.with_gates(tf.constant(heads), tf.constant(gates))
    assert rows.shape == (4, R + -(-num_pairs // DIM), DIM)
    back = mol.without_gates(rows[:, tf.newaxis], R, num_pairs)
    np.testing.assert_array_equal(back[0][:, 0], heads)
    np.testing.assert_array_equal(back[1][:, 0], gates)


def test_a_network_is_the_oracles():
    network = mol.GateNetwork(WeightMaker(1), 4, 8, 6)
    values = np.random.default_rng(8).normal(size=(3, 2, 4)).astype(np.float32)
    weights = [weight.numpy() for weight in network.weights]
    expected = [[reference.network(row, *weights) for row in rows] for rows in values]
    np.testing.assert_allclose(network(tf.constant(values)), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() < 0.5  # so that the weights pi start almost equal
