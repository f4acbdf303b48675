import numpy as np
import pytest

from tfrs_twotower.metrics import judge, recall
from tfrs_twotower.ranking import GroundTruth


def judged_one(ranked, relevant):
    return judge(np.array([ranked]), GroundTruth.from_lists([relevant]))


def test_take_keeps_the_truth_of_each_query():
    truth = GroundTruth.from_lists([[1], [2, 3], [4]], [[1.0], [2.0, 3.0], [4.0]])
    taken = truth.take(np.array([2, 1]))
    assert taken.relevant.values.tolist() == [4, 2, 3]
    assert taken.gains.tolist() == [4.0, 2.0, 3.0]


def test_refuses_a_list_with_the_same_row_twice():
    with pytest.raises(ValueError, match="same row twice"):
        judged_one([1, 1], [1])


def test_refuses_k_beyond_the_list():
    with pytest.raises(ValueError, match="k is 3, but the judged lists have 2 ranks"):
        recall(judged_one([1, 2], [1]), 3)


def test_refuses_gains_that_are_not_positive():
    with pytest.raises(ValueError, match="every gain must be > 0"):
        GroundTruth.from_lists([[1]], [[0.0]])


def test_refuses_a_relevant_row_that_occurs_twice():
    with pytest.raises(ValueError, match="occurs twice for one query"):
        GroundTruth.from_lists([[1, 1]])
