"""Sets the map of a query tower in closed form, from training examples."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.closed_form.latent_semantics import ridge_map
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.metrics import judge, parse_metric, per_query
from tfrs_twotower.ranking import GroundTruth, Ragged
from tfrs_twotower.towers.tower import Towers
from tfrs_twotower.training.validation import in_chunks, rank

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
_FOLDS = 5
_MOST_EXAMPLES = 100_000
_MOST_RANKED = 400


@dataclass(frozen=True)
class EmbeddedExamples:
    """Training examples as vectors, before any map.

    Attributes:
        queries: `[num_examples, embedding_dim]`.
        candidates: `[num_candidates, embedding_dim]`, the whole corpus.
        positives: `[num_examples]` corpus row of the candidate of each example.
        owners: `[num_examples]` number of the query of each example, from 0 without a gap.
    """

    queries: NDArray[np.float32]
    candidates: NDArray[np.float32]
    positives: NDArray[np.int32]
    owners: NDArray[np.int64]

    @property
    def num_queries(self) -> int:
        """Number of distinct queries."""
        return int(self.owners.max()) + 1

    def solve(self, used: NDArray[np.bool_], penalty: float) -> NDArray[np.float32]:
        """The map of some of the examples; every query has the same weight."""
        weights = (1.0 / np.bincount(self.owners))[self.owners].astype(np.float32)
        positives = self.candidates[self.positives[used]]
        return ridge_map(self.queries[used], positives, weights[used], penalty)


def fit_query_map(
    towers: Towers,
    table: ExampleTable,
    corpus_tokens: dict[str, tf.Tensor],
    *,
    metric: str,
    seed: int,
) -> str:
    """Sets the map to the ridge solution with the best penalty over held-out training queries.

    Args:
        towers: their query tower has a map.
        table: the training examples.
        corpus_tokens: `[num_candidates, ...]` of the candidate tower, by name.
        metric: what the penalty is chosen by.
        seed: seed of the folds, and of the sample of a large table.

    Returns:
        What was chosen, for the user.

    Raises:
        ValueError: the query tower has no map.
    """
    query_map = towers.query.map
    if query_map is None:
        raise ValueError("the query tower has no map; build it with model.query_map: ridge")
    query_map.assign(tf.eye(towers.embedding_dim))
    examples = embed_examples(towers, table, corpus_tokens, seed=seed)
    if examples.num_queries < 2 * _FOLDS:
        return (
            f"model.query_map: {examples.num_queries} training queries are too few to choose a "
            "penalty by; the map stays the identity"
        )
    penalty, before, after = choose_penalty(examples, metric, seed=seed)
    if penalty is None:
        return (
            f"model.query_map: no penalty beats the identity ({metric} {before:.4f} over held-out "
            "training queries), which stays"
        )
    query_map.assign(examples.solve(np.ones(len(examples.owners), bool), penalty))
    return (
        f"model.query_map: ridge with penalty {penalty:g}; {metric} over held-out training "
        f"queries {before:.4f} -> {after:.4f}"
    )


def embed_examples(
    towers: Towers, table: ExampleTable, corpus_tokens: dict[str, tf.Tensor], *, seed: int
) -> EmbeddedExamples:
    """Embeds the corpus and the examples; of a large table, a sample of 100,000 examples."""
    rows = np.arange(len(table))
    if len(rows) > _MOST_EXAMPLES:
        random = np.random.default_rng(seed)
        rows = np.sort(random.choice(rows, _MOST_EXAMPLES, replace=False))
    towers.refresh_derived_state(corpus_tokens)
    queries = in_chunks(
        tf.function(lambda tokens: towers.query.embed_tokens(tokens), autograph=False),
        {name: values[rows] for name, values in table.tokens.items()},
    )
    candidates = in_chunks(
        tf.function(lambda tokens: towers.candidate.embed_tokens(tokens), autograph=False),
        corpus_tokens,
    )
    owners = np.unique(table.query_rows[rows], return_inverse=True)[1]
    return EmbeddedExamples(queries, candidates, table.candidate_rows[rows], owners)


def choose_penalty(
    examples: EmbeddedExamples, metric: str, *, seed: int
) -> tuple[float | None, float, float]:
    """Holds out each of five folds of queries in turn, and ranks the corpus for it.

    Args:
        examples: at least five queries; at most 400 of them are ranked, each with its first
            example.
        metric: what is measured.
        seed: seed of the folds.

    Returns:
        The best penalty, None for the identity, which wins ties, as larger penalties do; the metric
        of the identity; the metric of the best.
    """
    by_query = np.argsort(examples.owners, kind="stable")
    starts = np.searchsorted(examples.owners[by_query], np.arange(examples.num_queries))
    relevant = np.split(examples.positives[by_query], starts[1:])
    folds = np.random.default_rng(seed).permutation(examples.num_queries) % _FOLDS
    ranked = np.random.default_rng(seed).permutation(examples.num_queries)[:_MOST_RANKED]
    queries, fold = examples.queries[by_query[starts[ranked]]], folds[ranked]
    truth = QuerySet(
        GroundTruth.from_lists([np.unique(relevant[query]) for query in ranked]),
        Ragged.from_lists([[]] * len(ranked)),
    )

    def measured(moved: NDArray[np.float32]) -> float:
        lists = rank(moved, examples.candidates, truth, parse_metric(metric)[1])
        return float(per_query(metric, judge(lists, truth.truth)).mean())

    before = best = measured(queries)
    chosen = None
    for penalty in PENALTIES:
        moved = np.empty_like(queries)
        for held_out in range(_FOLDS):
            own = fold == held_out
            moved[own] = queries[own] @ examples.solve(folds[examples.owners] != held_out, penalty)
        value = measured(moved)
        if value > best:
            best, chosen = value, penalty
    return chosen, before, best
