import re

import numpy as np
import pytest
import tensorflow as tf

from tests.unit.training.toy import NUM_CANDIDATES, TableTower, toy_table
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.towers.tower import Towers
from tfrs_twotower.training.query_map import (
    PENALTIES,
    EmbeddedExamples,
    choose_penalty,
    fit_query_map,
)

DIM = 16


def planted(seed, *, turned=True, noise=0.05, num_queries=40):
    """Queries that a fixed rotation moves onto their candidates, and two examples of each."""
    random = np.random.default_rng(seed)
    candidates = random.standard_normal((200, 6))
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    rotation = np.linalg.qr(random.standard_normal((6, 6)))[0] if turned else np.eye(6)
    owners = np.repeat(np.arange(num_queries), 2)
    positives = np.repeat(random.permutation(200)[:num_queries], 2).astype(np.int32)
    queries = candidates[positives] @ rotation.T + noise * random.standard_normal((len(owners), 6))
    vectors = (queries.astype(np.float32), candidates.astype(np.float32))
    return EmbeddedExamples(*vectors, positives, owners), rotation


def test_every_query_has_the_same_weight():
    examples, _ = planted(0)
    thrice = np.concatenate([np.arange(80), [0, 1, 0, 1]])
    more = EmbeddedExamples(
        examples.queries[thrice],
        examples.candidates,
        examples.positives[thrice],
        examples.owners[thrice],
    )
    used = np.ones(len(thrice), bool)
    np.testing.assert_allclose(more.solve(used, 2.0), examples.solve(used[:80], 2.0), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_finds_the_planted_rotation(seed):
    examples, rotation = planted(seed)
    penalty, before, after = choose_penalty(examples, "ndcg@10", seed=1)
    assert penalty in PENALTIES[-2:]
    assert after > before + 0.4
    solved = examples.solve(np.ones(80, bool), penalty)
    cosine = np.sum(solved * rotation) / np.linalg.norm(solved) / np.linalg.norm(rotation)
    assert cosine > 0.97


def test_the_identity_stays_where_nothing_is_to_be_moved():
    examples, _ = planted(0, turned=False, noise=0.0)
    assert choose_penalty(examples, "ndcg@10", seed=1) == (None, 1.0, 1.0)


def test_held_out_queries_do_not_choose_by_themselves():
    """Random positives teach nothing, although a small penalty fits those that it was given."""
    random = np.random.default_rng(3)
    vectors = random.standard_normal((2, 30, 24)).astype(np.float32)
    positives = random.permutation(30).astype(np.int32)
    examples = EmbeddedExamples(vectors[0], vectors[1], positives, np.arange(30))
    moved = vectors[0] @ examples.solve(np.ones(30, bool), PENALTIES[-1])
    fitted = np.mean(np.argmax(moved @ vectors[1].T, axis=1) == positives)
    _, _, after = choose_penalty(examples, "recall@1", seed=1)
    assert fitted > 0.8
    assert after < 0.2


def towers_with_map():
    query, candidate = TableTower("query"), TableTower("candidate")
    query.map = WeightMaker(0).under("query").identity("map", DIM)
    return Towers(query, candidate)


def test_the_map_is_set_and_said():
    towers, table = towers_with_map(), toy_table(repeats=2)
    rows = np.arange(NUM_CANDIDATES)
    corpus = {"id": tf.constant(rows, tf.int32)}
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0]
    towers.candidate.table.assign(towers.query.table @ rotation.astype(np.float32))
    message = fit_query_map(towers, table, corpus, metric="ndcg@10", seed=1)
    said = re.match(r"model.query_map: ridge with penalty (.*); ndcg@10 over held-out", message)
    # A stand-in tower does not use its map; its value is that of least squares.
    queries, candidates = (
        tower.embed_tokens(corpus).numpy() for tower in (towers.query, towers.candidate)
    )
    more = float(said[1]) ** 0.5 * np.eye(DIM)
    expected = np.linalg.lstsq(
        np.vstack([queries, more]), np.vstack([candidates, more]), rcond=None
    )[0]
    np.testing.assert_allclose(towers.query.map, expected, atol=1e-4)


def test_few_queries_leave_the_identity():
    towers = towers_with_map()
    towers.query.map.assign(2 * tf.eye(DIM))
    table = toy_table(repeats=1)
    table.query_rows[:] = table.query_rows % 9
    corpus = {"id": tf.range(NUM_CANDIDATES)}
    message = fit_query_map(towers, table, corpus, metric="ndcg@10", seed=1)
    assert message.startswith("model.query_map: 9 training queries are too few")
    np.testing.assert_array_equal(towers.query.map, np.eye(DIM))


def test_towers_without_a_map():
    towers = Towers(TableTower("query"), TableTower("candidate"))
    with pytest.raises(ValueError, match="has no map; build it with"):
        fit_query_map(towers, toy_table(), {}, metric="ndcg@10", seed=1)
