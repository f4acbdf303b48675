"""What is mined for a round of training, on the planted data."""

import filecmp

import numpy as np
import pytest

from tests.fixtures.tiny import tiny_run_config
from tests.reference.mining import mined_list, nearest_queries
from tests.unit.mining.test_mine import positives_of, written_out
from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS, REFIT_GLOB, WEIGHTS
from tfrs_twotower.closed_form.bm25 import Bm25Index
from tfrs_twotower.config import AnceConfig
from tfrs_twotower.data.loading import joined_texts
from tfrs_twotower.data.negative_lists import load_round_negatives
from tfrs_twotower.data.training_examples import concatenate, load_example_table
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.mining import mined_queries
from tfrs_twotower.mining.mined_queries import embed_queries
from tfrs_twotower.mining.round_negatives import mine_round, without_false_negatives
from tfrs_twotower.mining.teachers import query_texts
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import load_towers, save_towers, write_weights

RANKS = (3, 12)


def config_of(**training):
    present = tiny_run_config().training.model_dump(mode="json")
    settings = {"refit": True, "terms": {"dual": {}}, **training}
    return tiny_run_config(training={**present, **settings})


CONFIG = config_of()


@pytest.fixture(scope="module")
def model(spec, assets, tmp_path_factory):
    """Untrained towers of two trainings, with different weights."""
    directory = tmp_path_factory.mktemp("model")
    towers = build_towers(spec, CONFIG.model, assets, seed=1)
    save_towers(towers, spec, CONFIG.model, assets, directory)
    first = build_towers(spec, CONFIG.model, assets, seed=2)
    write_weights(first.named_variables(), directory / FIRST_FIT_WEIGHTS)
    return directory


@pytest.fixture(scope="module")
def mine(spec, preprocessed, model, tmp_path_factory):
    def mine(config=CONFIG, model_dir=model, **settings):
        directory = tmp_path_factory.mktemp("negatives")
        ance = AnceConfig.model_validate({"negatives": 4, "ranks": RANKS, **settings})
        reported = []
        phases = mine_round(
            spec,
            config,
            ance,
            preprocessed,
            model_dir,
            directory,
            lambda *progress: reported.append(progress),
        )
        return directory, phases, reported

    return mine


@pytest.fixture(scope="module")
def mined(mine):
    return mine()


@pytest.fixture(scope="module")
def phases(preprocessed, spec, corpus, model):
    """By phase: the examples, and the vectors of both sides."""
    found = {}
    table = None
    for phase, weights in (("fit", FIRST_FIT_WEIGHTS), ("refit", WEIGHTS)):
        towers = load_towers(model, weights)
        if table is None:
            table = load_example_table(preprocessed, spec, corpus, towers.query.inputs)
        else:
            added = load_example_table(preprocessed, spec, corpus, towers.query.inputs, REFIT_GLOB)
            table = concatenate(table, added)
        queries = towers.query.embed_tokens(written_out(table.tokens)).numpy()
        found[phase] = table, queries, towers.candidate(corpus.raw).numpy()
    return found


def test_mined_sets_equal_the_oracle_without_any_positive_of_the_query(mined, phases):
    """Methods 5.5.1 and 5.5.2, with a fixed model."""
    directory, facts, reported = mined
    assert [fact.phase for fact in facts] == ["fit", "refit"]
    assert reported[-1] == ("mine (refit)", 480, 480)
    for fact in facts:
        table, queries, vectors = phases[fact.phase]
        lists = load_round_negatives(directory, fact.phase, len(table))
        known, products = positives_of(table), queries @ vectors.T
        assert lists.rows.shape == (len(table), 10)
        for example, query in enumerate(table.query_rows.tolist()):
            expected = mined_list(products[example], known[query], (), RANKS[1])[RANKS[0] - 1 :]
            assert lists.rows[example].tolist() == expected
            assert not set(expected) & known[query]
            assert len(set(expected)) == 10
        assert (fact.num_examples, fact.num_short, fact.num_dropped) == (len(table), 0, 0)


def test_mined_queries_equal_the_oracle_without_any_that_has_the_candidate(mined, phases):
    """Methods 6.8.3: the nearest training queries, each as its latest example knows it."""
    for phase, (table, queries, vectors) in phases.items():
        lists = load_round_negatives(mined[0], phase, len(table)).queries
        pairs = list(zip(table.query_rows.tolist(), table.candidate_rows.tolist(), strict=True))
        of_candidate = [{q for q, c in pairs if c == row} for row in range(len(vectors))]
        assert any(not answered for answered in of_candidate)
        for row, answered in enumerate(of_candidate):
            listed = lists[row]
            if not answered:
                assert (listed == -1).all()
                continue
            expected = nearest_queries(
                vectors[row], queries, table.query_rows, table.timestamps, answered, *RANKS
            )
            assert listed.tolist() == expected
            assert not set(table.query_rows[listed].tolist()) & answered


