"""Cross-encoders on questions that only both texts together can match."""

from dataclasses import replace
from types import SimpleNamespace

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
    dim=DIM,
    num_layers=1,
    num_heads=2,
    feed_forward_dim=32,
    epochs=30,
    batch_size=24,
    learning_rate=0.01,
)
QUICK = CONFIG.model_copy(update={"epochs": 1})


def fit(world, directory, config=CONFIG, progress=lambda *_: None, kind=module.PairExamples):
    texts = cross_encoder.PairTexts(world.spec, world.assets, config)
    candidates = texts.read("candidate", world.candidates)
    examples = kind(texts, world.table, world.lists, candidates)
    return module.fit_halves(
        world.spec,
        config,
        examples,
        seed=1,
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
    world = with_or_without(repeats=12)
    taught = pair_accuracy(every_score(world, fit(world, tmp_path)), world.pairs)
    assert taught > 0.97
    assert pair_accuracy(bags(world), world.pairs) <= 0.75


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One epoch on twelve queries, each with four examples; the draws and the progress."""
    world = with_or_without(repeats=4)
    owners = (np.arange(len(world.table)) // 4).astype(np.int32)
    table = replace(
        world.table, query_ids=world.table.query_ids[: owners.max() + 1], query_rows=owners
    )
    world = replace(world, table=table)
    drawn, reports = [], []

    class Watched(module.PairExamples):
        def drawn(self, positions, size, random):
            drawn.append(owners[positions].tolist())
            return super().drawn(positions, size, random)

    fitted = fit(
        world,
        tmp_path_factory.mktemp("quick"),
        QUICK,
        progress=lambda *report: reports.append(report),
        kind=Watched,
    )
    return SimpleNamespace(
        world=world, scores=every_score(world, fitted), drawn=drawn, reports=reports
    )


def test_no_list_is_scored_by_a_model_that_has_learned_its_query(quick, tmp_path):
    """Other answers of the first half's queries change the scores of the others alone.

    That those of the first half stay the same to the bit says that the seed decides everything.
    """
    world = quick.world
    first_half = np.isin(world.table.query_rows, np.concatenate(quick.drawn[:1]))
    assert 0 < first_half.sum() < len(first_half)
    rows = (world.table.candidate_rows + first_half) % len(WORDS)
    changed = replace(world, table=replace(world.table, candidate_rows=rows.astype(np.int32)))
    after = every_score(changed, fit(changed, tmp_path, QUICK))
    np.testing.assert_array_equal(after[first_half], quick.scores[first_half])
    assert (np.abs(after - quick.scores)[~first_half].max(axis=1) > 1e-4).all()


def test_examples_of_one_query_stay_together(quick):
    """Twelve queries in two halves of 24 examples, which are one batch each."""
    first, second = map(sorted, quick.drawn)
    assert not set(first) & set(second)
    assert sorted(first + second) == quick.world.table.query_rows.tolist()


def test_progress_names_the_model_and_counts_its_steps(quick):
    assert quick.reports == [
        ("train cross-encoder 1 of 2", 1, 1),
        ("train cross-encoder 2 of 2", 1, 1),
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
        fit(replace(world, table=table), tmp_path, QUICK)
