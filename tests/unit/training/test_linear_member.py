from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_spec, write_tiny_preprocessed
from tests.reference import linear_member as oracle
from tfrs_twotower.config import EaseMemberConfig
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.corpus import Corpus, load_corpus
from tfrs_twotower.data.training_examples import load_example_table
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.towers.linear_member import history_inputs
from tfrs_twotower.training.closed_form_members import fit_linear_member

SPEC = tiny_spec()
HALF_LIVES = (None, 3.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(assets, corpus, training examples)."""
    directory = tmp_path_factory.mktemp("tiny") / "preprocessed"
    write_tiny_preprocessed(directory)
    assets, corpus = load_assets(directory), load_corpus(directory, SPEC)
    return assets, corpus, load_example_table(directory, SPEC, corpus, history_inputs(SPEC, assets))


def fit(data, rank=8, **settings):
    config = EaseMemberConfig(rank=rank, l2=4.0, half_lives=HALF_LIVES, **settings)
    return fit_linear_member(SPEC, config, *data)


def chosen(table, num_candidates):
    pairs = set(zip(table.query_rows.tolist(), table.candidate_rows.tolist(), strict=True))
    return oracle.chosen_matrix(pairs, len(table.query_ids), num_candidates)


def scores(member, tokens, num_candidates):
    everything = tf.tile(tf.range(num_candidates)[tf.newaxis], [len(tokens), 1])
    return member.scores(member.encode({"history": tokens}), everything).numpy()


@pytest.mark.parametrize("rank", [4, 8, 128])
def test_scores_are_the_oracles(data, rank):
    assets, corpus, table = data
    found = scores(fit(data, rank), table.tokens["history"], len(corpus))
    x = chosen(table, len(corpus))
    weights = oracle.cut(x, oracle.ease(x, 4.0), rank)
    ids = assets.vocabulary("item_id")
    rows = [-1, -1, *(corpus.ids.tolist().index(item.encode()) for item in ids)]
    assert rows[2:] != sorted(rows[2:]), "tokens and rows must differ"
    for example in range(0, len(table), 7):
        history = [rows[token] for token in table.tokens["history"][example]]
        for place, half_life in enumerate(HALF_LIVES):
            profile = oracle.history_weights([history], half_life, len(corpus))
            np.testing.assert_allclose(found[example, place], profile @ weights, atol=1e-5)


def test_at_full_rank_training_queries_get_the_scores_of_ease(data):
    assets, corpus, table = data
    x = chosen(table, len(corpus))
    token_of_row = {
        int(row): 2 + i for i, row in enumerate(corpus.row_of(assets.vocabulary("item_id")))
    }
    longest = int(x.sum(axis=1).max())
    tokens = np.zeros((len(x), longest), np.int32)
    for query, row in enumerate(x):
        history = [token_of_row[place] for place in np.flatnonzero(row)]
        tokens[query, : len(history)] = history
    found = scores(fit(data, len(corpus)), tokens, len(corpus))[:, 0]
    np.testing.assert_allclose(found, x @ oracle.ease(x, 4.0), atol=1e-4)


def test_permuting_the_corpus_permutes_the_scores(data):
    assets, corpus, table = data
    order = np.random.default_rng(0).permutation(len(corpus))
    place_of = np.argsort(order)
    shuffled = Corpus(corpus.ids[order], corpus.titles[order], {})
    moved = replace(table, candidate_rows=place_of[table.candidate_rows].astype(np.int32))
    before = scores(fit(data), table.tokens["history"], len(corpus))
    after = scores(fit((assets, shuffled, moved)), table.tokens["history"], len(corpus))
    np.testing.assert_allclose(after, before[:, :, order], atol=1e-5)


def test_a_second_fit_gives_the_same_bytes(data):
    first, second = fit(data), fit(data)
    np.testing.assert_array_equal(first.history_vectors, second.history_vectors)
    np.testing.assert_array_equal(first.candidate_vectors, second.candidate_vectors)


def test_the_order_and_number_of_events_do_not_matter(data):
    assets, corpus, table = data
    again = np.random.default_rng(0).permutation(np.repeat(np.arange(len(table)), 2))
    columns = {
        name: getattr(table, name)[again]
        for name in ("query_rows", "candidate_rows", "timestamps", "labels", "weights")
    }
    repeated = replace(table, **columns)
    np.testing.assert_array_equal(
        fit((assets, corpus, repeated)).candidate_vectors, fit(data).candidate_vectors
    )


def test_a_candidate_without_a_training_event_scores_0(data):
    _, corpus, table = data
    unknown = np.bincount(table.candidate_rows, minlength=len(corpus)) == 0
    assert unknown.any(), "the world must try it"
    found = scores(fit(data), table.tokens["history"], len(corpus))
    assert not found[:, :, unknown].any()
    assert found[:, :, ~unknown].any()


def test_a_corpus_too_large_is_refused(data):
    with pytest.raises(
        ConfigError,
        match=r"pre_ranking.ease: the corpus has 40 candidates, more than "
        r"pre_ranking.ease.max_candidates 39: EASE inverts a matrix",
    ):
        fit(data, max_candidates=39)
    fit(data, max_candidates=40)
