import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.negative_columns import accidental_hits
from tfrs_twotower.losses.softmax_variants import refined_softmax, same_tower_softmax


class TestRefinedSoftmax(LossContract):
    def options(self, rows, temperature):
        return {
            "temperature": temperature,
            "sampling_probability": (np.asarray(rows) + 1) / 25,
            "hidden": np.array(reference.accidental_hits(rows, rows)),
        }

    def loss(self, queries, candidates, rows, temperature):
        return refined_softmax(
            tf.matmul(queries, candidates, transpose_b=True),
            temperature=temperature,
            sampling_probability=tf.cast(rows + 1, tf.float32) / 25,
            hidden=accidental_hits(rows, rows),
        )

    def frozen(self, queries, candidates, rows, temperature):
        options = self.options(rows.numpy(), temperature)
        weights = [part[0] for part in reference.refined_parts(queries @ candidates.T, **options)]

        def loss(q, c):
            parts = reference.refined_parts((q @ tf.transpose(c)).numpy(), **options)
            return [w * behind for w, (_, behind) in zip(weights, parts, strict=True)]

        return loss


def refined_case(seed):
    random = np.random.default_rng(seed)
    return {
        "scores": random.normal(size=(5, 8)),
        "sampling_probability": random.uniform(1e-9, 1.0, 8),
        "hidden": random.random((5, 8)) < 0.4,
        "positive_columns": random.integers(0, 8, 5).astype(np.int32),
    }


