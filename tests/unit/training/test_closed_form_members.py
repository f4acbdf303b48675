import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_spec, write_tiny_preprocessed
from tests.reference import linear_member as oracle
from tests.unit.training.toy import toy_table
from tfrs_twotower.closed_form.neighbours import cosine_neighbours
from tfrs_twotower.config import (
    EaseMemberConfig,
    ItemKnnMemberConfig,
    TrainingConfig,
)
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.data.training_examples import load_example_table
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.towers.linear_member import history_inputs
from tfrs_twotower.training.closed_form_members import candidate_signals
from tfrs_twotower.training.linear_fitting import chosen_pairs, fit_linear_member, next_choices
from tfrs_twotower.training.training_data import open_training_data

DAY_S = 86_400


@pytest.fixture
def signal_table():
    signal_table = toy_table(repeats=1)
    signal_table.candidate_rows[:] = 0
    signal_table.candidate_rows[:10] = 1
    signal_table.timestamps[:] = 100 * DAY_S
    signal_table.timestamps[:30] = 93 * DAY_S + 1
    signal_table.timestamps[:4] = 93 * DAY_S  # exactly seven days before the last
    return signal_table


def test_signals_by_hand(signal_table):
    """Row 0 stands 40 times, 20 of them on the last day; row 1 10 times, 4 a week before."""
    names, values = candidate_signals((None, 30.0, 7.0, 0.5), signal_table, 3)
    assert names == ("log_count", "log_count_30d", "log_count_7d", "log_count_0.5d")
    counts = [[40, 40, 40, 20], [10, 10, 6, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(values, np.log(1 + np.array(counts)), rtol=1e-6)
    assert values.dtype == np.float32


def test_data_without_time_gives_only_the_signal_of_the_whole_window(signal_table):
    signal_table.timestamps[:] = 0
    names, values = candidate_signals((30.0, None, 7.0), signal_table, 3)
    assert names == ("log_count",)
    np.testing.assert_allclose(values[:, 0], np.log([41, 11, 1]), rtol=1e-6)
    assert candidate_signals((30.0,), signal_table, 3).values.shape == (3, 0)


def test_no_days_give_no_signals(signal_table):
    names, values = candidate_signals((), signal_table, 3)
    assert names == ()
    assert values.shape == (3, 0)


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
    return member.scores(member.encode({"history": np.asarray(tokens)}), everything).numpy()


@pytest.mark.parametrize("rank", [4, 8, 128])
def test_scores_equal_the_oracle(data, rank):
    assets, corpus, table = data
    actual = scores(fit(data, rank), table.tokens["history"], len(corpus))
    x = chosen(table, len(corpus))
    weights = oracle.cut(x, oracle.ease(x, 4.0), rank)
    ids = assets.vocabulary("item_id")
    rows = [-1, -1, *(corpus.ids.tolist().index(item) for item in ids)]
    assert rows[2:] != sorted(rows[2:]), "tokens and rows must differ"
    for example in range(0, len(table), 7):
        history = [rows[token] for token in np.asarray(table.tokens["history"])[example]]
        for position, half_life in enumerate(HALF_LIVES):
            profile = oracle.history_weights([history], half_life, len(corpus))
            np.testing.assert_allclose(actual[example, position], profile @ weights, atol=1e-5)


def test_at_full_rank_training_queries_get_the_scores_of_ease(data):
    assets, corpus, table = data
    x = chosen(table, len(corpus))
    token_of_row = {
        int(row): 2 + i for i, row in enumerate(corpus.row_of(assets.vocabulary("item_id")))
    }
    longest = int(x.sum(axis=1).max())
    tokens = np.zeros((len(x), longest), np.int32)
    for query, row in enumerate(x):
        history = [token_of_row[position] for position in np.flatnonzero(row)]
        tokens[query, : len(history)] = history
    actual = scores(fit(data, len(corpus)), tokens, len(corpus))[:, 0]
    np.testing.assert_allclose(actual, x @ oracle.ease(x, 4.0), atol=1e-4)


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
        for name in ("query_rows", "candidate_rows", "timestamps", "weights")
    }
    repeated = replace(table, **columns)
    np.testing.assert_array_equal(
        fit((assets, corpus, repeated)).candidate_vectors, fit(data).candidate_vectors
    )


def test_a_candidate_without_a_training_event_scores_zero(data):
    _, corpus, table = data
    unknown = np.bincount(table.candidate_rows, minlength=len(corpus)) == 0
    assert unknown.any(), "the world must try it"
    actual = scores(fit(data), table.tokens["history"], len(corpus))
    assert not actual[:, :, unknown].any()
    assert actual[:, :, ~unknown].any()


def test_a_corpus_too_large_is_refused(data):
    with pytest.raises(
        ConfigError,
        match=r"pre_ranking.ease: the corpus has 40 candidates, more than "
        r"pre_ranking.ease.max_candidates 39: EASE inverts a matrix",
    ):
        fit(data, max_candidates=39)
    fit(data, max_candidates=40)


def test_what_follows_a_candidate_by_hand():
    """Sequence 0 1 2 and sequence 0 2: the histories of 1, 2 and 2, most recent event first."""
    row_of_token = np.array([-1, -1, 0, 1, 2], np.int32)
    histories = [np.array([[2, 0], [3, 2], [2, 0]], np.int32)]
    chosen, before = next_choices(histories, np.array([1, 2, 2]), row_of_token, 3)
    np.testing.assert_array_equal(before.toarray(), [[1, 0, 0], [0.5, 1, 0], [1, 0, 0]])
    similar = cosine_neighbours(chosen, 2, before=before).toarray()
    # 1 follows 0 at once; 2 follows 0 at once and, elsewhere, after another choice, and 1 at once.
    expected = np.zeros([3, 3])
    expected[0, 1] = 1.0 / np.sqrt(1 * 1)  # 0 was never chosen in an example: it counts as one
    expected[0, 2] = 1.5 / np.sqrt(1 * 2)
    expected[1, 2] = 1.0 / np.sqrt(1 * 2)
    np.testing.assert_allclose(similar, expected, rtol=1e-6)


def test_what_follows_has_a_direction_and_what_is_together_has_none():
    random = np.random.default_rng(0)
    sequence = random.permutation(8)
    histories = [
        np.array([[*(2 + sequence[:end][::-1]), *[0] * (8 - end)] for end in range(1, 8)], np.int32)
    ]
    tokens = np.append([-1, -1], np.arange(8)).astype(np.int32)
    chosen, before = next_choices(histories, sequence[1:], tokens, 8)
    similar = cosine_neighbours(chosen, 7, before=before).toarray()
    for earlier, later in itertools.combinations(sequence, 2):
        assert similar[later, earlier] == 0.0
    assert [similar[a, b] for a, b in itertools.pairwise(sequence)] == [1.0] * 7


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "preprocessed"
    write_tiny_preprocessed(directory)
    return open_training_data(directory, SPEC, TrainingConfig(), load_assets(directory))


def test_all_pairs_have_the_low_labels_of_their_window(training):
    """Every query has seven positive events and a low one to learn from, and one to validate."""
    queries, rows = training.all_pairs(with_validation_window=False)
    assert len(queries) == len(rows) == 60 * 8
    assert len(training.all_pairs(with_validation_window=True)[0]) == 60 * 9
    log = pq.read_table(training.directory / "interactions-00000-of-00001.parquet").to_pylist()
    expected = {(e["query_id"], e["candidate_id"]) for e in log if e["split"] == "train"}
    ids = sorted({query for query, _ in expected})
    profiles = {frozenset(own for query, own in expected if query == name) for name in ids}
    names = training.corpus.ids
    assert profiles == {frozenset(names[rows[queries == query]]) for query in np.unique(queries)}


def test_a_linear_model_of_all_events_is_that_of_their_matrix(data, training):
    assets, corpus, table = data
    all_pairs = partial(training.all_pairs, with_validation_window=False)
    config = EaseMemberConfig(rank=40, l2=4.0, half_lives=(None,), events="all")
    member = fit_linear_member(SPEC, config, *data, all_pairs)
    pairs = set(zip(*(numbers.tolist() for numbers in all_pairs()), strict=True))
    assert len(pairs) > len(set(zip(table.query_rows, table.candidate_rows, strict=True)))
    weights = oracle.ease(oracle.chosen_matrix(pairs, 60, len(corpus)), 4.0)
    history = np.zeros((40, 1), np.int32)
    rows = corpus.row_of(assets.vocabulary("item_id"))
    history[: len(rows), 0] = 2 + np.arange(len(rows))
    actual = scores(member, history[: len(rows)], len(corpus))[:, 0]
    np.testing.assert_allclose(actual, weights[rows], atol=1e-4)
    of_positives = scores(fit(data, 40), history[: len(rows)], len(corpus))[:, 0]
    assert np.abs(of_positives - actual).max() > 0.01


@pytest.mark.parametrize("events", ["positive", "all"])
def test_neighbours_are_counted_in_the_events_that_the_config_names(data, training, events):
    _, corpus, table = data
    all_pairs = partial(training.all_pairs, with_validation_window=False)
    config = ItemKnnMemberConfig(events=events)
    matrix = chosen_pairs(config, table, len(corpus), all_pairs)
    assert matrix.nnz == {"positive": 420, "all": 480}[events]
