"""Weights of the wide part on planted worlds, in which it is known which part tells the truth."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from tests.unit.specs.documents import spec_data
from tfrs_twotower.closed_form.ease import ease_factors
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.ranking import GroundTruth, Ragged
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers
from tfrs_twotower.towers.wide import KNOWN, NEW, WideTowers
from tfrs_twotower.training.validation import rank
from tfrs_twotower.training.wide_tables import WideTables
from tfrs_twotower.training.wide_weights import fit_weights

NUM_CANDIDATES, NUM_QUERIES, LENGTH, DIM = 120, 160, 6, 8
SPEC = FeatureSpec.model_validate(
    spec_data(
        query={"features": [{"name": "seen", "kind": "history", "max_length": LENGTH}]},
        candidate={"features": [{"name": "item", "kind": "id"}]},
    )
)


class Drawn(Tower):
    """A vector for each first token; all queries without a history share one."""

    embedding_dim = DIM

    def __init__(self, name, feature, table):
        super().__init__(name=name)
        self.inputs = None
        self._feature = feature
        self._table = tf.constant(table, tf.float32)

    def encode(self, tokens, training=False):
        own = tokens[self._feature]
        first = own if own.shape.rank == 1 else own[:, 0]
        return TowerOutput(tf.math.l2_normalize(tf.gather(self._table, first), axis=1))


class Planted:
    """Clusters of ten; a query likes one cluster, and popular candidates of it more."""

    def __init__(self, seed=0, share_new=0.0):
        self.random = random = np.random.default_rng(seed)
        self.cluster = np.arange(NUM_CANDIDATES) % 12
        self.popularity = random.permutation(np.exp(-np.arange(NUM_CANDIDATES) / 15.0))
        likes = self.cluster[None, :] == random.integers(0, 12, (600, 1))
        weights = np.where(likes, 0.5, 0.02) * np.sqrt(self.popularity)
        self.chosen = (random.random((600, NUM_CANDIDATES)) < weights).astype(np.float32)
        seen, truth, histories = [], [], []
        for query in range(NUM_QUERIES):
            is_new = query < share_new * NUM_QUERIES
            own = self.cluster == random.integers(0, 12)
            odds = self.popularity * (1.0 if is_new else np.where(own, 1.0, 0.01))
            items = random.choice(NUM_CANDIDATES, 8, replace=False, p=odds / odds.sum())
            past = items[:0] if is_new else items[:5]
            seen.append(past)
            truth.append(items[5:])
            histories.append([*(2 + past), *[0] * (LENGTH - len(past))])
        self.queries = QuerySet(
            GroundTruth.from_lists(truth),
            Ragged.from_lists(seen),
            {"seen": np.array(histories, np.int32)},
        )
        self.corpus_tokens = {"item": tf.constant(2 + np.arange(NUM_CANDIDATES), tf.int32)}

    def towers(self, deep_knows=False):
        """Noise, or vectors of the clusters."""
        own = self.random.normal(size=(12, DIM))[self.cluster] if deep_knows else 0.0
        noise = self.random.normal(size=(NUM_CANDIDATES, DIM)) * (0.1 if deep_knows else 1.0)
        table = np.concatenate([self.random.normal(size=(2, DIM)), own + noise])
        query = table if deep_knows else self.random.normal(size=table.shape)
        return Towers(Drawn("query", "seen", query), Drawn("candidate", "item", table))

    def tables(self, linear=True):
        """EASE at full rank and the log-counts, or random numbers in place of both."""
        factors = ease_factors(sparse.csr_matrix(self.chosen), l2=5.0, rank=NUM_CANDIDATES)
        history, vectors = (np.pad(part, ((2, 0), (0, 0))) for part in factors)
        counts = np.log1p(self.chosen.sum(axis=0))
        counts = np.append([0.0, 0.0], counts)[:, None] - counts.mean()
        if not linear:
            history, vectors, counts = (
                self.random.normal(size=part.shape) for part in (history, vectors, counts)
            )
        parts = (np.asarray(part, np.float32) for part in (history, vectors, counts))
        return WideTables((None,), *parts)

    def fit(self, towers, tables):
        metrics = "recall@10", ("recall@10", "recall@3")
        return fit_weights(
            towers, tables, SPEC, self.queries, self.corpus_tokens, *metrics, NUM_CANDIDATES
        )

    def recall(self, towers, queries):
        tokens = {name: tf.constant(values) for name, values in queries.inputs.items()}
        lists = rank(
            towers.query.embed_tokens(tokens).numpy(),
            towers.candidate.embed_tokens(self.corpus_tokens).numpy(),
            queries,
            10,
        )
        return per_query("recall@10", judge(lists, queries.truth)).mean()


def test_a_linear_model_that_knows_more_is_weighed():
    world = Planted()
    towers, tables = world.towers(), world.tables()
    fitted = world.fit(towers, tables)
    assert fitted.has_linear
    assert fitted.after["recall@10"] > fitted.before + 0.2
    wide = WideTowers(towers, fitted.part(tables), SPEC)
    assert world.recall(towers, world.queries) == pytest.approx(fitted.before)
    # In sample a few weights are hardly better than out of fold.
    assert world.recall(wide, world.queries) == pytest.approx(fitted.after["recall@10"], abs=0.02)
    for name, place in (("recall@10", 9), ("recall@3", 2)):
        assert fitted.recall[place] == pytest.approx(fitted.after[name], abs=1e-6)
    assert fitted.recall[-1] == 1.0


def test_scaling_changes_no_score_and_balances_both_sides():
    world = Planted()
    towers, tables = world.towers(), world.tables()
    fitted = world.fit(towers, tables)
    part = fitted.part(tables)
    own = fitted.weights[KNOWN]
    linear = own[1] * tables.history @ tables.vectors.T
    scaled = part.weights[KNOWN, 1] * part.history @ part.candidates[:, :-1].T
    np.testing.assert_allclose(scaled, linear, atol=1e-4)
    counts = part.weights[:, -1:] * part.candidates[:, -1]
    np.testing.assert_allclose(counts, fitted.weights[:, -1:] * tables.counts[:, 0], atol=1e-4)
    assert fitted.linear_scale != 1.0


def test_what_knows_nothing_is_left_out():
    world = Planted(seed=1)
    assert world.fit(world.towers(deep_knows=True), world.tables(linear=False)) is None


def test_new_queries_are_answered_by_popularity_and_known_ones_are_unharmed():
    world = Planted(seed=2, share_new=0.5)
    towers, tables = world.towers(deep_knows=True), world.tables()
    fitted = world.fit(towers, tables)
    assert fitted.weights[NEW, -1] > 0
    wide = WideTowers(towers, fitted.part(tables), SPEC)
    is_new = world.queries.inputs["seen"][:, 0] == 0
    new, known = (world.queries.take(np.flatnonzero(kind)) for kind in (is_new, ~is_new))
    lists = rank(np.ones((len(new), 1), np.float32), tables.counts[2:], new, 10)
    by_popularity = per_query("recall@10", judge(lists, new.truth)).mean()
    assert world.recall(towers, new) < by_popularity - 0.1  # noise without it
    assert world.recall(wide, new) >= by_popularity - 0.01
    assert world.recall(wide, known) >= world.recall(towers, known)


def test_known_queries_stand_for_new_ones_where_there_are_too_few():
    world = Planted(seed=3, share_new=0.05)
    fitted = world.fit(world.towers(deep_knows=True), world.tables())
    assert fitted.weights[NEW, -1] > 0
    assert fitted.weights[NEW, 1] == 0.0  # the linear model has nothing to say of them
