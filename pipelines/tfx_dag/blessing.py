"""Whether a new version may be pushed: the release gate, and what the evaluation found.

The stages' own gate compares a version with those beside it. In a TFX pipeline each export has a
directory of its own, so the version is compared with what the Pusher has pushed before, also on
the test queries of this run (`same_queries`). The
judgement is data, so that a version that is refused ends as `NOT_BLESSED` and not as a failure.
Nothing here imports TFX.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.stages.context import StageContext
from pipelines.tfx_dag import same_queries
from serving.bundle import gate, integrity, versions
from tfrs_twotower.artifacts.layout import EVALUATION
from tfrs_twotower.errors import BundleError, ConfigError, did_you_mean


@dataclass(frozen=True)
class Judgement:
    """The decision on one version."""

    reasons: tuple[str, ...]
    """Why the version must not be pushed; empty if it may be."""
    compared_with: int | None
    """Number of the newest pushed version; None if nothing was pushed yet."""

    @property
    def is_blessed(self) -> bool:
        """Whether the version may be pushed."""
        return not self.reasons

    def as_json(self) -> str:
        """The judgement as the artifact of a blessing holds it."""
        found = {"blessed": self.is_blessed, "reasons": self.reasons}
        return json.dumps({**found, "compared_with": self.compared_with}, indent=2) + "\n"


def judge(
    context: StageContext,
    version_dir: Path,
    pushed: Path,
    report: Path | None,
    floors: Mapping[str, float],
) -> Judgement:
    """Judges a new version.

    Args:
        context: the run: `export.gate` says how far the version may fall behind the newest pushed
            one, and the preprocessed data has the queries.
        version_dir: directory of the new version.
        pushed: the directory that the Pusher pushes into; it need not exist.
        report: directory of the evaluation's report; None where the run has no test query.
        floors: least values of metrics of the served system, such as `{"recall@20": 0.1}`.

    Raises:
        ConfigError: a floor names a metric that was not measured.
        ArtifactError: the new version or its report cannot be read.
    """
    manifest = integrity.listed_manifest(version_dir)
    numbers = versions.list_versions(pushed)
    reasons = []
    figures = gate.Figures(
        manifest.counts["candidates"], manifest.counts["k"], manifest.details[gate.MEASURES]
    )
    try:
        gate.check_release(
            [pushed], manifest.counts["version"], figures, context.config.export.gate
        )
    except BundleError as refusal:
        reasons.append(str(refusal))
    if report is not None and numbers:
        reasons += same_queries.falls(context, version_dir, pushed / str(numbers[-1]))
    if report is not None:
        document = json.loads((report / EVALUATION).read_text(encoding="utf-8"))
        reasons += _below_popularity(document)
        reasons += _below_floors(document, floors)
    elif floors:
        raise ConfigError(
            f"floors: {', '.join(floors)} cannot be measured, because the split has no test query. "
            "Leave the floors out, or give the split test events (split in the feature spec)."
        )
    return Judgement(tuple(reasons), numbers[-1] if numbers else None)


def _below_popularity(document: Mapping[str, Any]) -> Iterator[str]:
    """A model that is significantly worse than what knows no query has learned nothing."""
    verdict = document.get("verdict") or {}
    standings = verdict.get("against", {}).get("popularity", {})
    behind = [metric for metric, standing in standings.items() if standing == "behind"]
    if behind:
        yield (
            f"the {verdict['system']} is significantly worse than popularity in "
            f"{', '.join(behind)} on the test queries"
        )


def _below_floors(document: Mapping[str, Any], floors: Mapping[str, float]) -> Iterator[str]:
    system = (document.get("verdict") or {}).get("system", "retrieval")
    metrics = document["systems"][system]["metrics"]
    for name, floor in floors.items():
        if name not in metrics:
            raise ConfigError(
                f"floors: '{name}' is not measured{did_you_mean(name, metrics)}; the evaluation "
                f"has {', '.join(sorted(metrics))}. Name one of them, or add its length to "
                "evaluate.ks."
            )
        value = metrics[name]["mean"]
        if not value >= floor:
            yield f"{name} of the {system} is {value:.4f} on the test queries, below {floor:g}"
