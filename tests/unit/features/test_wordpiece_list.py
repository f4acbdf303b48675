import numpy as np
import pytest
from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib

from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.features.wordpiece_list import (
    EndsOfWords,
    largest_that_fits,
    learn_wordpieces,
    number_stems,
    read_wordpieces,
)


def test_learned_pieces_spell_every_word_and_fit():
    words = [("walking", 9), ("walked", 7), ("talking", 6), ("talked", 5), ("walk", 4)]
    pieces = learn_wordpieces(words, 64)
    assert pieces[:2] == ["[PAD]", "[UNK]"]
    assert len(pieces) == len(set(pieces)) <= 64
    assert {"w", "##g"} <= set(pieces)
    assert {"walking", "walked"} <= set(pieces)  # rare words fit, so they are in
    assert learn_wordpieces(list(reversed(words)), 64) == pieces


@pytest.mark.parametrize("seed", range(3))
def test_a_list_is_that_of_the_learner_of_tf_text(seed):
    rng = np.random.default_rng(seed)
    spelled = {
        "".join(rng.choice(list("abcé"), rng.integers(1, 9))): int(rng.zipf(1.5))
        for _ in range(200)
    }
    spelled["#"] = 5  # punctuation is a word of its own
    words = sorted(spelled.items(), key=lambda counted: (-counted[1], counted[0]))
    ends = EndsOfWords(words)
    for threshold in {count for _, count in words}:
        expected = wordpiece_tokenizer_learner_lib.learn(
            words, 1, ["[PAD]", "[UNK]"], upper_thresh=threshold, lower_thresh=threshold
        )
        assert ends.pieces_that_reach(threshold) == expected


def test_long_words_and_rare_letters_are_left_out():
    letters = [(chr(0x4E00 + number), 2) for number in range(1001)]
    pieces = learn_wordpieces([("a", 9), ("b" * 50, 8), ("c" * 51, 8), *letters], 4000)
    assert {"a", "b" * 50} <= set(pieces)
    assert "c" not in pieces
    assert sum(len(piece) == 1 for piece in pieces) == 1000, "the rarest letters are left out"


def test_words_that_are_all_as_frequent_are_shortened_until_they_fit():
    words = [(f"{first}{second}s", 3) for first in "abcdefgh" for second in "abcdefgh"]
    pieces = learn_wordpieces(words, 40)
    # 9 letters, each also joined, the ends "##as" to "##hs" (24 times each), and 2 reserved
    assert len(pieces) == 2 + 9 + 9 + 8
    assert "##as" in pieces
    assert "aas" not in pieces


@pytest.mark.parametrize("words", [[], [("b" * 51, 3)]])
def test_no_words(words):
    pieces = learn_wordpieces(words, 64)
    assert pieces == ["[PAD]", "[UNK]", "a"], "tf-text needs an ordinary piece"


@pytest.mark.parametrize("guess", [1, 20, 1000])
def test_the_search_finds_the_fullest_list_in_few_passes(guess):
    thresholds = []

    def learn(threshold):
        thresholds.append(threshold)
        return ["x"] * (10_000 // threshold)

    # 10,000 // 13 = 769 > 700; 10,000 // 14 = 714 > 700; 10,000 // 15 = 666 fits and is >= 665
    assert len(largest_that_fits(learn, 700, (1, 1000), guess)) == 666
    assert len(thresholds) <= 8


def test_the_search_passes_over_thresholds_that_change_nothing():
    thresholds = []

    def learn(threshold):
        thresholds.append(threshold)
        return ["x"] * (5_000 if threshold == 1 else 400)

    assert len(largest_that_fits(learn, 700, (1, 1000), 1000)) == 400
    assert thresholds == [1000, 583, 340, 1, 7, 4, 2]


def test_nothing_fits():
    assert len(largest_that_fits(lambda threshold: ["x"] * 99, 70, (1, 4), 2)) == 99


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[UNK]\na\n", r"begins with \['\[UNK\]', 'a'\]"),
        ("[PAD]\na\n", "has \\[UNK\\]"),
        ("[PAD]\n[UNK]\na\na\n", "the piece 'a' is listed twice"),
    ],
)
def test_a_given_list_is_checked(tmp_path, text, message):
    path = tmp_path / "vocab.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FeatureSpecError, match=message):
        read_wordpieces(path)


def test_only_a_line_break_ends_a_piece(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\n[UNK]\r\n\u2028\r\nnext\x85line\r\n".encode())
    assert read_wordpieces(path) == ["[PAD]", "[UNK]", "\u2028", "next\x85line"]


def test_a_given_list_that_is_absent(tmp_path):
    with pytest.raises(FeatureSpecError, match="cannot be read"):
        read_wordpieces(tmp_path / "none.txt")


def test_words_of_one_stem_share_a_number():
    pieces = ["[PAD]", "[UNK]", "Memory", "memories", "##s", "memory", "s", "beam"]
    assert number_stems(pieces).tolist() == [0, 1, 2, 2, 3, 2, 4, 5]
