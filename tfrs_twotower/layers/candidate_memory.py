"""What is stored of candidates: embeddings, content vectors, and table rows over a segment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.layers import embedding_tables, seeded
from tfrs_twotower.specs import UNKNOWN_ROW

_CHUNK = 4096


class CandidateMemory(tf.Module):
    """The last known embedding of each candidate id, one row `[embedding_dim]` each, not trained.

    The mean over a history replaces the vector that DAT learns for a query: with fixed towers, the
    minimum of the mimic loss is the mean of the candidate embeddings of the query's positives.
    Unlike a learned vector, the history does not contain the example's own target.

    Rows that were never written are zero and are left out of every mean.
    """

    def __init__(
        self,
        weights: seeded.WeightMaker,
        feature: str,
        num_rows: int,
        dim: int,
        *,
        longest: int | None = None,
    ) -> None:
        """Makes an empty memory.

        Args:
            weights: makes the variable.
            feature: name of the candidate's id feature.
            num_rows: number of rows of the lookup of the ids.
            dim: dimension of the embeddings.
            longest: most recent events of a history that are averaged; None for all.
        """
        super().__init__(name="memory")
        self._feature = feature
        self._longest = longest
        self._rows = weights.state("memory", [num_rows, dim])

    @property
    def num_rows(self) -> int:
        """Number of rows of the lookup of the ids."""
        return int(self._rows.shape[0])

    def ids_of(self, tokens: Mapping[str, tf.Tensor]) -> npt.NDArray[np.int32]:
        """The ids `[num_candidates]` among the tokens of candidates."""
        return np.asarray(tokens[self._feature])

    def mean(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Averages the memory over histories of candidate ids.

        Args:
            history: `[batch, max_length]` int32, most recent event first; events that the memory
                does not know are left out.

        Returns:
            Means `[batch, dim]`, zero for a history without a known event, and boolean `[batch]`:
            whether the history has a known event.
        """
        history = history[:, : self._longest]
        ids, position = tf.unique(tf.reshape(history, [-1]))
        written = tf.reduce_any(tf.gather(self._rows, ids) != 0.0, axis=1)
        known = tf.reshape(tf.gather(written, position), tf.shape(history))
        return embedding_tables.mean_of_rows(self._rows, tf.where(known, history, 0))

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """The rows `[n, dim]` of ids `[n]`."""
        return tf.gather(self._rows, ids)

    def update(self, tokens: Mapping[str, tf.Tensor], embeddings: tf.Tensor) -> None:
        """Writes the embeddings of some candidates; a candidate that occurs twice gets the mean.

        Args:
            tokens: `[columns, ...]` of the candidate tower; unknown ids are left out.
            embeddings: `[columns, dim]`.
        """
        ids, position = tf.unique(tokens[self._feature])
        means = tf.math.unsorted_segment_mean(tf.stop_gradient(embeddings), position, tf.size(ids))
        known = ids > UNKNOWN_ROW
        self._rows.scatter_update(
            tf.IndexedSlices(tf.boolean_mask(means, known), tf.boolean_mask(ids, known))
        )

    def fill(
        self,
        tokens: Mapping[str, tf.Tensor],
        encode: Callable[[dict[str, tf.Tensor]], tf.Tensor],
    ) -> None:
        """Forgets everything and writes what `encode` makes of the whole corpus, in chunks.

        Args:
            tokens: `[num_candidates, ...]` of the candidate tower.
            encode: vectors `[n, dim]` of the tokens of n candidates.
        """
        size = len(next(iter(tokens.values())))
        chunks = [
            encode({name: values[start : start + _CHUNK] for name, values in tokens.items()})
            for start in range(0, size, _CHUNK)
        ]
        self.replace(tokens, tf.concat(chunks, axis=0))

    def replace(self, tokens: Mapping[str, tf.Tensor], embeddings: tf.Tensor) -> None:
        """Forgets everything and writes the embeddings of the whole corpus.

        Args:
            tokens: `[num_candidates, ...]` of the candidate tower.
            embeddings: `[num_candidates, dim]`.
        """
        ids = tokens[self._feature]
        known = ids > UNKNOWN_ROW
        self._rows.assign(
            tf.math.unsorted_segment_mean(
                tf.boolean_mask(embeddings, known),
                tf.boolean_mask(ids, known),
                self._rows.shape[0],
            )
        )


@dataclass(frozen=True)
class _CorpusTokens:
    """The tokens of the whole corpus, and where each id stands in it; not part of the weights."""

    tokens: Mapping[str, tf.Tensor]
    row_of_id: tf.Tensor
    """`[num_rows]` int32: -1 for an id that no candidate has."""


