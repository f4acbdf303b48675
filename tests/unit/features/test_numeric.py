import numpy as np
import tensorflow as tf

from tfrs_twotower.features.numbers import Bucket, ScaledNumber
from tfrs_twotower.specs import NumericFeature


def feature(transform):
    return NumericFeature(name="age", kind="numeric", transform=transform, num_buckets=3)


def test_normalise():
    scale = ScaledNumber(feature("normalise"), {"mean": 10.0, "std": 2.0})
    tokens = scale(tf.constant([14.0, np.nan, -1e30, np.inf, -np.inf]))
    expected = [[(14 - 10) / 2, 0], [0, 1], [-10, 0], [10, 0], [-10, 0]]
    np.testing.assert_allclose(tokens, expected)


def test_log():
    scale = ScaledNumber(feature("log"), {"mean": 1.0, "std": 0.5})
    tokens = scale(tf.constant([np.e - 1, -5.0]))
    np.testing.assert_allclose(tokens[:, 0], [(1 - 1) / 0.5, (0 - 1) / 0.5], atol=1e-6)


def test_constant_or_never_seen_number():
    for statistics in ({"mean": 3.0, "std": 0.0}, {"mean": None, "std": None}):
        tokens = ScaledNumber(feature("normalise"), statistics)(tf.constant([3.0, np.nan]))
        assert np.isfinite(tokens).all()


def test_buckets():
    bucket = Bucket(feature("bucketise"), {"boundaries": [1.0, 5.0]})
    tokens = bucket(tf.constant([np.nan, -np.inf, 0.9, 1.0, 4.9, 5.0, np.inf]))
    assert tokens.numpy().tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert tokens.dtype == tf.int32
    assert bucket.num_rows == 1 + 3


def test_no_boundaries():
    bucket = Bucket(feature("bucketise"), {"boundaries": []})
    assert bucket(tf.constant([1.0, np.nan])).numpy().tolist() == [1, 0]
