"""Refreshes a bundle: publishes a version with other candidates and the same towers."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle import gate, loading, publishing, refresh_files, versions, writing
from serving.bundle.measures import WORST_DECILE, measure_retrieval
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
"""Name among a version's parents for the fingerprint of all refreshes since the export."""
_PROBED_CANDIDATES = 32
CandidateEncoder = Callable[[tower.Tower, RawColumns], EncodedCandidates]
"""Runs a candidate tower over raw features."""


@dataclass(frozen=True)
class RefreshRequest:
    """The candidates to add, change and withdraw."""

    candidates: Corpus
    """New, changed or unchanged candidates with all their features."""
    withdrawn: Collection[str] = ()
    """Ids that leave the corpus."""
    replace: bool = False
    """Whether candidates that are not among `candidates` leave the corpus too."""

    @property
    def fingerprint(self) -> str:
        """Hash of the request; all shards of one refresh share it."""
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
    """Embeds new and changed candidates, keeps the other vectors, and builds the index again.

    Args:
        version_dir: directory of the version to start from.
        request: the candidates to add, change and withdraw.
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
    queries, perturbed = files.queries(), files.perturbed()
    parents = {
        **manifest.parents,
        REFRESHED: artifacts.fingerprint(
            [manifest.parents.get(REFRESHED, ""), request.fingerprint]
        ),
    }
    release = Release(
        settings=settings,
        towers=signatures.trained_towers(towers, spec),
        index=settings.index_of(corpus, queries, perturbed),
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
        perturbed=perturbed,
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
    """Titles in row order: the given title, or else the earlier one."""
    titles = np.concatenate([kept.titles, candidates.titles])
    is_given = changes.given_rows >= 0
    return titles[np.where(is_given, len(kept) + changes.given_rows, changes.kept_rows)]


def _attributes(
    kept: CandidateAttributes | None, candidates: Corpus, changes: CorpusChanges
) -> CandidateAttributes | None:
    if kept is None:
        return None
    is_given = changes.given_rows >= 0
    values = {name: column[changes.kept_rows] for name, column in kept.values.items()}
    if is_given.any():
        for name, column in values.items():
            column[is_given] = candidates.raw[name][changes.given_rows[is_given]]
    return CandidateAttributes(values)


def _probe(probe: Probe, kept: Corpus, embedded: RawColumns, changes: CorpusChanges) -> Probe:
    """The new probe: unchanged candidates of the earlier one, and new or changed candidates."""
    row_of = dict(zip(changes.ids, range(len(changes.ids)), strict=True))
    changed = set(changes.to_embed.tolist())
    unchanged = [
        (place, row_of[id_])
        for place, id_ in enumerate(kept.ids[probe.rows])
        if id_ in row_of and row_of[id_] not in changed
    ][:_PROBED_CANDIDATES]
    places, rows = [place for place, _ in unchanged], [row for _, row in unchanged]
    raw = {name: values[places] for name, values in probe.raw.items()}
    new = changes.to_embed[:_PROBED_CANDIDATES].tolist()
    if new:
        raw = {
            name: np.concatenate([values, embedded[name][: len(new)]])
            for name, values in raw.items()
        }
    return Probe(np.array([*rows, *new], np.int64), raw)


@dataclass(frozen=True)
class RefreshedBundle:
    """The outcome for one bundle."""

    written: publishing.WrittenBundle
    changes: CorpusChanges


def refresh_bundles(
    bundles: Sequence[Path], request: RefreshRequest, encode: CandidateEncoder = encode_candidates
) -> list[RefreshedBundle]:
    """Publishes a refreshed version of every bundle, or of none.

    Each refresh starts from the served version, also after a rollback.

    Args:
        bundles: the directory of a bundle, or the directories of all its shards, each of which
            takes its own part of the given candidates.
        request: the candidates to add, change and withdraw.
        encode: runs a candidate tower over raw features.

    Returns:
        The outcome for each bundle.

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
        gate.MEASURES: measures.values,
        WORST_DECILE: measures.worst_decile,
        gate.EARLIER_MEASURES: gate.kept_measures(manifest, measures.values),
    }
    return lambda _: details
