"""The negative columns of a batch and their corrections, through the whole model."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import losses as reference
from tests.unit.training.test_fitting import Interrupted, log_of, prepare, weights_of
from tests.unit.training.toy import DIM, NUM_CANDIDATES, toy_batch, toy_model, toy_table
from tfrs_twotower.config import SoftmaxConfig
from tfrs_twotower.losses.negative_columns import CrossBatchMemory
from tfrs_twotower.losses.sampling_probability import uniform_rows
from tfrs_twotower.tasks.terms import DualTerm
from tfrs_twotower.training.negatives import build_sampling

IN_BATCH = 25 / 50  # expected occurrences: all counts are equal


def dual(task, towers):
    del towers
    return [DualTerm(0.3, task)]


def embed(model, rows):
    tokens = {"id": np.asarray(rows)}
    return (
        model.towers.query.embed_tokens(tokens).numpy(),
        model.towers.candidate.embed_tokens(tokens).numpy(),
    )


def drawn_rows(number, seed, step):
    return uniform_rows(number, NUM_CANDIDATES, seed=tf.constant([seed, step])).numpy()


@pytest.mark.parametrize(
    "form", [{"refined_logq": True}, {"num_hard_negatives": 3}, {"same_tower": "both"}]
)
def test_forms_of_the_softmax_over_mixed_negatives(form):
    model = toy_model(num_uniform=6, seed=3, **form)
    rows = [3, 7, 9, 3]
    columns = np.concatenate([rows, drawn_rows(6, 3, 5)])
    queries, candidates = embed(model, rows)
    scores = queries @ embed(model, columns)[1].T
    options = {
        "temperature": 0.1,
        "sampling_probability": reference.mixed_expectation([IN_BATCH] * 10, 6, NUM_CANDIDATES),
        "hidden": np.array(reference.accidental_hits(rows, columns)),
    }
    if "refined_logq" in form:
        losses = reference.refined_softmax(scores, **options)
    elif "same_tower" in form:
        alike = np.array(reference.accidental_hits(rows, rows))
        same = {"same_tower_hidden": alike}
        losses = np.array(
            reference.same_tower_softmax(scores, queries @ queries.T, **options, **same)
        )
        losses += reference.same_tower_softmax(
            candidates @ queries.T,
            candidates @ candidates.T,
            temperature=0.1,
            hidden=alike,
            **same,
        )
    else:
        # All columns have the same correction, so the hardest are those of the largest scores.
        logits = np.where(options["hidden"] & ~np.eye(4, 10, dtype=bool), -np.inf, scores / 0.1)
        kept = np.array(reference.keep_hardest(logits, 3, range(4)), float)
        losses = np.log(np.nansum(np.exp(kept), axis=1)) - np.diag(logits)
    actual = float(model.compute_loss(toy_batch(rows, step=5)))
    assert actual == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("mask_other_positives", [False, True])
def test_what_is_hidden_by_hand(mask_other_positives):
    """Queries 3 and 4 share candidate 3; query 4 has also chosen 5; -1 is an empty slot."""
    table = replace(
        toy_table(repeats=1),
        query_rows=np.array([3, 4, 4], np.int32),
        candidate_rows=np.array([3, 3, 5], np.int32),
    )
    sampling = build_sampling(
        SoftmaxConfig(mask_other_positives=mask_other_positives, num_uniform_negatives=2),
        table,
        {"id": tf.range(NUM_CANDIDATES)},
        np.ones(NUM_CANDIDATES, np.int64),
        batch_size=2,
        embedding_dim=DIM,
        seed=0,
    )
    hidden = sampling.hidden(
        tf.constant([3, 4]), tf.constant([3, 3]), tf.constant([3, 3, 5, 9, -1])
    )
    of_query_4 = [1, 1, int(mask_other_positives), 0, 1]
    assert hidden.numpy().astype(int).tolist() == [[1, 1, 0, 0, 1], of_query_4]


def test_accidental_hits_are_no_negatives_without_the_mask_of_other_positives():
    model = toy_model(num_uniform=60, seed=3, mask_other_positives=False)
    rows = [3, 7, 3]
    columns = np.concatenate([rows, drawn_rows(60, 3, 5)])
    queries, candidates = embed(model, columns)
    hidden = np.array(reference.accidental_hits(rows, columns))
    assert hidden[:, 3:].any(), "a drawn candidate must be a positive"
    losses = reference.in_batch_softmax(
        queries[:3] @ candidates.T,
        temperature=0.1,
        sampling_probability=reference.mixed_expectation(
            [IN_BATCH] * len(columns), 60, NUM_CANDIDATES
        ),
        hidden=hidden,
    )
    actual = float(model.compute_loss(toy_batch(rows, step=5)))
    assert actual == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_objective_adds_up_its_terms():
    model = toy_model(terms=dual)
    rows = [1, 5, 8]
    queries, candidates = embed(model, rows)
    total, terms = model.terms(toy_batch(rows))
    assert set(terms) == {"retrieval", "dual"}
    expected = np.mean(reference.in_batch_softmax(candidates @ queries.T, temperature=0.1))
    assert float(terms["dual"]) == pytest.approx(expected, rel=1e-5)
    assert float(total) == pytest.approx(float(terms["retrieval"]) + 0.3 * expected, rel=1e-5)


@pytest.mark.parametrize("num_uniform", [0, 4])
def test_a_memory_adds_the_positives_of_earlier_batches_as_they_were(num_uniform):
    memory = CrossBatchMemory(8, DIM)
    model = toy_model(memory=memory, num_uniform=num_uniform, seed=2)
    earlier, rows = [1, 2, 3, 9], [4, 9, 5]
    _, stored = embed(model, earlier)
    model.train_step(toy_batch(earlier, step=1))
    drawn = drawn_rows(num_uniform, 2, 2)
    queries, candidates = embed(model, rows)
    vectors = np.concatenate([candidates, embed(model, drawn)[1], stored])
    # Three positives of this batch and four stored ones are seven draws from the distribution of
    # positives; four slots of the memory are still empty.
    expected = [IN_BATCH * 7 / 3] * len(vectors)
    if num_uniform:
        expected = reference.mixed_expectation(expected, num_uniform, NUM_CANDIDATES)
    losses = reference.in_batch_softmax(
        queries @ vectors.T,
        temperature=0.1,
        sampling_probability=expected,
        hidden=reference.accidental_hits(rows, np.concatenate([rows, drawn, earlier])),
    )
    batch = toy_batch(rows, step=2)
    assert float(model.compute_loss(batch)) == pytest.approx(np.mean(losses), rel=1e-4)
    # Computing a loss does not change the memory; a training step does.
    before = memory.read()[1].numpy()
    np.testing.assert_array_equal(before[:4], earlier)
    model.compute_loss(batch)
    np.testing.assert_array_equal(memory.read()[1], before)
    model.train_step(batch)
    np.testing.assert_array_equal(memory.read()[1][4:7], rows)


def test_a_memory_is_not_trained():
    """Nothing moves what it holds: no gradient reaches it, and it is no weight of the model."""
    memory = CrossBatchMemory(8, DIM)
    model = toy_model(memory=memory)
    model.train_step(toy_batch([1, 2, 3], step=1))
    stored = memory.read()[0].numpy()
    assert stored[:3].any()
    weights = {id(variable) for variable in model.trainable_variables}
    assert weights.isdisjoint(id(variable) for variable in memory.variables)
    assert {id(v) for v in model.variables} >= {id(v) for v in memory.variables}
    with tf.GradientTape() as tape:
        tape.watch(memory.variables)
        loss = model.compute_loss(toy_batch([4, 5], step=2))
    gradients = tape.gradient(loss, memory.variables)
    assert all(gradient is None for gradient in gradients)
    model.train_step(toy_batch([4, 5], step=2))
    np.testing.assert_array_equal(memory.read()[0].numpy()[:3], stored[:3])


@pytest.mark.parametrize("kill_at", [7, 23])
def test_resuming_with_a_memory_gives_the_same_log_and_the_same_bits(tmp_path, kill_at):
    def model():
        return toy_model(
            memory=CrossBatchMemory(60, DIM), num_uniform=4, same_tower="both", terms=dual
        )

    def interrupt(report):
        if report.step == kill_at:
            raise Interrupted("killed")

    whole_model, whole = prepare(tmp_path / "whole", model(), epochs=2)
    expected = whole.run()
    _, killed = prepare(tmp_path / "killed", model(), report=interrupt, epochs=2)
    with pytest.raises(Interrupted, match="killed"):
        killed.run()
    resumed_model, resumed = prepare(tmp_path / "killed", model(), epochs=2)
    assert resumed.run().step == expected.step
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    for name, value in weights_of(whole_model).items():
        np.testing.assert_array_equal(value, weights_of(resumed_model)[name], err_msg=name)
