"""Queries with their ground truth: what training, evaluation and the release gate measure on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import DataError
from tfrs_twotower.ranking import FloatArray, GroundTruth, Ragged


def _unknown() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


def _not_embedded() -> FloatArray:
    return np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class QuerySet:
    """Some queries of one split. Candidates are rows of one corpus."""

    truth: GroundTruth
    """Relevant candidates of each query, at least one, with gains."""
    seen: Ragged
    """Candidates that the ranking of each query leaves out."""
    inputs: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Inputs of the query tower, by name: raw features at the split's cut-off, or tokens;
    `[num_queries]` or `[num_queries, width]`."""
    ids: NDArray[np.object_] = field(default_factory=lambda: np.zeros(0, object))
    """`[num_queries]` str; empty if nothing needs them."""
    split: str = ""
    """`validation` or `test`; "" if the queries come from elsewhere."""
    num_events: NDArray[np.int64] = field(default_factory=_unknown)
    """`[num_queries]` earlier events of the query; empty if they were not counted."""
    timestamps: NDArray[np.int64] = field(default_factory=_unknown)
    """`[num_queries]` the cut-off in seconds, 0 in data without time."""
    embeddings: FloatArray = field(default_factory=_not_embedded)
    """`[num_queries, embedding_dim]`; empty if they were not read."""
    texts: Sequence[str] | None = None
    """All text features of a query, joined; None without text features."""
    rankable: NDArray[np.bool_] | None = None
    """`[num_candidates]` candidates that may be ranked; None means all."""

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        inputs: dict[str, NDArray[Any]],
        relevant: Sequence[Sequence[str]],
        seen: Sequence[Sequence[str]] | None = None,
    ) -> "QuerySet":
        """Queries whose judgements name candidates by id.

        Args:
            corpus: the candidates.
            inputs: inputs of the query tower, in the order of `relevant`.
            relevant: candidate ids of each query, at least one.
            seen: candidate ids that each query's ranking leaves out; ids that the corpus does not
                have are ignored. None leaves nothing out.

        Raises:
            DataError: a query has no relevant candidate, or one that the corpus does not have.
        """
        rows = [corpus.row_of(ids) for ids in relevant]
        for query, own in enumerate(rows):
            if not len(own) or (own < 0).any():
                raise DataError(
                    f"judged queries: query {query + 1} has {len(own)} relevant candidates, "
                    f"{int((own < 0).sum())} of them not in the corpus; it must have at least "
                    "one, all of the corpus. Leave it out, or correct its ids."
                )
        known = [corpus.row_of(ids) for ids in (seen or [()] * len(rows))]
        return cls(
            GroundTruth.from_lists(rows),
            Ragged.from_lists([own[own >= 0] for own in known]),
            inputs,
        )

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, queries: NDArray[np.integer]) -> "QuerySet":
        """Some of the queries, in the given order."""

        def chosen(values: NDArray[Any]) -> NDArray[Any]:
            return values[queries] if len(values) else values

        return replace(
            self,
            truth=self.truth.take(queries),
            seen=self.seen.take(queries),
            inputs={name: values[queries] for name, values in self.inputs.items()},
            ids=chosen(self.ids),
            num_events=chosen(self.num_events),
            timestamps=chosen(self.timestamps),
            embeddings=chosen(self.embeddings),
            texts=None if self.texts is None else [self.texts[query] for query in queries],
        )

    def sample(self, most: int, *, seed: int) -> "QuerySet":
        """At most `most` queries, see `sample_places`."""
        return self if len(self) <= most else self.take(sample_places(len(self), most, seed))

    def spread(self, most: int) -> "QuerySet":
        """At most `most` queries, see `spread_places`."""
        return self.take(spread_places(len(self), most))

    def among(self, rows: NDArray[np.integer], num_candidates: int) -> "QuerySet":
        """The queries with a relevant candidate in a part of the corpus, by rows of that part.

        Args:
            rows: candidates of the part, as rows of the whole corpus; -1 for one that the whole
                corpus does not have.
            num_candidates: size of the whole corpus.
        """
        row_in_part = np.full(num_candidates, -1, np.int64)
        known = np.flatnonzero(rows >= 0)
        row_in_part[rows[known]] = known

        def renumbered(lists: Ragged) -> Ragged:
            return Ragged(lists.offsets, row_in_part[lists.values])

        truth = self.truth.where(row_in_part[self.truth.relevant.values] >= 0)
        seen = self.seen.where(row_in_part[self.seen.values] >= 0)
        part = replace(
            self,
            truth=GroundTruth(renumbered(truth.relevant), truth.gains),
            seen=renumbered(seen),
            rankable=None if self.rankable is None else self.rankable[rows] | (rows < 0),
        )
        return part.take(np.flatnonzero(truth.relevant.lengths))


def sample_places(count: int, most: int | None, seed: int) -> NDArray[np.int64]:
    """Ascending positions of at most `most` of `count` queries, drawn by the seed; None takes all.

    Every subset of the size is equally likely, so that means over it estimate those over all.
    """
    if most is None or count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def spread_places(count: int, most: int) -> NDArray[np.int64]:
    """Ascending positions of at most `most` of `count` queries, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))
