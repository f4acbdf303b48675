"""A release: the object that a bundle version is made from, both its graph and its other files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from serving.graph.fused_leaf_search import FusedLeafSearch
from serving.graph.pre_ranking import select_candidates
from serving.graph.since_export import SinceExport
from tfrs_twotower.artifacts import Lineage, fingerprint
from tfrs_twotower.config import ExportConfig, IndexConfig
from tfrs_twotower.data.corpus import Corpus, sample_rows
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.index import answers, build, lexical, restricts, storage, sweep
from tfrs_twotower.index.quality import Kind
from tfrs_twotower.ranking import FloatArray, RowArray
from tfrs_twotower.towers.pre_ranker import PreRanker
from tfrs_twotower.towers.protocol import TwoTowers

HASH_BYTES = 16
_PROBED_ROWS = 32
HashArray = npt.NDArray[np.uint8]


class ReleaseSettings(BaseModel):
    """How a version is exported; a refresh exports with the same settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name of the bundle in the run config."""
    exact: bool
    """Whether search is exact, in core operations, regardless of the kind of the index."""
    export: ExportConfig
    index: IndexConfig
    """Section `index` of the run config, with the kind that was built."""
    shard: int | None = None
    """Number of this shard, below `export.shards`; None for a bundle of the whole corpus."""
    dense: Kind | None = None
    """The search of vectors that was built, of a hybrid index; None of any other."""

    @classmethod
    def of(
        cls, name: str, export: ExportConfig, config: IndexConfig, index: storage.Index
    ) -> "ReleaseSettings":
        """Those of a built index, for a bundle of the whole corpus.

        Args:
            name: of the bundle.
            export: section `export`.
            config: section `index`.
            index: the index.
        """
        built = config.model_copy(update={"kind": index.name})
        dense = index.kind if index.name == "hybrid" else None
        return cls(name=name, exact=False, export=export, index=built, dense=dense)

    def index_of(
        self,
        corpus: Corpus,
        queries: FloatArray,
        perturbed: FloatArray | None = None,
        lexical: Lexical | None = None,
    ) -> storage.Index:
        """Builds and measures the index of a corpus; that of an exact bundle is the vectors alone.

        Args:
            corpus: with vectors.
            queries: `[n, embedding_dim]` embeddings of real queries that the index is measured on.
            perturbed: those of perturbed queries; None makes them of the real ones.
            lexical: the search of words over the same corpus, if there is one.

        Raises:
            IndexQualityError: the index misses the target overlap.
        """
        config = self.index
        if self.dense is not None:
            config = config.model_copy(update={"kind": self.dense})
        if self.exact:
            config = config.model_copy(update={"kind": "brute_force", "vectors": "float32"})
        built = build.build_index(corpus.vectors, queries, config, perturbed=perturbed)
        return storage.Index.of(corpus, built, lexical)


class Probe(NamedTuple):
    """Candidates that the towers of a version are checked with."""

    rows: RowArray
    """`[n]` rows of the corpus."""
    raw: dict[str, npt.NDArray[Any]]
    """Their raw features."""

    @classmethod
    def of(cls, corpus: Corpus) -> "Probe":
        """Some candidates of a corpus with raw features."""
        rows = sample_rows(corpus.raw, _PROBED_ROWS)
        return cls(rows, corpus.take(rows).raw)


@dataclass(frozen=True)
class RefreshParts:
    """What a version stores beside its graph, so that candidates can change without training."""

    towers_dir: Path
    """A `model` artifact, or the towers directory of a version."""
    pre_ranker_dir: Path
    """A `pre_ranker` artifact, or that of a version; read only if there is a pre-ranker."""
    hashes: HashArray
    """`[num_candidates, 16]`: a hash of each candidate's features."""
    probe: Probe
    since_export: SinceExport = field(default_factory=SinceExport)
    """What refreshes changed since the export, so that another export can tell what it undoes."""


