"""The laws that every loss over a list of candidates obeys. The test of a loss inherits them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import finite_differences, gradient_of
from tests.contracts.toy_set import NUM_CANDIDATES, recall_at_1_after_training


class ListLossContract:
    """The inheriting class defines `loss(scores, targets, present)`, `[batch]`.

    All three arguments are `[batch, n]`, and the positive is in column 0. `of_best` and `of_rest`
    are the targets of a list whose first candidate is the only relevant one.
    """

    of_best, of_rest = 1.0, 0.0

    def loss(self, scores, targets, present=None):
        raise NotImplementedError

    def lists(self, seed, batch=3, n=4, dtype=np.float32):
        random = np.random.default_rng(seed)
        scores = random.normal(size=(batch, n)).astype(dtype)
        targets = np.where(random.random((batch, n)) < 0.5, self.of_best, self.of_rest)
        present = random.random((batch, n)) < 0.7
        present[:, :2] = True
        return scores, targets.astype(dtype), present

    def test_one_number_per_list(self):
        losses = self.loss(*self.lists(0))
        assert losses.shape == (3,)
        assert losses.dtype == tf.float32

    @pytest.mark.parametrize("seed", range(3))
    def test_gradient_is_that_of_finite_differences(self, seed):
        scores, targets, present = self.lists(seed, dtype=np.float64)
        for mask in (present, None):
            analytic = gradient_of(lambda s, m=mask: self.loss(s, targets, m), scores)
            numeric = finite_differences(lambda s, m=mask: self.loss(s, targets, m), scores)
            np.testing.assert_allclose(analytic, numeric, atol=1e-6)

    def test_permuting_the_lists_permutes_the_losses(self):
        lists = self.lists(1, batch=6)
        order = np.random.default_rng(1).permutation(6)
        losses = self.loss(*lists).numpy()
        np.testing.assert_allclose(self.loss(*(x[order] for x in lists)), losses[order], rtol=1e-6)

    def test_permuting_the_negatives_changes_nothing(self):
        lists = self.lists(2, n=7)
        order = np.concatenate([[0], 1 + np.random.default_rng(2).permutation(6)])
        permuted = self.loss(*(x[:, order] for x in lists))
        np.testing.assert_allclose(permuted, self.loss(*lists), rtol=1e-5)

    def test_loss_and_gradient_are_finite_at_the_extremes(self):
        # Cosines of exactly 1 and -1 at a temperature of 0.01.
        scores = np.array([[100, -100, -100], [-100, 100, -100], [-100, -100, 100]], np.float32)
        targets = np.where(np.eye(3), self.of_best, self.of_rest).astype(np.float32)
        for sign in (1, -1):
            for present in (None, scores < 0, scores > 0):
                assert np.isfinite(self.loss(sign * scores, targets, present)).all()
                (gradient,) = gradient_of(
                    lambda s, m=present: self.loss(s, targets, m), sign * scores
                )
                assert np.isfinite(gradient).all()

    @pytest.mark.parametrize("filling", [0.0, 1e30, np.inf, np.nan])
    def test_absent_entries_do_not_matter_and_have_gradient_zero(self, filling):
        scores, targets, present = self.lists(3)
        expected = self.loss(scores, targets, present)
        assert not present.all()
        scores[~present] = targets[~present] = filling
        np.testing.assert_allclose(self.loss(scores, targets, present), expected, rtol=1e-6)
        (gradient,) = gradient_of(lambda s: self.loss(s, targets, present), scores)
        np.testing.assert_array_equal(gradient[~present], 0.0)
        assert np.abs(gradient[present]).min() > 0

    def test_an_empty_list_costs_nothing(self):
        scores, targets, present = self.lists(4)
        present[1] = False
        losses = self.loss(scores, targets, present).numpy()
        assert losses[1] == 0.0
        assert np.isfinite(losses).all()
        (gradient,) = gradient_of(lambda s: self.loss(s, targets, present), scores)
        np.testing.assert_array_equal(gradient[1], 0.0)
        assert np.isfinite(gradient).all()

    def test_same_answer_eager_and_in_a_graph(self):
        lists = self.lists(5)
        graph = tf.function(self.loss, autograph=False)
        np.testing.assert_allclose(graph(*lists), self.loss(*lists), rtol=1e-5)

    def test_learns_the_toy_set(self):
        everything = np.arange(NUM_CANDIDATES)
        order = (everything[:, None] + everything) % NUM_CANDIDATES
        targets = np.full(order.shape, self.of_rest, np.float32)
        targets[:, 0] = self.of_best

        def loss(queries, candidates):
            logits = tf.matmul(queries, candidates, transpose_b=True) / 0.1
            return self.loss(tf.gather(logits, order, batch_dims=1), targets)

        assert recall_at_1_after_training(loss) == 1.0
