"""Refreshes a bundle: publishes a version with other candidates and the same towers."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.bundle import gate, history, integrity, measures, publishing, versions, writing
from serving.bundle.shards_together import ShardReleases, with_joint_statistics
from serving.graph.release import Release
from serving.refresh.changes import CorpusChanges, encode_candidates
from serving.refresh.refreshed_release import (
    CandidateEncoder,
    Refreshable,
    RefreshRequest,
    refreshed_release,
)
from tfrs_twotower.config import GateConfig
from tfrs_twotower.errors import BundleError


@dataclass(frozen=True)
class RefreshedBundle:
    """The outcome for one bundle."""

    bundle: Path
    written: publishing.WrittenBundle | None
    """None if nothing changed, in any shard."""
    changes: CorpusChanges
    served: int
    """The version that is served now."""


def refresh_bundles(
    bundles: Sequence[Path],
    request: RefreshRequest,
    encode: CandidateEncoder = encode_candidates,
    *,
    gate_config: GateConfig | None = None,
    arguments: str = "",
) -> list[RefreshedBundle]:
    """Publishes a refreshed version of every bundle, or of none.

    Each refresh starts from the served version, also after a rollback. A request that changes
    nothing publishes nothing.

    Args:
        bundles: the directory of a bundle, or the directories of all its shards, each of which
            takes its own part of the given candidates.
        request: the candidates to add, change and withdraw.
        encode: runs a candidate tower over raw features.
        gate_config: limits of the release gate for this refresh; by default those that the version
            was exported with.
        arguments: of the command, for the record of what made the version.

    Returns:
        The outcome for each bundle.

    Raises:
        ArtifactError: a file of a bundle was changed or is missing.
        BundleError: a bundle cannot be refreshed, no candidate would be left, or the release gate
            refused the version.
        EmbeddingError: a vector is not finite or has norm zero.
        IndexQualityError: a new index misses the target overlap.
    """
    with ExitStack() as stack:
        for bundle in bundles:
            versions.resolve_version(bundle)  # a bundle that does not exist has nothing to lock
        version = max(versions.next_version(bundle) for bundle in bundles)
        staged = [
            stack.enter_context(publishing.stage_version(bundle, version)) for bundle in bundles
        ]
        # Read under the lock, so that a refresh that ended just now is not undone.
        before = _served_directories(bundles)
        plans = [Refreshable.of_version(directory).plan(request) for directory in before]
        changes, served = [plan.changes for plan in plans], int(before[0].name)
        if all(change.nothing for change in changes):
            return [
                RefreshedBundle(bundle, None, change, served)
                for bundle, change in zip(bundles, changes, strict=True)
            ]
        export = plans[0].kept.settings.export
        limits = gate_config or export.gate
        sizes = [len(change.ids) for change in changes]
        k = min(export.k, *sizes)
        # Before anything is embedded: what a tiny corpus breaks later is only a consequence.
        gate.check_release(bundles, version, gate.Figures(sum(sizes), k), limits)
        releases = with_joint_statistics([refreshed_release(plan, encode) for plan in plans])
        finished = writing.write_releases(
            list(zip(staged, releases, strict=True)),
            lambda _: _measured(releases, before),
            made_by=history.MadeBy(
                command=history.REFRESH,
                arguments=arguments,
                original=history.original_of(bundles[0], served),
            ),
            gate=limits,
        )
        return [
            RefreshedBundle(bundle, written, change, version)
            for bundle, written, change in zip(
                bundles, publishing.publish(finished), changes, strict=True
            )
        ]


def _served_directories(bundles: Sequence[Path]) -> list[Path]:
    """The directory of the served version in each bundle.

    Raises:
        BundleError: the shards serve different versions.
    """
    directories = [versions.resolve_version(bundle) for bundle in bundles]
    numbers = {directory.name for directory in directories}
    if len(numbers) > 1:
        raise BundleError(
            f"{', '.join(map(str, directories))}: the shards serve different versions, as after a "
            "publication that was interrupted, and must start from one. `twotower rollback BUNDLE "
            "--to VERSION`, with the name of the bundle without -shard-..., serves one that all "
            "have; then refresh again."
        )
    return directories


def _measured(releases: Sequence[Release], before: Sequence[Path]) -> Mapping[str, Any]:
    together = releases[0] if len(releases) == 1 else ShardReleases(releases)
    found = measures.measure_retrieval(together)
    manifests = [integrity.listed_manifest(directory) for directory in before]
    num_candidates = sum(manifest.counts["candidates"] for manifest in manifests)
    return {
        gate.MEASURES: found.values,
        measures.WORST_DECILE: found.worst_decile,
        gate.EARLIER_MEASURES: gate.kept_measures(manifests[0], found.values, num_candidates),
    }
