import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tests.reference import losses as reference
from tfrs_twotower.keras_api import keras
from tfrs_twotower.tasks.retrieval import RetrievalTask


def embeddings(seed=0, batch=5, columns=8, dim=4):
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(batch, dim)).astype(np.float32),
        random.normal(size=(columns, dim)).astype(np.float32),
    )


def test_it_is_a_tfrs_task():
    assert issubclass(RetrievalTask, tfrs.tasks.Task)


@pytest.mark.parametrize("seed", range(3))
def test_property_1_9_1_equals_the_reference_with_weights(seed):
    queries, candidates = embeddings(seed)
    probability = np.random.default_rng(seed).uniform(0.01, 1.0, 8).astype(np.float32)
    ids = np.array([0, 1, 0, 3, 4, 1, 9, 0])
    mask = np.random.default_rng(seed).random((5, 8)) < 0.8
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.0], np.float32)
    loss = RetrievalTask(temperature=0.2)(
        queries,
        candidates,
        sample_weight=weights,
        candidate_sampling_probability=probability,
        candidate_ids=ids,
        score_mask=mask,
    )
    hidden = ~mask | np.array(reference.accidental_hits(ids[:5], ids))
    losses = reference.in_batch_softmax(
        queries @ candidates.T, temperature=0.2, sampling_probability=probability, hidden=hidden
    )
    assert float(loss) == pytest.approx(reference.weighted_mean(losses, weights), rel=1e-5)


def test_equals_tfrs_where_tfrs_is_right():
    queries, candidates = embeddings()
    probability = np.linspace(0.1, 0.9, 8).astype(np.float32)
    ids = np.array([0, 1, 0, 3, 4, 1, 9, 0])
    mean = keras.losses.CategoricalCrossentropy(
        from_logits=True, reduction=keras.losses.Reduction.SUM_OVER_BATCH_SIZE
    )
    theirs = tfrs.tasks.Retrieval(loss=mean, temperature=0.3, remove_accidental_hits=True)
    arguments = {"candidate_sampling_probability": probability, "candidate_ids": ids}
    ours = RetrievalTask(temperature=0.3)(queries, candidates, **arguments)
    expected = theirs(queries, candidates, compute_metrics=False, **arguments)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_half_precision_gives_float32():
    queries, candidates = (tf.cast(e, tf.float16) for e in embeddings())
    loss = RetrievalTask()(queries, candidates)
    assert loss.dtype == tf.float32
    assert np.isfinite(float(loss))


def test_the_positive_may_stand_in_any_column():
    queries, candidates = embeddings()
    task = RetrievalTask(temperature=0.5)
    order = np.random.default_rng(1).permutation(8)
    columns = np.argsort(order)[:5].astype(np.int32)
    np.testing.assert_allclose(
        task.losses_per_query(queries, candidates[order], positive_columns=tf.constant(columns)),
        task.losses_per_query(queries, candidates),
        rtol=1e-5,
    )


def test_hard_negatives_beyond_all_change_nothing():
    queries, candidates = embeddings()
    plain = RetrievalTask(temperature=0.5).losses_per_query(queries, candidates)
    mined = RetrievalTask(temperature=0.5, num_hard_negatives=50)
    np.testing.assert_allclose(mined.losses_per_query(queries, candidates), plain, rtol=1e-5)
    fewer = RetrievalTask(temperature=0.5, num_hard_negatives=2)
    assert (fewer.losses_per_query(queries, candidates).numpy() < plain.numpy()).all()


def test_a_learned_temperature_moves_and_stops_at_its_least_value():
    task = RetrievalTask(temperature=0.011, learn_temperature=True)
    (weight,) = task.trainable_variables
    optimizer = keras.optimizers.SGD(1.0)
    # The positive wins everywhere, so a smaller temperature is better without end.
    vectors = tf.constant(np.eye(4) * 0.05, tf.float32)
    for _ in range(50):
        with tf.GradientTape() as tape:
            loss = task(vectors, vectors)
        optimizer.minimize(loss, [weight], tape=tape)
    assert float(task.temperature) == pytest.approx(0.01, rel=1e-5)
    # It is not stuck there: a wrong batch raises it again.
    with tf.GradientTape() as tape:
        loss = task(vectors, tf.roll(vectors, 1, axis=0))
    optimizer.minimize(loss, [weight], tape=tape)
    assert float(task.temperature) > 0.0101


def test_a_fixed_temperature_is_no_weight():
    assert RetrievalTask(temperature=0.1).trainable_variables == []


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"temperature is 0.001; it must be at least 0.01"):
        RetrievalTask(temperature=0.001)
    with pytest.raises(ValueError, match="num_hard_negatives is 0; it must be at least 1"):
        RetrievalTask(num_hard_negatives=0)
