"""Histories that know the features of candidates beside their ids."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import TowerContract, tensors
from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers.field_encoders import HistoryField
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import load_towers, save_towers
from tfrs_twotower.training.dataset_fitting import train_on_dataset

TRANSFORMER = {"num_layers": 1, "num_heads": 2, "feed_forward_dim": 16}


class TestHistoryContent(TowerContract):
    model = {"embedding_dim": 16, "transformer": TRANSFORMER, "history_content": "learned"}


class TestHistoryTransformer(TowerContract):
    model = {
        "embedding_dim": 16,
        "transformer": TRANSFORMER,
        "history_encoder": "transformer",
        "history_dropout": 0.3,
        "dropout": 0.1,
    }


class TestHistoryTransformerWithContent(TowerContract):
    model = {
        "embedding_dim": 16,
        "transformer": TRANSFORMER,
        "history_encoder": "transformer",
        "history_content": "learned",
        "history_half_life": 2.0,
    }


@pytest.fixture
def build(spec, assets):
    def build(**options):
        model = {"embedding_dim": 8, "transformer": TRANSFORMER, **options}
        return build_towers(spec, tiny_run_config(model=model).model, assets, seed=5)

    return build


@pytest.fixture
def candidates(build, corpus) -> Tokens:
    return build().candidate.inputs(tensors(corpus.raw))


def history_field(towers) -> HistoryField:
    return next(field for field in towers.query.fields if isinstance(field, HistoryField))


def content_by_hand(towers, tokens):
    """The sum of all field vectors but the id's, which stands first in the spec."""
    return towers.candidate.encode_fields(tokens).numpy()[:, 1:].sum(axis=1)


@pytest.mark.parametrize("kind", ["plain", "dat", "inttower"])
def test_the_mean_is_over_id_rows_and_content(build, candidates, kind):
    towers = build(kind=kind, history_content="learned", history_half_life=1.0)
    towers.adapt({}, candidates)
    towers.refresh_derived_state(candidates)
    content = content_by_hand(towers, candidates)
    table = towers.named_variables()["tables.item_id"].numpy()
    ids = candidates["item_id"].numpy()
    first, second = np.flatnonzero(ids > 1)[[2, 5]]
    history = tf.constant([[ids[first], ids[second], 0, 0, 0, 0]])
    vectors = [table[ids[row]] + content[row] for row in (first, second)]
    expected = (2 * vectors[0] + vectors[1]) / 3  # the older event has half the weight
    actual = history_field(towers)(history, None).numpy()[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_training_and_serving_see_the_same_vectors(build, candidates, test_queries):
    """Without dropout, the fields in training give what the stored table gives afterwards."""
    towers = build(history_content="learned")
    towers.adapt({}, candidates)
    raw = tensors(test_queries.inputs)
    in_training = towers.query(raw, training=True)
    towers.refresh_derived_state(candidates)
    np.testing.assert_allclose(towers.query(raw), in_training, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("content", "reached"), [("learned", True), ("fixed", False)])
def test_a_history_trains_the_fields_of_candidates(
    build, candidates, test_queries, content, reached
):
    towers = build(history_content=content)
    towers.adapt({}, candidates)
    raw = tensors(test_queries.inputs)
    brands = towers.named_variables()["tables.brand"]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(towers.query(raw, training=True)[:, 0])
    assert (tape.gradient(loss, brands) is not None) == reached


def test_unknown_events_have_no_content(build, candidates):
    towers = build(history_content="learned")
    towers.adapt({}, candidates)
    towers.refresh_derived_state(candidates)
    encoder, unknown = history_field(towers), tf.constant([[1, 0, 0, 0, 0, 0]])
    row = towers.named_variables()["tables.item_id"].numpy()[1]
    np.testing.assert_allclose(encoder(unknown, None)[0], row)
    in_training = encoder(unknown, towers.query._dropout)
    np.testing.assert_allclose(in_training[0], row)


def test_a_candidate_with_new_features_changes_only_histories_that_hold_it(build, candidates):
    towers = build(history_content="learned")
    towers.refresh_derived_state(candidates)
    ids = candidates["item_id"].numpy()
    first, second = np.flatnonzero(ids > 1)[:2]
    histories = tf.constant([[ids[row], 0, 0, 0, 0, 0] for row in (first, second)])
    before = history_field(towers)(histories, None).numpy()
    brand = candidates["brand"].numpy().copy()
    brand[first] = brand[first] % 7 + 2
    towers.refresh_derived_state({**candidates, "brand": tf.constant(brand)})
    after = history_field(towers)(histories, None).numpy()
    assert not np.allclose(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


def test_stored_towers_keep_the_content(build, spec, assets, candidates, test_queries, tmp_path):
    model = tiny_run_config(
        model={"embedding_dim": 8, "transformer": TRANSFORMER, "history_content": "learned"}
    ).model
    towers = build(history_content="learned")
    towers.refresh_derived_state(candidates)
    save_towers(towers, spec, model, assets, tmp_path)
    raw = tensors(test_queries.inputs)
    np.testing.assert_array_equal(load_towers(tmp_path).query(raw), towers.query(raw))


def test_a_dataset_cannot_train_what_needs_the_corpus(build):
    batch = {"query": {"a": [1.0]}, "candidate": {"a": [1.0]}}
    data = tf.data.Dataset.from_tensors(batch)
    with pytest.raises(TrainingError, match=r"whole corpus \(history_content\)"):
        train_on_dataset(data, towers=build(history_content="learned"))
