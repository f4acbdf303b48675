import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tests.reference import losses as reference
from tests.unit.tasks.batches import batch_of, second_share
from tfrs_twotower.config import FittingConfig, PlainTowerConfig, SoftmaxConfig
from tfrs_twotower.keras_api import keras
from tfrs_twotower.tasks.build import build_retrieval_task
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
def test_equals_the_reference_with_weights(seed):
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


def test_the_positive_may_be_in_any_column():
    queries, candidates = embeddings()
    task = RetrievalTask(temperature=0.5)
    order = np.random.default_rng(1).permutation(8)
    columns = np.argsort(order)[:5].astype(np.int32)
    np.testing.assert_allclose(
        task.losses_per_query(queries, candidates[order], positive_columns=tf.constant(columns)),
        task.losses_per_query(queries, candidates),
        rtol=1e-5,
    )


def test_more_hard_negatives_than_there_are_change_nothing():
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
    # Every positive has the largest score, so the loss always falls with the temperature.
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


def test_a_fixed_temperature_is_not_a_weight():
    assert RetrievalTask(temperature=0.1).trainable_variables == []


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"temperature is 0.001; it must be at least 0.01"):
        RetrievalTask(temperature=0.001)
    with pytest.raises(ValueError, match="num_hard_negatives is 0; it must be at least 1"):
        RetrievalTask(num_hard_negatives=0)


# Two queries at right angles, and their candidates: q0.c0 = .8, q0.c1 = 0, q1.c0 = .6, q1.c1 = 1.
QUERIES, CANDIDATES = np.eye(2), np.array([[0.8, 0.6], [0.0, 1.0]])


def arrays_of(batch):
    scores = batch.query.embedding.numpy() @ batch.columns.numpy().T
    options = {
        "temperature": 0.2,
        "sampling_probability": batch.expected.numpy(),
        "logq_strength": 0.8,
        "hidden": batch.hidden.numpy(),
        "positive_columns": batch.positive_columns.numpy(),
    }
    return scores, options


def task(**form):
    return RetrievalTask(temperature=0.2, logq_strength=0.8, **form)


def test_same_tower_negatives_in_both_directions_by_hand():
    # The cosine of the queries is 0, that of the candidates .6. Row 0: forth exp(.8), exp(0) and
    # the other query exp(0); back exp(.8), exp(.6) of query 1, and the other candidate exp(.6).
    batch = batch_of(QUERIES, CANDIDATES)
    forth = RetrievalTask(same_tower="query").losses_of(batch).numpy()
    np.testing.assert_allclose(forth[0], np.log(np.exp(0.8) + 1 + 1) - 0.8, rtol=1e-5)
    both = RetrievalTask(same_tower="both").losses_of(batch).numpy()
    back = np.log(np.exp(0.8) + 2 * np.exp(0.6)) - 0.8
    np.testing.assert_allclose(both[0], forth[0] + back, rtol=1e-5)


def test_rows_of_the_same_query_or_positive_are_not_pushed_apart():
    rows = tf.constant([7, 7])
    for same in ({"query_rows": rows, "all_query_rows": rows}, {}):
        batch = batch_of(QUERIES, CANDIDATES, **same)
        if not same:
            batch = batch_of(QUERIES, CANDIDATES, candidate_rows=rows, all_candidate_rows=rows)
        plain = RetrievalTask().losses_of(batch)
        np.testing.assert_allclose(
            RetrievalTask(same_tower="query").losses_of(batch), plain, rtol=1e-6
        )


@pytest.mark.parametrize("seed", range(3))
def test_the_plain_form_uses_every_column(seed):
    scores, options = arrays_of(batch := second_share(seed))
    expected = reference.in_batch_softmax(scores, **options)
    np.testing.assert_allclose(task().losses_of(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_refined_form_equals_the_reference(seed):
    scores, options = arrays_of(batch := second_share(seed))
    expected = reference.refined_softmax(scores, **options)
    np.testing.assert_allclose(task(refined_logq=True).losses_of(batch), expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_hard_negatives_are_chosen_by_corrected_logits_among_pairs_that_are_not_hidden(seed):
    scores, options = arrays_of(batch := second_share(seed))
    columns = options["positive_columns"]
    logits = scores / 0.2 - 0.8 * np.log(options["sampling_probability"])
    logits[options["hidden"] & (np.arange(15) != columns[:, None])] = -np.inf
    kept = np.array(reference.keep_hardest(logits, 3, columns), float)
    expected = np.log(np.nansum(np.exp(kept), axis=1)) - logits[range(3), columns]
    np.testing.assert_allclose(task(num_hard_negatives=3).losses_of(batch), expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("side", ["query", "both"])
def test_same_tower_forms_equal_the_reference(seed, side):
    scores, options = arrays_of(batch := second_share(seed))
    queries, candidates = batch.all_query.embedding.numpy(), batch.all_candidate.embedding.numpy()
    # Of rows 3, 4, 5: 3 has the query of 0, 5 the positive of 1; and each matches itself.
    alike = np.zeros((3, 6), bool)
    alike[[0, 0, 1, 2, 2], [0, 3, 4, 1, 5]] = True
    np.testing.assert_array_equal(batch.same_query_or_positive, alike)
    more = {"same_tower_hidden": alike, "same_tower_weight": 1.5}
    expected = np.array(
        reference.same_tower_softmax(scores, queries[3:] @ queries.T, **options, **more)
    )
    if side == "both":
        options |= {"sampling_probability": None, "hidden": batch.reverse_hidden.numpy()}
        expected += reference.same_tower_softmax(
            candidates[3:] @ queries.T, candidates[3:] @ candidates.T, **options, **more
        )
    losses = task(same_tower=side, same_tower_weight=1.5).losses_of(batch)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


FORMS = {"refined_logq": True, "num_hard_negatives": 4, "same_tower": "both"}


@pytest.mark.parametrize("left_out", FORMS)
def test_two_forms_of_one_denominator_are_refused(left_out):
    forms = {name: value for name, value in FORMS.items() if name != left_out}
    with pytest.raises(ValueError, match="same_tower exclude each other; choose one"):
        RetrievalTask(**forms)


@pytest.mark.parametrize("form", [{name: value} for name, value in FORMS.items()])
def test_the_config_builds_the_same_task(form):
    softmax = SoftmaxConfig(temperature=0.2, logq_strength=0.8, same_tower_weight=1.5, **form)
    built = build_retrieval_task(FittingConfig(softmax=softmax), PlainTowerConfig())
    batch = second_share(0)
    more = {"same_tower_weight": 1.5} if "same_tower" in form else {}
    np.testing.assert_array_equal(built.losses_of(batch), task(**form, **more).losses_of(batch))
