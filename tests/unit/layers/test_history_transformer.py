"""Causal self-attention over histories: by hand, by an oracle, and what may not change a vector."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import bert as reference
from tfrs_twotower.config import TransformerConfig
from tfrs_twotower.layers.history_transformer import HistoryTransformerField, PackedHistories
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker

DIM, LENGTH = 6, 5
TABLE = np.random.default_rng(0).normal(size=(9, DIM)).astype(np.float32)
TABLE[:2] = 0.0


def build(num_layers=1, num_heads=2, **options):
    config = TransformerConfig(num_layers=num_layers, num_heads=num_heads, feed_forward_dim=8)
    field = HistoryTransformerField(
        WeightMaker(0), tf.Variable(TABLE, name="table"), config, LENGTH, "history", **options
    )
    random = np.random.default_rng(1)
    for variable in field.variables:
        if variable.name != "table:0":
            variable.assign(variable + random.normal(0, 0.3, variable.shape))
    return field


def encode(field, *histories):
    rows = [list(history) + [0] * (LENGTH - len(history)) for history in histories]
    return field(tf.constant(rows, tf.int32), None).numpy()


def oracle(field, history, half_life):
    """One history, most recent first, by plain loops over its events."""
    w = {v.name.removesuffix(":0"): v.numpy() for v in field.variables}
    events = np.stack([TABLE[e] / np.linalg.norm(TABLE[e]) * DIM**0.5 for e in history])
    size = len(history)
    bias = np.full([2, size, size], -1e9)
    for new in range(size):
        for old in range(new, size):
            bias[:, new, old] = w["layer_0.distance"][:, old - new]

    def norm(x, name):
        return reference.layer_norm(
            x, w[f"layer_0.{name}.scale"], w[f"layer_0.{name}.offset"], 1e-6
        )

    x = norm(events, "attention_norm")
    parts = {
        part: x @ w[f"layer_0.attention.{part}.kernel"] + w.get(f"layer_0.attention.{part}.bias", 0)
        for part in ("query", "key", "value")
    }
    mixed = np.zeros_like(x)
    for head in range(2):
        own = slice(head * 3, head * 3 + 3)
        scores = parts["query"][:, own] @ parts["key"][:, own].T / 3**0.5 + bias[head]
        share = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, own] = share / share.sum(axis=1, keepdims=True) @ parts["value"][:, own]
    output = w["layer_0.attention.output.kernel"], w["layer_0.attention.output.bias"]
    middle = events + mixed @ output[0] + output[1]
    inner = norm(middle, "feed_forward_norm") @ w["layer_0.feed_forward.inner.kernel"]
    inner = reference.gelu(inner + w["layer_0.feed_forward.inner.bias"])
    outer = inner @ w["layer_0.feed_forward.outer.kernel"] + w["layer_0.feed_forward.outer.bias"]
    weights = 0.5 ** (np.arange(size) / half_life)
    mean = weights @ events / weights.sum()
    return (middle + outer)[0] + w["mean_factor"] * mean


@pytest.mark.parametrize("history", [[3], [3, 5, 2], [7, 7, 4, 2, 8]])
def test_matches_an_oracle(history):
    field = build(half_life=2.0)
    expected = oracle(field, history, 2.0)
    np.testing.assert_allclose(encode(field, history)[0], expected, rtol=1e-4, atol=1e-5)


def test_without_layers_that_add_anything_it_is_the_latest_event_and_the_mean():
    """All kernels and biases zero: 1 x the latest event + 1 x the mean of all."""
    field = build()
    for variable in field.variables:
        if "layer_0" in variable.name:
            variable.assign(tf.zeros_like(variable))
        if variable.name == "mean_factor:0":
            variable.assign(1.0)
    unit = [TABLE[e] / np.linalg.norm(TABLE[e]) * DIM**0.5 for e in (3, 5)]
    expected = unit[0] + (unit[0] + unit[1]) / 2
    np.testing.assert_allclose(encode(field, [3, 5])[0], expected, rtol=1e-5)


def test_an_empty_history_is_a_learned_vector():
    field = build()
    empty = next(v for v in field.variables if v.name == "empty:0")
    np.testing.assert_array_equal(encode(field, [])[0], empty)


def test_the_order_of_events_matters_and_padding_does_not():
    field = build(num_layers=2)
    first, other = encode(field, [3, 5, 2], [5, 3, 2])
    assert not np.allclose(first, other, atol=1e-3)
    short = field(tf.constant([[3, 5, 2]]), None)[0]
    np.testing.assert_allclose(short, first, rtol=1e-5, atol=1e-6)


def test_a_gap_at_the_front_reads_from_the_first_event():
    field = build()
    gap = field(tf.constant([[0, 0, 3, 5, 2]]), None)[0]
    np.testing.assert_allclose(gap, encode(field, [3, 5, 2])[0], rtol=1e-5, atol=1e-6)


def packed():
    """Two histories in one row: 3 5 2 for three examples, 8 4 for two."""
    return PackedHistories(
        tf.constant([[3, 5, 2, 8, 4]]),
        tf.constant([[1, 1, 1, 2, 2]]),
        tf.constant([0, 1, 2, 3, 4, -1]),
    )


@pytest.mark.parametrize("num_layers", [1, 2])
def test_packed_histories_give_what_each_gives_alone(num_layers):
    """So a pass over a sequence trains on what a request would send after each of its events."""
    field = build(num_layers=num_layers, half_life=2.0)
    alone = encode(field, [3, 5, 2], [5, 2], [2], [8, 4], [4], [])
    np.testing.assert_allclose(field(packed(), None), alone, rtol=1e-4, atol=1e-5)


def test_a_later_event_changes_no_earlier_vector():
    field = build(num_layers=2)
    before = field.outputs(packed(), None).numpy()[0]
    changed = packed()._replace(events=tf.constant([[6, 5, 2, 8, 4]]))
    after = field.outputs(changed, None).numpy()[0]
    np.testing.assert_array_equal(before[1:], after[1:])
    assert not np.allclose(before[0], after[0])


def test_the_loss_of_a_sequence_is_the_mean_of_those_of_its_prefixes():
    field = build()
    targets = tf.constant(np.random.default_rng(2).normal(size=(5, DIM)).astype(np.float32))

    def losses(vectors):
        return tf.nn.softplus(-tf.reduce_sum(vectors[:5] * targets, axis=1))

    table = next(v for v in field.variables if v.name == "table:0")
    with tf.GradientTape(persistent=True) as tape:
        together = tf.reduce_mean(losses(field(packed(), None)))
        prefixes = tf.constant(
            [[3, 5, 2, 0, 0], [5, 2, 0, 0, 0], [2, 0, 0, 0, 0], [8, 4, 0, 0, 0], [4, 0, 0, 0, 0]]
        )
        apart = tf.reduce_mean(losses(field(prefixes, None)))
    np.testing.assert_allclose(together, apart, rtol=1e-5)
    gradients = [tf.convert_to_tensor(tape.gradient(loss, table)) for loss in (together, apart)]
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-6)


def test_an_unknown_event_is_a_zero_vector_without_a_gradient():
    """Its row is zero at first, and the direction of a zero row has an endless gradient."""
    field = build()
    table = next(v for v in field.variables if v.name == "table:0")
    with tf.GradientTape() as tape:
        vectors = field(tf.constant([[1, 3, 0, 0, 0]]), None)
    gradient = tf.convert_to_tensor(tape.gradient(vectors, table)).numpy()
    np.testing.assert_array_equal(gradient[1], np.zeros(DIM))
    assert gradient[3].any()
    assert not np.allclose(vectors, encode(field, [3]), atol=1e-3)  # the event was one step ago


@pytest.mark.parametrize("options", [{"history_dropout": 0.5}, {"dropout": 0.5}])
def test_dropout_acts_in_training_only(options):
    field = build(**options)
    histories = tf.constant([[3, 5, 2, 0, 0]] * 8)
    np.testing.assert_array_equal(field(histories, None)[0], field(histories, None)[1])
    trained = field(histories, TrainingDropout(1, "query")).numpy()
    assert not np.allclose(trained[0], trained[1])
