import shutil

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.data.corpus import Corpus, sample_rows, strings
from tfrs_twotower.data.loading import joined_texts, load_corpus
from tfrs_twotower.errors import CorruptArtifact, DataError

VECTORS = np.arange(6, dtype=np.float64).reshape(3, 2)


def encoded(texts):
    return np.array([value.encode() for value in texts], object)


def test_rows_are_positions_in_byte_order(corpus):
    assert len(corpus) == 40
    assert corpus.ids.tolist() == sorted(corpus.ids.tolist())
    assert corpus.row_of([b"item_03", "item_00", "nowhere"]).tolist() == [3, 0, -1]
    assert corpus.row_of([]).tolist() == []


def test_features_stay_with_their_candidate(corpus):
    assert (corpus.raw["item_id"] == encoded(corpus.ids)).all()
    assert (corpus.raw["title"] == encoded(corpus.titles)).all()
    assert corpus.raw["topics"].shape == (40, 3)


def test_batches_cover_the_corpus_in_order(corpus):
    batches = list(corpus.batches(15))
    assert [len(batch["item_id"]) for batch in batches] == [15, 15, 10]
    together = np.concatenate([batch["item_id"] for batch in batches])
    assert (together == encoded(corpus.ids)).all()


def test_a_repeated_candidate_is_refused(preprocessed, spec, tmp_path):
    shard = preprocessed / "corpus-00000-of-00002.tfrecord.gz"
    for number in range(2):
        shutil.copy(shard, tmp_path / f"corpus-0000{number}-of-00002.tfrecord.gz")
    with pytest.raises(CorruptArtifact, match=r"'item_.*' occurs twice in the corpus"):
        load_corpus(tmp_path, spec)


def test_vectors_made_elsewhere_come_in_the_order_of_their_ids():
    corpus = Corpus.of([b"b", "\U0001d11e", "\uffff"], VECTORS, ["B", None, "last but one"])
    assert corpus.ids.tolist() == ["b", "\uffff", "\U0001d11e"]
    assert [name.encode() for name in corpus.ids] == sorted(name.encode() for name in corpus.ids)
    assert corpus.titles.tolist() == ["B", "last but one", ""]
    np.testing.assert_array_equal(corpus.vectors, [[0, 1], [4, 5], [2, 3]])
    assert corpus.vectors.dtype == np.float32
    some = corpus.take(np.array([0, 2]))
    assert (some.ids.tolist(), some.raw) == (["b", "\U0001d11e"], {})
    np.testing.assert_array_equal(some.vectors, [[0, 1], [2, 3]])


def test_a_corpus_without_vectors_says_so(corpus):
    with pytest.raises(ValueError, match="this corpus has no vectors"):
        corpus.vectors  # noqa: B018
    vectors = np.zeros((40, 2), np.float32)
    assert corpus.with_vectors(vectors).take(np.array([1])).vectors.shape == (1, 2)
    assert corpus.with_vectors(vectors).raw == corpus.raw


BAD = [
    (["a", "b", "a"], VECTORS, "the id 'a' occurs twice, again in record 3"),
    (["a", "", "c"], VECTORS, "the id of record 2 is ''; an id is text and not empty"),
    ([1, 2, 3], VECTORS, "the id of record 1 is 1; an id is text"),
    (["a", "b"], VECTORS, "found 2 ids, 3 vectors and 2 titles"),
    (["a", "b", "c"], [[1.0], [np.nan], [np.inf]], "2 of 3 vectors hold a NaN .*that of 'b'"),
    (["a"], [[1e300]], "1 of 1 vectors hold a NaN or infinite number"),
    (["a", "b"], [[1.0], [1.0, 2.0]], "found vectors of type object"),
    (["a"], [["x"]], "expected numbers"),
    (["a"], [1.0], r"shape \(1,\), expected numbers \[num_vectors, dim\]"),
    ([], np.zeros((0, 2)), "with at least one of each"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_is_no_corpus(number):
    ids, vectors, message = BAD[number]
    with pytest.raises(DataError, match=f"^here: .*{message}"):
        Corpus.of(ids, vectors, where="here")


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


def test_sampled_rows_show_every_feature_present_and_missing():
    number = np.ones(100, np.float32)
    number[41] = np.nan
    words = np.full((100, 2), b"", object)
    words[77, 1] = b"w"
    time_s = np.full(100, 5)
    time_s[13] = -1
    rows = sample_rows({"number": number, "words": words, "time": time_s}, 3)
    assert {0, 99, 13, 41, 77} <= set(rows.tolist())
    assert len(rows) <= 3 + 2 * 3


@pytest.mark.parametrize("number", [1, 3, 2500], ids=["one", "few, by search", "many, by hash"])
@pytest.mark.parametrize("shuffled", [False, True], ids=["sorted", "in another order"])
def test_rows_are_those_of_a_dictionary(number, shuffled):
    dice = np.random.default_rng(number)
    names = {
        f"{letter}{value}" for letter in "aé\U0001f600" for value in dice.integers(0, 10**6, 700)
    }
    ids = sorted(names)
    if shuffled:
        dice.shuffle(ids)
    corpus = Corpus(strings(ids), strings([""] * len(ids)))
    row_of = {id_.encode(): row for row, id_ in enumerate(ids)}
    asked = [ids[at].encode() for at in dice.integers(0, len(ids), number)]
    asked += [b"", b"nowhere", b"\xff\xfe", asked[0] + b"\0", b"zzz", ids[0].encode()][:number]
    expected = [row_of.get(one, -1) for one in asked]
    assert corpus.row_of(asked).tolist() == expected
    assert corpus.row_of(pa.array(asked, pa.binary())).tolist() == expected
    assert corpus.row_of([ids[5], "nowhere"]).tolist() == [5, -1]
    assert corpus.row_of(asked).dtype == np.int32
