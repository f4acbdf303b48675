"""The release gate refuses a version that measures worse than the served one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.bundle import server_files, versions
from tfrs_twotower.artifacts import Manifest, read_manifest
from tfrs_twotower.config import GateConfig
from tfrs_twotower.errors import ArtifactError, BundleError

MEASURES = "measures"
"""Key of a manifest's details for what was measured: `{"recall@100": 0.31, ...}`."""
EARLIER_MEASURES = "earlier_measures"
"""Key for what a refresh could not measure, from the version that it started from:
`{"recall@100": {"version": 1732159297, "value": 0.31}, ...}`."""


def check_release(
    bundle: Path, version: int, measures: Mapping[str, float], gate: GateConfig
) -> None:
    """Compares a version with the served one, before it is published.

    A measure that the served version lacks is compared with the latest earlier version that has
    it; unreadable manifests are skipped. Measures with another list length are different measures.
    The data is not considered: versions are compared even if the split changed or the corpus grew.

    Args:
        bundle: the bundle's directory.
        version: the number of the new version.
        measures: measures of the new version, such as `recall@100`.
        gate: the `export.gate` section.

    Raises:
        BundleError: a measure fell by more than is allowed.
    """
    allowed = {
        "recall": ("max_recall_drop", gate.max_recall_drop),
        "first_fit_recall": ("max_recall_drop", gate.max_recall_drop),
        "overlap": ("max_overlap_drop", gate.max_overlap_drop),
        "perturbed_overlap": ("max_overlap_drop", gate.max_overlap_drop),
        "coverage": ("max_coverage_drop", gate.max_coverage_drop),
        "retrieval_coverage": ("max_coverage_drop", gate.max_coverage_drop),
    }
    regressions: list[str] = []
    overrides: dict[str, None] = {}
    for name, value in measures.items():
        key, limit = allowed[name.partition("@")[0]]
        earlier = _latest_with(bundle, name)
        if limit is None or earlier is None or value >= earlier[1] * (1.0 - limit):
            continue
        number, before = earlier
        regressions.append(
            f"{name} is {value:.4f}, {1.0 - value / before:.1%} less than the {before:.4f} of "
            f"version {number} (allowed {limit:.1%})"
        )
        overrides[f"--set export.gate.{key}=null"] = None
    if regressions:
        raise BundleError(
            f"{bundle}: version {version} is refused by the release gate: "
            f"{'; '.join(regressions)}. Find out why; if it is meant, export with "
            f"{' '.join(overrides)}."
        )


def kept_measures(manifest: Manifest, measures: Mapping[str, float]) -> dict[str, Any]:
    """The `earlier_measures` of a version that was made from another one.

    They keep the export's measures for comparison after refreshes have replaced its version.

    Args:
        manifest: that of the version that the new one was made from.
        measures: those of the new version itself.
    """
    version = manifest.counts["version"]
    own = {
        name: {"version": version, "value": value}
        for name, value in manifest.details.get(MEASURES, {}).items()
    }
    known = {**manifest.details.get(EARLIER_MEASURES, {}), **own}
    return {name: value for name, value in known.items() if name not in measures}


def _latest_with(bundle: Path, name: str) -> tuple[int, float] | None:
    """The version that a new one is compared with, and its value of the measure."""
    for version in _compared_versions(bundle):
        try:
            details = read_manifest(bundle / str(version), "bundle").details
        except ArtifactError:
            continue
        if name in (measures := details.get(MEASURES, {})):
            return version, float(measures[name])
        if name in (earlier := details.get(EARLIER_MEASURES, {})):
            return int(earlier[name]["version"]), float(earlier[name]["value"])
    return None


def _compared_versions(bundle: Path) -> Iterator[int]:
    """Versions from the served one back; those that a rollback left behind are skipped."""
    pinned = server_files.pinned_version(bundle)
    for version in reversed(versions.list_versions(bundle)):
        if pinned is None or version <= pinned:
            yield version
