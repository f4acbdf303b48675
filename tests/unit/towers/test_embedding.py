import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.errors import EmbeddingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.embedding import BatchEmbedder, embed


def test_embeds_raw_features_as_the_tower_does(spec, assets, corpus, test_queries):
    towers = build_towers(spec, tiny_run_config().model, assets, seed=5)
    for tower, raw in ((towers.query, test_queries.inputs), (towers.candidate, corpus.raw)):
        whole = tower({name: tf.constant(values) for name, values in raw.items()}).numpy()
        np.testing.assert_allclose(embed(tower, raw, batch_size=7), whole, atol=1e-6)


def test_an_incomplete_last_batch_is_not_traced_again():
    traces = []

    def tower(values):
        traces.append(values.shape)
        return tf.stack([values, values + 1.0], axis=1)

    vectors = embed(tower, np.arange(1.0, 8.0), batch_size=3)
    np.testing.assert_array_equal(vectors, np.stack([np.arange(1, 8), np.arange(2, 9)], axis=1))
    assert vectors.dtype == np.float32
    assert traces == [tf.TensorShape([None])]


def test_one_array_or_named_ones_as_the_tower_takes_them():
    table = keras.layers.Embedding(3, 2)
    lookup = keras.layers.StringLookup(vocabulary=["a", "b"])
    one = embed(keras.Sequential([lookup, table]), ["b", "a", "?"])
    named = embed(lambda batch: table(lookup(batch["x"])), {"x": np.array(["b", "a", "?"], object)})
    np.testing.assert_array_equal(one, named)
    assert one.shape == (3, 2)


@pytest.mark.parametrize(
    ("values", "rows"), [([1.0, np.nan, 2.0], "1"), ([np.inf, 1.0, 0.0], "0, 2")]
)
def test_vectors_without_a_direction_are_refused(values, rows):
    with pytest.raises(EmbeddingError, match=rf"of 3 embeddings .* the records {rows}\. A vector"):
        embed(lambda batch: batch[:, tf.newaxis] * [[1.0, 2.0]], values)


def test_a_normalised_vector_of_norm_zero_is_unusable_even_after_rounding():
    def tower(values):
        return values[:, tf.newaxis] * [[1.0, 0.0]]

    signature = tf.TensorSpec([None], tf.float32)
    vectors = np.array([[1.0, 0.0], [1e-3, 0.0], [0.0, 0.0]], np.float32)
    own = BatchEmbedder(tower, signature)
    assert own.unusable(vectors).tolist() == [False, False, True]
    tower.unit_length = True
    assert BatchEmbedder(tower, signature).unusable(vectors).tolist() == [False, True, True]


@pytest.mark.parametrize("features", [{"a": [1.0], "b": [1.0, 2.0]}, np.zeros(0), {}])
def test_features_of_unequal_length_or_none(features):
    with pytest.raises(ValueError, match="give one or more, and as many for each feature"):
        embed(lambda batch: batch, features)
