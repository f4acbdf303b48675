"""Batches of raw features, such as a `tf.data.Dataset` gives, whose negatives are the batch itself.

No corpus is in memory, so an id among the features identifies a candidate, and its frequency is
counted beforehand or estimated during training. With a corpus in memory negatives can
also be drawn from all of it: see `tfrs_twotower.training.negatives`.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.losses import negative_columns, sampling_probability
from tfrs_twotower.tasks.objective import EmbeddedBatch
from tfrs_twotower.towers.tower import TowerOutput, Towers
from tfrs_twotower.training.replicas import all_gather, replica_id

FeatureBatch: TypeAlias = Mapping[str, Any]
"""`{"query": {...}, "candidate": {...}}`, or one flat dict that both towers read by name."""

_BUCKETS = 1 << 20
_LARGEST_HASH = 1 << 62


class InBatchNegatives(tf.Module):
    """The other candidates of a batch are the negatives of a query.

    An example is a positive pair. The ids that are given decide on the corrections:

    *   `candidate_id` hides a query's own candidate if another row holds it too (accidental hits),
        and corrects for popular candidates, which are negatives more often (logQ);
    *   `query_id` also hides the query's other candidates of the same batch;
    *   without ids there is no masking and no correction.
    """

    def __init__(
        self,
        *,
        candidate_id: str | None = None,
        query_id: str | None = None,
        candidate_counts: Mapping[str, int] | Mapping[int, int] | None = None,
        logq: bool = True,
    ) -> None:
        """Names the ids.

        Args:
            candidate_id: the candidate's feature, string or integer `[batch]`, that identifies it;
                the tower need not take it.
            query_id: the query's feature, in the same form.
            candidate_counts: training examples of each candidate, by id; an id that is not in it
                counts as one example. None estimates the frequency while training (Yi et al.,
                RecSys 2019, algorithm 2), which takes some hundred steps to converge.
            logq: whether to correct for popular candidates, if `candidate_id` is given.

        Raises:
            ValueError: there are counts, but no `candidate_id` to look them up by.
        """
        super().__init__(name="in_batch_negatives")
        if candidate_counts is not None and (candidate_id is None or not candidate_counts):
            raise ValueError(
                f"candidate_counts has {len(candidate_counts)} entries and candidate_id is "
                f"{candidate_id!r}; counts need at least one entry, and candidate_id, the feature "
                "that they are looked up by"
            )
        self._candidate_id = candidate_id
        self._query_id = query_id
        self._shares: tf.lookup.StaticHashTable | None = None
        self._frequency: sampling_probability.StreamingFrequency | None = None
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        if candidate_counts is not None and logq:
            self._shares = _shares(candidate_counts)
        elif candidate_id is not None and logq:
            self._frequency = sampling_probability.StreamingFrequency(_BUCKETS)

    @property
    def state(self) -> list[tf.Module]:
        """The modules that belong in a checkpoint."""
        return [self]

    def embed(self, towers: Towers, batch: FeatureBatch, training: bool) -> EmbeddedBatch:
        """Embeds a batch with both towers.

        Args:
            towers: both towers.
            batch: raw features `[batch, ...]` of positive pairs.
            training: whether to apply dropout and to count the batch's candidates.

        Raises:
            ValueError: (while tracing) a named id is not in the batch, or is not an id.
        """
        query_features, candidate_features = _sides(batch)
        query_tokens = towers.query.inputs(query_features)
        query = towers.query.encode(query_tokens, training)
        tokens = towers.candidate.inputs(candidate_features)
        candidate = towers.candidate.encode(tokens, training)
        size = tf.shape(query.embedding)[0]
        columns = replica_id() * size + tf.range(size)
        rows = _keys(candidate_features, self._candidate_id, columns)
        query_rows = _keys(query_features, self._query_id, columns)
        all_rows, all_query_rows = all_gather(rows), all_gather(query_rows)
        all_query, all_candidate = gather_output(query), gather_output(candidate)
        expected = self._expected(candidate_features, all_rows, training)
        # Pairs that share a candidate or a query are not negatives of each other.
        hidden = tf.logical_or(
            negative_columns.accidental_hits(rows, all_rows),
            negative_columns.accidental_hits(query_rows, all_query_rows),
        )
        return EmbeddedBatch(
            columns=all_candidate.embedding,
            positive_columns=columns,
            hidden=hidden,
            reverse_hidden=hidden,
            expected=expected,
            sampled_expected=expected,
            drawn=None,
            query=query,
            query_tokens=query_tokens,
            query_rows=query_rows,
            all_query=all_query,
            all_query_rows=all_query_rows,
            candidate=candidate,
            candidate_rows=rows,
            all_candidate=all_candidate,
            all_candidate_rows=all_rows,
            all_candidate_tokens={name: all_gather(values) for name, values in tokens.items()},
        )

    def _expected(self, features: RawBatch, all_rows: tf.Tensor, training: bool) -> tf.Tensor:
        """`[all]` expected occurrences of each candidate in a batch; None without a correction."""
        if self._shares is not None and self._candidate_id is not None:
            ids = all_gather(tf.convert_to_tensor(features[self._candidate_id]))
            ids = ids if ids.dtype == tf.string else tf.cast(ids, tf.int64)
            return self._shares.lookup(ids) * tf.cast(tf.shape(ids)[0], tf.float32)
        if self._frequency is None:
            return None
        buckets = all_rows % _BUCKETS
        if training:
            self._frequency.update(buckets, self._step.assign_add(1))
        return self._frequency.expected(buckets)


def _sides(batch: FeatureBatch) -> tuple[RawBatch, RawBatch]:
    query, candidate = batch.get("query"), batch.get("candidate")
    if isinstance(query, Mapping) and isinstance(candidate, Mapping):
        return dict(query), dict(candidate)
    return dict(batch), dict(batch)


def _keys(features: RawBatch, name: str | None, columns: tf.Tensor) -> tf.Tensor:
    """`[batch]` int64, equal where the ids are equal; all different without an id."""
    if name is None:
        return tf.cast(columns, tf.int64)
    if name not in features:
        raise ValueError(
            f"the batch has no '{name}', which is to identify its records; found "
            f"{', '.join(sorted(features))}. Add it to the dataset, or name another feature."
        )
    ids = tf.convert_to_tensor(features[name])
    if ids.shape.rank != 1 or not (ids.dtype == tf.string or ids.dtype.is_integer):
        raise ValueError(
            f"'{name}' is {ids.dtype.name} of shape {ids.shape}; an id is a string or an integer "
            "[batch]"
        )
    if ids.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(ids, _LARGEST_HASH)
    return tf.cast(ids, tf.int64)


def _shares(counts: Mapping[Any, int]) -> tf.lookup.StaticHashTable:
    """A table of each id's share of all examples."""
    ids, numbers = list(counts), np.fromiter(counts.values(), np.float64, len(counts))
    keys = tf.constant(ids) if isinstance(ids[0], str | bytes) else tf.constant(ids, tf.int64)
    # A count of 0 would give an infinite correction.
    shares = np.maximum(numbers, 1.0) / numbers.sum()
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, tf.constant(shares, tf.float32)),
        1.0 / float(numbers.sum()),
    )


def gather_output(output: TowerOutput) -> TowerOutput:
    """A tower's output on all replicas, in the order of the replicas."""
    return TowerOutput(*(None if part is None else all_gather(part) for part in output))
