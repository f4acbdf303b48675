"""The laws that every loss over a batch of pairs obeys. The test of a loss inherits them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import finite_differences, gradient_of
from tests.contracts.toy_set import NUM_CANDIDATES, recall_at_1_after_training


class LossContract:
    """The inheriting class defines `loss(queries, candidates, rows, temperature)`, `[batch]`.

    Queries and candidates are `[batch, 4 or 16]`, candidate i is the positive of query i, and its
    row is `rows[i]`. Probabilities and masks of a candidate must depend on its row only.
    """

    def loss(self, queries, candidates, rows, temperature):
        raise NotImplementedError

    def frozen(self, queries, candidates, rows, temperature):
        """Returns a function of queries and candidates with the gradient of the loss at this point.

        Only losses that use `stop_gradient` override it.
        """
        del queries, candidates
        return lambda q, c: self.loss(q, c, rows, temperature)

    def pairs(self, seed, batch, dtype=np.float32):
        vectors = np.random.default_rng(seed).normal(size=(2, batch, 4))
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        return vectors.astype(dtype)

    def test_one_number_per_query(self):
        losses = self.loss(*self.pairs(0, 5), tf.range(5), 0.1)
        assert losses.shape == (5,)
        assert losses.dtype == tf.float32

    @pytest.mark.parametrize("of_positive", [1.0, -1.0])
    @pytest.mark.parametrize("alternating", [False, True])
    def test_loss_and_gradient_are_finite_at_the_extremes(self, of_positive, alternating):
        # Scores of exactly 1 and -1 at the least temperature: logits of 100 and -100.
        queries = np.zeros((4, 4), np.float32)
        queries[:, 0] = [1, -1, 1, -1] if alternating else 1
        candidates = of_positive * queries
        assert np.isfinite(self.loss(queries, candidates, tf.range(4), 0.01)).all()
        gradients = gradient_of(
            lambda q, c: self.loss(q, c, tf.range(4), 0.01), queries, candidates
        )
        assert np.isfinite(gradients).all()

    def test_gradient_reaches_both_towers(self):
        for gradient in gradient_of(
            lambda q, c: self.loss(q, c, tf.range(5), 0.1), *self.pairs(1, 5)
        ):
            assert np.isfinite(gradient).all()
            assert np.abs(gradient).max(axis=1).min() > 0

    @pytest.mark.parametrize("rows", [[0, 1, 2], [2, 1, 2]])
    def test_gradient_is_that_of_finite_differences(self, rows):
        pairs = self.pairs(2, 3, np.float64)
        rows = tf.constant(rows)
        analytic = gradient_of(lambda q, c: self.loss(q, c, rows, 0.5), *pairs)
        numeric = finite_differences(self.frozen(*pairs, rows, 0.5), *pairs)
        np.testing.assert_allclose(analytic, numeric, atol=1e-7)

    def test_permuting_the_pairs_permutes_the_losses(self):
        queries, candidates = self.pairs(3, 6)
        rows = np.array([3, 1, 3, 0, 2, 1])
        order = np.random.default_rng(3).permutation(6)
        losses = self.loss(queries, candidates, tf.constant(rows), 0.1).numpy()
        permuted = self.loss(queries[order], candidates[order], tf.constant(rows[order]), 0.1)
        np.testing.assert_allclose(permuted, losses[order], rtol=1e-5, atol=1e-6)

    def test_same_answer_eager_and_in_a_graph(self):
        queries, candidates = self.pairs(4, 5)
        graph = tf.function(self.loss, autograph=False)
        eager = self.loss(queries, candidates, tf.range(5), 0.1)
        np.testing.assert_allclose(graph(queries, candidates, tf.range(5), 0.1), eager, rtol=1e-5)

    def test_learns_the_toy_set(self):
        rows = tf.range(NUM_CANDIDATES)
        recall = recall_at_1_after_training(lambda q, c: self.loss(q, c, rows, 0.1))
        assert recall == 1.0
