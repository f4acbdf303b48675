import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.masks import accidental_hits
from tfrs_twotower.losses.softmax_variants import same_tower_softmax


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


def a_case(seed):
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
    ("temperature", "golden"), [(1.0, np.log(np.e + 4) - 1), (0.5, np.log(np.e**2 + 4) - 2)]
)
def test_property_7_7_1_goldens(temperature, golden):
    identity = tf.constant(np.eye(3))
    loss = same_tower_softmax(identity, identity, temperature=temperature)
    np.testing.assert_allclose(loss, golden, rtol=1e-9)
    np.testing.assert_allclose(golden, {1.0: 0.904832, 0.5: 0.432653}[temperature], atol=1e-6)


def test_property_7_7_1_golden_of_collapse():
    ones = tf.ones([8, 8])
    loss = same_tower_softmax(ones, ones, temperature=0.05)
    np.testing.assert_allclose(loss, np.log(8 + 7), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_property_7_7_1_equals_the_reference_in_all_combinations(seed):
    scores, case = a_case(seed)
    for names in itertools.chain.from_iterable(
        itertools.combinations(case, n) for n in range(len(case) + 1)
    ):
        options = {"temperature": 0.25, "logq_strength": 0.5}
        options |= {name: case[name] for name in names}
        expected = reference.same_tower_softmax(*scores, **options)
        np.testing.assert_allclose(same_tower_softmax(*scores, **options), expected, rtol=1e-9)


def test_property_7_7_2_without_the_block_it_is_the_in_batch_softmax():
    (scores, same), case = a_case(0)
    shared = {k: v for k, v in case.items() if not k.startswith("same_tower")}
    expected = in_batch_softmax(scores, temperature=0.1, **shared)
    nothing = same_tower_softmax(scores, same - np.inf, temperature=0.1, **shared)
    np.testing.assert_allclose(nothing, expected, rtol=1e-12)
    case["same_tower_hidden"] = np.ones((3, 8), bool)
    hidden = same_tower_softmax(scores, same, temperature=0.1, **case)
    np.testing.assert_allclose(hidden, expected, rtol=1e-12)


def test_property_7_7_3_permuting_the_rows_leaves_the_mean():
    queries, candidates = np.random.default_rng(1).normal(size=(2, 7, 3))
    order = np.random.default_rng(2).permutation(7)

    def mean(q, c):
        return tf.reduce_mean(same_tower_softmax(q @ c.T, q @ q.T, temperature=0.5))

    np.testing.assert_allclose(
        mean(queries[order], candidates[order]), mean(queries, candidates), rtol=1e-12
    )


def test_property_7_7_4_the_diagonal_of_the_block_has_gradient_zero():
    (scores, same), case = a_case(2)
    scored, of_same = gradient_of(
        lambda s, a: same_tower_softmax(s, a, temperature=0.1, **case), scores, same
    )
    own = np.arange(8) == case["positive_columns"][:, None]
    np.testing.assert_array_equal(of_same[own | case["same_tower_hidden"]], 0.0)
    assert (of_same[~own & ~case["same_tower_hidden"]] > 0).all()
    np.testing.assert_array_equal(
        scored[case["hidden"] & (np.arange(10) != case["positive_columns"][:, None])], 0.0
    )


def test_property_7_7_5_a_pair_of_queries_is_moved_by_both_of_its_rows():
    # One number s(q_0, q_1) stands in both rows; each row adds its probability of the other query.
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
def test_it_never_costs_less_than_the_in_batch_softmax(seed):
    (scores, same), _ = a_case(seed)
    plain = in_batch_softmax(scores, temperature=0.2).numpy()
    assert (same_tower_softmax(scores, same, temperature=0.2).numpy() > plain).all()
