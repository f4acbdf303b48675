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
from tfrs_twotower.layers.bert import BertEncoder, BertShape
from tfrs_twotower.layers.seeded import WeightMaker

SHAPE = BertShape(len(VOCABULARY), HIDDEN, LAYERS, HEADS, INNER, POSITIONS, EPSILON)


@pytest.mark.parametrize("seed", range(3))
def test_matches_reference(seed):
    tensors = bert_tensors(seed)
    encoder = BertEncoder(WeightMaker(0), SHAPE)
    encoder.assign(tensors)
    texts = [[2, 4, 6, 3], [2, 7, 3], [2, 5, 6, 9, 3]]
    padded = tf.constant([text + [0] * (7 - len(text)) for text in texts])
    actual = encoder(padded)
    for row, text in enumerate(texts):
        expected = reference.encode(tensors, text, HEADS, EPSILON)
        np.testing.assert_allclose(actual[row, : len(text)], expected, rtol=1e-3, atol=1e-4)


def test_every_weight_but_unused_rows_is_assigned():
    encoder = BertEncoder(WeightMaker(0), SHAPE)
    before = [variable.numpy() for variable in encoder.variables]
    encoder.assign(bert_tensors())
    for old, variable in zip(before, encoder.variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.name


def test_wrong_shape():
    tensors = bert_tensors() | {"embeddings.LayerNorm.bias": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"[Ss]hape"):
        BertEncoder(WeightMaker(0), SHAPE).assign(tensors)
