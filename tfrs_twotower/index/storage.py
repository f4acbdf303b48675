"""The index on disk.

`candidates.npz`, `vectors.npy`, `index.json`; `scann.npz` or `ivf.npz` of an approximate search;
`lexical.json` and `postings.npz` of a search of words.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.stored_arrays import load_array, load_arrays
from tfrs_twotower.data.stored_postings import load_lexical, save_lexical
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.index import answers, build, quality
from tfrs_twotower.index.exact_search import ExactSearch, to_int8
from tfrs_twotower.ranking.order import FloatArray

CANDIDATES_NAME = "candidates.npz"
VECTORS_NAME = "vectors.npy"
PARAMETERS_NAME = "index.json"


@dataclass(frozen=True)
class Index:
    """A corpus and how it is searched."""

    corpus: Corpus
    """The candidates, with vectors."""
    kind: quality.Kind
    """Kind of the search of vectors."""
    trained: dict[str, npt.NDArray[Any]] | None = None
    """Arrays of the approximate search; None for exact search."""
    parameters: quality.SearchParameters | None = None
    """Its search parameters; None for exact search."""
    int8: bool = False
    """Whether the search of its own kind keeps the vectors in eight bits."""
    lexical: Lexical | None = None
    """The search of words beside that of vectors, or instead of it."""

    @classmethod
    def of(cls, corpus: Corpus, built: build.BuiltIndex, lexical: Lexical | None = None) -> "Index":
        """The index that was built from the vectors of a corpus.

        Raises:
            ValueError: it was built from vectors other than those of the corpus, or in another
                order.
        """
        if corpus.has_vectors and not np.array_equal(corpus.vectors, built.vectors):
            raise ValueError(
                "the index was not built from the vectors of this corpus, or not in their order; "
                "give `corpus.vectors` to build_index"
            )
        searched = corpus.with_vectors(built.vectors)
        return cls(searched, built.kind, built.trained, built.parameters, built.int8, lexical)

    @property
    def name(self) -> str:
        """Kind of the whole index, as the run config names it."""
        return self.kind if self.lexical is None else self.lexical.kind

    @property
    def vectors(self) -> FloatArray:
        """`[num_candidates, embedding_dim]`."""
        return self.corpus.vectors

    def exact_search(self) -> ExactSearch:
        """A searcher that scores every candidate's vector."""
        return ExactSearch(self.vectors)

    def search(self, *, max_excluded: int = build.MAX_EXCLUDED) -> answers.Search:
        """The searcher of vectors of the index's own kind.

        Args:
            max_excluded: number of exclusions that a longer approximate search compensates.
        """
        if self.trained is None or self.parameters is None:
            return ExactSearch(to_int8(self.vectors)) if self.int8 else self.exact_search()
        return build.make_search(
            self.kind, self.vectors, self.trained, self.parameters, max_excluded
        )


def save_index(directory: Path, index: Index) -> None:
    """Writes an index; the same index gives the same bytes."""
    corpus = index.corpus
    np.savez(directory / CANDIDATES_NAME, ids=_encoded(corpus.ids), titles=_encoded(corpus.titles))
    np.save(directory / VECTORS_NAME, corpus.vectors)
    parameters = asdict(index.parameters) if index.parameters else None
    described = {"kind": index.kind, "parameters": parameters, "int8": index.int8}
    text = json.dumps(described, indent=2) + "\n"
    (directory / PARAMETERS_NAME).write_text(text, encoding="utf-8")
    if index.trained is not None:
        arrays: dict[str, Any] = dict(index.trained)
        np.savez(directory / f"{index.kind}.npz", **arrays)
    if index.lexical is not None:
        save_lexical(index.lexical, directory)


def load_index(directory: Path) -> Index:
    """Reads an index. Checksums are the caller's to verify.

    Raises:
        MissingArtifact: a file is not there.
        CorruptArtifact: a file cannot be read.
    """
    try:
        described = json.loads((directory / PARAMETERS_NAME).read_text(encoding="utf-8"))
        candidates = load_arrays(directory / CANDIDATES_NAME)
        ids, titles = _decoded(candidates["ids"]), _decoded(candidates["titles"])
        corpus = Corpus(ids, titles, {}, load_array(directory / VECTORS_NAME))
        trained, parameters = None, None
        kind, int8 = described["kind"], described["int8"]
        if kind != "brute_force":
            trained = load_arrays(directory / f"{kind}.npz")
            parameters = quality.SearchParameters(**described["parameters"])
    except FileNotFoundError as cause:
        raise MissingArtifact(f"{cause.filename}: is missing. Run build-index again.") from None
    except (ValueError, KeyError, TypeError, OSError) as cause:
        raise CorruptArtifact(
            f"{directory}: cannot be read as an index: {cause}. Run build-index again."
        ) from cause
    lexical = load_lexical(directory, len(ids), "Run build-index again.")
    return Index(corpus, kind, trained, parameters, int8, lexical)


def _encoded(values: npt.NDArray[np.object_]) -> npt.NDArray[np.bytes_]:
    return np.array([value.encode() for value in values], np.bytes_)


def _decoded(values: npt.NDArray[np.bytes_]) -> npt.NDArray[np.object_]:
    return np.array([value.decode() for value in values.tolist()], object)
