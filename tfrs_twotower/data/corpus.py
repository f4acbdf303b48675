"""The corpus: every candidate with its raw features, in the one order that rows refer to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from tfrs_twotower.errors import DataError
from tfrs_twotower.ranking import FloatArray

_UNDECODED = "surrogateescape"
"""Bytes that are no UTF-8 are no id, and must not become one."""
_SEARCHES_PER_HASH = 32
"""Ids of the corpus that are hashed in the time of one binary search."""


@dataclass(frozen=True)
class Corpus:
    """All candidates at one time, sorted by id; a candidate's position is its `row`.

    Ids and titles are `str`, which sort like their UTF-8 bytes. TensorFlow gives and takes bytes:
    what it parsed is decoded here, and strings that become a tensor are encoded by TensorFlow.
    """

    ids: NDArray[np.object_]
    """`[num_candidates]` str, sorted, distinct."""
    titles: NDArray[np.object_]
    """`[num_candidates]` str; "" in data without titles."""
    raw: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Raw features as TensorFlow parsed them (strings are bytes), `[num_candidates]` or
    `[num_candidates, width]`; empty if they were not read."""
    _vectors: FloatArray | None = None
    texts: Sequence[str] | None = None
    """All text features of a candidate, joined; None without text features, or if not needed."""

    @classmethod
    def of(
        cls,
        ids: Sequence[str] | NDArray[Any],
        vectors: NDArray[Any] | Sequence[Sequence[float]],
        titles: Sequence[str] | None = None,
        *,
        where: str = "corpus",
    ) -> "Corpus":
        """A corpus of candidates whose vectors were made elsewhere.

        Args:
            ids: `[num_candidates]` text, or UTF-8 bytes, in any order.
            vectors: `[num_candidates, embedding_dim]` numbers, in the order of `ids`; kept as
                float32, at whatever length they have.
            titles: `[num_candidates]`, in the order of `ids`; without them there are none.
            where: they came from, for messages.

        Raises:
            DataError: there is no candidate, an id is empty, not text or occurs twice, a vector is
                not finite, or the lengths differ.
        """
        names = [id_.decode() if isinstance(id_, bytes) else id_ for id_ in ids]
        shown = [""] * len(names) if titles is None else [title or "" for title in titles]
        if not len(names) == len(shown) == len(vectors):
            raise DataError(
                f"{where}: found {len(names)} ids, {len(vectors)} vectors and {len(shown)} titles; "
                "there must be one of each for every candidate. Give them in the same order."
            )
        _check_ids(names, where)
        rows = checked_vectors(vectors, where, ids=names)
        order = sorted(range(len(names)), key=names.__getitem__)
        return cls(strings(names)[order], strings(shown)[order], {}, rows[order])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def vectors(self) -> FloatArray:
        """`[num_candidates, embedding_dim]`.

        Raises:
            ValueError: the corpus was read without them.
        """
        if self._vectors is None:
            raise ValueError("this corpus has no vectors; give it some by `with_vectors`")
        return self._vectors

    @property
    def has_vectors(self) -> bool:
        """Whether the corpus was made with vectors."""
        return self._vectors is not None

    def with_vectors(self, vectors: FloatArray) -> "Corpus":
        """The same candidates with vectors `[num_candidates, embedding_dim]`, in row order."""
        return replace(self, _vectors=vectors)

    @cached_property
    def _is_sorted(self) -> bool:
        return bool((self.ids[1:] > self.ids[:-1]).all())

    @cached_property
    def _encoded_ids(self) -> pa.Array:
        return pa.array(self.ids, pa.string(), from_pandas=False).cast(pa.binary())

    def row_of(self, ids: Iterable[bytes | str] | pa.Array) -> NDArray[np.int32]:
        """Rows of candidate ids, text or as TensorFlow gives them; -1 for an unknown id."""
        if not isinstance(ids, pa.Array):
            texts = [id_ if isinstance(id_, str) else id_.decode(errors=_UNDECODED) for id_ in ids]
            if len(texts) * _SEARCHES_PER_HASH < len(self) and self._is_sorted:
                asked = strings(texts)
                rows = np.minimum(np.searchsorted(self.ids, asked), len(self) - 1)
                return np.where(self.ids[rows] == asked, rows, -1).astype(np.int32)
            ids = pa.array([text.encode(errors=_UNDECODED) for text in texts], pa.binary())
        # Hashes all ids, which is worth it for many.
        found = pc.index_in(ids.cast(pa.binary()), value_set=self._encoded_ids)
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int32)

    def take(self, rows: NDArray[np.integer]) -> "Corpus":
        """Some candidates; the rows must ascend."""
        raw = {name: values[rows] for name, values in self.raw.items()}
        vectors = None if self._vectors is None else self._vectors[rows]
        texts = None if self.texts is None else [self.texts[row] for row in rows]
        return Corpus(self.ids[rows], self.titles[rows], raw, vectors, texts)

    def name(self, row: int) -> str:
        """The title of a candidate, or its id if it has no title."""
        return str(self.titles[row] or self.ids[row])

    def batches(self, batch_size: int) -> Iterable[dict[str, NDArray[Any]]]:
        """Raw features of consecutive rows."""
        for start in range(0, len(self), batch_size):
            yield {name: values[start : start + batch_size] for name, values in self.raw.items()}


