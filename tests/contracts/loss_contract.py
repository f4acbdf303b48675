"""What every retrieval loss keeps to; a loss's test class inherits it."""

import numpy as np
import tensorflow as tf


class LossContract:
    """Give `loss(scores)`: `[batch, columns]`, positives on the diagonal, to `[batch]`."""

    def loss(self, scores):
        raise NotImplementedError

    def scores(self, seed=0, dtype=np.float32):
        return np.random.default_rng(seed).normal(size=(4, 6)).astype(dtype)

    def test_one_number_a_query(self):
        losses = self.loss(tf.constant(self.scores()))
        assert losses.shape == (4,)
        assert losses.dtype == tf.float32

    def test_is_finite_on_extreme_scores(self):
        for value in (0.0, 1.0, -1.0):
            assert np.isfinite(self.loss(tf.fill([4, 6], value)).numpy()).all()
        opposite = tf.constant(np.where(np.eye(4, 6) > 0, -1.0, 1.0), tf.float32)
        assert np.isfinite(self.loss(opposite).numpy()).all()
        assert np.isfinite(self.loss(-opposite).numpy()).all()

    def test_gradient_reaches_both_towers(self):
        random = np.random.default_rng(1)
        queries = tf.constant(random.normal(size=(4, 3)).astype(np.float32))
        candidates = tf.constant(random.normal(size=(6, 3)).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch([queries, candidates])
            loss = tf.reduce_sum(self.loss(tf.matmul(queries, candidates, transpose_b=True)))
        for gradient in tape.gradient(loss, [queries, candidates]):
            assert np.isfinite(gradient.numpy()).all()
            assert np.abs(gradient.numpy()).max() > 0

    def test_gradient_is_that_of_finite_differences(self):
        scores = self.scores(2, np.float64)[:3, :4]
        analytic = _gradient(self.loss, scores)
        step = 1e-6
        numeric = np.zeros_like(scores)
        for cell in np.ndindex(*scores.shape):
            up, down = scores.copy(), scores.copy()
            up[cell] += step
            down[cell] -= step
            difference = tf.reduce_sum(self.loss(tf.constant(up))) - tf.reduce_sum(
                self.loss(tf.constant(down))
            )
            numeric[cell] = float(difference) / (2 * step)
        np.testing.assert_allclose(analytic, numeric, atol=1e-6)

    def test_row_sums_of_the_gradient_are_zero(self):
        gradient = _gradient(self.loss, self.scores(3, np.float64))
        np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)

    def test_same_answer_eager_and_in_a_graph(self):
        scores = tf.constant(self.scores(4))
        graph = tf.function(self.loss, autograph=False)
        np.testing.assert_allclose(graph(scores), self.loss(scores), rtol=1e-6)


def _gradient(loss, scores):
    scores = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_sum(loss(scores))
    return tape.gradient(total, scores).numpy()
