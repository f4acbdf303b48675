import numpy as np

from tests.unit.specs.documents import spec_data
from tfrs_twotower.config import TasteMemberConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.training.taste_values import distinct_values, taste_values, words_of_texts

TITLES = ["Red lamps", "red LAMP and a tea set", "a green tea", "", "lonely; red, red!"]


def test_values_are_numbered_from_one_and_counted_once():
    """Tokens 0 and 1 are padding and an unknown value."""
    tokens = np.array([[2, 3], [4, 0], [3, 3], [1, 2], [0, 1]])
    expected = [[1, 2], [0, 3], [2, 0], [0, 1], [0, 0]]
    np.testing.assert_array_equal(distinct_values(tokens), expected)


def words_of_each(most):
    """The numbers of the words of each text, and how many words there are."""
    words, number = words_of_texts(TITLES, most)
    assert words.min() >= 0
    assert words.max() == number
    return [sorted(row[row > 0].tolist()) for row in words], number


def test_words_by_hand():
    """Stems of two texts: red (3), lamp (2), tea (2); not set, green, lonely; no stop words."""
    found, number = words_of_each(10)
    assert number == 3
    lamp, red, tea = (set(found[0]) - set(found[4])).pop(), found[4][0], found[2][0]
    assert found == [sorted([lamp, red]), sorted([lamp, red, tea]), [tea], [], [red]]
    assert {lamp, red, tea} == {1, 2, 3}


def test_the_most_frequent_words_are_kept():
    assert words_of_each(1) == ([[1], [1], [], [], [1]], 1)


def test_texts_that_share_no_word_have_no_value():
    words, number = words_of_texts(["one lamp", "two chairs", ""], 5)
    assert (words.shape, number) == ((3, 0), 0)


def test_the_order_of_texts_does_not_change_who_shares_words():
    """Law: the number of words that two texts share is theirs, wherever they stand."""
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice([f"word{n}" for n in range(30)], 6)) for _ in range(40)]
    order = rng.permutation(40)

    def shared(own):
        words, number = words_of_texts(own, 100)
        has = np.zeros((len(own), number))
        row, column = np.nonzero(words)
        has[row, words[row, column] - 1] = 1
        return has @ has.T

    np.testing.assert_array_equal(
        shared([texts[at] for at in order]), shared(texts)[np.ix_(order, order)]
    )


def test_values_are_of_categories_and_with_words_of_texts():
    spec = FeatureSpec.model_validate(
        spec_data(
            candidate={
                "features": [
                    {"name": "item", "kind": "id"},
                    {"name": "colour", "kind": "categorical"},
                    {"name": "label", "kind": "text"},
                ]
            }
        )
    )
    assets = Assets({"item": ["a", "b"], "colour": ["blue", "red"]}, {})
    raw = {
        "item": np.array([b"a", b"b"]),
        "colour": np.array([b"red", b""]),
        "label": np.array(["Blue caf\u00e9".encode(), "caf\u00e9 in blue".encode()]),
    }
    corpus = Corpus(np.array(["a", "b"], object), np.array(["", ""], object), raw)

    def found(**settings):
        config = TasteMemberConfig(**settings)
        return {
            values.feature: (values.of_candidates.tolist(), values.number)
            for values in taste_values(spec, config, assets, corpus)
        }

    colour = {"colour": ([[2], [0]], 2)}
    assert found() == colour
    assert found(words=10) == {**colour, "label": ([[1, 2], [1, 2]], 2)}
    assert found(words=1) == colour  # one word alone is no taste
