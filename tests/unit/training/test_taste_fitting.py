import numpy as np

from tests.fixtures.tiny import tiny_spec, write_tiny_preprocessed
from tfrs_twotower.config import TasteMemberConfig
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.specs import taste_features
from tfrs_twotower.training.taste_fitting import (
    distinct_values,
    fit_taste_member,
    shares_of_values,
)


def test_values_are_numbered_from_one_and_counted_once():
    """Values below 0 are none."""
    values = np.array([[0, 1], [2, -2], [1, 1], [-1, 0], [-2, -1]])
    expected = [[1, 2], [0, 3], [2, 0], [0, 1], [0, 0]]
    np.testing.assert_array_equal(distinct_values(values), expected)


def test_shares_by_hand():
    """Three events of a candidate with two values, one of one with one; one more of each."""
    shares = shares_of_values(np.array([[1, 2], [0, 3], [2, 0]]), np.array([0, 0, 0, 1]), 3)
    np.testing.assert_allclose(shares, np.array([1.5 + 1, 1.5 + 1, 1 + 1]) / 7)


def test_features_follow_each_other_and_those_with_many_values_are_left_out(tmp_path):
    spec = tiny_spec()
    write_tiny_preprocessed(tmp_path / "preprocessed")
    assets, corpus = (
        load_assets(tmp_path / "preprocessed"),
        load_corpus(tmp_path / "preprocessed", spec),
    )
    features = taste_features(spec)
    sizes = {one.name: len(assets.vocabulary(one.vocabulary_name)) for one in features}
    chosen = np.arange(len(corpus)).repeat(2)
    member = fit_taste_member(spec, TasteMemberConfig(), assets, corpus, chosen)
    assert member.names == tuple(sizes)
    assert member.priors.shape[0] == 1 + sum(sizes.values())
    values, first = member.candidate_values.numpy(), 1
    for number, (name, size) in enumerate(sizes.items()):
        own = values[:, member.columns == number]
        vocabulary = assets.vocabulary(features[number].vocabulary_name)
        for cells, of_row in zip(corpus.raw[name].reshape(len(corpus), -1), own, strict=True):
            known = {cell.decode() for cell in cells} & set(vocabulary)
            assert {vocabulary[value - first] for value in of_row if value} == known
        first += size
    fewer = TasteMemberConfig(max_values=max(2, max(sizes.values()) - 1))
    left = fit_taste_member(spec, fewer, assets, corpus, chosen)
    kept = tuple(name for name, size in sizes.items() if size <= fewer.max_values)
    assert (left.names if left else ()) == kept