def checked_vectors(
    vectors: ArrayLike,
    where: str,
    dim: int | None = None,
    ids: Sequence[str] | None = None,
) -> FloatArray:
    """Vectors `[n, dim]` of any numbers as float32.

    Args:
        vectors: at least one.
        where: they came from, for messages.
        dim: the width that they must have; None is any.
        ids: ids of the vectors, for messages.

    Raises:
        DataError: they are not a matrix of finite numbers, or of another width.
    """
    try:
        matrix = np.asarray(vectors)
    except ValueError:  # lists of different lengths
        matrix = np.empty(0, object)
    fits = matrix.ndim == 2 and matrix.size and dim in (None, matrix.shape[1])
    if not fits or matrix.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: found vectors of type {matrix.dtype} and shape {matrix.shape}, expected "
            f"numbers [num_vectors, {dim or 'dim'}] with at least one of each. Give every id one "
            "vector, all of the same width."
        )
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(matrix, np.float32)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        first = f"record {bad[0] + 1}" if ids is None else f"that of {ids[bad[0]]!r}"
        raise DataError(
            f"{where}: {len(bad)} of {len(matrix)} vectors hold a NaN or infinite number (of "
            f"float32), first {first}. All must be finite: remove or correct them."
        )
    return matrix


def _check_ids(ids: Sequence[Any], where: str) -> None:
    seen: set[str] = set()
    for place, id_ in enumerate(ids):
        if not isinstance(id_, str) or not id_:
            raise DataError(
                f"{where}: the id of record {place + 1} is {id_!r}; an id is text and not empty. "
                "Correct it, or turn ids into text."
            )
        if id_ in seen:
            raise DataError(
                f"{where}: the id {id_!r} occurs twice, again in record {place + 1}; every id must "
                "occur once. Remove one of the two."
            )
        seen.add(id_)


def sample_rows(raw: Mapping[str, NDArray[Any]], limit: int) -> NDArray[np.int64]:
    """Evenly spaced rows, and for each feature one row with a value and one without."""
    count = len(next(iter(raw.values())))
    chosen = set(np.linspace(0, count - 1, min(limit, count)).astype(int).tolist())
    for values in raw.values():
        missing = _missing(values)
        for rows in (np.flatnonzero(missing), np.flatnonzero(~missing)):
            chosen.update(rows[:1].tolist())
    return np.array(sorted(chosen), np.int64)


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind in "iu":
        return values < 0
    empty = values == b""
    return empty.reshape(len(values), -1).all(axis=1)


def strings(values: Sequence[str]) -> NDArray[np.object_]:
    """`[n]` str, as ids and titles are kept."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
