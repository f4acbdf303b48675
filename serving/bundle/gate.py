"""The release gate refuses a version that is smaller or measures worse than the served one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from serving.bundle import integrity, server_files, versions
from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.config import GateConfig
from tfrs_twotower.errors import ArtifactError, BundleError

MEASURES = "measures"
"""Key of a manifest's details for what was measured: `{"recall@100": 0.31, ...}`."""
EARLIER_MEASURES = "earlier_measures"
"""Key for what a refresh could not measure, from the version that it started from:
`{"recall@100": {"version": 1732159297, "value": 0.31, "candidates": 1682}, ...}`."""
_COVERAGE = ("coverage", "retrieval_coverage")
_RECALL = ("recall", "first_fit_recall")
# A longer list holds the shorter one, so that these cannot be smaller in it.
_GROW_WITH_K = (*_RECALL, *_COVERAGE)


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


class _Regression(NamedTuple):
    """Something that the gate does not let pass."""

    key: str
    """Key of the `export.gate` section that would let it pass."""
    needed: float | bool
    """With this value."""
    complaint: str


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
    regressions = [*_sizes(bundles, figures, gate), *_falls(bundles, figures, gate)]
    if regressions:
        needed: dict[str, float | bool] = {}
        for key, value, _ in regressions:
            needed[key] = max(value, needed.get(key, value))
        options = " ".join(
            f"--set export.gate.{key}={str(value).lower()}" for key, value in needed.items()
        )
        arguments = ", ".join(f"{key}={value}" for key, value in needed.items())
        name = ", ".join(map(str, bundles))
        complaints = "; ".join(complaint for _, _, complaint in regressions)
        raise BundleError(
            f"{name}: version {version} is refused by the release gate: {complaints}. Find out "
            f"why; if it is meant, repeat the command with {options} (in Python: "
            f"GateConfig({arguments}))."
        )


def _sizes(bundles: Sequence[Path], figures: Figures, gate: GateConfig) -> Iterator[_Regression]:
    """Sizes that are out of their limits."""
    for version, manifests in _compared(bundles):
        before, k = _num_candidates(manifests), min(manifest.counts["k"] for manifest in manifests)
        growth = figures.num_candidates / before - 1.0
        limits = {"max_shrink": (gate.max_shrink, -growth), "max_growth": (gate.max_growth, growth)}
        for key, (limit, change) in limits.items():
            if limit is not None and change > limit:
                more = "more" if growth > 0 else "fewer"
                yield _Regression(
                    key,
                    _limit_above(change),
                    f"it has {figures.num_candidates:,} candidates, {change:.1%} {more} than the "
                    f"{before:,} of version {version} (allowed {limit:.1%})",
                )
        if figures.k < k and not gate.allow_smaller_k:
            yield _Regression(
                "allow_smaller_k",
                True,
                f"its lists have {figures.k} candidates, and clients may ask version {version} for "
                f"{k}",
            )
        return


def _falls(bundles: Sequence[Path], figures: Figures, gate: GateConfig) -> Iterator[_Regression]:
    """Measures that fell too far."""
    for name, value in figures.measures.items():
        kind = name.partition("@")[0]
        key = f"max_{kind.rpartition('_')[2]}_drop"  # that of a qualified measure is the same
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
        drop = 1.0 - value / standard.value
        yield _Regression(
            key,
            min(1.0, _limit_above(drop)),
            f"{name} is {value:.4f}{note}, {drop:.1%} less than the "
            f"{standard.value:.4f} of {other}version {standard.version} (allowed {limit:.1%})",
        )


def _limit_above(change: float) -> float:
    """The limit in whole hundredths that lets a change pass, and hardly any larger one.

    Limits of an export stay with its bundle for later refreshes, so that none should be switched
    off for the sake of one version.
    """
    return round((math.floor(change * 100.0) + 1) / 100.0, 2)


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
                manifests = [integrity.listed_manifest(bundle / str(version)) for bundle in bundles]
            except ArtifactError:
                continue
            yield version, manifests
