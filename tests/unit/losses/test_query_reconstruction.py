import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import finite_differences, gradient_of
from tests.reference import query_slots as reference
from tfrs_twotower.losses.query_reconstruction import joined_tokens, query_reconstruction


def case(seed, dtype=np.float32):
    """Four queries of at most five tokens and three slots; the last query is empty."""
    random = np.random.default_rng(seed)
    states = random.normal(size=(4, 3, 6)).astype(dtype)
    table = random.normal(size=(9, 6)).astype(dtype)
    tokens = random.integers(1, 9, (4, 5)).astype(np.int32)
    for row, length in enumerate((5, 2, 3, 0)):
        tokens[row, length:] = 0
    return states, table, tokens


def test_by_hand():
    # Pieces a and b with the vectors 0 and 1. Slot 0 is undecided, slot 1 gives b three quarters.
    states = np.array([[[0.0], [np.log(3)], [5.0]]], np.float32)
    table = np.array([[100.0], [0.0], [1.0]], np.float32)
    a, b = 1, 2
    loss = query_reconstruction(states, table, tf.constant([[a, b, 0]]))
    np.testing.assert_allclose(loss, [(np.log(2) + np.log(4 / 3)) / 2], rtol=1e-6)
    alone = query_reconstruction(states, table, tf.constant([[b, 0, 0]]))
    np.testing.assert_allclose(alone, [np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_matches_reference(seed):
    states, table, tokens = case(seed)
    expected = reference.reconstruction(states, table, tokens)
    actual = query_reconstruction(states, table, tokens)
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    graph = tf.function(query_reconstruction, autograph=False)
    np.testing.assert_allclose(graph(states, table, tf.constant(tokens)), actual, rtol=1e-6)


def test_padding_is_ignored():
    states, table, tokens = case(0)
    expected = query_reconstruction(states, table, tokens)
    wider = np.pad(tokens, ((0, 0), (0, 4)))
    np.testing.assert_array_equal(query_reconstruction(states, table, wider), expected)
    # What the slots behind a query say does not matter either, nor what padding looks like.
    changed = states.copy()
    changed[1, 2:] = 100.0
    changed[3] = np.nan
    other_table = table.copy()
    other_table[0] = 1000.0
    np.testing.assert_array_equal(query_reconstruction(changed, other_table, tokens), expected)
    of_states, of_table = gradient_of(
        lambda s, t: query_reconstruction(s, t, tokens), states, table
    )
    absent = tokens[:, :3] == 0
    np.testing.assert_array_equal(of_states[absent], 0.0)
    assert np.abs(of_states[~absent]).max(axis=1).min() > 0
    np.testing.assert_array_equal(of_table[0], 0.0)


def test_tokens_beyond_the_slots_are_not_predicted():
    states, table, tokens = case(1)
    cut = query_reconstruction(states, table, tokens[:, :3])
    np.testing.assert_array_equal(query_reconstruction(states, table, tokens), cut)


def test_an_empty_query_costs_nothing():
    states, table, tokens = case(2)
    assert query_reconstruction(states, table, tokens)[3] == 0.0
    nothing = query_reconstruction(states, table, np.zeros_like(tokens))
    np.testing.assert_array_equal(nothing, np.zeros(4))


def test_undecided_slots_cost_the_log_of_the_vocabulary():
    _, table, tokens = case(3)
    losses = query_reconstruction(np.zeros((4, 3, 6), np.float32), table, tokens)
    np.testing.assert_allclose(losses[:3], np.log(8), rtol=1e-6)


def test_rows_do_not_mix():
    states, table, tokens = case(4)
    order = [2, 0, 3, 1]
    losses = query_reconstruction(states, table, tokens).numpy()
    permuted = query_reconstruction(states[order], table, tokens[order])
    np.testing.assert_allclose(permuted, losses[order], rtol=1e-6)


def test_gradient_is_that_of_finite_differences():
    states, table, tokens = case(5, np.float64)

    def loss(s, t):
        return query_reconstruction(s, t, tokens)

    for analytic, numeric in zip(
        gradient_of(loss, states, table), finite_differences(loss, states, table), strict=True
    ):
        np.testing.assert_allclose(analytic, numeric, atol=1e-7)


def test_loss_and_gradient_are_finite_at_the_extremes():
    states, table, tokens = case(6)
    for scale in (1e3, -1e3):
        assert np.isfinite(query_reconstruction(scale * states, table, tokens)).all()
        gradients = gradient_of(
            lambda s, t: query_reconstruction(s, t, tokens), scale * states, table
        )
        assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_texts_are_joined_without_gaps():
    joined = joined_tokens([tf.constant([[3, 0, 0], [0, 0, 0]]), tf.constant([[5, 4], [7, 0]])])
    assert joined.numpy().tolist() == [[3, 5, 4, 0, 0], [7, 0, 0, 0, 0]]
