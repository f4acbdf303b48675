import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.layers.all_pairs import inner_products


def test_inner_products_by_hand():
    queries, candidates = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 4.0], [-1.0, 0.5]])
    with tf.GradientTape() as tape:
        tape.watch([queries, candidates])
        products = inner_products(queries, candidates)
        total = tf.reduce_sum(products * [[10.0, 1.0]])
    assert products.numpy().tolist() == [[11.0, 0.0]]
    of_queries, of_candidates = tape.gradient(total, [queries, candidates])
    assert of_queries.numpy().tolist() == [[29.0, 40.5]]
    assert of_candidates.numpy().tolist() == [[10.0, 20.0], [1.0, 2.0]]


@pytest.mark.parametrize(("batch", "columns", "dim"), [(7, 5, 3), (0, 4, 2), (4, 0, 2), (33, 1, 8)])
def test_they_are_a_matrix_product_with_its_gradient(batch, columns, dim):
    random = np.random.default_rng(batch)
    queries, candidates, upstream = (
        tf.constant(random.normal(size=size))
        for size in ((batch, dim), (columns, dim), (batch, columns))
    )

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float64)] * 3, autograph=False)
    def with_gradient(queries, candidates, upstream):
        with tf.GradientTape() as tape:
            tape.watch([queries, candidates])
            products = inner_products(queries, candidates)
        return products, *tape.gradient(products, [queries, candidates], upstream)

    products, of_queries, of_candidates = with_gradient(queries, candidates, upstream)
    np.testing.assert_allclose(products, queries @ tf.transpose(candidates), atol=1e-12)
    np.testing.assert_allclose(of_queries, upstream @ candidates, atol=1e-12)
    np.testing.assert_allclose(of_candidates, tf.transpose(upstream) @ queries, atol=1e-12)


def test_a_side_with_itself_gets_both_gradients():
    values = tf.constant(np.random.default_rng(1).normal(size=(4, 3)))
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(inner_products(values, values))
    np.testing.assert_allclose(
        tape.gradient(total, values), 2 * np.tile(values.numpy().sum(axis=0), (4, 1)), atol=1e-12
    )
