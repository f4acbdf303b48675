import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.data.stored_examples import read_training_examples
from tfrs_twotower.data.training_examples import concatenate, load_example_table
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact


def test_every_example_is_read_once_and_in_the_same_order(preprocessed, spec):
    def ids(batch_size):
        batches = read_training_examples(preprocessed, spec, batch_size=batch_size)
        return [
            (query, candidate, time)
            for batch in batches
            for query, candidate, time in zip(
                batch["query_id"], batch["candidate_id"], batch["timestamp"], strict=True
            )
        ]

    whole = ids(4096)
    assert len(whole) == len(set(whole)) == 60 * 7
    assert ids(33) == whole


def test_history_is_strictly_before_the_event(preprocessed, spec):
    batch = next(read_training_examples(preprocessed, spec))
    for candidate, history in zip(batch["candidate_id"], batch["query"]["history"], strict=True):
        assert candidate not in history
    assert set(np.unique(batch["label"])) == {5.0}
    assert set(np.unique(batch["weight"])) == {1.0}


def test_other_pattern(preprocessed, spec):
    added = read_training_examples(preprocessed, spec, "fresh-*.arrow")
    assert sum(len(batch["label"]) for batch in added) == 60


def test_missing_directory(tmp_path, spec):
    with pytest.raises(MissingArtifact, match="run the stage that writes it"):
        read_training_examples(tmp_path, spec)


class Lengths:
    """The length of every text as its token."""

    def __init__(self, spec):
        self.features = [f for f in spec.query.features if f.name in ("user_id", "history")]

    def tokenise(self, feature, values):
        return tf.strings.length(values)


def test_tokens_and_rows_go_together(preprocessed, spec, corpus):
    seen = []
    table = load_example_table(preprocessed, spec, corpus, Lengths(spec), report=seen.append)
    assert seen[-1] == len(table) == 60 * 7
    assert len(seen) == 2  # once a shard
    assert np.asarray(table.tokens["user_id"]).tolist() == [7] * len(table)
    assert table.tokens["history"].shape == (len(table), 6)
    assert set(np.unique(np.asarray(table.tokens["history"]))) == {0, 7}
    assert len(table.query_ids) == 60
    parity = [int(name[-2:]) % 2 for name in table.query_ids.to_pylist()]
    in_second_half = table.candidate_rows >= 20
    assert (in_second_half == np.array(parity)[table.query_rows]).all()
    assert table.candidate_rows.dtype == table.query_rows.dtype == np.int32


def test_memory_is_what_the_documentation_says(preprocessed, spec, corpus):
    table = load_example_table(preprocessed, spec, corpus, Lengths(spec))
    # Rows of query and candidate, time, weight, end and length; 8 events for 7 examples of a query,
    # and once a query its token.
    events = 60 * 8 * 4
    assert table.bytes_per_example * 420 == 420 * (4 + 4 + 8 + 4 + 4 + 1) + events + 60 * 4


def test_concatenate_renumbers_queries(preprocessed, spec, corpus):
    train = load_example_table(preprocessed, spec, corpus, Lengths(spec))
    added = load_example_table(preprocessed, spec, corpus, Lengths(spec), "fresh-*.arrow")
    both = concatenate(train, added)
    assert len(both) == len(train) + len(added)
    names = both.query_ids.take(both.query_rows).to_pylist()
    assert names[: len(train)] == train.query_ids.take(train.query_rows).to_pylist()
    assert names[len(train) :] == added.query_ids.take(added.query_rows).to_pylist()
    assert (both.candidate_rows[len(train) :] == added.candidate_rows).all()


def test_unknown_candidate(preprocessed, spec, corpus):
    half = dataclasses.replace(corpus, ids=corpus.ids[:5])
    message = "of a training example or its history is not in the corpus"
    with pytest.raises(CorruptArtifact, match=message):
        load_example_table(preprocessed, spec, half, Lengths(spec))