def test_refined_softmax_by_hand():
    # Positive e / 1, one negative 1 / 0.5: 1 - pi = 2 / (e + 2).
    loss = refined_softmax(tf.constant([[1.0, 0.0]]), sampling_probability=tf.constant([0.1, 0.5]))
    np.testing.assert_allclose(loss, [2 / (np.e + 2) * (np.log(1 / 0.5) - 1)], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_refined_softmax_equals_the_reference_in_all_combinations(seed):
    case = refined_case(seed)
    scores = case.pop("scores")
    for names in itertools.chain.from_iterable(
        itertools.combinations(case, n) for n in range(len(case) + 1)
    ):
        options = {"temperature": 0.25, "logq_strength": 0.5}
        options |= {name: case[name] for name in names}
        expected = reference.refined_softmax(scores, **options)
        np.testing.assert_allclose(
            refined_softmax(tf.constant(scores), **options), expected, rtol=1e-9
        )


def test_without_correction_the_refined_gradient_is_that_of_the_plain_softmax():
    # (1 - pi) (sum_j rho_j ds_j - ds_pos) with all candidates as columns is the softmax's own.
    scores = refined_case(0)["scores"]
    (expected,) = gradient_of(lambda s: in_batch_softmax(s, temperature=0.3), scores)
    (gradient,) = gradient_of(lambda s: refined_softmax(s, temperature=0.3), scores)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


def test_refined_softmax_does_not_correct_the_positive():
    case = refined_case(1)
    probability = case["sampling_probability"]
    losses = refined_softmax(case["scores"], sampling_probability=probability).numpy()
    probability[2] *= 1000
    changed = refined_softmax(case["scores"], sampling_probability=probability).numpy()
    np.testing.assert_array_equal(losses == changed, np.arange(5) == 2)


def test_refined_softmax_gives_learned_examples_little_weight():
    scores = np.array([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    (gradient,) = gradient_of(
        lambda s: refined_softmax(s, positive_columns=tf.constant([0, 0, 1])), scores
    )
    sizes = np.abs(gradient).sum(axis=1)
    np.testing.assert_allclose(sizes[0], 2 * 2 / (np.exp(5) + 2), rtol=1e-6)
    assert sizes[0] < 0.1 * sizes[1] < sizes[2]


def test_a_row_without_negatives_costs_nothing():
    hidden = np.zeros((3, 3), bool)
    hidden[1] = True

    def loss(scores):
        return refined_softmax(scores, temperature=0.01, hidden=hidden)

    scores = refined_case(2)["scores"][:3, :3]
    assert loss(tf.constant(scores)).numpy()[1] == 0.0
    (gradient,) = gradient_of(loss, scores)
    np.testing.assert_array_equal(gradient[1], 0.0)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(refined_softmax(tf.constant([[0.7]])), [0.0])


def test_a_hidden_candidate_has_gradient_zero_in_the_refined_softmax():
    case = refined_case(3)
    scores, hidden = case.pop("scores"), case["hidden"]
    (gradient,) = gradient_of(lambda s: refined_softmax(s, **case), scores)
    own = np.arange(8) == case["positive_columns"][:, None]
    np.testing.assert_array_equal(gradient[hidden & ~own], 0.0)
    assert (gradient[own] < 0).all()
    assert (gradient[~hidden & ~own] > 0).all()
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)


def test_the_refined_gradient_is_nearer_to_the_full_softmax():
    # 20 queries, each with a candidate of its own that is always in the batch; the other 64
    # columns are drawn by popularity.
    size, batch, repeats = 20, 64, 200
    random = np.random.default_rng(0)
    popularity = 1.0 / np.arange(1, size + 1)
    popularity /= popularity.sum()
    scores = random.normal(size=(size, size))
    full_gradients = [
        reference.full_softmax_gradient(row, i) for i, row in enumerate(scores.tolist())
    ]
    everything = np.arange(size)
    batches = [random.choice(size, batch, p=popularity) for _ in range(repeats)]

    def error(loss, *, hide_hits):
        @tf.function(autograph=False)
        def slopes(columns, probability, hidden):
            losses = loss(
                columns,
                sampling_probability=probability,
                hidden=hidden,
                positive_columns=batch + tf.range(size),
            )
            return tf.gradients(losses, columns)[0]

        mean = np.zeros((size, size))
        for drawn in batches:
            rows = np.concatenate([drawn, everything])
            hits = (drawn == everything[:, None]) & hide_hits
            hidden = np.concatenate([hits, ~np.eye(size, dtype=bool)], axis=1)
            gradient = slopes(
                *map(tf.constant, (scores[:, rows], batch * popularity[rows], hidden))
            )
            np.add.at(mean.T, rows, gradient.numpy().T / repeats)
        return np.linalg.norm(mean - full_gradients, axis=1)

    refined = error(refined_softmax, hide_hits=True)
    for hide_hits in (True, False):
        plain = error(in_batch_softmax, hide_hits=hide_hits)
        assert refined.mean() < 0.8 * plain.mean()
        # Also when queries are weighted by the popularity of their candidates.
        assert refined @ popularity < 0.9 * plain @ popularity


class TestSameTowerSoftmax(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        return same_tower_softmax(
            tf.matmul(queries, candidates, transpose_b=True),
            tf.matmul(queries, queries, transpose_b=True),
            temperature=temperature,
            sampling_probability=tf.cast(rows + 1, tf.float32) / 25,
            hidden=accidental_hits(rows, rows),
            same_tower_hidden=accidental_hits(rows, rows),
            same_tower_weight=0.5,
        )


class TestSameTowerSoftmaxOfBothTowers(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        scores = tf.matmul(queries, candidates, transpose_b=True)
        of_queries = same_tower_softmax(
            scores, tf.matmul(queries, queries, transpose_b=True), temperature=temperature
        )
        return of_queries + same_tower_softmax(
            tf.transpose(scores),
            tf.matmul(candidates, candidates, transpose_b=True),
            temperature=temperature,
        )


def same_tower_case(seed):
    """Rows 3 to 5 of a global batch of 8, with two more columns."""
    random = np.random.default_rng(seed)
    scores, same = random.normal(size=(3, 10)), random.normal(size=(3, 8))
    return (scores, same), {
        "sampling_probability": random.uniform(1e-6, 1.0, 10),
        "hidden": random.random((3, 10)) < 0.3,
        "same_tower_hidden": random.random((3, 8)) < 0.3,
        "positive_columns": np.array([3, 4, 5], np.int32),
        "same_tower_weight": 0.3,
    }


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, np.log(np.e + 4) - 1), (0.5, np.log(np.e**2 + 4) - 2)]
)
def test_same_tower_softmax_of_the_identity_by_hand(temperature, expected):
    identity = tf.constant(np.eye(3))
    loss = same_tower_softmax(identity, identity, temperature=temperature)
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
    np.testing.assert_allclose(expected, {1.0: 0.904832, 0.5: 0.432653}[temperature], atol=1e-6)


def test_same_tower_softmax_of_a_collapse_by_hand():
    ones = tf.ones([8, 8])
    loss = same_tower_softmax(ones, ones, temperature=0.05)
    np.testing.assert_allclose(loss, np.log(8 + 7), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_same_tower_softmax_equals_the_reference_in_all_combinations(seed):
    scores, case = same_tower_case(seed)
    for names in itertools.chain.from_iterable(
        itertools.combinations(case, n) for n in range(len(case) + 1)
    ):
        options = {"temperature": 0.25, "logq_strength": 0.5}
        options |= {name: case[name] for name in names}
        expected = reference.same_tower_softmax(*scores, **options)
        np.testing.assert_allclose(same_tower_softmax(*scores, **options), expected, rtol=1e-9)


def test_without_same_tower_negatives_it_is_the_in_batch_softmax():
    (scores, same), case = same_tower_case(0)
    shared = {k: v for k, v in case.items() if not k.startswith("same_tower")}
    expected = in_batch_softmax(scores, temperature=0.1, **shared)
    nothing = same_tower_softmax(scores, same - np.inf, temperature=0.1, **shared)
    np.testing.assert_allclose(nothing, expected, rtol=1e-12)
    case["same_tower_hidden"] = np.ones((3, 8), bool)
    hidden = same_tower_softmax(scores, same, temperature=0.1, **case)
    np.testing.assert_allclose(hidden, expected, rtol=1e-12)


def test_permuting_the_rows_leaves_the_mean_of_the_same_tower_softmax():
    queries, candidates = np.random.default_rng(1).normal(size=(2, 7, 3))
    order = np.random.default_rng(2).permutation(7)

    def mean(q, c):
        return tf.reduce_mean(same_tower_softmax(q @ c.T, q @ q.T, temperature=0.5))

    np.testing.assert_allclose(
        mean(queries[order], candidates[order]), mean(queries, candidates), rtol=1e-12
    )


def test_a_query_is_not_its_own_same_tower_negative():
    (scores, same), case = same_tower_case(2)
    scored, of_same = gradient_of(
        lambda s, a: same_tower_softmax(s, a, temperature=0.1, **case), scores, same
    )
    own = np.arange(8) == case["positive_columns"][:, None]
    np.testing.assert_array_equal(of_same[own | case["same_tower_hidden"]], 0.0)
    assert (of_same[~own & ~case["same_tower_hidden"]] > 0).all()
    np.testing.assert_array_equal(
        scored[case["hidden"] & (np.arange(10) != case["positive_columns"][:, None])], 0.0
    )


def test_both_rows_of_a_pair_of_queries_move_it():
    # The one number s(q_0, q_1) enters both rows; each row adds its probability of the other query.
    random = np.random.default_rng(3)
    scores, same = random.normal(size=(3, 3)), random.normal(size=(3, 3))

    def losses(cosine):
        cells = tf.constant([[0, 1], [1, 0]])
        block = tf.tensor_scatter_nd_update(tf.constant(same), cells, tf.stack([cosine, cosine]))
        return same_tower_softmax(tf.constant(scores), block, temperature=0.5)

    def probability(row, other):
        exponentials = np.exp(np.concatenate([scores[row], np.delete(same[row], row)]) / 0.5)
        return np.exp(same[row, other] / 0.5) / exponentials.sum()

    same[1, 0] = same[0, 1]
    cosine = np.array(same[0, 1])
    rows = [gradient_of(lambda c, i=i: losses(c)[i], cosine)[0] for i in range(3)]
    np.testing.assert_allclose(
        rows, [probability(0, 1) / 0.5, probability(1, 0) / 0.5, 0.0], rtol=1e-9
    )
    np.testing.assert_allclose(gradient_of(losses, cosine)[0], sum(rows), rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_tower_softmax_costs_more_than_the_in_batch_softmax(seed):
    (scores, same), _ = same_tower_case(seed)
    plain = in_batch_softmax(scores, temperature=0.2).numpy()
    assert (same_tower_softmax(scores, same, temperature=0.2).numpy() > plain).all()
