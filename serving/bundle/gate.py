"""The release gate: a version that measures worse than the one that is served is not published."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.bundle import server_files, versions
from tfrs_twotower.artifacts import Manifest, read_manifest
from tfrs_twotower.config import GateConfig
from tfrs_twotower.errors import ArtifactError, BundleError

MEASURES = "measures"
"""Where a manifest's details hold what was measured: `{"recall@100": 0.31, ...}`."""
EARLIER_MEASURES = "earlier_measures"
"""Where they hold what a refresh could not measure, of the version that it came from:
`{"recall@100": {"version": 1732159297, "value": 0.31}, ...}`."""


def check_release(
    bundle: Path, version: int, measures: Mapping[str, float], gate: GateConfig
) -> None:
    """Compares a version with the one that is served, before it is published.

    A measure that the served version lacks is compared with the latest earlier version that has
    it; manifests that cannot be read are passed over. Measures of
    another list length are other measures. What the data was plays no part: another split or a
    grown corpus is compared all the same.

    Args:
        bundle: the bundle's directory.
        version: the number of the new version.
        measures: of the new version, such as `recall@100`.
        gate: the `export.gate` section.

    Raises:
        BundleError: a measure fell by more than is allowed.
    """
    allowed = {
        "recall": ("max_recall_drop", gate.max_recall_drop),
        "overlap": ("max_overlap_drop", gate.max_overlap_drop),
        "coverage": ("max_coverage_drop", gate.max_coverage_drop),
        "retrieval_coverage": ("max_coverage_drop", gate.max_coverage_drop),
    }
    falls: list[str] = []
    keys: dict[str, None] = {}
    for name, value in measures.items():
        key, limit = allowed[name.partition("@")[0]]
        earlier = _latest_with(bundle, name)
        if limit is None or earlier is None or value >= earlier[1] * (1.0 - limit):
            continue
        number, before = earlier
        falls.append(
            f"{name} is {value:.4f}, {1.0 - value / before:.1%} less than the {before:.4f} of "
            f"version {number} (allowed {limit:.1%})"
        )
        keys[f"--set export.gate.{key}=null"] = None
    if falls:
        raise BundleError(
            f"{bundle}: version {version} is refused by the release gate: {'; '.join(falls)}. "
            f"Find out why; if it is meant, export with {' '.join(keys)}."
        )


def _latest_with(bundle: Path, name: str) -> tuple[int, float] | None:
    """The version that a new one is compared with, and its measure."""
    for version in _from_the_served_one(bundle):
        try:
            details = read_manifest(bundle / str(version), "bundle").details
        except ArtifactError:
            continue
        if name in (measures := details.get(MEASURES, {})):
            return version, float(measures[name])
        if name in (earlier := details.get(EARLIER_MEASURES, {})):
            return int(earlier[name]["version"]), float(earlier[name]["value"])
    return None


def kept_measures(manifest: Manifest, measures: Mapping[str, float]) -> dict[str, Any]:
    """The `earlier_measures` of a version that was made from another one.

    Without them nothing would be left to compare with once refreshes pushed the last export out.

    Args:
        manifest: of the version that it was made from.
        measures: what is measured of the new version itself.
    """
    version = manifest.counts["version"]
    own = {
        name: {"version": version, "value": value}
        for name, value in manifest.details.get(MEASURES, {}).items()
    }
    known = {**manifest.details.get(EARLIER_MEASURES, {}), **own}
    return {name: value for name, value in known.items() if name not in measures}


def _from_the_served_one(bundle: Path) -> Iterator[int]:
    """Versions backwards; one that was rolled back from is no standard."""
    pinned = server_files.pinned_version(bundle)
    for version in reversed(versions.list_versions(bundle)):
        if pinned is None or version <= pinned:
            yield version
