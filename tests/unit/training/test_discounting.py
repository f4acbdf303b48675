"""The fit of the weighted sum for the first places, against arithmetic and planted lists."""

import numpy as np

from tests.unit.training.test_combination import planted_pools
from tfrs_twotower.training.combination import Combined, Lists, combine
from tfrs_twotower.training.discounting import discounts_of, fit_discounted, refine

FREE = (None, None)


def test_discounts_by_hand():
    """Places 2, 1, 3, and the padding last; of equal scores the first is the better."""
    present = np.array([[True, True, True, False], [True, True, True, True]])
    scores = np.array([[1.0, 2.0, 0.0, 9.0], [0.0, 5.0, 5.0, 5.0]])
    places = np.array([[2, 1, 3, 4], [4, 1, 2, 3]])
    np.testing.assert_allclose(discounts_of(scores, present), 1 / np.log2(1 + places))


def ndcg_at_1(relevant):
    def per_query(scores):
        return np.take_along_axis(relevant, scores.argmax(axis=1)[:, None], 1)[:, 0] * 1.0

    return per_query


def head_and_tail(queries=200, pool=40):
    """One feature finds the best candidate of every query, another lifts many relevant ones.

    The plain loss follows the second, because most relevant candidates lie deep in the lists.
    """
    random = np.random.default_rng(0)
    features = random.normal(size=(queries, pool, 3))
    relevant = np.zeros((queries, pool), bool)
    relevant[:, :4] = True
    features[:, 0, 1] += 3.0
    features[:, 1:4, 2] += 0.8
    features[:, 1:4, 1] -= 1.0
    return features, relevant, np.ones((queries, pool), bool)


def test_without_a_difference_in_discounts_nothing_moves():
    features, relevant, present = planted_pools(0, queries=60, pool=8)
    lists = Lists.of(features, relevant, present)
    anchor = lists.retrieval_alone()
    plain = lists.fit(1e-2, anchor, anchor, FREE)
    alike = lists.fit(1e-2, anchor, anchor, FREE, np.full(present.shape, 0.3))
    # A query with two relevant candidates then counts as one with one, as before.
    np.testing.assert_allclose(plain, alike, atol=1e-4)


def test_the_first_places_gain_and_out_of_fold_weights_say_so():
    lists = head_and_tail()
    metric = ndcg_at_1(lists[1])
    plain = combine(*lists, metric)
    refined = refine(plain, *lists, metric)
    assert refined.facts["loss"] == "discounted"
    assert metric(refined.out_of_fold).mean() > metric(plain.out_of_fold).mean()
    gains = metric(refined.out_of_fold) - metric(plain.out_of_fold)
    assert refined.facts["discount_gain"] == round(gains.mean(), 6)
    assert gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains))
    # The weights of a query do not know the query itself.
    own = np.einsum("qpf,qf->qp", lists[0], refined.of_queries)
    assert (own.argmax(axis=1) == refined.out_of_fold.argmax(axis=1)).all()
    assert len(np.unique(refined.of_queries[:, 1])) == 5


def test_a_gain_within_its_standard_error_changes_nothing():
    lists = planted_pools(1)
    plain = combine(*lists, ndcg_at_1(lists[1]))

    def one_query_gains(scores):
        is_new = not np.array_equal(scores, plain.out_of_fold)
        return np.eye(1, len(scores))[0] * is_new  # mean 1 / n, and so is its standard error

    assert refine(plain, *lists, one_query_gains).facts["loss"] == "plain"
    kept = refine(plain, *lists, lambda scores: np.zeros(len(scores)))
    assert kept.facts["loss"] == "plain"
    np.testing.assert_array_equal(kept.weights, plain.weights)
    retrieval = Combined(np.eye(4)[0], None, {"order": "retrieval"})
    assert refine(retrieval, *lists, ndcg_at_1(lists[1])) is retrieval


def test_every_round_starts_from_the_discounts_of_the_one_before():
    lists = Lists.of(*head_and_tail())
    anchor = lists.retrieval_alone()
    start = lists.fit(1e-4, anchor, anchor, FREE)
    expected = start
    for _ in range(2):
        discounts = discounts_of(lists.x @ expected, lists.present)
        expected = lists.fit(1e-4, anchor, expected, FREE, discounts)
    np.testing.assert_array_equal(fit_discounted(lists, 1e-4, start, FREE), expected)
