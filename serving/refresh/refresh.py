"""Fresh candidates without training: a version and a table in, the version that follows out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.bundle.candidate_hashes import content_hashes
from serving.bundle.gate import EARLIER_MEASURES, MEASURES, kept_measures
from serving.bundle.loading import LoadedModel
from serving.bundle.publishing import FinishedVersion, WrittenBundle, publish, stage_version
from serving.bundle.refresh_files import (
    PRE_RANKER,
    TOWERS,
    KeptCorpus,
    Probe,
    open_refresh,
    read_corpus,
    read_probe,
    read_queries,
    read_settings,
)
from serving.bundle.release import (
    Release,
    index_of,
    measure_retrieval,
    pick_rows,
    select_candidates,
    write_release,
)
from serving.bundle.versions import next_version, resolve_version
from serving.refresh.changes import (
    CorpusChanges,
    EncodedCandidates,
    RawColumns,
    RowArray,
    encode_candidates,
    plan_changes,
)
from tfrs_twotower.artifacts import Manifest, fingerprint, read_manifest, shard_of, verify_files
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.towers.pre_ranker import Member, PreRanker, load_pre_ranker
from tfrs_twotower.towers.storage import load_spec_of, load_towers
from tfrs_twotower.towers.tower import Tower

REFRESHED = "refresh"
"""Among a version's parents: what was given to the refreshes since the export."""
_PROBED = 32
Encode = Callable[[Tower, RawColumns], EncodedCandidates]


@dataclass(frozen=True)
class Given:
    """What a refresh is asked to do."""

    candidates: Corpus
    """New, changed or unchanged candidates with all their features."""
    withdrawn: Collection[str] = ()
    """Ids that leave the corpus."""
    replace: bool = False
    """What is not given leaves it too."""

    @property
    def fingerprint(self) -> str:
        """Identifies the request; shards of one refresh have it in common."""
        return fingerprint(
            {
                "ids": [name.decode() for name in self.candidates.ids.tolist()],
                "features": content_hashes(self.candidates.raw).tobytes().hex(),
                "withdrawn": sorted(self.withdrawn),
                "replace": self.replace,
            }
        )


def refreshed_release(
    version_dir: Path, given: Given, encode: Encode
) -> tuple[Release, CorpusChanges]:
    """Embeds what changed, takes the rest over, and builds the index anew.

    Args:
        version_dir: the version to start from.
        given: what to do.
        encode: runs a candidate tower over raw features.

    Raises:
        ArtifactError: a file of the version was changed or is missing.
        BundleError: the version cannot be refreshed, or no candidate would be left.
        EmbeddingError: a vector is not finite or has norm zero.
        IndexQualityError: the new index misses the target overlap.
    """
    directory = open_refresh(version_dir)
    manifest = read_manifest(version_dir, "bundle")
    verify_files(version_dir, manifest)
    settings, kept = read_settings(directory), read_corpus(version_dir)
    candidates = given.candidates
    if settings.shard is not None:
        own = [
            shard_of(name.decode(), settings.export.shards) == settings.shard
            for name in candidates.ids.tolist()
        ]
        candidates = candidates.take(np.flatnonzero(own))
    changes = plan_changes(
        kept.ids,
        kept.hashes,
        [name.decode() for name in candidates.ids.tolist()],
        content_hashes(candidates.raw),
        given.withdrawn,
        replace=given.replace,
    )
    embedded = candidates.take(changes.given_rows[changes.to_embed])
    towers = load_towers(directory / TOWERS)
    vectors = pick_rows(kept.vectors, changes.kept_rows)
    if len(embedded):
        vectors[changes.to_embed] = encode(towers.candidate, embedded.raw).vectors
    pre_ranker = None
    if (directory / PRE_RANKER).is_dir():
        pre_ranker = select_candidates(load_pre_ranker(directory / PRE_RANKER), changes.kept_rows)
        if len(embedded):
            pre_ranker = _with_new_heads(pre_ranker, changes.to_embed, embedded.raw, encode)
    corpus = KeptCorpus(
        changes.ids,
        _titles(kept, candidates, changes),
        changes.hashes,
        vectors,
        _attributes(kept, candidates, changes),
    )
    queries = read_queries(directory)
    probe = _probe(read_probe(directory), kept, embedded.raw, changes)
    parents = {
        **manifest.parents,
        REFRESHED: fingerprint([manifest.parents.get(REFRESHED, ""), given.fingerprint]),
    }
    release = Release(
        settings,
        load_spec_of(directory / TOWERS)[0],
        towers,
        directory / TOWERS,
        pre_ranker,
        directory / PRE_RANKER,
        corpus,
        index_of(corpus, queries, settings),
        queries,
        probe.rows,
        probe.raw,
        parents,
        manifest.config_fingerprint,
    )
    return release, changes


def _with_new_heads(
    pre_ranker: PreRanker, to_embed: RowArray, raw: RawColumns, encode: Encode
) -> PreRanker:
    members = []
    for member in pre_ranker.members:
        heads = member.candidate_heads.numpy()
        heads[to_embed] = encode(member.towers.candidate, raw).heads
        members.append(Member(member.towers, tf.constant(heads)))
    return replace(pre_ranker, members=tuple(members))


def _titles(kept: KeptCorpus, candidates: Corpus, changes: CorpusChanges) -> list[str]:
    given = [title.decode() for title in candidates.titles.tolist()]
    return [
        given[given_row] if given_row >= 0 else kept.titles[kept_row]
        for given_row, kept_row in zip(
            changes.given_rows.tolist(), changes.kept_rows.tolist(), strict=True
        )
    ]


def _attributes(
    kept: KeptCorpus, candidates: Corpus, changes: CorpusChanges
) -> CandidateAttributes | None:
    if kept.attributes is None:
        return None
    is_given = changes.given_rows >= 0
    values = {name: before[changes.kept_rows] for name, before in kept.attributes.values.items()}
    if is_given.any():
        for name, merged in values.items():
            merged[is_given] = candidates.raw[name][changes.given_rows[is_given]]
    return CandidateAttributes(values)


def _probe(probe: Probe, kept: KeptCorpus, embedded: RawColumns, changes: CorpusChanges) -> Probe:
    """What the towers are checked with: earlier candidates that are unchanged, and new ones."""
    row_of = dict(zip(changes.ids, range(len(changes.ids)), strict=True))
    changed = set(changes.to_embed.tolist())
    still = [
        (place, row_of[name])
        for place, name in enumerate(kept.ids[row] for row in probe.rows.tolist())
        if name in row_of and row_of[name] not in changed
    ][:_PROBED]
    places, rows = [place for place, _ in still], [row for _, row in still]
    raw = {name: values[places] for name, values in probe.raw.items()}
    fresh = changes.to_embed[:_PROBED].tolist()
    if fresh:
        raw = {
            name: np.concatenate([values, embedded[name][: len(fresh)]])
            for name, values in raw.items()
        }
    return Probe(np.array([*rows, *fresh], np.int64), raw, probe.blank_query)


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
