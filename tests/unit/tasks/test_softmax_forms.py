"""The retrieval term of a training batch, in each of its forms."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import losses as reference
from tests.unit.tasks.batches import batch_of, second_share
from tfrs_twotower.config import SoftmaxConfig
from tfrs_twotower.tasks.build import build_retrieval_task
from tfrs_twotower.tasks.retrieval import RetrievalTask

# Two queries at right angles, and their candidates: q0.c0 = .8, q0.c1 = 0, q1.c0 = .6, q1.c1 = 1.
QUERIES, CANDIDATES = np.eye(2), np.array([[0.8, 0.6], [0.0, 1.0]])


def arrays(batch):
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


def test_hand_worked_same_tower_negatives_in_both_directions():
    # Queries meet at 0; candidates at .6. Row 0: forth exp(.8), exp(0) and the other query exp(0);
    # back exp(.8), exp(.6) of query 1, and the other candidate exp(.6).
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
    scores, options = arrays(batch := second_share(seed))
    expected = reference.in_batch_softmax(scores, **options)
    np.testing.assert_allclose(task().losses_of(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_refined_form(seed):
    scores, options = arrays(batch := second_share(seed))
    expected = reference.refined_softmax(scores, **options)
    np.testing.assert_allclose(task(refined_logq=True).losses_of(batch), expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_hard_negatives_are_chosen_by_corrected_logits_among_what_is_not_hidden(seed):
    scores, options = arrays(batch := second_share(seed))
    columns = options["positive_columns"]
    logits = scores / 0.2 - 0.8 * np.log(options["sampling_probability"])
    logits[options["hidden"] & (np.arange(15) != columns[:, None])] = -np.inf
    kept = np.array(reference.keep_hardest(logits, 3, columns), float)
    expected = np.log(np.nansum(np.exp(kept), axis=1)) - logits[range(3), columns]
    np.testing.assert_allclose(task(num_hard_negatives=3).losses_of(batch), expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("side", ["query", "both"])
def test_same_tower_forms(seed, side):
    scores, options = arrays(batch := second_share(seed))
    queries, candidates = batch.all_query.embedding.numpy(), batch.all_candidate.embedding.numpy()
    # Of rows 3, 4, 5: 3 has the query of 0, 5 the positive of 1; and each is like itself.
    alike = np.zeros((3, 6), bool)
    alike[[0, 0, 1, 2, 2], [0, 3, 4, 1, 5]] = True
    np.testing.assert_array_equal(batch.alike, alike)
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
    config = SoftmaxConfig(temperature=0.2, logq_strength=0.8, same_tower_weight=1.5, **form)
    batch = second_share(0)
    more = {"same_tower_weight": 1.5} if "same_tower" in form else {}
    np.testing.assert_array_equal(
        build_retrieval_task(config).losses_of(batch), task(**form, **more).losses_of(batch)
    )
