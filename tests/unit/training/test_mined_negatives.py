"""How mined negatives are drawn for a batch, and embedded."""

import numpy as np
import pytest
import tensorflow as tf

from tests.unit.training.test_packed_examples import table as table_of
from tests.unit.training.toy import NUM_CANDIDATES, toy_batch, toy_model, toy_table
from tfrs_twotower.data.negative_lists import RoundNegatives
from tfrs_twotower.tasks.terms import DualTerm
from tfrs_twotower.training.mined_negatives import MinedExamples, draw, embed_negatives
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.packed_examples import PackedExamples

RANKS = 12


def lists_of(num_lists, seed=0):
    """Distinct entries of lists, some of which end early."""
    random = np.random.default_rng(seed)
    lists = np.stack([random.permutation(NUM_CANDIDATES)[:RANKS] for _ in range(num_lists)])
    lists[::7, 3:] = -1
    return lists.astype(np.int32)


@pytest.fixture
def mined():
    table = toy_table(repeats=2)
    lists = RoundNegatives(lists_of(len(table)), lists_of(NUM_CANDIDATES, seed=1))
    return MinedExamples(table, table.candidate_rows, lists, num_negatives=5, seed=3)


@pytest.mark.parametrize("step", [1, 9])
def test_negatives_are_distinct_and_from_the_list_of_their_example(mined, step):
    positions = np.array([3, 0, 60, 7, 3])
    batch = mined.batch(positions, step)
    for position, drawn in zip(positions, batch["mined_rows"], strict=True):
        own = mined.lists.rows[position]
        present = drawn[drawn >= 0]
        assert len(set(present)) == len(present) == min(5, (own >= 0).sum())
        assert set(present) <= set(own)
    plain = mined.examples.batch(positions, step)
    assert plain.keys() == {name for name in batch if not name.startswith("mined_")}


def test_queries_are_those_of_the_candidates_lists(mined):
    positions = np.array([3, 0, 60, 7])
    batch = mined.batch(positions, 2)
    present = batch["mined_queries_present"]
    tokens = batch["mined_query_tokens"]["id"].reshape(present.shape)
    assert present.sum(axis=1).tolist() == [5, 3, 5, 3]
    for row, own, there in zip(positions % NUM_CANDIDATES, tokens, present, strict=True):
        examples = mined.lists.queries[row]
        assert set(own[there]) <= set(mined.examples.tokens["id"][examples[examples >= 0]])


def test_the_same_seed_and_step_draw_the_same_negatives(mined):
    positions = np.arange(20)
    once, twice, later = (mined.batch(positions, step)["mined_rows"] for step in (4, 4, 5))
    np.testing.assert_array_equal(once, twice)
    assert (once != later).any()


def test_every_rank_of_a_list_is_drawn_about_as_often():
    random = np.random.default_rng(0)
    lists = np.tile(np.arange(RANKS, dtype=np.int32), (3000, 1))
    counts = np.bincount(draw(lists, 4, random).ravel(), minlength=RANKS)
    np.testing.assert_allclose(counts / 3000, 4 / RANKS, atol=0.04)


def test_histories_of_mined_queries_are_packed_like_those_of_the_batch():
    examples = table_of((0, 1, []), (0, 3, [5, 3]), (1, 9, [8]), (0, 2, [3]), (1, 8, []))
    packed = PackedExamples.of(examples, ("history",))
    queries = np.array([[2], [4], [0], [-1], [1]], np.int32)
    lists = RoundNegatives(np.zeros([5, 1], np.int32), queries)
    mined = MinedExamples(packed, examples.candidate_rows, lists, num_negatives=1, seed=0)
    assert mined.groups is packed.groups or (mined.groups == packed.groups).all()
    found = mined.batch(np.array([0, 3, 4]), 1)["mined_query_tokens"]
    expected = packed.batch(np.array([2, 0, 1]), 1)["tokens"]
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


def test_embeds_each_negative_in_its_place():
    model = toy_model()
    sampling = NegativeSampling({"id": tf.range(NUM_CANDIDATES)}, NUM_CANDIDATES)
    rows = np.array([[4, -1], [7, 4], [-1, -1]], np.int32)
    of_queries = np.array([[1, 0], [2, 9], [9, 0]])
    inputs = {
        "mined_rows": tf.constant(rows),
        "mined_queries_present": tf.constant(of_queries > 0),
        "mined_query_tokens": {"id": tf.constant(of_queries.ravel())},
    }
    found = embed_negatives(model.towers, sampling, inputs, lambda side, x: side.encode(x))
    towers = model.towers
    candidates = towers.candidate.encode({"id": rows[rows >= 0]}).embedding
    queries = towers.query.encode({"id": of_queries.ravel()}).embedding
    np.testing.assert_array_equal(found.present, rows >= 0)
    np.testing.assert_allclose(found.candidates.numpy()[rows >= 0], candidates, rtol=1e-6)
    np.testing.assert_array_equal(found.queries_present, of_queries > 0)
    np.testing.assert_allclose(found.queries.numpy().reshape(6, -1), queries, rtol=1e-6)
    assert embed_negatives(towers, sampling, {}, None) is None


def test_a_step_pushes_mined_negatives_away():
    """Gradients reach the candidate and the query that were mined, and nothing of the padding."""
    model = toy_model(terms=lambda task, towers: [DualTerm(1.0, task)], mask_other_positives=False)
    before = [tower.table.numpy() for tower in (model.towers.query, model.towers.candidate)]
    batch = toy_batch(
        [3, 5],
        mined_rows=tf.constant([[20, -1], [-1, -1]]),
        mined_queries_present=tf.constant([[True, False], [False, False]]),
        mined_query_tokens={"id": tf.constant([30, 0, 0, 0])},
    )
    model.train_step(batch)
    after = [tower.table.numpy() for tower in (model.towers.query, model.towers.candidate)]
    changed = [
        np.flatnonzero((a != b).any(axis=1)).tolist() for a, b in zip(before, after, strict=True)
    ]
    assert changed == [[3, 5, 30], [3, 5, 20]]
    for side, mined in ((0, 30), (1, 20)):
        anchor = before[1 - side][3]
        assert after[side][mined] @ anchor < before[side][mined] @ anchor
