"""Fresh candidates without training: a new version of a bundle out of its latest and a table.

The bundle's own towers embed the candidates that are new or whose features changed; everything
else (vectors, heads, signals) is taken over. A new candidate has no interactions: its popularity
signals and its EASE vector are zeros until the next training.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.candidate_encoding import encode_candidates
from serving.corpus_changes import CorpusChanges
from serving.loading import LoadedModel
from serving.publishing import FinishedVersion, WrittenBundle, publish, stage_version
from serving.refreshed_release import Encode, Given, refreshed_release
from serving.release import Release, measure_retrieval, write_release
from serving.release_gate import EARLIER_MEASURES, MEASURES, kept_measures
from serving.versions import next_version, resolve_version
from tfrs_twotower.artifacts import Manifest, read_manifest


@dataclass(frozen=True)
class Refreshed:
    """What became of one bundle."""

    written: WrittenBundle
    changes: CorpusChanges


def refresh_bundles(
    bundles: Sequence[Path], given: Given, encode: Encode = encode_candidates
) -> list[Refreshed]:
    """Publishes a new version of every bundle, or of none.

    It starts from the version that is served: after a rollback from that one.

    Args:
        bundles: one bundle's directory, or those of all its shards, each of which takes what is
            its own of the given candidates.
        given: which candidates come, change and go.
        encode: runs a candidate tower over raw features.

    Returns:
        One for each bundle.

    Raises:
        ArtifactError: a file of a bundle was changed or is missing.
        BundleError: a bundle cannot be refreshed, no candidate would be left, or the release gate
            refused a version.
        EmbeddingError: a vector is not finite or has norm zero.
        IndexQualityError: a new index misses the target overlap.
    """
    with ExitStack() as stack:
        before = [resolve_version(bundle) for bundle in bundles]
        version = max(next_version(bundle) for bundle in bundles)
        finished, changes = [], []
        for bundle, version_dir in zip(bundles, before, strict=True):
            staged = stack.enter_context(stage_version(bundle, version))
            release, change = refreshed_release(version_dir, given, encode)
            manifest = read_manifest(version_dir, "bundle")
            model = write_release(staged, release, _measured(release, manifest))
            finished.append(FinishedVersion(staged, release.settings.export.keep_versions, model))
            changes.append(change)
        return [Refreshed(*pair) for pair in zip(publish(finished), changes, strict=True)]


def _measured(release: Release, manifest: Manifest) -> Callable[[LoadedModel], Mapping[str, Any]]:
    measures = measure_retrieval(release)
    details = {MEASURES: measures, EARLIER_MEASURES: kept_measures(manifest, measures)}
    return lambda _: details
