import numpy as np
import pytest

from tfrs_twotower.data.training_examples import read_training_examples
from tfrs_twotower.errors import MissingArtifact


def test_every_example_is_read_once_and_in_the_same_order(preprocessed, spec):
    def ids(batch_size):
        batches = read_training_examples(preprocessed, spec, batch_size=batch_size)
        return [
            (query, candidate, time)
            for batch in batches.as_numpy_iterator()
            for query, candidate, time in zip(
                batch["query_id"], batch["candidate_id"], batch["timestamp"], strict=True
            )
        ]

    whole = ids(4096)
    assert len(whole) == len(set(whole)) == 60 * 7
    assert ids(33) == whole


def test_history_is_strictly_before_the_event(preprocessed, spec):
    batch = next(read_training_examples(preprocessed, spec).as_numpy_iterator())
    for candidate, history in zip(batch["candidate_id"], batch["query"]["history"], strict=True):
        assert candidate not in history
    assert set(np.unique(batch["label"])) == {5.0}
    assert set(np.unique(batch["weight"])) == {1.0}


def test_other_pattern(preprocessed, spec):
    fresh = read_training_examples(preprocessed, spec, "fresh-*.tfrecord.gz")
    assert sum(len(batch["label"]) for batch in fresh.as_numpy_iterator()) == 60


def test_missing_directory(tmp_path, spec):
    with pytest.raises(MissingArtifact, match="run the stage that writes it"):
        read_training_examples(tmp_path, spec)
