"""The verdict of an evaluation: how the model stands against each baseline, as data and in words.

A standing is that of the model: `ahead` where it is significantly better than the baseline after
Holm's correction (Holm 1979), `behind` where it is significantly worse. No significant difference
is `level`, which says that these queries cannot tell the two apart, not that they are equal.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from tfrs_twotower.evaluation.evaluation_document import EvaluationDocument, Standing, Verdict
from tfrs_twotower.evaluation.remedies import Served, advice, joined
from tfrs_twotower.evaluation.systems import MODEL_SYSTEMS, label

_NAMED = 3


class Difference(Protocol):
    """A tested difference of the model and a baseline, such as an entry of `comparisons`."""

    @property
    def metric(self) -> str:
        """The metric that is compared."""

    @property
    def difference(self) -> float:
        """Mean of the model minus mean of the baseline."""

    @property
    def significant(self) -> bool:
        """Whether the difference is significant after the correction."""


def standing_of(difference: float, *, significant: bool) -> Standing:
    """The model's standing, given its mean minus the baseline's."""
    return "level" if not significant else "ahead" if difference > 0 else "behind"


def served_stage(document: EvaluationDocument) -> str:
    """The stage whose lists are served: `cascade`, or `retrieval` where nothing ranks after it."""
    return "retrieval" if document.funnel.pool is None else "cascade"


def verdict_of(document: EvaluationDocument, stage: str | None = None) -> Verdict:
    """The verdict on the served stage, or on another one, by `document.comparisons`."""
    system = stage or served_stage(document)
    entries = [entry for entry in document.comparisons if entry.a == system]
    against = {entry.b: [e for e in entries if e.b == entry.b] for entry in entries}
    fused = [entry for entry in entries if entry.b == "hybrid" and entry.significant]
    return judge(
        system,
        {name: found for name, found in against.items() if name not in MODEL_SYSTEMS},
        served=Served.of(document),
        gains_from_fusion=any(entry.difference < 0 for entry in fused),
    )


def judge(
    system: str,
    differences: Mapping[str, Iterable[Difference]],
    *,
    tested: bool = True,
    served: Served | None = None,
    gains_from_fusion: bool = False,
) -> Verdict:
    """The verdict on one system.

    Args:
        system: the model's stage that is judged.
        differences: model minus baseline in each metric, by baseline.
        tested: False where the differences have no test, such as those of a single seed.
        served: what the advice may know of the served system.
        gains_from_fusion: whether the model fused with BM25 is significantly better.
    """
    against: dict[str, dict[str, Standing]] = {
        name: {
            entry.metric: standing_of(entry.difference, significant=entry.significant)
            if tested
            else "untested"
            for entry in entries
        }
        for name, entries in differences.items()
    }
    every = [standing for metrics in against.values() for standing in metrics.values()]
    standing: Standing = "level"
    if not tested or not every:
        standing = "untested"
    elif "behind" in every:
        standing = "behind"
    elif set(every) == {"ahead"}:
        standing = "ahead"
    return Verdict(
        system=system,
        standing=standing,
        against=against,
        advice=advice(
            system,
            against,
            served or Served(),
            gains_from_fusion=gains_from_fusion,
        ),
    )


def baselines_by_standing(verdict: Verdict, standing: Standing) -> dict[str, list[str]]:
    """The metrics in which the model has that standing, by baseline; without empty ones."""
    found = {
        name: [metric for metric, one in metrics.items() if one == standing]
        for name, metrics in verdict.against.items()
    }
    return {name: metrics for name, metrics in found.items() if metrics}


def badge(verdict: Verdict) -> str:
    """The verdict in a few words, such as `behind item kNN in recall@100`."""
    if not verdict.against:
        return "not compared with a baseline"
    if verdict.standing == "untested":
        return "not tested against the baselines"
    if verdict.standing == "ahead":
        return "ahead of every baseline"
    concerned = baselines_by_standing(verdict, verdict.standing)
    preposition = "level with" if verdict.standing == "level" else "behind"
    whole = all(len(metrics) == len(verdict.against[name]) for name, metrics in concerned.items())
    if len(concerned) == len(verdict.against) > 1 and whole:
        return f"{preposition} every baseline"
    if len(concerned) > _NAMED:
        return f"{preposition} {len(concerned)} of {len(verdict.against)} baselines"
    parts = [
        label(name)
        if len(metrics) == len(verdict.against[name])
        else f"{label(name)} in {joined(metrics)}"
        for name, metrics in concerned.items()
    ]
    return f"{preposition} {', '.join(parts)}"


def against_each(verdict: Verdict, model: str = "") -> str:
    """One sentence that names every baseline and the model's standing against it.

    Args:
        verdict: how the model stands.
        model: name of the model; by default that of its stage.
    """
    model = model or verdict.system.capitalize()
    if not verdict.against:
        return f"{model}: no baseline was compared with it."
    if verdict.standing == "untested":
        names = joined([label(name) for name in verdict.against])
        return f"{model}: not tested against {names}."
    groups: dict[Standing, list[str]] = {"ahead": [], "level": [], "behind": []}
    mixed = []
    for name, metrics in verdict.against.items():
        standings = set(metrics.values())
        if len(standings) == 1:
            groups[standings.pop()].append(label(name))
        else:
            mixed.append(f"{_by_metric(metrics)} against {label(name)}")
    words = {"ahead": "ahead of", "level": "level with", "behind": "behind"}
    parts = [f"{words[one]} {joined(names)}" for one, names in groups.items() if names]
    return f"{model}: {'; '.join([*parts, *mixed])}."


def _by_metric(metrics: Mapping[str, Standing]) -> str:
    order: tuple[Standing, ...] = ("behind", "level", "ahead")
    found = {one: [m for m, standing in metrics.items() if standing == one] for one in order}
    return ", ".join(f"{one} in {joined(names)}" for one, names in found.items() if names)