@dataclass(frozen=True)
class Release:
    """What a version is made from. All parts belong to one corpus and are in row order."""

    settings: ReleaseSettings
    towers: TwoTowers
    index: storage.Index
    """The built index, which holds the corpus."""
    queries: FloatArray
    """`[n, embedding_dim]` embeddings of real queries that the index is measured on; n may be 0."""
    lineage: Lineage
    pre_ranker: PreRanker | None = None
    """Without one, the version serves retrieval alone."""
    attributes: restricts.CandidateAttributes | None = None
    """What requests may restrict their answers by; None: no inputs `allow` and `deny`."""
    refresh: RefreshParts | None = None
    """None: the candidates can change only by another export."""
    perturbed: FloatArray | None = None
    """Embeddings of perturbed queries; None: they are made of `queries`."""

    @property
    def measured_on(self) -> sweep.MeasuredQueries:
        """The embeddings that retrieval is measured on."""
        limit = self.settings.index.most_measured(len(self.corpus))
        return sweep.MeasuredQueries.of(self.queries, self.perturbed, limit)

    @property
    def corpus(self) -> Corpus:
        """The candidates, with vectors."""
        return self.index.corpus

    @property
    def k(self) -> int:
        """Length of every answer; a small corpus makes it shorter."""
        return min(self.settings.export.k, len(self.corpus))

    @property
    def kind(self) -> str:
        """Kind of the index that is exported."""
        if self.settings.exact and self.index.lexical is None:
            return "brute_force"
        return self.index.name

    @property
    def searches_words(self) -> bool:
        """Whether requests are answered by their words, alone or beside the vectors."""
        return self.index.lexical is not None

    @property
    def needs_scann(self) -> bool:
        """Whether the graph has ScaNN's operations."""
        searches_vectors = self.index.name != "lexical" and not self.settings.exact
        return searches_vectors and self.index.kind == "scann"

    @property
    def has_fused_ops(self) -> bool:
        """Whether the graph has operations of the project's own."""
        return self.settings.export.fused_ops and (
            self.pre_ranker is not None or self._searches_fused
        )

    @property
    def _searches_fused(self) -> bool:
        return (
            self.settings.export.fused_ops
            and not self.settings.exact
            and self.index.name != "lexical"
            and self.index.kind == "ivf"
        )

    @property
    def identity(self) -> str:
        """Hash of what the release is made from; the shards of one export share it."""
        return fingerprint(
            {
                **self.lineage.parents,
                "exact": self.settings.exact,
                "k": self.settings.export.k,
                "candidate_heads": self.settings.export.candidate_heads,
                "restricts": sorted(self.attributes.values) if self.attributes else [],
                **({"fused_ops": True} if self.has_fused_ops else {}),
            }
        )

    def search(self, words_file: Path | None = None) -> Any:
        """A new searcher of the exported kind.

        Args:
            words_file: the words of a search of words; see `layers.lexical.Terms`.
        """
        words = self.index.lexical
        if words is not None and words.dense_weight is None:
            return lexical.LexicalSearch(words, words_file)
        return lexical.first_stage(self.search_of_vectors(), words, words_file)

    def search_of_vectors(self) -> answers.Search:
        """A new searcher of the vectors alone."""
        if self.settings.exact:
            return self.index.exact_search()
        max_excluded = self.settings.export.max_excluded
        trained, parameters = self.index.trained, self.index.parameters
        if self._searches_fused and trained is not None and parameters is not None:
            return FusedLeafSearch(
                self.index.vectors, trained, parameters, max_excluded=max_excluded
            )
        return self.index.search(max_excluded=max_excluded)

    def shard(self, number: int, rows: RowArray, probe: Probe) -> "Release":
        """The release of one shard, with its own index; its words are as rare as in all shards.

        Args:
            number: of the shard, below `settings.export.shards`.
            rows: its candidates, ascending.
            probe: some of these candidates, with their rows in the shard.

        Raises:
            IndexQualityError: the shard's index misses the target overlap.
        """
        settings = self.settings.model_copy(update={"shard": number})
        parts, words = self.refresh, self.index.lexical
        words = words and words.with_postings(words.postings.shard(rows))
        return replace(
            self,
            settings=settings,
            index=settings.index_of(self.corpus.take(rows), self.queries, self.perturbed, words),
            pre_ranker=self.pre_ranker and select_candidates(self.pre_ranker, rows),
            attributes=self.attributes and self.attributes.rows(rows),
            refresh=parts
            and replace(
                parts,
                hashes=parts.hashes[rows],
                probe=probe,
                since_export=parts.since_export.of_shard(number, settings.export.shards),
            ),
        )


def content_hashes(raw: Mapping[str, npt.NDArray[Any]]) -> HashArray:
    """Hashes the features of each candidate; the order of the names does not matter.

    Args:
        raw: raw features by name, `[num_candidates]` or `[num_candidates, width]`: bytes, int64,
            or float32, where every NaN counts as the same missing value.

    Returns:
        `[num_candidates, 16]`.
    """
    names = sorted(raw)
    columns = [_bytes_of(raw[name]) for name in names]
    hashes = np.empty((len(columns[0]) if columns else 0, HASH_BYTES), np.uint8)
    for row, cells in enumerate(zip(*columns, strict=True)):
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        for name, cell in zip(names, cells, strict=True):
            digest.update(f"{name}:{len(cell)}:".encode())
            digest.update(cell)
        hashes[row] = np.frombuffer(digest.digest(), np.uint8)
    return hashes


def _bytes_of(values: npt.NDArray[Any]) -> list[bytes]:
    """One byte string per row; each string of a list is preceded by its length."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.float32(np.nan), values.astype("<f4"))
    if values.dtype.kind in "fiu":
        return [row.tobytes() for row in values]
    if values.ndim == 1:
        return list(values.tolist())
    return [b"".join(b"%d:%s" % (len(cell), cell) for cell in row) for row in values.tolist()]
