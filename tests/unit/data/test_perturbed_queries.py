import numpy as np

from tfrs_twotower.data.perturbed_queries import perturbed_inputs
from tfrs_twotower.specs import CategoricalFeature, HistoryFeature, NumericFeature, TextFeature

FEATURES = (
    HistoryFeature(name="history", max_length=3),
    CategoricalFeature(name="town"),
    NumericFeature(name="age"),
    TextFeature(name="words"),
)
CORPUS = [f"c{number}" for number in range(50)]


def column(*values):
    return np.array(values, object)


def queries(count=40):
    ages = np.arange(count, dtype=np.float32)
    ages[3] = np.nan
    return {
        "history": np.array([[b"c1", b"c2", b""]] * (count - 1) + [[b""] * 3], object),
        "town": column(*(f"town {number}".encode() for number in range(count))),
        "age": ages,
        "words": column(*(f"a{number} b{number}".encode() for number in range(count))),
    }


def test_no_two_features_of_a_query_belong_together():
    raw = queries()
    found = perturbed_inputs(raw, FEATURES, CORPUS)
    assert {name: values.shape for name, values in found.items()} == {
        name: values.shape for name, values in raw.items()
    }
    towns = [int(name.split()[1]) for name in found["town"]]
    assert sorted(towns) == list(range(40)) != towns
    np.testing.assert_array_equal(np.sort(found["age"]), np.sort(raw["age"]))
    together = [town == age for town, age in zip(towns, found["age"], strict=True)]
    assert np.mean(together) < 0.2


def test_histories_keep_their_lengths_and_become_random_candidates():
    found = perturbed_inputs(queries(), FEATURES, CORPUS)["history"]
    filled = found[(found != b"").any(axis=1)]
    assert len(filled) == 39, "the empty history stays one"
    assert (filled[:, 2] == b"").all()
    drawn = set(filled[:, :2].ravel())
    assert drawn <= {name.encode() for name in CORPUS}
    assert len(drawn) > 30


def test_words_are_dealt_out_again_to_texts_of_the_same_lengths():
    raw = {"words": column("ä b c".encode(), b"", b"d")}
    found = perturbed_inputs(raw, FEATURES[3:], CORPUS)["words"]
    assert sorted(len(text.split()) for text in found) == [0, 1, 3]
    assert sorted(b" ".join(found).split()) == sorted([b"b", b"c", b"d", "ä".encode()])
    many = queries()
    mixed = perturbed_inputs(many, FEATURES[3:], CORPUS)["words"]
    assert not set(mixed.tolist()) & set(many["words"].tolist())


def test_the_same_queries_give_the_same_perturbed_ones():
    first, second = (perturbed_inputs(queries(), FEATURES, CORPUS) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
