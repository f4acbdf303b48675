"""New candidates without training: a version and a table in, the version that follows out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle import gate, loading, publishing, refresh_files, versions, writing
from serving.bundle.measures import measure_retrieval
from serving.graph import pre_ranking, signatures
from serving.graph.release import Probe, RefreshParts, Release, content_hashes
from serving.refresh.changes import (
    CorpusChanges,
    EncodedCandidates,
    RawColumns,
    encode_candidates,
    plan_changes,
)
from tfrs_twotower import artifacts
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.ranking import RowArray
from tfrs_twotower.towers import storage, tower
from tfrs_twotower.towers.pre_ranker import Member, PreRanker, load_pre_ranker

REFRESHED = "refresh"
"""Among a version's parents: the requests of the refreshes since the export."""
_PROBED = 32
CandidateEncoder = Callable[[tower.Tower, RawColumns], EncodedCandidates]
"""Runs a candidate tower over raw features."""


@dataclass(frozen=True)
class RefreshRequest:
    """Which candidates come, change and go."""

    candidates: Corpus
    """New, changed or unchanged candidates with all their features."""
    withdrawn: Collection[str] = ()
    """Ids that leave the corpus."""
    replace: bool = False
    """Candidates that are not among `candidates` leave it too."""

    @property
    def fingerprint(self) -> str:
        """Identifies the request; shards of one refresh have it in common."""
        return artifacts.fingerprint(
            {
                "ids": self.candidates.ids.tolist(),
                "features": content_hashes(self.candidates.raw).tobytes().hex(),
                "withdrawn": sorted(self.withdrawn),
                "replace": self.replace,
            }
        )


def refreshed_release(
    version_dir: Path, request: RefreshRequest, encode: CandidateEncoder
) -> tuple[Release, CorpusChanges]:
    """Embeds what changed, takes the rest over, and builds the index anew.

    Args:
        version_dir: the version to start from.
        request: what to do.
        encode: runs a candidate tower over raw features.

    Raises:
        ArtifactError: a file of the version was changed or is missing.
        BundleError: the version cannot be refreshed, or no candidate would be left.
        EmbeddingError: a vector is not finite or has norm zero.
        IndexQualityError: the new index misses the target overlap.
    """
    files = refresh_files.RefreshFiles.of(version_dir)
    manifest = artifacts.read_manifest(version_dir, "bundle")
    artifacts.verify_files(version_dir, manifest)
    settings, kept, candidates = files.settings(), files.corpus(), request.candidates
    if settings.shard is not None:
        shards = [artifacts.shard_of(id_, settings.export.shards) for id_ in candidates.ids]
        candidates = candidates.take(np.flatnonzero(np.array(shards) == settings.shard))
    changes = plan_changes(
        kept.ids,
        files.hashes(),
        candidates.ids,
        content_hashes(candidates.raw),
        request.withdrawn,
        replace=request.replace,
    )
    embedded = candidates.take(changes.given_rows[changes.to_embed])
    towers, spec = storage.load_towers(files.towers_dir), storage.load_spec_of(files.towers_dir)[0]
    vectors = pre_ranking.pick_rows(kept.vectors, changes.kept_rows)
    if len(embedded):
        vectors[changes.to_embed] = encode(towers.candidate, embedded.raw).vectors
    pre_ranker = None
    if files.pre_ranker_dir.is_dir():
        pre_ranker = pre_ranking.select_candidates(
            load_pre_ranker(files.pre_ranker_dir), changes.kept_rows
        )
        if len(embedded):
            pre_ranker = _with_new_heads(pre_ranker, changes.to_embed, embedded.raw, encode)
    corpus = Corpus(np.array(changes.ids, object), _titles(kept, candidates, changes), {}, vectors)
    queries = files.queries()
    parents = {
        **manifest.parents,
        REFRESHED: artifacts.fingerprint(
            [manifest.parents.get(REFRESHED, ""), request.fingerprint]
        ),
    }
    release = Release(
        settings=settings,
        towers=signatures.trained_towers(towers, spec),
        index=settings.index_of(corpus, queries),
        queries=queries,
        lineage=artifacts.Lineage(
            artifacts.fingerprint(spec), manifest.config_fingerprint, parents
        ),
        pre_ranker=pre_ranker,
        attributes=_attributes(files.attributes(), candidates, changes),
        refresh=RefreshParts(
            towers_dir=files.towers_dir,
            pre_ranker_dir=files.pre_ranker_dir,
            hashes=changes.hashes,
            probe=_probe(files.probe(), kept, embedded.raw, changes),
        ),
    )
    return release, changes


