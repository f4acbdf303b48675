import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.data.training_examples import concatenate, load_example_table
from tfrs_twotower.errors import CorruptArtifact


def lengths(raw):
    return {
        "user_id": tf.strings.length(raw["user_id"]),
        "history": tf.strings.length(raw["history"]),
    }


def test_tokens_and_rows_go_together(preprocessed, spec, corpus):
    seen = []
    table = load_example_table(preprocessed, spec, corpus, lengths, report=seen.append)
    assert seen == [len(table)] == [60 * 7]
    assert table.tokens["user_id"].tolist() == [7] * len(table)
    assert table.tokens["history"].shape == (len(table), 6)
    assert set(np.unique(table.tokens["history"])) == {0, 7}
    assert len(table.query_ids) == 60
    parity = [int(name[-2:]) % 2 for name in table.query_ids]
    in_second_half = table.candidate_rows >= 20
    assert (in_second_half == np.array(parity)[table.query_rows]).all()
    assert table.candidate_rows.dtype == table.query_rows.dtype == np.int32


def test_memory_is_what_the_documentation_says(preprocessed, spec, corpus):
    table = load_example_table(preprocessed, spec, corpus, lengths)
    assert table.bytes_per_example == 4 * (1 + 6) + 24


def test_concatenate_renumbers_queries(preprocessed, spec, corpus):
    train = load_example_table(preprocessed, spec, corpus, lengths)
    fresh = load_example_table(preprocessed, spec, corpus, lengths, "fresh-*.tfrecord.gz")
    both = concatenate(train, fresh)
    assert len(both) == len(train) + len(fresh)
    names = both.query_ids[both.query_rows]
    assert (names[: len(train)] == train.query_ids[train.query_rows]).all()
    assert (names[len(train) :] == fresh.query_ids[fresh.query_rows]).all()
    assert (both.candidate_rows[len(train) :] == fresh.candidate_rows).all()


def test_unknown_candidate(preprocessed, spec, corpus):
    half = dataclasses.replace(corpus, ids=corpus.ids[:5])
    with pytest.raises(CorruptArtifact, match="of a training example is not in the corpus"):
        load_example_table(preprocessed, spec, half, lengths)
