"""Statistics over seeds: mean and deviation, and paired tests against both sources of noise.

Two things are random: the test queries, and everything that a seed decides (initial weights, the
order of the examples, sampled negatives). A difference is only trusted if it holds up against both,
so each is tested twice:

- over queries: each query's values are averaged over the seeds, and Student's paired t-test asks
  whether other queries would show the same. It says nothing about training again.
- over seeds: each seed's values are averaged over the queries, and Student's paired t-test (by
  seed) asks whether other trainings would show the same. It says nothing about other queries.

The p of the difference is the larger of the two, an intersection-union test (Berger 1982): its
level is kept, and both questions are answered with one number. Holm's correction covers the whole
family of pairs and metrics that is passed in. The tests are t-tests instead of randomisation tests,
because a corrected p of a randomisation cannot fall below family size / resamples.

With few seeds the second test is weak by nature (5 seeds: 4 degrees of freedom); with one seed it
does not exist, and no difference is called significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.comparison import comparison_document
from tfrs_twotower.evaluation.resampling import holm, paired_t_test
from tfrs_twotower.evaluation.systems import ALPHA


@dataclass(frozen=True)
class SystemSeeds:
    """One system of one run.

    Attributes:
        run: name of the run.
        system: name of the system, such as `retrieval`.
        values: `[num_seeds, num_metrics, num_queries]`; one seed if nothing depends on it.
    """

    run: str
    system: str
    values: NDArray[np.float64]


def seed_figure(by_seed: Sequence[float]) -> comparison_document.SeedFigure:
    """Mean, standard deviation (ddof 1; None for one seed) and the values of one figure."""
    values = np.asarray(by_seed, np.float64)
    return comparison_document.SeedFigure(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        by_seed=tuple(values.tolist()),
    )


def paired_tests(
    pairs: Sequence[tuple[SystemSeeds, SystemSeeds]], metrics: tuple[str, ...]
) -> tuple[comparison_document.SeedTest, ...]:
    """Tests every pair on every metric; the whole list is the family of Holm's correction.

    Args:
        pairs: systems a and b, judged on the same queries in the same order, with the same seeds;
            one that does not depend on the seed counts as equal in each.
        metrics: names of the values' second axis.

    Returns:
        One entry for each pair and metric: difference = a - b, the p of both tests and the larger
        one, each as it is and after Holm (None for one seed), and whether the last is below .05.
    """
    if not pairs:
        return ()
    tested = [_test(a, b) for a, b in pairs]
    p_queries = np.concatenate([pair.p_over_queries for pair in tested])
    p_seeds = np.concatenate([pair.p_over_seeds for pair in tested])
    p_both = np.where(np.isnan(p_seeds), np.nan, np.fmax(p_queries, p_seeds))
    over_queries, over_seeds, both = (_with_holm(p) for p in (p_queries, p_seeds, p_both))
    differences = np.concatenate([pair.difference for pair in tested])
    return tuple(
        comparison_document.SeedTest(
            a=comparison_document.SystemOfRun(run=a.run, system=a.system),
            b=comparison_document.SystemOfRun(run=b.run, system=b.system),
            metric=metrics[place % len(metrics)],
            difference=float(differences[place]),
            seeds=tested[place // len(metrics)].num_seeds,
            over_queries=over_queries[place],
            over_seeds=over_seeds[place],
            both=both[place],
            significant=(p := both[place].p_holm) is not None and p < ALPHA,
        )
        for place, (a, b) in enumerate(pair for pair in pairs for _ in metrics)
    )


@dataclass(frozen=True)
class _TestedPair:
    """Differences and p-values of one pair, `[num_metrics]` each."""

    difference: NDArray[np.float64]
    p_over_queries: NDArray[np.float64]
    p_over_seeds: NDArray[np.float64]
    num_seeds: int


def _test(a: SystemSeeds, b: SystemSeeds) -> _TestedPair:
    if a.values.shape[1:] != b.values.shape[1:]:
        raise ValueError(
            f"{a.run} {a.system} has values {a.values.shape}, {b.run} {b.system} has "
            f"{b.values.shape}; give the same metrics and queries"
        )
    differences = a.values - b.values
    num_seeds = len(differences)
    by_seed = differences.mean(axis=2)
    several = num_seeds > 1
    return _TestedPair(
        difference=by_seed.mean(axis=0),
        p_over_queries=paired_t_test(differences.mean(axis=0).T),
        p_over_seeds=paired_t_test(by_seed) if several else np.full(by_seed.shape[1], np.nan),
        num_seeds=num_seeds,
    )


def _with_holm(p_values: NDArray[np.float64]) -> list[comparison_document.Probability]:
    """Each p and its correction; None for a p of NaN."""
    corrected = np.full(len(p_values), np.nan)
    known = ~np.isnan(p_values)
    corrected[known] = holm(p_values[known])
    return [
        comparison_document.Probability(
            p=float(p) if exists else None, p_holm=float(p_holm) if exists else None
        )
        for p, p_holm, exists in zip(p_values, corrected, known, strict=True)
    ]
