import numpy as np
import pytest
import tensorflow as tf

from tests.reference import inttower as reference
from tfrs_twotower.layers import fe_block
from tfrs_twotower.layers.fe_block import HeadMaps, all_pairs, interaction_scores
from tfrs_twotower.layers.seeded import WeightMaker


def heads(seed, batch=5, num_query=6, columns=7, num_candidate=3, dim=4):
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(batch, num_query, dim)),
        random.normal(size=(columns, num_candidate, dim)),
    )


def listed(query, candidate):
    """Every candidate in everyone's list."""
    every = np.broadcast_to(candidate, (len(query), *candidate.shape))
    return interaction_scores(tf.constant(query), tf.constant(every)).numpy()


def in_batch(query, candidate):
    return all_pairs(tf.constant(query), tf.constant(candidate)).numpy()


both_forms = pytest.mark.parametrize("score", [listed, in_batch])


@both_forms
def test_scores_by_hand(score):
    query = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    candidate = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    assert score(query, candidate).tolist() == [[1 + 2 + 2]]


@both_forms
@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_four_nested_loops(score, seed):
    query, candidate = heads(seed)
    expected = reference.interaction_scores(query, candidate)
    np.testing.assert_allclose(score(query, candidate), expected, rtol=0, atol=1e-13)


@both_forms
def test_stacked_layers_equal_the_sum_over_layers(score):
    query, candidate = heads(1, num_query=6)
    layers = [score(query[:, start : start + 2], candidate) for start in (0, 2, 4)]
    np.testing.assert_allclose(score(query, candidate), sum(layers), atol=1e-13)


@both_forms
def test_a_score_lies_between_the_pooled_heads_and_the_norms(score):
    query, candidate = heads(2, batch=40, columns=30)
    scores = score(query, candidate)
    pooled = query.sum(axis=1) @ candidate.mean(axis=1).T
    norms = np.linalg.norm(query, axis=2).sum(axis=1)[:, None]
    assert (scores >= pooled).all()
    assert (scores <= norms * np.linalg.norm(candidate, axis=2).max(axis=1)).all()


@both_forms
def test_head_order_repeated_heads_and_zero_heads_change_nothing(score):
    query, candidate = heads(3)
    scores = score(query, candidate)
    for other_query, other_candidate in (
        (query, candidate[:, [2, 0, 1]]),
        (query[:, [5, 3, 1, 0, 2, 4]], candidate),
        (query, candidate[:, [0, 1, 2, 1]]),
        (np.concatenate([query, np.zeros((5, 1, 4))], axis=1), candidate),
    ):
        np.testing.assert_allclose(score(other_query, other_candidate), scores, atol=1e-13)


@both_forms
def test_one_candidate_head_gives_an_inner_product(score):
    query, candidate = heads(4, num_candidate=1)
    np.testing.assert_allclose(
        score(query, candidate), query.sum(axis=1) @ candidate[:, 0].T, atol=1e-13
    )


@pytest.mark.parametrize("form", ["listed", "in_batch"])
def test_tied_heads_split_the_gradient_evenly(form):
    query = np.array([[1.0, 0.0], [0.0, 1.0]])
    candidate = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(candidate)
        if form == "listed":
            score = interaction_scores(query[None], candidate[None, None])
        else:
            score = all_pairs(tf.constant(query[None]), candidate[None])
    gradient = tape.gradient(score, candidate)
    np.testing.assert_allclose(gradient, [[0.5, 0], [0.5, 0], [0, 1.0]])
    expected = reference.gradient_of_candidate_heads(query, candidate.numpy())
    np.testing.assert_allclose(gradient, expected)


def gradients(query, candidate, upstream):
    query, candidate = tf.constant(query), tf.constant(candidate)
    with tf.GradientTape() as tape:
        tape.watch([query, candidate])
        total = tf.reduce_sum(all_pairs(query, candidate) * upstream)
    return [g.numpy() for g in tape.gradient(total, [query, candidate])]


@pytest.mark.parametrize("most", [1, 300, 1000])
def test_chunks_change_neither_scores_nor_gradients(monkeypatch, most):
    query, candidate = heads(5, batch=11)
    upstream = np.random.default_rng(5).normal(size=(11, 7))
    scores, expected = in_batch(query, candidate), gradients(query, candidate, upstream)
    monkeypatch.setattr(fe_block, "_MOST_PRODUCTS", most)
    np.testing.assert_allclose(in_batch(query, candidate), scores, atol=1e-13)
    for actual, whole in zip(gradients(query, candidate, upstream), expected, strict=True):
        np.testing.assert_allclose(actual, whole, atol=1e-12)


@both_forms
@pytest.mark.parametrize(("batch", "columns"), [(0, 3), (3, 0)])
def test_no_queries_or_no_candidates(score, batch, columns):
    assert score(*heads(6, batch=batch, columns=columns)).shape == (batch, columns)


def test_same_answer_in_a_graph_of_unknown_sizes():
    query, candidate = (x.astype(np.float32) for x in heads(7))
    signature = [tf.TensorSpec([None, 6, 4]), tf.TensorSpec([None, 3, 4])]
    graph = tf.function(all_pairs, input_signature=signature)
    np.testing.assert_allclose(graph(query, candidate), in_batch(query, candidate), rtol=1e-5)


def test_heads_follow_the_order_of_the_layers():
    maps = HeadMaps(WeightMaker(0), [3, 2], num_heads=2, head_dim=4, num_summands=4)
    layers = [tf.random.stateless_normal([5, dim], [dim, 1]) for dim in (3, 2)]
    kernels = {v.name: v.numpy() for v in maps.variables}
    assert kernels["layer_1.kernel:0"].shape == (2, 8)
    ordered = [kernels["layer_0.kernel:0"], kernels["layer_1.kernel:0"]]
    actual = maps(layers)
    assert actual.shape == (5, 4, 4)
    for row in range(5):
        expected = reference.heads([layer[row].numpy() for layer in layers], ordered, 4)
        np.testing.assert_allclose(actual[row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("num_layers", "num_heads", "head_dim"), [(1, 1, 8), (2, 4, 32), (3, 8, 64)]
)
def test_scores_of_new_heads_are_of_order_one(num_layers, num_heads, head_dim):
    num_summands = num_layers * num_heads
    sizes = {"num_heads": num_heads, "head_dim": head_dim, "num_summands": num_summands}
    query = HeadMaps(WeightMaker(1, "q."), [64] * num_layers, **sizes)
    candidate = HeadMaps(WeightMaker(1, "c."), [64], **sizes)
    layers = tf.random.stateless_normal([num_layers + 1, 50, 64], [1, 1], stddev=0.1)
    scores = all_pairs(query(list(layers[:-1])), candidate([layers[-1]]))
    assert 0.2 < np.std(scores) < 5
