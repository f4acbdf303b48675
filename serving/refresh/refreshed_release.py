"""The release of a corpus that was changed without training, made from the release before."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle import history, integrity, refresh_files
from serving.graph import pre_ranking, signatures, since_export
from serving.graph.release import (
    Probe,
    RefreshParts,
    Release,
    ReleaseSettings,
    content_hashes,
)
from serving.refresh.changes import CorpusChanges, EncodedCandidates, RawColumns, plan_changes
from tfrs_twotower import artifacts
from tfrs_twotower.closed_form import bm25
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import joined_texts
from tfrs_twotower.data.postings import Lexical, Postings
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.ranking import FloatArray, RowArray
from tfrs_twotower.towers import storage, tower
from tfrs_twotower.towers.pre_ranker import Member, PreRanker, load_pre_ranker

_PROBED_CANDIDATES = 32
CandidateEncoder = Callable[[tower.Tower, RawColumns], EncodedCandidates]
"""Runs a candidate tower over raw features."""


@dataclass(frozen=True)
class RefreshRequest:
    """The candidates to add, change and withdraw."""

    candidates: Corpus = field(default_factory=since_export.no_candidates)
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
                "titles": self.candidates.titles.tolist(),
                "features": content_hashes(self.candidates.raw).tobytes().hex(),
                "withdrawn": sorted(self.withdrawn),
                "replace": self.replace,
            }
        )

    def of_shard(self, settings: ReleaseSettings) -> "RefreshRequest":
        """The part that concerns a bundle, which may be a shard."""
        shard, num_shards = settings.shard, settings.export.shards
        if shard is None:
            return self

        def is_own(id_: str) -> bool:
            return artifacts.shard_of(id_, num_shards) == shard

        rows = np.flatnonzero([is_own(id_) for id_ in self.candidates.ids])
        own = [id_ for id_ in self.withdrawn if is_own(id_)]
        return replace(self, candidates=self.candidates.take(rows), withdrawn=own)


@dataclass(frozen=True)
class Refreshable:
    """What a release, or a version that was made from it, holds for a change of its candidates."""

    settings: ReleaseSettings
    corpus: Corpus
    """With vectors, without raw features."""
    queries: FloatArray
    perturbed: FloatArray | None
    lineage: artifacts.Lineage
    has_pre_ranker: bool
    attributes: CandidateAttributes | None
    lexical: Lexical | None
    parts: RefreshParts

    @classmethod
    def of_version(cls, version_dir: Path) -> "Refreshable":
        """Reads the files of a version.

        Raises:
            ArtifactError: a file of the version was changed or is missing.
            BundleError: the version cannot be refreshed.
        """
        files = refresh_files.RefreshFiles.of(version_dir)
        manifest = integrity.verified_manifest(version_dir)
        lineage = artifacts.Lineage(
            manifest.spec_fingerprint, manifest.config_fingerprint, manifest.parents
        )
        parts = RefreshParts(
            files.towers_dir,
            files.pre_ranker_dir,
            files.hashes(),
            files.probe(),
            files.since_export(),
        )
        corpus = files.corpus()
        return cls(
            files.settings(),
            corpus,
            files.queries(),
            files.perturbed(),
            lineage,
            files.pre_ranker_dir.is_dir(),
            files.attributes(),
            files.lexical(len(corpus)),
            parts,
        )

    @classmethod
    def of_release(cls, release: Release) -> "Refreshable":
        """Takes the parts of a release, which must have those for a refresh."""
        assert release.refresh is not None
        return cls(
            release.settings,
            release.corpus,
            release.queries,
            release.perturbed,
            release.lineage,
            release.pre_ranker is not None,
            release.attributes,
            release.index.lexical,
            release.refresh,
        )

    def plan(self, request: RefreshRequest) -> "PlannedRefresh":
        """What a request would change; a shard takes its own part of it.

        Raises:
            BundleError: no candidate would be left, or one is both given and withdrawn.
        """
        own = request.of_shard(self.settings)
        changes = plan_changes(
            self.corpus,
            self.parts.hashes,
            own.candidates,
            content_hashes(own.candidates.raw),
            own.withdrawn,
            replace=own.replace,
        )
        return PlannedRefresh(self, own.candidates, changes, request.fingerprint)


@dataclass(frozen=True)
class PlannedRefresh:
    """What a request does to the candidates of one release."""

    kept: Refreshable
    candidates: Corpus
    """The given candidates, of this shard."""
    changes: CorpusChanges
    fingerprint: str
    """Of the request; shards share it."""


def refreshed_release(plan: PlannedRefresh, encode: CandidateEncoder) -> Release:
    """Embeds new and changed candidates, keeps the other vectors, and builds the index again.

    Args:
        plan: the changes.
        encode: runs a candidate tower over raw features.

    Raises:
        EmbeddingError: a vector is not finite or has norm zero.
        IndexQualityError: the new index misses the target overlap.
    """
    kept, changes, candidates, parts = plan.kept, plan.changes, plan.candidates, plan.kept.parts
    embedded = candidates.take(changes.given_rows[changes.to_embed])
    vectors = pre_ranking.pick_rows(kept.corpus.vectors, changes.kept_rows)
    towers = storage.load_towers(parts.towers_dir, width=vectors.shape[1])
    spec = storage.load_spec_of(parts.towers_dir)[0]
    if len(embedded):
        vectors[changes.to_embed] = encode(towers.candidate, embedded.raw).vectors
    pre_ranker = None
    if kept.has_pre_ranker:
        before = load_pre_ranker(parts.pre_ranker_dir)
        pre_ranker = pre_ranking.select_candidates(replace(before, lexical=None), changes.kept_rows)
        if len(embedded):
            pre_ranker = _with_new_heads(pre_ranker, changes.to_embed, embedded.raw, encode)
        if before.lexical is not None:
            rows = changes.kept_rows, changes.to_embed
            pre_ranker = replace(pre_ranker, lexical=before.lexical.refreshed(*rows, embedded.raw))
    shown = changes.columns({"title": kept.corpus.titles}, {"title": candidates.titles})
    corpus = Corpus(np.array(changes.ids, object), shown["title"], {}, vectors)
    attributes = kept.attributes
    if attributes is not None:
        attributes = CandidateAttributes(changes.columns(attributes.values, candidates.raw))
    lexical = kept.lexical
    if lexical is not None:
        texts = joined_texts(embedded.raw, spec.candidate.features) or []
        lexical = lexical.with_postings(_changed(lexical.postings, texts, changes))
    earlier = kept.lineage.parents
    refreshes = artifacts.fingerprint([earlier.get(history.REFRESHED, ""), plan.fingerprint])
    return Release(
        settings=kept.settings,
        towers=signatures.trained_towers(towers, spec),
        index=kept.settings.index_of(corpus, kept.queries, kept.perturbed, lexical),
        queries=kept.queries,
        lineage=kept.lineage._replace(parents={**earlier, history.REFRESHED: refreshes}),
        pre_ranker=pre_ranker,
        attributes=attributes,
        refresh=replace(
            parts,
            hashes=changes.hashes,
            probe=_probe(parts.probe, kept.corpus, embedded.raw, changes),
            since_export=_since_export(plan, corpus),
        ),
        perturbed=kept.perturbed,
    )


def _changed(kept: Postings, texts: Sequence[str], changes: CorpusChanges) -> Postings:
    """The postings of the new corpus, given the texts of its new and changed candidates."""
    stays = np.ones(len(changes.ids), bool)
    stays[changes.to_embed] = False
    rows = np.flatnonzero(stays)
    new = bm25.build_postings(texts, k1=kept.k1, b=kept.b)
    return bm25.joined([kept.take(changes.kept_rows[rows]), new], [rows, changes.to_embed])


def _with_new_heads(
    pre_ranker: PreRanker, to_embed: RowArray, raw: RawColumns, encode: CandidateEncoder
) -> PreRanker:
    members = []
    for member in pre_ranker.members:
        heads = member.candidate_heads.numpy()
        heads[to_embed] = encode(member.towers.candidate, raw).heads
        members.append(Member(member.towers, tf.constant(heads)))
    return replace(pre_ranker, members=tuple(members))


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


def _since_export(plan: PlannedRefresh, corpus: Corpus) -> since_export.SinceExport:
    """What all refreshes changed since the export, this one included."""
    kept, changes = plan.kept, plan.changes
    earlier = kept.parts.since_export
    gone = sorted(set(kept.corpus.ids) - set(changes.ids))
    touched = [*corpus.ids[changes.to_embed], *corpus.ids[changes.retitled], *gone]
    exported = dict(earlier.exported)
    for id_, row in zip(touched, kept.corpus.row_of(touched), strict=True):
        exported.setdefault(id_, since_export.state_of(kept.corpus, kept.parts.hashes, int(row)))
    rows: npt.NDArray[np.int32] = corpus.row_of(exported)
    now = {
        id_: since_export.state_of(corpus, changes.hashes, int(row))
        for id_, row in zip(exported, rows, strict=True)
    }
    differing = {id_: state for id_, state in exported.items() if state != now[id_]}
    known = since_export.joined_corpora([earlier.given, plan.candidates])
    present = [
        row
        for row, id_ in enumerate(known.ids)
        if now.get(id_, since_export.ABSENT) != since_export.ABSENT
    ]
    return since_export.SinceExport(exported, known.take(np.array(present, np.int64))).only(
        differing
    )
