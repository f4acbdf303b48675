import numpy as np
import pytest

from tests.reference import mining as oracle
from tfrs_twotower.closed_form.bm25 import Bm25Index
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.mining.teachers import Bm25Teacher, EaseTeacher

NUM_QUERIES, NUM_CANDIDATES, NUM_EXAMPLES = 12, 10, 40


@pytest.fixture
def table():
    """Examples with two histories, whose tokens are 2 + the row of an id in reverse order."""
    random = np.random.default_rng(3)
    return ExampleTable(
        tokens={
            "views": random.integers(0, 2 + NUM_CANDIDATES, (NUM_EXAMPLES, 5)).astype(np.int32),
            "buys": random.integers(0, 2 + NUM_CANDIDATES, (NUM_EXAMPLES, 3)).astype(np.int32),
            "age": random.normal(size=(NUM_EXAMPLES, 2)).astype(np.float32),
        },
        query_ids=np.array([b"q%02d" % position for position in range(NUM_QUERIES)], object),
        query_rows=random.integers(0, NUM_QUERIES, NUM_EXAMPLES).astype(np.int32),
        candidate_rows=random.integers(0, NUM_CANDIDATES, NUM_EXAMPLES).astype(np.int32),
        timestamps=np.zeros(NUM_EXAMPLES, np.int64),
        weights=np.ones(NUM_EXAMPLES, np.float32),
    )


ROW_OF_TOKEN = np.array([-1, -1, *reversed(range(NUM_CANDIDATES))], np.int32)


def lists_of(table, width=4):
    others = np.random.default_rng(4).integers(-1, NUM_CANDIDATES, (NUM_EXAMPLES, width))
    return np.concatenate([table.candidate_rows[:, None], others], axis=1).astype(np.int32)


def test_ease_is_the_sum_over_the_history_without_the_target(table):
    teacher = EaseTeacher(table, NUM_CANDIDATES, ["views", "buys"], ROW_OF_TOKEN, l2=2.0)
    pairs = set(zip(table.query_rows.tolist(), table.candidate_rows.tolist(), strict=True))
    weights = oracle.ease_weights(pairs, NUM_CANDIDATES, 2.0)
    rows = lists_of(table)
    scores = teacher(slice(5, 25), rows[5:25])
    with_target = 0
    for example in range(5, 25):
        tokens = [*table.tokens["views"][example], *table.tokens["buys"][example]]
        history = {int(ROW_OF_TOKEN[token]) for token in tokens} - {-1}
        target = int(table.candidate_rows[example])
        with_target += target in history
        expected = oracle.ease_scores(weights, history, target, rows[example].tolist())
        present = rows[example] >= 0
        np.testing.assert_allclose(
            scores[example - 5][present], np.array(expected)[present], atol=1e-5
        )
    assert with_target, "the data must contain this case"


def test_an_empty_history_scores_nothing(table):
    table.tokens["views"][:] = [0, 1, 0, 1, 1]
    teacher = EaseTeacher(table, NUM_CANDIDATES, ["views"], ROW_OF_TOKEN, l2=2.0)
    assert not teacher(slice(0, NUM_EXAMPLES), np.maximum(lists_of(table), 0)).any()


def test_bm25_scores_each_query_with_its_listed_candidates():
    index = Bm25Index(["cold fever", "fever rash", "broken arm", "sun burn"], k1=1.2, b=0.75)
    texts = ["fever", "arm or rash", "fever", "the"]
    rows = np.array([[0, 1, 2], [1, 2, -1], [1, 0, 3], [0, 1, 2]], np.int32)
    scores = Bm25Teacher(index, ["unseen", *texts])(slice(1, 5), rows)
    for example, text in enumerate(texts):
        (terms,) = index.terms([text])
        all_scores = index.scores(terms)
        for position, row in enumerate(rows[example]):
            if row >= 0:
                assert scores[example, position] == all_scores[row]
    assert scores[0, 0] > 0
    assert scores[0, 2] == scores[3, 0] == 0
