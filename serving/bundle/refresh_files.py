"""`refresh/`: what lies in a bundle version so that its candidates can change without training.

refresh/
    settings.json     how the version was exported: sections of the run config, name, shard
    candidates.parquet  ids and content hashes, in row order (`titles.parquet` has the titles)
    vectors.npy       [num_candidates, embedding_dim] float32, in row order
    attributes.npz    raw values of the features that requests may restrict by, if there are any
    queries.npy       [n, embedding_dim] float32: embeddings of some queries, without ids or labels
    probe.npz         raw features of some candidates: what the version's towers are checked with
    towers/           as in the `model` artifact
    pre_ranker/       as the `pre_ranker` artifact, if there is one

A model server does not load any of it.
"""

import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.bundle.candidate_hashes import HASH_BYTES, HashArray
from serving.bundle.loading import TITLES_NAME, read_titles
from tfrs_twotower.artifacts.layout import ARCHITECTURE, STATISTICS, VOCABULARIES, WEIGHTS
from tfrs_twotower.config import ExportConfig, IndexConfig
from tfrs_twotower.errors import ArtifactError, BundleError, CorruptArtifact
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.ranking.exact import FloatArray

REFRESH = "refresh"
TOWERS = "towers"
PRE_RANKER = "pre_ranker"
_SETTINGS, _CANDIDATES, _VECTORS = "settings.json", "candidates.parquet", "vectors.npy"
_ATTRIBUTES, _QUERIES, _PROBE = "attributes.npz", "queries.npy", "probe.npz"
_FEATURE = "feature:"


class RefreshSettings(BaseModel):
    """How a version was exported, so that a refresh does the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Of the bundle in the run config."""
    exact: bool
    export: ExportConfig
    index: IndexConfig
    """With the kind that was built."""
    shard: int | None = None
    """Number of this shard of `export.shards`; None where there is one bundle."""


@dataclass(frozen=True)
class KeptCorpus:
    """The candidates of a version, in row order."""

    ids: list[str]
    titles: list[str]
    hashes: HashArray
    """`[num_candidates, 16]`, `serving.bundle.candidate_hashes`."""
    vectors: FloatArray
    """`[num_candidates, embedding_dim]`."""
    attributes: CandidateAttributes | None

    def take(self, rows: npt.NDArray[np.int64]) -> "KeptCorpus":
        """Some candidates; the rows must ascend."""
        return KeptCorpus(
            [self.ids[row] for row in rows],
            [self.titles[row] for row in rows],
            self.hashes[rows],
            self.vectors[rows],
            None if self.attributes is None else self.attributes.rows(rows),
        )


@dataclass(frozen=True)
class Probe:
    """What the towers of a version are checked with."""

    rows: npt.NDArray[np.int64]
    """`[n]` rows of the corpus."""
    raw: dict[str, npt.NDArray[Any]]
    """Their raw features."""
    blank_query: FloatArray
    """`[embedding_dim]`: the embedding of a query whose features are "" and 0."""


def write_settings(directory: Path, settings: RefreshSettings) -> None:
    """Writes `settings.json` into a `refresh` directory."""
    text = settings.model_dump_json(indent=2) + "\n"
    (directory / _SETTINGS).write_text(text, encoding="utf-8")


def read_settings(directory: Path) -> RefreshSettings:
    """How the version was exported.

    Raises:
        CorruptArtifact: it cannot be read.
    """
    try:
        return RefreshSettings.model_validate_json((directory / _SETTINGS).read_bytes())
    except (OSError, ValidationError) as cause:
        raise _unreadable(directory / _SETTINGS, cause) from cause


def write_corpus(directory: Path, corpus: KeptCorpus) -> None:
    """Writes the candidates, without their titles, into a `refresh` directory."""
    hashes = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(HASH_BYTES),
        len(corpus.ids),
        [None, pa.py_buffer(np.ascontiguousarray(corpus.hashes))],
    )
    table = pa.table({"candidate_id": pa.array(corpus.ids, pa.string()), "hash": hashes})
    pq.write_table(table, directory / _CANDIDATES)
    np.save(directory / _VECTORS, corpus.vectors, allow_pickle=False)
    if corpus.attributes is not None:
        _save_features(directory / _ATTRIBUTES, corpus.attributes.values)


