"""What an evaluation may cost: the queries that it ranks for, and the baselines that it can afford.

Everything follows from counts that are known before anything is fitted or ranked, never from a
measured time, so that the same data are evaluated in the same way on every machine.
"""

from typing import NamedTuple

from tfrs_twotower.config import EvaluateConfig

FEWEST_QUERIES = 1_000
"""However large the corpus, so many queries are ranked for if there are so many."""
MOST_BYTES = 2 << 30
"""Memory that one baseline may take at once."""
MOST_OPERATIONS = 100_000_000_000
"""Multiplications that the fits of one baseline may take."""
SAMPLE_SEED = 0
"""One for all runs, so that they are compared on the same queries."""
_MOST_TUNING_QUERIES = 2_000
_FEWEST_TUNING_QUERIES = 500
_TUNING_SCORES = 1 << 26
_MOST_PAIRS = 1_000_000
_FEWEST_READ = 20


class Cost(NamedTuple):
    """An estimate of what a baseline takes, from counts."""

    bytes: float
    """At the peak."""
    operations: float
    """Multiplications of all its fits."""


def most_queries(config: EvaluateConfig, num_candidates: int) -> int | None:
    """The largest number of test queries that a corpus of this size allows; None allows all.

    It is `evaluate.max_queries`, or what `evaluate.max_scores` allows if that is less.
    """
    if config.max_scores is None:
        return config.max_queries
    affordable = max(FEWEST_QUERIES, config.max_scores // max(num_candidates, 1))
    return affordable if config.max_queries is None else min(affordable, config.max_queries)


def most_tuning_queries(num_candidates: int) -> int:
    """The largest number of validation queries that settings are chosen on.

    It is 2,000, or less for a large corpus, but 500 at least.
    """
    affordable = max(_FEWEST_TUNING_QUERIES, _TUNING_SCORES // max(num_candidates, 1))
    return min(_MOST_TUNING_QUERIES, affordable)


def most_read(num_queries: int, num_candidates: int) -> int:
    """How many of a pool of so many candidates a cross-encoder ranks for each query.

    All, or as many as make a million pairs, but 20 at least.
    """
    return min(num_candidates, max(_FEWEST_READ, _MOST_PAIRS // max(num_queries, 1)))


def reason_against(cost: Cost) -> str | None:
    """Why a baseline is left out for its cost, in words; None if it can be afforded."""
    if cost.bytes <= MOST_BYTES and cost.operations <= MOST_OPERATIONS:
        return None
    return (
        f"by the counts of interactions its fits take {cost.operations:.2g} multiplications and "
        f"{cost.bytes / 1e9:.2g} GB; it may take {MOST_OPERATIONS:.2g} and {MOST_BYTES / 1e9:.2g} "
        "GB. A baseline that evaluate.baselines names is computed whatever it costs"
    )
