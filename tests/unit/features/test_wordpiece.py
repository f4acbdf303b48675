from collections import Counter

import pytest
import tensorflow as tf

from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.features.wordpiece import WordPiece
from tfrs_twotower.features.wordpiece_list import Letters, count_words

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "cafe", "Cafe", "!", "\u4e2d"]


@pytest.fixture(scope="module")
def lower():
    return WordPiece(PIECES, "words", lower_case=True)


def ids(word_piece, *texts, width=4, **options):
    return word_piece(tf.constant(texts), width, **options).numpy().tolist()


def test_pieces_by_hand(lower):
    assert ids(lower, "Playing, caf\u00e9!") == [[4, 5, 1, 6]]
    assert ids(lower, "\u4e2dplay") == [[9, 4, 0, 0]]


def test_case_is_kept_on_request():
    cased = WordPiece(PIECES, "words", lower_case=False)
    assert ids(cased, "Cafe cafe") == [[7, 6, 0, 0]]


def test_accents_that_are_kept_tell_words_apart():
    pieces = ["[PAD]", "[UNK]", "\u30d1\u30f3\u30c0", "\u30cf\u30f3\u30c0", "hac\u00eda", "hacia"]
    kept = WordPiece(pieces, "words", lower_case=True, keep_accents=True)
    panda, solder = "\u30d1\u30f3\u30c0", "\u30cf\u30f3\u30c0"
    assert ids(kept, panda, solder, "HAC\u00cdA", "Hacia", width=1) == [[2], [3], [4], [5]]
    # A letter and its mark may be written as two characters.
    assert ids(kept, "\u30cf\u309a\u30f3\u30c0", "haci\u0301a", width=1) == [[2], [4]]
    stripped = WordPiece(["[PAD]", "[UNK]", "hacia"], "words", lower_case=True)
    assert ids(stripped, "hac\u00eda", "HACIA", width=1) == [[2], [2]]


@pytest.mark.parametrize(
    "letters", [Letters(True, False), Letters(True, True), Letters(False, False)]
)
def test_words_are_counted_as_they_are_tokenised(letters):
    texts = [
        "M\u00fcssten Mussten \u0130stanbul",
        "e\u0301t\u00e9 \u30d1\u30f3\u30c0! \u4e2d\u6587",
    ]
    counts = count_words(texts, letters)
    pieces = ["[PAD]", "[UNK]", *sorted(counts)]
    options = {"lower_case": letters.lower_case, "keep_accents": letters.keep_accents}
    found = [one for row in ids(WordPiece(pieces, "w", **options), *texts, width=9) for one in row]
    words = Counter(pieces[row] for row in found if row)
    assert words == counts
    assert ("m\u00fcssten" in counts) == letters.keep_accents


def test_empty_long_and_odd_texts(lower):
    assert ids(lower, "", "  ", "\x00\x07", "play " * 50) == [[0] * 4, [0] * 4, [0] * 4, [4] * 4]


def test_invalid_utf8_does_not_raise(lower):
    assert ids(lower, b"\xff\xfe", b"play\xff play", b"\xc3") == [[0] * 4, [4, 4, 0, 0], [0] * 4]


def test_ends_are_marked_within_the_width(lower):
    rows = ids(lower, "play", "play play play play", "", mark_ends=True)
    assert rows == [[2, 4, 3, 0], [2, 4, 4, 3], [0, 0, 0, 0]]


def test_what_a_graph_was_the_first_to_need_serves_others():
    pieces = ["[PAD]", "[UNK]", "first"]

    @tf.function
    def inside(texts):
        return WordPiece(pieces, "words", lower_case=True)(texts, 2)

    texts = tf.constant(["first of all"])
    assert inside(texts).numpy().tolist() == [[2, 1]]
    assert ids(WordPiece(pieces, "words", lower_case=True), "first of all", width=2) == [[2, 1]]


def test_empty_batch(lower):
    for mark_ends in (False, True):
        assert lower(tf.constant([], tf.string), 4, mark_ends=mark_ends).shape == [0, 4]


def test_same_pieces_as_the_two_step_tokeniser(lower):
    import tensorflow_text as tf_text

    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(PIECES, tf.range(len(PIECES), dtype=tf.int64)), 1
    )
    slow = tf_text.BertTokenizer(table, token_out_type=tf.int32, lower_case=True)
    texts = tf.constant(
        ["Playing! Playin", "CAF\u00c9\u4e2dplay  ing", "x" * 300, "play\u00adplay"]
    )
    expected = slow.tokenize(texts).merge_dims(1, 2).to_tensor(0, shape=[None, 8])
    assert lower(texts, 8).numpy().tolist() == expected.numpy().tolist()


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (["play"], r"found \['play'\] at the top"),
        (["[PAD]", "play"], "has \\[UNK\\]"),
        (["[PAD]", "[UNK]", "a", "a"], "empty or repeated piece"),
        (["[PAD]", "[UNK]", ""], "empty or repeated piece"),
    ],
)
def test_bad_vocabularies(pieces, message):
    with pytest.raises(CorruptArtifact, match=message):
        WordPiece(pieces, "words", lower_case=True)


def test_ends_need_their_pieces():
    word_piece = WordPiece(["[PAD]", "[UNK]", "a"], "words", lower_case=True)
    with pytest.raises(CorruptArtifact, match=r"lacks \[CLS\] and \[SEP\]"):
        word_piece(tf.constant(["a"]), 4, mark_ends=True)
