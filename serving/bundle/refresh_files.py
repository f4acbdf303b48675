"""`refresh/`: files of a bundle version with which its candidates can change without training.

refresh/
    settings.json     how the version was exported: sections of the run config, name, shard
    candidates.parquet  ids and content hashes, in row order (`titles.parquet` has the titles)
    vectors.npy       [num_candidates, embedding_dim] float32, in row order
    attributes.npz    raw values of the features that requests may restrict by, if there are any
    queries.npy       [n, embedding_dim] float32: embeddings of some queries, without ids or labels
    perturbed.npy     [n, embedding_dim] float32: embeddings of perturbed queries
    probe.npz         raw features of some candidates, which the version's towers are checked with
    since_export.parquet  ids that refreshes added, changed or withdrew since the export, and what
                      the export had; only if there are any, as is the next file
    refreshed.parquet  the added and changed ones with title and features
    lexical.json, postings.npz  as in the `index` artifact, if words are searched
    towers/           as in the `model` artifact
    pre_ranker/       as the `pre_ranker` artifact, if there is one

Model servers load none of these files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from serving.bundle.loading import TITLES_NAME, read_titles
from serving.graph.release import (
    HASH_BYTES,
    HashArray,
    Probe,
    RefreshParts,
    Release,
    ReleaseSettings,
)
from serving.graph.since_export import SinceExport
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.stored_arrays import load_array, load_arrays
from tfrs_twotower.data.stored_postings import load_lexical, save_lexical
from tfrs_twotower.errors import ArtifactError, BundleError, CorruptArtifact
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.ranking import FloatArray
from tfrs_twotower.towers.pre_ranker import save_pre_ranker
from tfrs_twotower.towers.storage import copy_towers

REFRESH = "refresh"
_SETTINGS, _CANDIDATES, _VECTORS = "settings.json", "candidates.parquet", "vectors.npy"
_ATTRIBUTES, _QUERIES, _PROBE = "attributes.npz", "queries.npy", "probe.npz"
_SINCE_EXPORT, _REFRESHED = "since_export.parquet", "refreshed.parquet"
_PERTURBED = "perturbed.npy"
_FEATURE = "feature:"


@dataclass(frozen=True)
class RefreshFiles:
    """The files in `refresh/` of one version; an unreadable file raises `CorruptArtifact`."""

    version_dir: Path

    @classmethod
    def of(cls, version_dir: Path) -> "RefreshFiles":
        """The files of a version that has them.

        Raises:
            BundleError: the version has none.
        """
        files = cls(version_dir)
        if not files.exist():
            raise BundleError(
                f"{version_dir}: holds no {REFRESH}/, so its candidates cannot change: only "
                "`twotower export` writes one, from towers that it trained. Export the bundle "
                "again with the candidates that it should have."
            )
        return files

    def exist(self) -> bool:
        """Whether the version has them."""
        return self.directory.is_dir()

    def have_changes(self) -> bool:
        """Whether refreshes changed candidates of the version since its export."""
        return (self.directory / _SINCE_EXPORT).exists()

    @property
    def directory(self) -> Path:
        """The directory `refresh/`."""
        return self.version_dir / REFRESH

    @property
    def towers_dir(self) -> Path:
        """The directory that the towers are loaded from."""
        return self.directory / "towers"

    @property
    def pre_ranker_dir(self) -> Path:
        """The directory that the pre-ranker is loaded from; missing in a version without one."""
        return self.directory / "pre_ranker"

    def settings(self) -> ReleaseSettings:
        """How the version was exported."""
        try:
            return ReleaseSettings.model_validate_json((self.directory / _SETTINGS).read_bytes())
        except (OSError, ValidationError) as cause:
            raise _unreadable(self.directory / _SETTINGS, cause) from cause

    def corpus(self) -> Corpus:
        """The candidates with their vectors."""
        ids = self._column(_CANDIDATES, "candidate_id")
        try:
            titles = read_titles(self.version_dir)
        except (OSError, KeyError, pa.ArrowException) as cause:
            raise _unreadable(self.version_dir / TITLES_NAME, cause) from cause
        if list(titles) != ids.tolist():
            raise CorruptArtifact(
                f"{self.version_dir}: {TITLES_NAME} and {REFRESH}/{_CANDIDATES} have different "
                "candidates. Export the bundle again."
            )
        return Corpus(ids, np.array(list(titles.values()), object), {}, self.vectors())

    def hashes(self) -> HashArray:
        """`[num_candidates, 16]` hashes of the candidates' features, in row order."""
        packed = self._column(_CANDIDATES, "hash").astype(f"S{HASH_BYTES}")
        return packed.view(np.uint8).reshape(-1, HASH_BYTES)

    def vectors(self) -> FloatArray:
        """`[num_candidates, embedding_dim]` of the corpus, in row order."""
        return _load_array(self.directory / _VECTORS)

    def queries(self) -> FloatArray:
        """`[n, embedding_dim]` embeddings of real queries."""
        return _load_array(self.directory / _QUERIES)

    def perturbed(self) -> FloatArray | None:
        """`[n, embedding_dim]` embeddings of perturbed queries; None in an older version."""
        path = self.directory / _PERTURBED
        return _load_array(path) if path.exists() else None

    def attributes(self) -> CandidateAttributes | None:
        """What requests may restrict their answers by; None without restricts."""
        path = self.directory / _ATTRIBUTES
        return CandidateAttributes(_features_of(_load_arrays(path))) if path.exists() else None

    def lexical(self, num_candidates: int) -> Lexical | None:
        """The search of words over a corpus of this size; None if the version has none."""
        return load_lexical(self.directory, num_candidates, "Export the bundle again.")

    def since_export(self) -> SinceExport:
        """What refreshes changed since the export."""
        if not self.have_changes():
            return SinceExport()
        ids, states = (self._column(_SINCE_EXPORT, name) for name in ("candidate_id", "exported"))
        try:
            names = pq.read_schema(self.directory / _REFRESHED).names
        except (OSError, pa.ArrowException) as cause:
            raise _unreadable(self.directory / _REFRESHED, cause) from cause
        columns = {name: self._column(_REFRESHED, name) for name in names}
        corpus = Corpus(columns["candidate_id"], columns["title"], _features_of(columns))
        return SinceExport(dict(zip(ids.tolist(), states.tolist(), strict=True)), corpus)

    def probe(self) -> Probe:
        """The candidates that the towers are checked with."""
        arrays = _load_arrays(self.directory / _PROBE)
        return Probe(arrays["rows"], _features_of(arrays))

    def blank_query(self) -> FloatArray:
        """`[embedding_dim]`: the embedding of a query whose features are "" and 0."""
        return _load_arrays(self.directory / _PROBE)["blank_query"]

    def write(self, release: Release, parts: RefreshParts, blank_query: FloatArray) -> None:
        """Writes all files into a version that has none yet."""
        self.directory.mkdir()
        text = release.settings.model_dump_json(indent=2) + "\n"
        (self.directory / _SETTINGS).write_text(text, encoding="utf-8")
        hashes = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(HASH_BYTES),
            len(parts.hashes),
            [None, pa.py_buffer(np.ascontiguousarray(parts.hashes))],
        )
        ids = pa.array(release.corpus.ids, pa.string())
        pq.write_table(
            pa.table({"candidate_id": ids, "hash": hashes}), self.directory / _CANDIDATES
        )
        np.save(self.directory / _VECTORS, release.corpus.vectors, allow_pickle=False)
        if release.attributes is not None:
            _save_features(self.directory / _ATTRIBUTES, release.attributes.values)
        if release.index.lexical is not None:
            save_lexical(release.index.lexical, self.directory)
        # Sorted by value, so that their order does not tell whose queries they are.
        for name, queries in zip((_QUERIES, _PERTURBED), release.measured_on, strict=True):
            in_order = queries[np.lexsort(queries.T[::-1])]
            np.save(self.directory / name, in_order, allow_pickle=False)
        self._write_since_export(parts.since_export)
        rows, raw = parts.probe
        _save_features(self.directory / _PROBE, raw, rows=rows, blank_query=blank_query)
        copy_towers(parts.towers_dir, self.towers_dir)
        if release.pre_ranker is not None:
            save_pre_ranker(release.pre_ranker, parts.pre_ranker_dir, self.pre_ranker_dir)

    def _write_since_export(self, since_export: SinceExport) -> None:
        if not len(since_export):
            return
        states = pa.array(since_export.exported.values(), pa.binary())
        ids = pa.array(since_export.exported, pa.string())
        pq.write_table(
            pa.table({"candidate_id": ids, "exported": states}), self.directory / _SINCE_EXPORT
        )
        given = since_export.given
        columns = {f"{_FEATURE}{name}": _as_column(values) for name, values in given.raw.items()}
        columns["candidate_id"] = pa.array(given.ids, pa.string())
        columns["title"] = pa.array(given.titles, pa.string())
        pq.write_table(pa.table(columns), self.directory / _REFRESHED)

    def _column(self, table: str, name: str) -> npt.NDArray[Any]:
        path = self.directory / table
        try:
            column = pq.read_table(path, columns=[name])[name].combine_chunks()
        except (OSError, KeyError, pa.ArrowException) as cause:
            raise _unreadable(path, cause) from cause
        shape: tuple[int, ...] = (len(column),)
        if pa.types.is_fixed_size_list(column.type):
            shape = (len(column), column.type.list_size)
            column = column.flatten()
        values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False).reshape(shape)
        return values


