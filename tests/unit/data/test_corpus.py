import shutil

import numpy as np
import pytest

from tfrs_twotower.data.corpus import joined_texts, load_corpus
from tfrs_twotower.errors import CorruptArtifact


def test_rows_are_positions_in_byte_order(corpus):
    assert len(corpus) == 40
    assert corpus.ids.tolist() == sorted(corpus.ids.tolist())
    assert corpus.row_of([b"item_03", "item_00", "nowhere"]).tolist() == [3, 0, -1]
    assert corpus.row_of([]).tolist() == []


def test_features_stay_with_their_candidate(corpus):
    assert (corpus.raw["item_id"] == corpus.ids).all()
    assert (corpus.raw["title"] == corpus.titles).all()
    assert corpus.raw["topics"].shape == (40, 3)


def test_batches_cover_the_corpus_in_order(corpus):
    batches = list(corpus.batches(15))
    assert [len(batch["item_id"]) for batch in batches] == [15, 15, 10]
    together = np.concatenate([batch["item_id"] for batch in batches])
    assert (together == corpus.ids).all()


def test_a_repeated_candidate_is_refused(preprocessed, spec, tmp_path):
    shard = preprocessed / "corpus-00000-of-00002.tfrecord.gz"
    for number in range(2):
        shutil.copy(shard, tmp_path / f"corpus-0000{number}-of-00002.tfrecord.gz")
    with pytest.raises(CorruptArtifact, match=r"'item_.*' stands twice in the corpus"):
        load_corpus(tmp_path, spec)


def test_text_features_are_joined_in_the_order_of_the_spec(spec):
    raw = {
        "title": np.array([b"Ein Titel", "Größe".encode(), b""], object),
        "description": np.array([b"and words", b"", b""], object),
        "brand": np.array([b"x", b"y", b"z"], object),
    }
    texts = joined_texts(raw, spec.candidate.features)
    assert texts == ["Ein Titel and words", "Größe", ""]


def test_a_side_without_text_has_none(spec):
    features = tuple(f for f in spec.query.features if f.kind != "text")
    assert joined_texts({}, features) is None
