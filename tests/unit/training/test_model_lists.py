"""Mined lists and interaction terms through the whole model, on towers of tables."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import inttower, list_losses
from tests.reference import losses as reference
from tests.unit.training.toy import DIM, NUM_CANDIDATES, head_towers, toy_batch, toy_model
from tfrs_twotower.config import ContrastiveInteractionConfig
from tfrs_twotower.losses.cross_batch_memory import CrossBatchMemory
from tfrs_twotower.losses.sampling_probability import uniform_rows
from tfrs_twotower.tasks.list_task import PreRankingTask
from tfrs_twotower.tasks.terms import ContrastiveInteractionTerm, InteractionTerm

ROWS = [3, 7, 9]
# Query 7's list holds the positive of query 9, and query 9's list is short.
LISTED = np.array([[1, 20, 30], [20, 9, 11], [40, -1, -1]], np.int32)
TEACHER = np.array([[3.0, 1, 0, 2], [1, 2, 0, 1], [2, 1, 0, 0]], np.float32)


def every_term(task, towers):
    del task
    return [
        InteractionTerm(1.0, towers.scorer, 1.0),
        ContrastiveInteractionTerm(ContrastiveInteractionConfig(weight=0.05)),
        PreRankingTask("list_softmax"),
        PreRankingTask("pointwise", weight=0.2),
        PreRankingTask("listwise_kl", weight=0.3),
        PreRankingTask("margin_mse", weight=0.4, teacher_temperature=2.0),
    ]


def listed_batch(rows=ROWS, listed=LISTED, step=1):
    return toy_batch(
        rows,
        step,
        listed_rows=tf.constant(listed),
        teacher=tf.constant(TEACHER[: len(rows)]),
    )


def heads_of(model, rows):
    tokens = {"id": np.asarray(rows)}
    return (
        model.towers.query.encode(tokens).heads.numpy(),
        model.towers.candidate.encode(tokens).heads.numpy(),
    )


def test_every_term_equals_its_reference():
    model = toy_model(towers=head_towers(), num_uniform=5, terms=every_term, seed=1)
    drawn = uniform_rows(5, NUM_CANDIDATES, seed=tf.constant([1, 4])).numpy()
    queries, positives = heads_of(model, ROWS)
    listed = np.stack([heads_of(model, np.maximum(row, 0))[1] for row in LISTED])
    logits = np.stack(
        [
            inttower.interaction_scores(query[None], np.concatenate([own[None], others]))[0]
            for query, own, others in zip(queries, positives, listed, strict=True)
        ]
    )
    present = np.concatenate([np.ones((3, 1), bool), LISTED >= 0], axis=1)
    mined = [1, 20, 30, 9, 11, 40]
    columns = np.concatenate([ROWS, drawn, mined])
    sampled = reference.mixed_expectation([25 / 50] * 8, 5, NUM_CANDIDATES)
    expected = {
        "interaction": reference.in_batch_softmax(
            inttower.interaction_scores(queries, heads_of(model, columns)[1]),
            # The mined were not sampled.
            sampling_probability=np.concatenate([sampled, np.ones(6)]),
            # Query 9's positive is hidden from it, wherever it comes from; padding is nowhere.
            hidden=reference.accidental_hits(ROWS, columns),
        ),
        "contrastive_interaction": reference.contrastive_interaction(
            queries[:, -2:],
            positives,
            temperature=0.1,
            hidden=reference.accidental_hits(ROWS, ROWS),
        ),
        "list_softmax": [
            np.log(np.exp(row[there]).sum()) - row[0]
            for row, there in zip(logits, present, strict=True)
        ],
        "pointwise": list_losses.binary_cross_entropy(logits, np.eye(4)[[0, 0, 0]], present),
        "listwise_kl": list_losses.listwise_kl(
            logits, TEACHER, teacher_temperature=1.0, student_temperature=1.0, present=present
        ),
        "margin_mse": list_losses.margin_mse(logits, TEACHER / 2.0, present),
    }
    total, terms = model.terms(listed_batch(step=4))
    assert set(terms) == {"retrieval", *expected}
    for name, losses in expected.items():
        assert float(terms[name]) == pytest.approx(np.mean(losses), rel=1e-4), name
    weights = dict(zip(expected, [1.0, 0.05, 1.0, 0.2, 0.3, 0.4], strict=True))
    summed = terms["retrieval"] + sum(weights[name] * terms[name] for name in expected)
    assert float(total) == pytest.approx(float(summed), rel=1e-5)


def gradients(model, batch):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch)
    tables = [model.towers.query.heads, model.towers.candidate.heads]
    return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, tables)]


def test_padding_teaches_nothing_about_candidate_0():
    model = toy_model(towers=head_towers(), terms=every_term)
    _, of_candidates = gradients(model, listed_batch())
    touched = np.flatnonzero(np.abs(of_candidates).sum(axis=(1, 2)))
    np.testing.assert_array_equal(touched, np.unique([*ROWS, 1, 20, 30, 11, 40]))
    more = np.pad(LISTED, ((0, 0), (0, 2)), constant_values=-1)
    batch = toy_batch(ROWS, listed_rows=tf.constant(more))

    def without_teacher(task, towers):
        return every_term(task, towers)[:4]

    model = toy_model(towers=head_towers(), terms=without_teacher)
    assert float(model.compute_loss(batch)) == pytest.approx(
        float(model.compute_loss(toy_batch(ROWS, listed_rows=tf.constant(LISTED)))), rel=1e-6
    )


def test_an_unlisted_query_learns_from_the_other_queries_lists():
    def interaction(task, towers):
        return every_term(task, towers)[:1]

    model = toy_model(towers=head_towers(), terms=interaction)
    nothing = np.full((3, 3), -1, np.int32)
    alone = model.terms(toy_batch(ROWS, listed_rows=tf.constant(nothing)))[1]
    bare = model.terms(toy_batch(ROWS))[1]
    assert float(alone["interaction"]) == pytest.approx(float(bare["interaction"]), rel=1e-6)
    one = nothing.copy()
    one[0, 0] = 33
    shared = model.terms(toy_batch(ROWS, listed_rows=tf.constant(one)))[1]
    assert float(shared["interaction"]) > float(bare["interaction"])


def test_a_memory_leaves_the_interaction_alone():
    def interaction(task, towers):
        return every_term(task, towers)[:1]

    plain = toy_model(towers=head_towers(), terms=interaction, num_uniform=5)
    memory = CrossBatchMemory(8, DIM)
    with_memory = toy_model(towers=head_towers(), terms=interaction, num_uniform=5, memory=memory)
    memory.push(tf.ones([8, DIM]), tf.range(8))
    batch = toy_batch(ROWS, listed_rows=tf.constant(LISTED))
    expected, found = (model.terms(batch)[1] for model in (plain, with_memory))
    assert float(found["interaction"]) == float(expected["interaction"])
    assert float(found["retrieval"]) != float(expected["retrieval"])


def test_learns_from_lists_to_rank_the_positive_first():
    def lists(task, towers):
        return every_term(task, towers)[2:3]

    model = toy_model(towers=head_towers(), terms=lists, weight=0.0)
    step = tf.function(model.train_step, autograph=False)
    random = np.random.default_rng(0)
    for number in range(1, 121):
        rows = random.permutation(NUM_CANDIDATES)[:25]
        listed = (rows[:, None] + random.integers(1, NUM_CANDIDATES, (25, 6))) % NUM_CANDIDATES
        listed = tf.constant(listed.astype(np.int32))
        step(toy_batch(rows, number, listed_rows=listed))
    queries, candidates = heads_of(model, np.arange(NUM_CANDIDATES))
    best = inttower.interaction_scores(queries, candidates).argmax(axis=1)
    assert np.mean(best == np.arange(NUM_CANDIDATES)) >= 0.9