def test_queries_are_searched_in_a_sample_of_many(monkeypatch, phases):
    monkeypatch.setattr(mined_queries, "MOST_QUERIES", 20)
    table, queries, vectors = phases["fit"]
    latest = np.array([np.flatnonzero(table.query_rows == query)[-1] for query in range(60)])

    def listed(seed):
        embedded = (latest, queries[latest])
        found = mined_queries.mine_queries(
            table, vectors, embedded, (1, 30), lambda done, total: None, seed=seed
        )
        return set(table.query_rows[found[found >= 0]].tolist())

    sample = listed(1)
    assert 10 < len(sample) <= 20
    assert listed(1) == sample


def test_vectors_of_both_sides_have_length_one(phases, model):
    """Methods 6.8.4: both towers normalise alike."""
    table, _, vectors = phases["refit"]
    latest, queries = embed_queries(table, load_towers(model))
    assert sorted(table.query_rows[latest].tolist()) == list(range(60))
    for embedded in (queries, vectors):
        np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1.0, atol=1e-5)


def test_before_any_towers_there_are_the_best_by_words(mine, phases, preprocessed, spec, corpus):
    directory, facts, _ = mine(model_dir=None, ranks=(1, 15), warm_start="bm25")
    index = Bm25Index(joined_texts(corpus.raw, spec.candidate.features), k1=1.2, b=0.75)
    table = phases["refit"][0]
    texts, known = query_texts(preprocessed, spec, "refit"), positives_of(table)
    lists = load_round_negatives(directory, "refit", len(table))
    assert lists.queries is None
    num_short = 0
    for example, terms in enumerate(index.terms(texts)):
        scores = index.scores(terms)
        wordless = np.flatnonzero(scores <= 0.0)
        expected = mined_list(scores, known[int(table.query_rows[example])], wordless, 15)
        assert lists.rows[example].tolist() == expected
        num_short += expected.count(-1) > 11
    assert facts[1].num_short == num_short > 0


def test_a_teachers_false_negatives_by_hand():
    rows = np.array([[4, 8, 2, -1], [7, 1, 3, 0], [5, 6, 9, 2]], np.int32)
    scores = np.array([[2.0, 1.95, 1.85, 2.5, 0], [-1.0, -1.05, -1.2, -0.5, 9.0], [0, 0, 1, -1, 0]])
    kept = without_false_negatives(rows, scores, 0.05)
    np.testing.assert_array_equal(kept, [[8, -1, -1, -1], [7, 1, -1, -1], [5, 9, 2, -1]])


def test_what_the_teacher_finds_as_good_as_the_positive_is_dropped(mine, mined, phases):
    directory, facts, _ = mine(teacher="ease", teacher_margin=0.1)
    dropped = [fact.num_dropped for fact in facts]
    assert min(dropped) > 0
    for fact in facts:
        table = phases[fact.phase][0]
        before = load_round_negatives(mined[0], fact.phase, len(table)).rows
        after = load_round_negatives(directory, fact.phase, len(table)).rows
        assert (before >= 0).sum() - (after >= 0).sum() == fact.num_dropped
        for one, other in zip(before, after, strict=True):
            left = [row for row in one.tolist() if row in other]
            assert other[: len(left)].tolist() == left, "the others keep their order"


def test_the_same_towers_give_the_same_bytes(mine, mined):
    first, second = mined[0], mine()[0]
    names = sorted(path.name for path in first.iterdir())
    assert names == ["fit-queries.npy", "fit-rows.npy", "refit-queries.npy", "refit-rows.npy"]
    assert filecmp.cmpfiles(first, second, names, shallow=False)[0] == names


def test_without_the_dual_term_no_query_is_mined(mine):
    directory, facts, _ = mine(config_of(refit=False, terms={}))
    assert [path.name for path in directory.iterdir()] == ["fit-rows.npy"]
    assert [fact.phase for fact in facts] == ["fit"]


def test_lists_of_other_examples_are_refused(mined):
    with pytest.raises(CorruptArtifact, match=r"holds 420 lists of the phase 'fit', .* of 7 exam"):
        load_round_negatives(mined[0], "fit", 7)
