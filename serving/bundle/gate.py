"""The release gate refuses a version that is smaller or measures worse than the served one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from serving.bundle import server_files, versions
from tfrs_twotower.artifacts import Manifest, read_manifest
from tfrs_twotower.config import GateConfig
from tfrs_twotower.errors import ArtifactError, BundleError

MEASURES = "measures"
"""Key of a manifest's details for what was measured: `{"recall@100": 0.31, ...}`."""
EARLIER_MEASURES = "earlier_measures"
"""Key for what a refresh could not measure, from the version that it started from:
`{"recall@100": {"version": 1732159297, "value": 0.31, "candidates": 1682}, ...}`."""
_COVERAGE = ("coverage", "retrieval_coverage")
# A longer list holds the shorter one, so that these cannot be smaller in it.
_GROW_WITH_K = ("recall", *_COVERAGE)


class Figures(NamedTuple):
    """What the gate compares of a version; shards are compared as the one version that they make.

    A client merges the lists of all shards, so `measures` are those of the merged lists.
    """

    num_candidates: int
    k: int
    """Length of every answer."""
    measures: Mapping[str, float] = {}
    """By name, such as `recall@100`; empty before anything was measured."""


class _Standard(NamedTuple):
    """A measure of an earlier version."""

    name: str
    value: float
    version: int
    num_candidates: int


def check_release(
    bundles: Sequence[Path], version: int, figures: Figures, gate: GateConfig
) -> None:
    """Compares a version with the served one, before it is published.

    The number of candidates and k are compared with the served version, a measure with the latest
    version that has it; unreadable manifests are skipped. Coverage is compared as a share of the
    smaller of both corpora, so that new candidates alone do not lower it. In a longer list recall
    and coverage are compared with those of the shorter one.

    Args:
        bundles: the directory of the bundle, or of all its shards.
        version: the number of the new version.
        figures: those of the new version.
        gate: the `export.gate` section.

    Raises:
        BundleError: the corpus shrank or grew, k fell, or a measure fell by more than is allowed.
    """
    regressions: list[str] = []
    overrides: dict[str, str] = {}
    for key, complaint in [*_sizes(bundles, figures, gate), *_falls(bundles, figures, gate)]:
        regressions.append(complaint)
        overrides[key] = "true" if key == "allow_smaller_k" else "null"
    if regressions:
        options = " ".join(f"--set export.gate.{key}={value}" for key, value in overrides.items())
        python = {"true": "True", "null": "None"}
        arguments = ", ".join(f"{key}={python[value]}" for key, value in overrides.items())
        name = ", ".join(map(str, bundles))
        raise BundleError(
            f"{name}: version {version} is refused by the release gate: {'; '.join(regressions)}. "
            f"Find out why; if it is meant, repeat the command with {options} (in Python: "
            f"GateConfig({arguments}))."
        )


def _sizes(
    bundles: Sequence[Path], figures: Figures, gate: GateConfig
) -> Iterator[tuple[str, str]]:
    """The key that allows it, and a complaint, for each size that is out of its limits."""
    for version, manifests in _compared(bundles):
        before, k = _num_candidates(manifests), min(manifest.counts["k"] for manifest in manifests)
        growth = figures.num_candidates / before - 1.0
        limits = {"max_shrink": (gate.max_shrink, -growth), "max_growth": (gate.max_growth, growth)}
        for key, (limit, change) in limits.items():
            if limit is not None and change > limit:
                more = "more" if growth > 0 else "fewer"
                yield (
                    key,
                    f"it has {figures.num_candidates:,} candidates, {change:.1%} {more} than the "
                    f"{before:,} of version {version} (allowed {limit:.1%})",
                )
        if figures.k < k and not gate.allow_smaller_k:
            yield (
                "allow_smaller_k",
                f"its lists have {figures.k} candidates, and clients may ask version {version} for "
                f"{k}",
            )
        return


def _falls(
    bundles: Sequence[Path], figures: Figures, gate: GateConfig
) -> Iterator[tuple[str, str]]:
    """The key that allows it, and a complaint, for each measure that fell too far."""
    for name, value in figures.measures.items():
        kind = name.partition("@")[0]
        key = f"max_{'coverage' if kind in _COVERAGE else kind}_drop"
        limit: float | None = getattr(gate, key)
        standard = _latest_with(bundles, name)
        if limit is None or standard is None:
            continue
        note = ""
        if kind in _COVERAGE and figures.num_candidates > standard.num_candidates:
            value *= figures.num_candidates / standard.num_candidates
            note = f" of {standard.num_candidates:,} candidates"
        if value >= standard.value * (1.0 - limit):
            continue
        other = "" if standard.name == name else f"{standard.name} in "
        yield (
            key,
            f"{name} is {value:.4f}{note}, {1.0 - value / standard.value:.1%} less than the "
            f"{standard.value:.4f} of {other}version {standard.version} (allowed {limit:.1%})",
        )


def kept_measures(
    manifest: Manifest, measures: Mapping[str, float], num_candidates: int
) -> dict[str, Any]:
    """The `earlier_measures` of a version that was made from another one.

    They keep the export's measures for comparison after refreshes have replaced its version.

    Args:
        manifest: that of the version that the new one was made from.
        measures: those of the new version itself.
        num_candidates: those of the earlier version, in all shards.
    """
    own = {
        name: {
            "version": manifest.counts["version"],
            "value": value,
            "candidates": num_candidates,
        }
        for name, value in manifest.details.get(MEASURES, {}).items()
    }
    known = {**manifest.details.get(EARLIER_MEASURES, {}), **own}
    return {name: value for name, value in known.items() if name not in measures}


def _latest_with(bundles: Sequence[Path], name: str) -> _Standard | None:
    """What a measure of a new version is compared with."""
    for version, manifests in _compared(bundles):
        known = {
            measure: _Standard(measure, float(value), version, _num_candidates(manifests))
            for measure, value in manifests[0].details.get(MEASURES, {}).items()
        }
        for measure, earlier in manifests[0].details.get(EARLIER_MEASURES, {}).items():
            size = earlier.get("candidates", _num_candidates(manifests))
            found = _Standard(measure, float(earlier["value"]), int(earlier["version"]), size)
            known.setdefault(measure, found)
        comparable = [standard for standard in known.values() if _comparable(standard.name, name)]
        if comparable:
            return max(comparable, key=lambda standard: _k_of(standard.name))
    return None


def _comparable(earlier: str, name: str) -> bool:
    kind = name.partition("@")[0]
    if kind not in _GROW_WITH_K:
        return earlier == name
    return earlier.partition("@")[0] == kind and _k_of(earlier) <= _k_of(name)


def _k_of(name: str) -> int:
    return int(name.partition("@")[2])


def _num_candidates(manifests: Sequence[Manifest]) -> int:
    return sum(manifest.counts["candidates"] for manifest in manifests)


def _compared(bundles: Sequence[Path]) -> Iterator[tuple[int, list[Manifest]]]:
    """Versions from the served one back, with the manifest of each bundle.

    Those that a rollback left behind are skipped, and those that cannot be read in every bundle.
    """
    pinned = server_files.pinned_version(bundles[0])
    for version in reversed(versions.list_versions(bundles[0])):
        if pinned is None or version <= pinned:
            try:
                manifests = [read_manifest(bundle / str(version), "bundle") for bundle in bundles]
            except ArtifactError:
                continue
            yield version, manifests