def _as_column(values: npt.NDArray[Any]) -> pa.Array:
    """A raw feature, `[n]` or `[n, width]`, as a column that gives back the same bytes."""
    column_type = pa.binary() if values.dtype == object else None
    flat = pa.array(values.ravel(), column_type)
    if values.ndim == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _save_features(
    path: Path, raw: Mapping[str, npt.NDArray[Any]], **more: npt.NDArray[Any]
) -> None:
    columns: dict[str, Any] = {
        f"{_FEATURE}{name}": values.astype(np.bytes_) if values.dtype == object else values
        for name, values in raw.items()
    }
    np.savez(path, **{**columns, **more})


def _features_of(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {
        name.removeprefix(_FEATURE): values.astype(object) if values.dtype.kind == "S" else values
        for name, values in arrays.items()
        if name.startswith(_FEATURE)
    }


def _load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return load_arrays(path)
    except (OSError, ValueError) as cause:
        raise _unreadable(path, cause) from cause


def _load_array(path: Path) -> FloatArray:
    try:
        array: FloatArray = load_array(path)
    except (OSError, ValueError) as cause:
        raise _unreadable(path, cause) from cause
    return array


def _unreadable(path: Path, cause: Exception) -> ArtifactError:
    return CorruptArtifact(f"{path}: cannot be read: {cause}. Export the bundle again.")
