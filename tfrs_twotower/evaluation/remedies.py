"""What to set next, where the served system is behind a baseline or not ahead of it.

Nearly every baseline can be a part of what is served, as a member of the second stage or beside the
first stage's vectors, and then the fitted weights decide how much it counts. Being behind one is
therefore a setting that is missing, a first stage that does not find what the baseline finds, or a
setting that is to be searched for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tfrs_twotower.evaluation.evaluation_document import EvaluationDocument, Standing
from tfrs_twotower.evaluation.systems import label

_TUNE = "`twotower tune RUN.yaml --workdir DIR --minutes 20`"


class _Remedy(NamedTuple):
    baselines: tuple[str, ...]
    member: str
    """Part of the names that the member's scores have in the weighted sum."""
    second_stage: str
    """Setting that makes the baseline a member of the second stage."""
    first_stage: str
    """Setting that lets retrieval find what the baseline finds."""
    needs: str = ""


_HISTORY = ", for which the query side needs a feature of kind `history`"
_REMEDIES = (
    _Remedy(
        ("ease", "rdlae", "recent_ease", "ials"),
        "ease",
        "`pre_ranking.ease: {}`",
        "`model.wide: {}`",
        _HISTORY,
    ),
    _Remedy(("item_knn",), "item_knn", "`pre_ranking.item_knn: {}`", "`model.wide: {}`", _HISTORY),
    _Remedy(
        ("popularity", "recent_popularity"),
        "log_count",
        "`pre_ranking.popularity_days: [null, 30, 7]`",
        "`model.wide: {}` or `training.softmax.logq: none`",
    ),
    _Remedy(
        ("bm25",),
        "bm25",
        "`pre_ranking.bm25: {}`",
        "`index.kind: hybrid`",
        ", for which both sides need features of kind `text`",
    ),
)


@dataclass(frozen=True)
class Served:
    """What the advice knows of the served system.

    Attributes:
        features: names of the scores in the weighted sum of the second stage; empty without one.
        limited: for each baseline, the metrics in which even the best order of the retrieved pool
            would not reach it.
    """

    features: tuple[str, ...] = ()
    limited: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, document: EvaluationDocument) -> "Served":
        """What a report says of it."""
        pool = document.funnel.pool
        if pool is None:
            return cls()
        limited = {
            name: [
                metric
                for metric, best in pool.best.items()
                if metric in system.metrics and best.mean <= system.metrics[metric].mean
            ]
            for name, system in document.systems.items()
        }
        return cls(tuple(pool.weights), limited)


def advice(
    system: str,
    against: Mapping[str, Mapping[str, Standing]],
    served: Served,
    *,
    gains_from_fusion: bool = False,
) -> tuple[str, ...]:
    """What to set next: one step for each kind of baseline that the system is behind, then others.

    Args:
        system: the served stage.
        against: its standing against each baseline by metric.
        served: what is known of it.
        gains_from_fusion: whether the model fused with BM25 is significantly better.
    """
    behind = {
        name: [metric for metric, standing in metrics.items() if standing == "behind"]
        for name, metrics in against.items()
    }
    behind = {name: metrics for name, metrics in behind.items() if metrics}
    steps = []
    for remedy in _REMEDIES:
        metrics = {name: behind[name] for name in remedy.baselines if name in behind}
        if metrics:
            steps.append(_step(system, remedy, metrics, served))
    if gains_from_fusion and "bm25" not in behind:
        steps.append(
            "The model fused with BM25 (hybrid) is significantly better than the model alone: set "
            "`index.kind: hybrid`, and give the text features a stronger encoder (`encoder: "
            "transformer` or `pretrained` in the feature spec)."
        )
    if behind:
        steps.append(f"Then let {_TUNE} search the other settings.")
    elif any("level" in metrics.values() for metrics in against.values()):
        steps.append(
            "Level means that these test queries show no significant difference: evaluate more of "
            "them (`evaluate.max_queries`, or a larger test share in the spec's `split`), or train "
            "several seeds with `twotower compare`."
        )
    return tuple(steps)


def _step(system: str, remedy: _Remedy, behind: Mapping[str, Sequence[str]], served: Served) -> str:
    metrics = list(dict.fromkeys(metric for found in behind.values() for metric in found))
    where = f"Behind {joined([label(name) for name in behind])} in {joined(metrics)}: "
    limited = list(
        dict.fromkeys(
            metric
            for name, found in behind.items()
            for metric in found
            if metric in served.limited.get(name, ())
        )
    )
    if limited:
        return (
            f"{where}the first stage is the limit in {joined(limited)}, because no order of the "
            f"candidates that it passes on would be enough. Set {remedy.first_stage}"
            f"{remedy.needs}, or a larger `pre_ranking.num_candidates`."
        )
    if system == "retrieval":
        return (
            f"{where}set {remedy.first_stage}, or add a second stage (`pre_ranking`) with "
            f"{remedy.second_stage}{remedy.needs}."
        )
    if any(remedy.member in feature for feature in served.features):
        return (
            f"{where}{remedy.second_stage.partition(':')[0].strip('`')} is a member already; set "
            f"{remedy.first_stage} too, and let {_TUNE} search its settings."
        )
    return f"{where}set {remedy.second_stage}{remedy.needs}."


def joined(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