def read_corpus(version_dir: Path) -> KeptCorpus:
    """The candidates of a version.

    Raises:
        CorruptArtifact: a file is missing or cannot be read, or two do not go together.
    """
    directory = version_dir / REFRESH
    path = directory / _CANDIDATES
    try:
        table = pq.read_table(path)
        ids = table["candidate_id"].to_pylist()
        hashes = np.array(table["hash"].to_pylist(), f"S{HASH_BYTES}")
        titles = read_titles(version_dir)
    except (OSError, KeyError, pa.ArrowException) as cause:
        raise _unreadable(path, cause) from cause
    if list(titles) != ids:
        raise CorruptArtifact(
            f"{version_dir}: {TITLES_NAME} and {REFRESH}/{_CANDIDATES} are of different "
            "candidates. Export the bundle again."
        )
    attributes = None
    if (directory / _ATTRIBUTES).exists():
        attributes = CandidateAttributes(_features_of(_load(directory / _ATTRIBUTES)))
    return KeptCorpus(
        ids,
        list(titles.values()),
        hashes.view(np.uint8).reshape(-1, HASH_BYTES),
        read_vectors(directory),
        attributes,
    )


def read_vectors(directory: Path) -> FloatArray:
    """`[num_candidates, embedding_dim]` of the corpus, in row order.

    Raises:
        CorruptArtifact: they cannot be read.
    """
    return _load_array(directory / _VECTORS)


def write_queries(directory: Path, embeddings: FloatArray) -> None:
    """Writes query embeddings, which must stand in no order that tells whose they are."""
    order = np.lexsort(embeddings.T[::-1])
    np.save(directory / _QUERIES, embeddings[order], allow_pickle=False)


def read_queries(directory: Path) -> FloatArray:
    """`[n, embedding_dim]` query embeddings.

    Raises:
        CorruptArtifact: they cannot be read.
    """
    return _load_array(directory / _QUERIES)


def write_probe(directory: Path, probe: Probe) -> None:
    """Writes `probe.npz` into a `refresh` directory."""
    _save_features(directory / _PROBE, probe.raw, rows=probe.rows, blank_query=probe.blank_query)


def read_probe(directory: Path) -> Probe:
    """What the towers are checked with.

    Raises:
        CorruptArtifact: it cannot be read.
    """
    arrays = _load(directory / _PROBE)
    return Probe(arrays["rows"], _features_of(arrays), arrays["blank_query"])


def copy_towers(model_dir: Path, destination: Path) -> None:
    """Copies from a `model` artifact, or another `towers/`, what towers are loaded from."""
    destination.mkdir()
    for name in (ARCHITECTURE, WEIGHTS, STATISTICS):
        shutil.copy2(model_dir / name, destination / name)
    shutil.copytree(model_dir / VOCABULARIES, destination / VOCABULARIES)


def open_refresh(version_dir: Path) -> Path:
    """The `refresh` directory of a version.

    Raises:
        BundleError: it has none.
    """
    directory = version_dir / REFRESH
    if not directory.is_dir():
        raise BundleError(
            f"{version_dir}: holds no {REFRESH}/, so its candidates cannot change. Export the "
            "bundle again with this version of the package."
        )
    return directory


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


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as cause:
        raise _unreadable(path, cause) from cause


def _load_array(path: Path) -> FloatArray:
    try:
        found: FloatArray = np.load(path, allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError) as cause:
        raise _unreadable(path, cause) from cause


def _unreadable(path: Path, cause: Exception) -> ArtifactError:
    return CorruptArtifact(f"{path}: cannot be read: {cause}. Export the bundle again.")