def _with_new_heads(
    pre_ranker: PreRanker, to_embed: RowArray, raw: RawColumns, encode: CandidateEncoder
) -> PreRanker:
    members = []
    for member in pre_ranker.members:
        heads = member.candidate_heads.numpy()
        heads[to_embed] = encode(member.towers.candidate, raw).heads
        members.append(Member(member.towers, tf.constant(heads)))
    return replace(pre_ranker, members=tuple(members))


def _titles(kept: Corpus, candidates: Corpus, changes: CorpusChanges) -> npt.NDArray[np.object_]:
    """In row order: the given title, else the earlier one."""
    titles = np.concatenate([kept.titles, candidates.titles])
    is_given = changes.given_rows >= 0
    return titles[np.where(is_given, len(kept) + changes.given_rows, changes.kept_rows)]


def _attributes(
    kept: CandidateAttributes | None, candidates: Corpus, changes: CorpusChanges
) -> CandidateAttributes | None:
    if kept is None:
        return None
    is_given = changes.given_rows >= 0
    values = {name: before[changes.kept_rows] for name, before in kept.values.items()}
    if is_given.any():
        for name, merged in values.items():
            merged[is_given] = candidates.raw[name][changes.given_rows[is_given]]
    return CandidateAttributes(values)


def _probe(probe: Probe, kept: Corpus, embedded: RawColumns, changes: CorpusChanges) -> Probe:
    """What the towers are checked with: earlier candidates that are unchanged, and new ones."""
    row_of = dict(zip(changes.ids, range(len(changes.ids)), strict=True))
    changed = set(changes.to_embed.tolist())
    unchanged = [
        (place, row_of[id_])
        for place, id_ in enumerate(kept.ids[probe.rows])
        if id_ in row_of and row_of[id_] not in changed
    ][:_PROBED]
    places, rows = [place for place, _ in unchanged], [row for _, row in unchanged]
    raw = {name: values[places] for name, values in probe.raw.items()}
    new = changes.to_embed[:_PROBED].tolist()
    if new:
        raw = {
            name: np.concatenate([values, embedded[name][: len(new)]])
            for name, values in raw.items()
        }
    return Probe(np.array([*rows, *new], np.int64), raw)


@dataclass(frozen=True)
class RefreshedBundle:
    """What became of one bundle."""

    written: publishing.WrittenBundle
    changes: CorpusChanges


def refresh_bundles(
    bundles: Sequence[Path], request: RefreshRequest, encode: CandidateEncoder = encode_candidates
) -> list[RefreshedBundle]:
    """Publishes a new version of every bundle, or of none.

    It starts from the version that is served: after a rollback from that one.

    Args:
        bundles: one bundle's directory, or those of all its shards, each of which takes what is
            its own of the given candidates.
        request: which candidates come, change and go.
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
        before = [versions.resolve_version(bundle) for bundle in bundles]
        version = max(versions.next_version(bundle) for bundle in bundles)
        finished, changes = [], []
        for bundle, version_dir in zip(bundles, before, strict=True):
            staged = stack.enter_context(publishing.stage_version(bundle, version))
            release, change = refreshed_release(version_dir, request, encode)
            manifest = artifacts.read_manifest(version_dir, "bundle")
            model = writing.write_release(staged, release, _measured(release, manifest))
            finished.append(
                publishing.FinishedVersion(staged, release.settings.export.keep_versions, model)
            )
            changes.append(change)
        return [
            RefreshedBundle(*pair)
            for pair in zip(publishing.publish(finished), changes, strict=True)
        ]


def _measured(
    release: Release, manifest: artifacts.Manifest
) -> Callable[[loading.LoadedModel], Mapping[str, Any]]:
    measures = measure_retrieval(release)
    details = {
        gate.MEASURES: measures,
        gate.EARLIER_MEASURES: gate.kept_measures(manifest, measures),
    }
    return lambda _: details
