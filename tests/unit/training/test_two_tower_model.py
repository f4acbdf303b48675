"""The whole model on towers of tables: the retrieval loss, mined lists and interaction terms."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tests.reference import inttower, list_losses
from tests.reference import losses as reference
from tests.unit.training.toy import DIM, NUM_CANDIDATES, head_towers, toy_batch, toy_model
from tfrs_twotower.config import ContrastiveInteractionConfig
from tfrs_twotower.losses.negative_columns import CrossBatchMemory
from tfrs_twotower.losses.sampling_probability import StreamingFrequency, uniform_rows
from tfrs_twotower.tasks.terms import ContrastiveInteractionTerm, InteractionTerm, PreRankingTask


def test_it_is_a_tfrs_model():
    assert isinstance(toy_model(), tfrs.Model)


@pytest.mark.parametrize("learn_temperature", [False, True])
def test_a_step_moves_both_towers_and_the_temperature_if_it_is_learned(learn_temperature):
    model = toy_model(learn_temperature=learn_temperature)
    towers, rows = model.towers, [3, 7, 9]
    watched = {"query": towers.query.table, "candidate": towers.candidate.table}
    before = {name: table.numpy() for name, table in watched.items()}
    temperature = float(model.task.temperature)
    model.train_step(toy_batch(rows))
    for name, table in watched.items():
        moved = (table.numpy() != before[name]).any(axis=1)
        assert np.flatnonzero(moved).tolist() == rows, name
    assert (float(model.task.temperature) != temperature) is learn_temperature
    names = {variable.name.partition(":")[0] for variable in model.trainable_variables}
    assert {"query_table", "candidate_table"} <= names
    assert any("temperature" in name for name in names) is learn_temperature


def test_the_loss_equals_the_mean_of_the_reference():
    model = toy_model()
    rows, weights = [3, 7, 7, 20], [1.0, 2.0, 0.0, 0.5]
    batch = toy_batch(rows, weights=weights)
    queries = model.towers.query.embed_tokens(batch["tokens"]).numpy()
    candidates = model.towers.candidate.embed_tokens(batch["tokens"]).numpy()
    losses = reference.in_batch_softmax(
        queries @ candidates.T,
        temperature=0.1,
        hidden=reference.accidental_hits(rows, rows),
    )
    expected = reference.weighted_mean(losses, weights)
    assert float(model.compute_loss(batch)) == pytest.approx(expected, rel=1e-5)


def test_uniform_negatives_are_columns_corrected_as_a_mixture():
    model = toy_model(num_uniform=6, seed=3)
    rows = [3, 7, 9]
    drawn = uniform_rows(6, NUM_CANDIDATES, seed=tf.constant([3, 5])).numpy()
    columns = np.concatenate([rows, drawn])
    batch = toy_batch(rows, step=5)
    queries = model.towers.query.embed_tokens(batch["tokens"]).numpy()
    vectors = model.towers.candidate.embed_tokens({"id": columns}).numpy()
    # All counts are equal: 25 / 50 in-batch occurrences each.
    expected = reference.mixed_expectation([25 / 50] * 9, 6, NUM_CANDIDATES)
    losses = reference.in_batch_softmax(
        queries @ vectors.T,
        temperature=0.1,
        sampling_probability=expected,
        hidden=reference.accidental_hits(rows, columns),
    )
    assert float(model.compute_loss(batch)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_permuting_the_batch_changes_nothing():
    model = toy_model()
    loss = float(model.compute_loss(toy_batch([1, 2, 3, 4])))
    assert float(model.compute_loss(toy_batch([3, 1, 4, 2]))) == pytest.approx(loss, rel=1e-6)


def test_streaming_frequencies_move_in_training_only():
    frequency = StreamingFrequency(NUM_CANDIDATES, initial_gap=100.0)
    model = toy_model(frequency=frequency)
    model.compute_loss(toy_batch([1, 2], step=9))
    np.testing.assert_array_equal(frequency.gap, 100.0)
    model.train_step(toy_batch([1, 2], step=9))
    assert float(frequency.gap[1]) == pytest.approx(0.99 * 100 + 0.01 * 9)
    assert float(frequency.gap[0]) == 100.0


def test_learns_the_toy_data_to_recall_1():
    model = toy_model()
    step = tf.function(model.train_step, autograph=False)
    random = np.random.default_rng(0)
    losses = [
        float(step(toy_batch(random.permutation(NUM_CANDIDATES)[:25], i))["loss"])
        for i in range(1, 101)
    ]
    everything = {"id": tf.range(NUM_CANDIDATES)}
    queries = model.towers.query.embed_tokens(everything)
    candidates = model.towers.candidate.embed_tokens(everything)
    best = tf.argmax(tf.matmul(queries, candidates, transpose_b=True), axis=1)
    np.testing.assert_array_equal(best, np.arange(NUM_CANDIDATES))
    assert losses[-1] < 0.1 * losses[0]


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
            # Mined candidates were not sampled.
            sampling_probability=np.concatenate([sampled, np.ones(6)]),
            # The positive of query 9 is hidden from it in every column; padding is in none.
            hidden=reference.accidental_hits(ROWS, columns),
        ),
        "contrastive_interaction": reference.contrastive_interaction(
            queries[:, -2:],
            positives,
            temperature=0.1,
            hidden=reference.accidental_hits(ROWS, ROWS),
        ),
        "list_softmax": [
            np.log(np.exp(row[mask]).sum()) - row[0]
            for row, mask in zip(logits, present, strict=True)
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


def gradients_of(model, batch):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch)
    tables = [model.towers.query.heads, model.towers.candidate.heads]
    return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, tables)]


def test_padding_gives_candidate_0_no_gradient():
    model = toy_model(towers=head_towers(), terms=every_term)
    _, of_candidates = gradients_of(model, listed_batch())
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


def test_a_query_without_a_list_learns_from_the_lists_of_others():
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
    expected, actual = (model.terms(batch)[1] for model in (plain, with_memory))
    assert float(actual["interaction"]) == float(expected["interaction"])
    assert float(actual["retrieval"]) != float(expected["retrieval"])


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
