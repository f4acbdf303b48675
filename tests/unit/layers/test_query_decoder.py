import numpy as np
import pytest
import tensorflow as tf

from tests.reference import query_slots as reference
from tfrs_twotower.config import QuerySlotsConfig, TransformerConfig
from tfrs_twotower.layers.bert import BertEncoder, BertShape
from tfrs_twotower.layers.query_decoder import CrossLayer, QueryDecoder, QuerySlotsField
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker
from tfrs_twotower.layers.text_encoders import PretrainedField, TransformerField, projection_of

DIM, HEADS, PIECES, WIDTH = 8, 2, 11, 5
CONFIG = TransformerConfig(num_layers=1, num_heads=HEADS, feed_forward_dim=12)
SLOTS = QuerySlotsConfig(num_slots=3, num_layers=2)
TOKENS = tf.constant([[2, 3, 4, 0, 0], [5, 0, 0, 0, 0], [0, 0, 0, 0, 0], [9, 8, 7, 6, 5]])


def shaken(module):
    random = np.random.default_rng(0)
    for variable in module.variables:
        variable.assign(variable + random.normal(0, 0.3, variable.shape))
    return module


def named(module):
    return {v.name.removesuffix(":0"): v.numpy().astype(np.float64) for v in module.variables}


def slots_field(token_dropout=0.0):
    table = tf.Variable(tf.random.stateless_normal([PIECES, DIM], [1, 2]), name="words")
    text = TransformerField(
        WeightMaker(0), table, CONFIG, WIDTH, "text", token_dropout=token_dropout
    )
    return QuerySlotsField(WeightMaker(0), text, DIM, CONFIG, SLOTS, "text")


def test_interaction_by_hand():
    """Queries of zeros read all slots alike: each token gains the mean of their values."""
    layer = CrossLayer(WeightMaker(0), 2, 1, "interaction")
    for variable in layer.variables:
        if variable.name.endswith("query.kernel:0"):
            variable.assign(tf.zeros([2, 2]))
        elif "value.kernel" in variable.name or "output.kernel" in variable.name:
            variable.assign(tf.eye(2))
    tokens = tf.constant([[[1.0, 1.0], [3.0, 5.0]]])
    slots = tf.constant([[[2.0, 0.0], [0.0, 4.0]]])
    actual = layer(tokens, slots, tf.ones([1, 2], tf.bool))
    np.testing.assert_allclose(actual, [[[1 + 1, 1 + 2], [3 + 1, 5 + 2]]], rtol=1e-6)
    one = layer(tokens, slots, tf.constant([[True, False]]))
    np.testing.assert_allclose(one, [[[1 + 2, 1], [3 + 2, 5]]], rtol=1e-6)


def test_decoder_by_hand():
    """Layers that add nothing leave the slots, normalised: (1, 3) becomes (-1, 1)."""
    slots = QuerySlotsConfig(num_slots=2, num_layers=1)
    decoder = QueryDecoder(
        WeightMaker(0), 2, TransformerConfig(num_heads=1, feed_forward_dim=2), slots
    )
    for variable in decoder.variables:
        if variable.name == "slots:0":
            variable.assign([[1.0, 3.0], [8.0, 2.0]])
        elif "output." in variable.name or "outer." in variable.name:
            variable.assign(tf.zeros_like(variable))
    states = decoder(tf.random.stateless_normal([3, 4, 2], [1, 2]), tf.ones([3, 4], tf.bool))
    np.testing.assert_allclose(states, [[[-1, 1], [1, -1]]] * 3, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_decoder_and_interaction_match_reference(seed):
    field = shaken(slots_field())
    weights = named(field)
    text = field._text.token_vectors(TOKENS, None).vectors.numpy().astype(np.float64)
    actual = field.token_vectors(TOKENS, None)
    vectors, states = field.encode(TOKENS, None)
    assert states.shape == (4, 3, DIM)
    for row, length in ((0, 3), (1, 1), (3, 5)):
        tokens = text[row, :length]
        decoded = reference.decode(tokens, weights, "query_decoder.", 2, HEADS)
        np.testing.assert_allclose(states[row], decoded, rtol=1e-3, atol=1e-4)
        read = reference.cross(tokens, decoded, weights, "interaction.", HEADS)
        np.testing.assert_allclose(actual.vectors[row, :length], read, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(vectors[row], read.mean(axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(vectors, field(TOKENS, None))


def test_the_slots_of_a_text_depend_on_its_own_tokens_only():
    field = shaken(slots_field())
    vectors, states = field.encode(TOKENS, None)
    for row in range(4):
        alone = field.encode(TOKENS[row : row + 1], None)
        np.testing.assert_allclose(alone[0][0], vectors[row], atol=1e-5)
        np.testing.assert_allclose(alone[1][0], states[row], atol=1e-5)
    other = tf.tensor_scatter_nd_update(TOKENS, [[0, 2]], [10])
    assert np.abs(field.encode(other, None)[1][0] - states[0]).max() > 1e-3


def test_an_empty_text_gives_a_vector_of_zeros_and_finite_slots():
    vectors, states = shaken(slots_field()).encode(TOKENS, None)
    np.testing.assert_array_equal(vectors[2], np.zeros(DIM))
    assert np.isfinite(states[2]).all()


def test_slots_read_the_tokens_that_training_leaves():
    field = slots_field(token_dropout=0.5)
    tokens = tf.constant([[2, 3, 4, 5, 6]] * 32)
    assert len(np.unique(field.encode(tokens, None)[1].numpy().round(5), axis=0)) == 1
    dropped = field.encode(tokens, TrainingDropout(1, "candidate"))[1].numpy().round(5)
    assert len(np.unique(dropped, axis=0)) > 5


def test_a_pretrained_text_may_have_slots():
    shape = BertShape(PIECES, 6, 1, 2, 8, WIDTH)
    encoder = BertEncoder(WeightMaker(0).under("bert"), shape)
    projection = projection_of(WeightMaker(0), encoder, DIM)
    text = PretrainedField(encoder, projection, "text")
    field = QuerySlotsField(WeightMaker(0), text, DIM, CONFIG, SLOTS, "text")
    vectors, states = field.encode(TOKENS, None)
    assert vectors.shape == (4, DIM)
    assert states.shape == (4, 3, DIM)
    weights = named(text)
    expected = weights["bert.pieces"] @ weights["projection"]
    np.testing.assert_allclose(field.token_table, expected, rtol=1e-5, atol=1e-7)
    same_size = PretrainedField(encoder, None, "text")
    np.testing.assert_array_equal(same_size.token_table, encoder.pieces)
