"""Cross-encoders on questions that only both texts together can match."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.planted_inttower import pair_accuracy
from tests.fixtures.planted_texts import PIECES, WORDS, with_or_without
from tfrs_twotower.config import CrossEncoderConfig
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.mining import fitting_halves as module
from tfrs_twotower.towers import cross_encoder

DIM = 16
CONFIG = CrossEncoderConfig(
    dim=DIM, num_heads=2, feed_forward_dim=32, epochs=60, batch_size=24, learning_rate=0.01
)
QUICK = CONFIG.model_copy(update={"epochs": 1})


def fit(world, directory, config=CONFIG, seed=1, progress=lambda *_: None):
    texts = cross_encoder.PairTexts(world.spec, world.assets, config)
    candidates = texts.read("candidate", world.candidates)
    examples = module.PairExamples(texts, world.table, world.lists, candidates)
    directory.mkdir(exist_ok=True)
    return module.fit_halves(
        world.spec,
        config,
        examples,
        seed=seed,
        directory=directory / "models",
        checkpoint_root=directory,
        progress=progress,
    )


def every_score(world, fitted):
    size = len(world.table)
    rows = np.tile(np.arange(len(WORDS), dtype=np.int32), (size, 1))
    return fitted(slice(0, size), rows)


def bags(world, steps=400):
    """Scores of a two-tower of the same dimension: the sum of the query's words' vectors."""
    random = np.random.default_rng(2)
    words = tf.Variable(random.normal(0, 0.3, (len(PIECES), DIM)).astype(np.float32))
    items = tf.Variable(random.normal(0, 0.3, (len(WORDS), DIM)).astype(np.float32))
    optimizer = keras.optimizers.Adam(0.01, jit_compile=False)
    tokens = tf.constant(world.table.tokens["question"][:, :2])
    rows = np.concatenate([world.table.candidate_rows[:, None], world.lists.rows], axis=1)
    present, listed = tf.constant(rows >= 0), tf.constant(np.maximum(rows, 0))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            scores = tf.matmul(
                tf.reduce_sum(tf.gather(words, tokens), axis=1), items, transpose_b=True
            )
            logits = tf.gather(scores, listed, batch_dims=1)
            loss = tf.reduce_mean(module.list_softmax(logits, present))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, [words, items]), [words, items], strict=True)
        )
        return scores

    for _ in range(steps):
        scores = step()
    return scores.numpy()


def test_it_learns_what_only_the_pair_decides(tmp_path):
    """And a two-tower of the same dimension is right on three of four comparisons at most."""
    world = with_or_without(repeats=16)
    taught = pair_accuracy(every_score(world, fit(world, tmp_path)), world.pairs)
    assert taught > 0.97
    assert pair_accuracy(bags(world), world.pairs) <= 0.75


def test_the_same_seed_gives_the_same_models(tmp_path):
    world = with_or_without(repeats=4)
    first, second, other = (
        every_score(world, fit(world, tmp_path / str(run), QUICK, seed=seed))
        for run, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_no_list_is_scored_by_a_model_that_has_learned_its_query(tmp_path):
    """Other answers of some queries change the scores of the others alone."""
    world = with_or_without(repeats=4)
    before = every_score(world, fit(world, tmp_path / "before", QUICK))
    half = np.random.default_rng([1, 0]).permutation(len(world.table)) % 2
    rows = np.where(
        half == 0, (world.table.candidate_rows + 1) % len(WORDS), world.table.candidate_rows
    )
    changed = replace(world, table=replace(world.table, candidate_rows=rows.astype(np.int32)))
    after = every_score(changed, fit(changed, tmp_path / "after", QUICK))
    np.testing.assert_array_equal(after[half == 0], before[half == 0])
    assert (np.abs(after - before)[half == 1].max(axis=1) > 1e-4).all()


def test_examples_of_one_query_stay_together(tmp_path):
    world = with_or_without(repeats=4)
    owners = np.arange(len(world.table)) // 8
    table = replace(
        world.table,
        query_ids=world.table.query_ids[: owners.max() + 1],
        query_rows=owners.astype(np.int32),
    )
    texts = cross_encoder.PairTexts(world.spec, world.assets, QUICK)
    seen = []

    class Watched(module.PairExamples):
        def drawn(self, positions, size, random):
            seen.append(set(owners[positions].tolist()))
            return super().drawn(positions, size, random)

    examples = Watched(texts, table, world.lists, texts.read("candidate", world.candidates))
    tmp_path.joinpath("models").mkdir()
    module.fit_halves(
        world.spec,
        QUICK,
        examples,
        seed=1,
        directory=tmp_path / "models",
        checkpoint_root=tmp_path,
        progress=lambda *_: None,
    )
    half = len(seen) // 2
    first, second = set().union(*seen[:half]), set().union(*seen[half:])
    assert not first & second
    assert first | second == set(owners.tolist())


def test_progress_names_the_model_and_counts_its_steps(tmp_path):
    world, reports = with_or_without(repeats=8), []
    fit(world, tmp_path, QUICK, progress=lambda *report: reports.append(report))
    # 96 examples, halves of 48, batches of 24.
    assert reports == [
        (f"train cross-encoder {number} of 2", step, 2) for number in (1, 2) for step in (1, 2)
    ]


def test_lists_of_padding_are_drawn_whole():
    world = with_or_without()
    texts = cross_encoder.PairTexts(world.spec, world.assets, CONFIG)
    examples = module.PairExamples(texts, world.table, world.lists, np.zeros((6, 4), np.int32))
    positions = np.array([0, len(WORDS)])
    for seed in range(5):
        rows = examples.drawn(positions, 2, np.random.default_rng(seed))
        assert rows[:, 0].tolist() == world.table.candidate_rows[positions].tolist()
        assert len({*rows[0].tolist()}) == 3
        assert rows[1, 1:].tolist() == [0, -1]  # the only candidate of the list, which is shorter


def test_one_query_has_no_halves(tmp_path):
    world = with_or_without()
    table = replace(
        world.table,
        query_ids=world.table.query_ids[:1],
        query_rows=np.zeros_like(world.table.query_rows),
    )
    with pytest.raises(TrainingError, match=r"trained on two halves of the queries, .* have 1"):
        fit(replace(world, table=table), tmp_path)


def test_a_model_that_diverges_is_named(tmp_path):
    world = with_or_without()
    table = replace(world.table, weights=np.full(len(world.table), np.nan, np.float32))
    with pytest.raises(TrainingError, match=r"diverged at step 1: the loss is nan.*learning_rate"):
        fit(replace(world, table=table), tmp_path)
