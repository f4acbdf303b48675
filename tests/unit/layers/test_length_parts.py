import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny_checkpoint import HEADS, HIDDEN, LAYERS
from tfrs_twotower.config import TransformerConfig
from tfrs_twotower.layers import bert
from tfrs_twotower.layers.length_parts import in_parts_of_similar_length
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker
from tfrs_twotower.layers.text_encoders import PretrainedField, TransformerField, projection_of

WIDTH, ROWS = 12, 20


def texts(batch, seed=0):
    """Tokens of many lengths, some with gaps, some empty, and one of full width."""
    random = np.random.default_rng(seed)
    tokens = random.integers(1, ROWS, (batch, WIDTH))
    tokens *= np.arange(WIDTH) < random.integers(0, WIDTH, (batch, 1))
    tokens *= random.random((batch, WIDTH)) < 0.8
    if batch:
        tokens[batch // 2] = 1 + np.arange(WIDTH)
    return tf.constant(tokens, tf.int32)


def last_place(tokens):
    places = np.where(tokens.numpy() > 0, 1 + np.arange(tokens.shape[1]), 0)
    return places.max(axis=1, initial=0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 3, 31, 32, 61])
def test_every_text_is_encoded_once_and_stands_where_it_stood(batch, training):
    tokens, seen = texts(batch), []

    def encode(part):
        seen.append(part)
        return tf.reduce_sum(part * part, axis=1)

    found = in_parts_of_similar_length(encode, tokens, training=training)
    np.testing.assert_array_equal(found, (tokens.numpy() ** 2).sum(axis=1))
    assert sum(len(part) for part in seen) == batch
    for part in seen:
        assert part.shape[1] == max(1, last_place(part).max(initial=0))


def test_a_large_batch_is_cut_at_the_quarters_of_its_lengths():
    """Sixty texts of one token and four of twelve: only one part of sixteen is wide."""
    tokens = np.zeros((64, WIDTH), np.int32)
    tokens[:, 0] = 1
    tokens[::16] = 1
    widths = []
    in_parts_of_similar_length(
        lambda part: widths.append(part.shape) or part[:, 0], tf.constant(tokens), training=False
    )
    assert widths == [(16, 1), (16, 1), (16, 1), (16, 12)]


def test_texts_of_few_places_are_not_cut():
    widths = []
    tokens = tf.ones([64, 11], tf.int32)
    in_parts_of_similar_length(
        lambda part: widths.append(part.shape) or part, tokens, training=True
    )
    assert widths == [(64, 11)]


def encoders():
    table = tf.Variable(tf.random.stateless_normal([ROWS, 8], [1, 2]))
    config = TransformerConfig(num_layers=2, num_heads=2, feed_forward_dim=8)
    yield TransformerField(WeightMaker(1), table, config, WIDTH, "text", token_dropout=0.3)
    shape = bert.BertShape(ROWS, HIDDEN, LAYERS, HEADS, 20, WIDTH)
    encoder = bert.BertEncoder(WeightMaker(2), shape)
    projection = projection_of(WeightMaker(3), encoder, 5)
    yield PretrainedField(encoder, projection, "text", token_dropout=0.3)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_an_encoder_gives_the_vectors_and_gradients_of_whole_batches(monkeypatch, place, training):
    """The oracle encodes all texts at the full width; a graph, because training is one.

    Outside training gradients are taken eagerly: those of a branch in a graph are slow to build.
    """
    field = list(encoders())[place]
    tokens = texts(41)

    def vectors_and_gradients():
        dropout = TrainingDropout(5, "query") if training else None

        def run(tokens, with_gradients):
            with tf.GradientTape() as tape:
                means = field(tokens, dropout)
                found = field.token_vectors(tokens, dropout)
                of_tokens = found.vectors * found.weights[:, :, tf.newaxis]
                loss = tf.reduce_sum(tf.sin(means)) + tf.reduce_sum(tf.sin(of_tokens))
            vectors = [means, of_tokens, found.weights]
            if not with_gradients:
                return vectors
            gradients = tape.gradient(loss, field.trainable_variables)
            return [*vectors, *map(tf.convert_to_tensor, gradients)]

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, WIDTH], tf.int32)])
        def graph(tokens):
            return run(tokens, with_gradients=training)

        return [*graph(tokens), *([] if training else run(tokens, with_gradients=True))]

    actual = vectors_and_gradients()
    monkeypatch.setattr(
        "tfrs_twotower.layers.text_encoders.in_parts_of_similar_length",
        lambda encode, tokens, training: encode(tokens),
    )
    for found, expected in zip(actual, vectors_and_gradients(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
