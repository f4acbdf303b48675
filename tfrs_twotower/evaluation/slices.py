"""Parts of the test queries, and parts of what is relevant, looked at alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.inputs import TRAIN, EvaluationInputs
from tfrs_twotower.evaluation.systems import SystemRun, figures_of
from tfrs_twotower.metrics import GroundTruth, judge

HEAD_SHARE = 0.8
_HISTORY_BUCKETS = ((0, 0), (1, 5), (6, 20), (21, 50), (51, 200), (201, None))


@dataclass(frozen=True)
class Slice:
    """Some relevant candidates of some queries.

    Attributes:
        name: key in the report.
        title: what it is, in words.
        keep: `[num relevant pairs]` which pairs of the ground truth belong to it.
    """

    name: str
    title: str
    keep: NDArray[np.bool_]


def head_candidates(count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`[num_candidates]`: the fewest candidates that hold 80 % of the training interactions.

    Ties go to the lower row.
    """
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    head = np.zeros(len(count), bool)
    head[order] = (before < HEAD_SHARE * count.sum()) & (count[order] > 0)
    return head


def make_slices(inputs: EvaluationInputs) -> list[Slice]:
    """The slices of this data that hold at least one relevant pair."""
    truth = inputs.test.truth.relevant
    owners, rows = truth.owners, truth.values
    head = head_candidates(inputs.corpus.count)[rows]
    new = inputs.corpus.count[rows] == 0
    trained = np.zeros(max(len(inputs.log.query_ids), 1), bool)
    trained[inputs.log.query[inputs.log.split == TRAIN]] = True
    codes = inputs.log.codes_of(inputs.test.ids)
    warm = (codes >= 0) & trained[np.maximum(codes, 0)]
    found = [
        Slice("candidates_head", "candidates of the head (80 % of training)", head),
        Slice("candidates_tail", "candidates of the tail", ~head & ~new),
        Slice("candidates_new", "candidates new since training", new),
        Slice("queries_warm", "queries known from training", warm[owners]),
        Slice("queries_cold", "queries new since training", ~warm[owners]),
    ]
    events = inputs.test.num_events
    for low, high in _HISTORY_BUCKETS:
        inside = (events >= low) & (events <= (high if high is not None else events))
        label = str(low) if low == high else f"{low}-{high}" if high is not None else f"{low}+"
        found.append(
            Slice(
                f"history_{label}", f"{label.replace('-', ' to ')} earlier events", inside[owners]
            )
        )
    return [part for part in found if part.keep.any()]


def slice_figures(
    run: SystemRun,
    inputs: EvaluationInputs,
    slices: list[Slice],
    metrics: tuple[str, ...],
    *,
    num_bootstrap: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Metrics of one system in each slice, with the number of queries and relevant pairs.

    A slice of candidates keeps the full ranking and restricts what counts as relevant.
    """
    result = {}
    for part in slices:
        truth: GroundTruth = inputs.test.truth.where(part.keep)
        queries = np.flatnonzero(truth.relevant.lengths > 0)
        judged = judge(run.ranked[queries], truth.take(queries))
        result[part.name] = {
            "title": part.title,
            "queries": len(queries),
            "relevant": int(part.keep.sum()),
            "metrics": figures_of(judged, metrics, num_bootstrap, seed),
        }
    return result