class CandidateContent(tf.Module):
    """What the features of a candidate other than its id say of it: a vector for each id.

    The vector is the sum of the candidate tower's field vectors. A training step makes it from the
    fields as they are now, for the ids that it needs, so that the gradient of a history reaches
    the candidate's fields. Outside training it is read from a table, which
    `Towers.refresh_derived_state` fills and the weights hold; so a server needs no features of
    the candidates that a history names.
    """

    def __init__(
        self,
        memory: CandidateMemory,
        encode: Callable[[Mapping[str, tf.Tensor], seeded.TrainingDropout | None], tf.Tensor],
        *,
        stop_gradient: bool,
    ) -> None:
        """Starts without a corpus, with an empty table.

        Args:
            memory: the table.
            encode: the sum of field vectors `[n, dim]` of the tokens of n candidates.
            stop_gradient: whether histories leave the candidate's fields as they are.
        """
        super().__init__(name="content")
        self._memory = memory
        self._encode = encode
        self._stop_gradient = stop_gradient
        self._corpus: _CorpusTokens | None = None

    def vectors(self, ids: tf.Tensor, dropout: seeded.TrainingDropout | None) -> tf.Tensor:
        """The vectors `[n, dim]` of ids `[n]`; zero for an id that no candidate has.

        Args:
            ids: rows of the lookup of candidate ids.
            dropout: source of random masks in training; None outside training.
        """
        if dropout is None or self._corpus is None:
            return self._memory.rows(ids)
        rows = tf.gather(self._corpus.row_of_id, ids)
        tokens = {
            name: tf.gather(values, tf.maximum(rows, 0))
            for name, values in self._corpus.tokens.items()
        }
        vectors = self._encode(tokens, dropout) * tf.cast(rows >= 0, tf.float32)[:, tf.newaxis]
        return tf.stop_gradient(vectors) if self._stop_gradient else vectors

    def set_corpus(self, tokens: Mapping[str, tf.Tensor]) -> None:
        """Sets the candidates that training makes vectors of.

        Args:
            tokens: `[num_candidates, ...]` of the candidate tower.
        """
        ids = self._memory.ids_of(tokens)
        rows = np.full(self._memory.num_rows, -1, np.int32)
        known = np.flatnonzero(ids > UNKNOWN_ROW)
        rows[ids[known]] = known
        self._corpus = _CorpusTokens(dict(tokens), tf.constant(rows))

    def refresh(self, tokens: Mapping[str, tf.Tensor]) -> None:
        """Fills the table from the whole corpus.

        Args:
            tokens: `[num_candidates, ...]` of the candidate tower.
        """
        self._memory.fill(tokens, lambda chunk: self._encode(chunk, None))


def event_vectors(
    table: tf.Variable,
    content: CandidateContent | None,
    ids: tf.Tensor,
    dropout: seeded.TrainingDropout | None,
) -> tf.Tensor:
    """What a history knows of the candidates `[n]` of its events: `[n, dim]`.

    Args:
        table: `[num_rows, dim]`, the candidate tower's table of ids.
        content: what is known of a candidate beside its id; None if nothing is.
        ids: rows of the table.
        dropout: source of random masks in training; None outside training.
    """
    rows = tf.gather(table, ids)
    return rows if content is None else rows + content.vectors(ids, dropout)


class SegmentMeans(tf.Module):
    """A substitute for the row of an unknown id: the mean row of its segment's known ids.

    An id counts once in each segment in which it occurs, however many examples it has, because an
    unknown id stands for one more id, not for one more event. `compute_means` computes the means
    from the current table. Only the means are saved, so they are right after a restart even if
    the members are not set again.
    """

    def __init__(
        self,
        weights: seeded.WeightMaker,
        table: tf.Variable,
        *,
        id_feature: str,
        segment_feature: str,
        num_segments: int,
    ) -> None:
        """Starts with means of zero, which count as unknown.

        Args:
            weights: makes the variable.
            table: `[num_rows, dim]`.
            id_feature: name of the feature whose tokens are rows of the table.
            segment_feature: name of the feature whose tokens are segments.
            num_segments: number of rows of the lookup of the segments.
        """
        super().__init__(name="segments")
        self._table = table
        self._id_feature = id_feature
        self._segment_feature = segment_feature
        self._means = weights.state("segments", [num_segments, table.shape[1]])
        self._members = np.zeros([2, 0], np.int32)

    def __call__(self, tokens: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns means `[batch, dim]`, and boolean `[batch]`: whether the segment has a mean."""
        means = tf.gather(self._means, tokens[self._segment_feature])
        return means, tf.reduce_any(means != 0.0, axis=1)

    def set_members(self, tokens: Mapping[str, ArrayLike]) -> None:
        """Sets which ids belong to which segment; earlier members are forgotten.

        Args:
            tokens: `[num_examples, ...]` of the side's tower, of all training examples.
        """
        segments = np.asarray(tokens[self._segment_feature])
        ids = np.asarray(tokens[self._id_feature])
        known = (segments > UNKNOWN_ROW) & (ids > UNKNOWN_ROW)
        self._members = np.unique(np.stack([segments[known], ids[known]]), axis=1)

    def compute_means(self) -> None:
        """Computes the means from the table; without members they do not change."""
        segments, ids = self._members
        if len(ids):
            rows = tf.gather(self._table, ids)
            self._means.assign(tf.math.unsorted_segment_mean(rows, segments, self._means.shape[0]))
