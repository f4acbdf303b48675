"""Statistics over seeds: mean and deviation, and paired tests that mind both sources of noise.

Two things are drawn at random: the test queries, and all that a seed decides (initial weights, the
order of the examples, sampled negatives). A difference is believed only if it holds up against
both, so each is tested twice:

- over queries: each query's values are averaged over the seeds, and Student's paired t-test asks
  whether other queries would show the same. It says nothing about training again.
- over seeds: each seed's values are averaged over the queries, and Student's paired t-test (by
  seed) asks whether other trainings would show the same. It says nothing about other queries.

The p of the difference is the larger of the two, an intersection-union test (Berger 1982): its
level is kept, and both questions are answered with one number. Holm's correction is over the whole
family of pairs and metrics that is passed in. The t-test stands for the randomisation test here,
because a corrected p of a randomisation cannot fall below family size / resamples.

With few seeds the second test is weak by nature (5 seeds: 4 degrees of freedom); with one there is
none, and no difference is called significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.significance import ALPHA, holm, paired_t_test


@dataclass(frozen=True)
class SystemSeeds:
    """One system of one run.

    Attributes:
        run: name of the run.
        system: such as `retrieval`.
        values: `[num_seeds, num_metrics, num_queries]`; one seed where nothing depends on it.
    """

    run: str
    system: str
    values: NDArray[np.float64]


def spread(by_seed: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation (ddof 1; None for one seed) and the values of one figure."""
    values = np.asarray(by_seed, np.float64)
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "by_seed": values.tolist(),
    }


def paired_tests(
    pairs: Sequence[tuple[SystemSeeds, SystemSeeds]], metrics: tuple[str, ...]
) -> list[dict[str, Any]]:
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
        return []
    tested = [_test(a, b) for a, b in pairs]
    p = {
        kind: np.concatenate([getattr(found, kind) for found in tested])
        for kind in ("over_queries", "over_seeds")
    }
    p["both"] = np.fmax(p["over_queries"], p["over_seeds"])
    p["both"][np.isnan(p["over_seeds"])] = np.nan
    corrected = {kind: _holm_where_known(values) for kind, values in p.items()}
    return [
        {
            "a": {"run": a.run, "system": a.system},
            "b": {"run": b.run, "system": b.system},
            "metric": metric,
            "difference": float(found.difference[column]),
            "seeds": found.num_seeds,
            **{
                kind: {"p": _or_none(p[kind][place]), "p_holm": _or_none(corrected[kind][place])}
                for kind in p
            },
            "significant": bool(corrected["both"][place] < ALPHA),
        }
        for place, (a, b, found, column, metric) in enumerate(
            (a, b, found, column, metric)
            for (a, b), found in zip(pairs, tested, strict=True)
            for column, metric in enumerate(metrics)
        )
    ]


@dataclass(frozen=True)
class _Tested:
    """One pair: `[num_metrics]` each."""

    difference: NDArray[np.float64]
    over_queries: NDArray[np.float64]
    over_seeds: NDArray[np.float64]
    num_seeds: int


def _test(a: SystemSeeds, b: SystemSeeds) -> _Tested:
    if a.values.shape[1:] != b.values.shape[1:]:
        raise ValueError(
            f"{a.run} {a.system} has values {a.values.shape}, {b.run} {b.system} has "
            f"{b.values.shape}; give the same metrics and queries"
        )
    differences = a.values - b.values
    num_seeds = len(differences)
    by_seed = differences.mean(axis=2)
    return _Tested(
        difference=by_seed.mean(axis=0),
        over_queries=paired_t_test(differences.mean(axis=0).T),
        over_seeds=paired_t_test(by_seed) if num_seeds > 1 else np.full(by_seed.shape[1], np.nan),
        num_seeds=num_seeds,
    )


def _holm_where_known(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    corrected = np.full(len(p_values), np.nan)
    known = ~np.isnan(p_values)
    corrected[known] = holm(p_values[known])
    return corrected


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
