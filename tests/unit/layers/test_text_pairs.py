import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny_checkpoint import (
    EPSILON,
    HEADS,
    HIDDEN,
    INNER,
    LAYERS,
    POSITIONS,
    VOCABULARY,
    bert_tensors,
)
from tests.reference import bert as reference
from tfrs_twotower.config import CrossEncoderConfig
from tfrs_twotower.layers import text_pairs
from tfrs_twotower.layers.bert import BertShape
from tfrs_twotower.layers.seeded import WeightMaker

START, END, NUM_PIECES = 20, 21, 22
CONFIG = CrossEncoderConfig(dim=8, num_heads=2, feed_forward_dim=12, max_candidate_tokens=6)
QUERIES = np.array([[5, 6, 0], [7, 0, 0], [0, 0, 0], [5, 6, 9]], np.int32)
CANDIDATES = np.array(
    [[9, 5, 4, 0, 0], [7, 7, 8, 3, 2], [4, 0, 0, 0, 0], [1, 0, 0, 0, 0]], np.int32
)


def small_model(seed=3):
    encoder = text_pairs.SmallEncoder(WeightMaker(seed), NUM_PIECES, CONFIG)
    random = np.random.default_rng(seed)
    for variable in encoder.trainable_variables:
        variable.assign_add(random.normal(0, 0.3, variable.shape))
    encoder.set_rarity(random.random(NUM_PIECES).astype(np.float32))
    return text_pairs.CrossEncoder(WeightMaker(seed), encoder, start=START, end=END)


def pretrained_model():
    shape = BertShape(len(VOCABULARY), HIDDEN, LAYERS, HEADS, INNER, POSITIONS, EPSILON)
    encoder = text_pairs.PretrainedPairs(WeightMaker(1), shape)
    encoder.encoder.assign(bert_tensors())
    return text_pairs.CrossEncoder(WeightMaker(1), encoder, start=2, end=3)


MODELS = pytest.mark.parametrize("build", [small_model, pretrained_model])


def score(model, queries, candidates):
    return model(tf.constant(queries), tf.constant(candidates)).numpy()


def test_a_sequence_by_hand():
    sequence = text_pairs.pair_sequence(
        tf.constant(QUERIES[:2]), tf.constant(CANDIDATES[:2]), start=START, end=END
    )
    assert sequence.pieces.numpy().tolist() == [
        [START, 5, 6, END, 9, 5, 4, END, 0],
        [START, 7, END, 7, 7, 8, 3, 2, END],
    ]
    assert sequence.sides.numpy().tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1, 1],
        [0, 0, 0, 1, 1, 1, 1, 1, 1],
    ]
    assert sequence.places.numpy().tolist() == [
        [0, 1, 2, 3, 0, 1, 2, 3, 0],
        [0, 1, 2, 0, 1, 2, 3, 4, 5],
    ]
    assert sequence.matches.numpy().astype(int).tolist() == [
        [0, 1, 0, 0, 0, 1, 0, 0, 0],
        [0, 1, 0, 1, 1, 0, 0, 0, 0],
    ]


def test_unknown_pieces_do_not_match():
    one = tf.constant([[1, 4]])
    sequence = text_pairs.pair_sequence(one, one, start=START, end=END)
    assert sequence.matches.numpy().astype(int).tolist() == [[0, 0, 1, 0, 0, 1, 0]]


@MODELS
def test_padding_changes_nothing(build):
    model = build()
    wider = [np.pad(side, [(0, 0), (0, 3)]) for side in (QUERIES, CANDIDATES)]
    np.testing.assert_allclose(
        score(model, *wider), score(model, QUERIES, CANDIDATES), rtol=1e-5, atol=1e-6
    )


@MODELS
def test_the_other_pairs_of_a_batch_change_nothing(build):
    model = build()
    together = score(model, QUERIES, CANDIDATES)
    assert len(set(np.round(together, 4))) == len(together)
    for row in range(len(QUERIES)):
        own = slice(row, row + 1)
        alone = score(model, QUERIES[own], CANDIDATES[own])
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-6)


@MODELS
def test_query_and_candidate_are_not_interchangeable(build):
    model = build()
    one, other = QUERIES[[0, 1, 3]], CANDIDATES[[0, 2, 3]][:, :3]
    assert np.abs(score(model, one, other) - score(model, other, one)).min() > 1e-3


@MODELS
def test_the_order_of_words_matters(build):
    model = build()
    turned = CANDIDATES[:2, [2, 1, 0, 3, 4]]
    assert (
        np.abs(score(model, QUERIES[:2], CANDIDATES[:2]) - score(model, QUERIES[:2], turned)).min()
        > 1e-4
    )


@MODELS
def test_every_weight_has_a_gradient(build):
    model = build()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.tanh(model(tf.constant(QUERIES), tf.constant(CANDIDATES))))
    for variable, gradient in zip(
        model.trainable_variables,
        tape.gradient(total, model.trainable_variables),
        strict=True,
    ):
        assert gradient is not None, variable.name
        assert np.any(tf.convert_to_tensor(gradient).numpy()), variable.name


def test_the_shortest_pair_beside_the_longest():
    """Both texts at their limits make the sequence as wide as it gets."""
    sizes = CONFIG.max_query_tokens, CONFIG.max_candidate_tokens
    queries, candidates = (np.full((2, size), 4, np.int32) for size in sizes)
    queries[0], candidates[0] = 0, 0
    model = small_model()
    together = score(model, queries, candidates)
    np.testing.assert_allclose(
        score(model, queries[:1], candidates[:1])[0], together[0], rtol=1e-5, atol=1e-6
    )


def test_the_same_seed_gives_the_same_scores():
    first, second, other = small_model(), small_model(), small_model(seed=4)
    expected = score(first, QUERIES, CANDIDATES)
    np.testing.assert_array_equal(score(second, QUERIES, CANDIDATES), expected)
    assert np.abs(score(other, QUERIES, CANDIDATES) - expected).max() > 1e-3


def test_a_pretrained_encoder_reads_the_second_text_in_its_second_segment():
    """The oracle is BERT in NumPy, whose one segment is given row 1 from the candidate on."""
    tensors = bert_tensors()
    segments = tensors["embeddings.token_type_embeddings.weight"]
    pieces = [2, 5, 6, 3, 9, 5, 4, 3]
    shifted = {name: value.copy() for name, value in tensors.items()}
    # As positions: those of the candidate carry the difference of the segments.
    shifted["embeddings.position_embeddings.weight"][4:] += segments[1] - segments[0]
    expected = reference.encode(shifted, pieces, HEADS, EPSILON)[0]
    model = pretrained_model()
    weights = model.named_variables()
    expected = expected @ weights["score.kernel"].numpy()[:, 0] + weights["score.bias"].numpy()
    actual = score(model, QUERIES[:1], CANDIDATES[:1])
    np.testing.assert_allclose(actual[0], expected, rtol=1e-4, atol=1e-5)
