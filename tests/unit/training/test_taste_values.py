import numpy as np

from tests.unit.specs.documents import spec_data
from tfrs_twotower.config import TasteMemberConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.training.taste_values import taste_values, word_places

TITLES = ["Red lamps", "red LAMP and a tea set", "a green tea", "", "lonely; red, red!"]


def words_of_each(most):
    """The texts as sets of places, and the texts that have each place."""
    places, number = word_places(TITLES, most)
    assert places.min() >= -1
    assert places.max() == number - 1
    return [sorted(row[row >= 0].tolist()) for row in places], number


def test_words_by_hand():
    """Stems of two texts: red (3), lamp (2), tea (2); not set, green, lonely; no stop words."""
    found, number = words_of_each(10)
    assert number == 3
    lamp, red, tea = (set(found[0]) - set(found[4])).pop(), found[4][0], found[2][0]
    assert found == [sorted([lamp, red]), sorted([lamp, red, tea]), [tea], [], [red]]
    assert {lamp, red, tea} == {0, 1, 2}


def test_the_most_frequent_words_are_kept():
    assert words_of_each(1) == ([[0], [0], [], [], [0]], 1)


def test_texts_that_share_no_word_have_no_value():
    places, number = word_places(["one lamp", "two chairs", ""], 5)
    assert (places.shape, number) == ((3, 0), 0)


def test_the_order_of_texts_does_not_change_who_shares_words():
    """Law: the number of words that two texts share is theirs, wherever they stand."""
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice([f"word{n}" for n in range(30)], 6)) for _ in range(40)]
    order = rng.permutation(40)

    def shared(own):
        places, number = word_places(own, 100)
        has = np.zeros((len(own), number))
        row, column = np.nonzero(places >= 0)
        has[row, places[row, column]] = 1
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

    colour = {"colour": ([[1], [-2]], 2)}  # "" is padding, row 0 of a lookup
    assert found() == colour
    assert found(words=10) == {**colour, "label": ([[0, 1], [0, 1]], 2)}
    assert found(words=1) == colour  # one word alone is no taste
