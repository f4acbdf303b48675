from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.unit.tasks.batches import batch_of, second_share
from tfrs_twotower import specs
from tfrs_twotower.config import MultiViewConfig
from tfrs_twotower.tasks.multi_view import MultiViewTerm, TokenViews
from tfrs_twotower.tasks.objective import Views
from tfrs_twotower.tasks.retrieval import RetrievalTask


def term(side="both", task=None, **settings):
    return MultiViewTerm(MultiViewConfig(side=side, **settings), task or RetrievalTask(), seed=1)


def test_by_hand():
    """The records agree; the view of query 0 is candidate 1, so that its loss is log(1 + e)."""
    turned = tf.constant([[0.0, 1.0], [0.0, 1.0]])
    batch = replace(batch_of(np.eye(2), np.eye(2)), views=Views(turned, tf.eye(2)))
    agree, apart = np.log(np.e + 1) - 1, np.log(np.e + 1)
    np.testing.assert_allclose(term().losses_of(batch), [(apart + agree) / 2, agree], rtol=1e-6)


@pytest.mark.parametrize("same_tower", ["none", "query"])
def test_a_view_takes_the_place_of_the_record_in_the_softmax(same_tower):
    batch = second_share(3)
    random = np.random.default_rng(4)
    query = tf.constant(random.normal(size=(3, 8)).astype(np.float32))
    candidate = tf.constant(random.normal(size=(6, 8)).astype(np.float32))
    task = RetrievalTask(temperature=0.2, same_tower=same_tower)
    of_query = task.losses_of(replace(batch, query=batch.query._replace(embedding=query)))
    columns = tf.concat([candidate, batch.columns[6:]], axis=0)
    of_candidate = task.losses_of(replace(batch, columns=columns))
    for views, expected in (
        (Views(query, None), of_query),
        (Views(None, candidate), of_candidate),
        (Views(query, candidate), (of_query + of_candidate) / 2),
    ):
        losses = term(task=task).losses_of(replace(batch, views=views))
        np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_views_that_are_the_records_give_the_softmax_itself():
    batch, task = second_share(5), RetrievalTask(temperature=0.1)
    views = Views(batch.query.embedding, batch.all_candidate.embedding)
    losses = term(task=task, weight=0.25).losses_of(replace(batch, views=views))
    np.testing.assert_allclose(losses, task.losses_of(batch), rtol=1e-6)
    assert term(weight=0.25).weight == 0.25


def test_a_batch_without_views_is_a_mistake():
    with pytest.raises(ValueError, match="multi_view needs views, and the batch has none"):
        term().losses_of(second_share(1))


def test_a_view_lacks_some_tokens_of_the_texts_alone():
    features = (specs.TextFeature(name="title"), specs.HistoryFeature(name="history"))
    tower = SimpleNamespace(inputs=SimpleNamespace(features=features))
    tokens = {"title": tf.fill([400, 10], 7), "history": tf.fill([400, 3], 5)}
    views = TokenViews(MultiViewConfig(token_dropout=0.3), seed=2)
    first, second = views.of(tower, tokens), views.of(tower, tokens)
    np.testing.assert_array_equal(first["history"], tokens["history"])
    assert set(np.unique(first["title"])) == {0, 7}
    assert np.mean(first["title"] == 0) == pytest.approx(0.3, abs=0.02)
    assert (first["title"].numpy() != second["title"].numpy()).any()
    again = TokenViews(MultiViewConfig(token_dropout=0.3), seed=2).of(tower, tokens)
    np.testing.assert_array_equal(again["title"], first["title"])
