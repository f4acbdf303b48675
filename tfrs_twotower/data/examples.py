"""Training examples: one for each positive training interaction, query features included."""

from pathlib import Path
from typing import Any, TypedDict

import tensorflow as tf

from tfrs_twotower.artifacts.layout import TRAIN_GLOB
from tfrs_twotower.data.raw_inputs import RawBatch, pad_raw, parse_spec
from tfrs_twotower.data.shards import read_records
from tfrs_twotower.specs import FeatureSpec

DEFAULT_BATCH_SIZE = 4096


class TrainingBatch(TypedDict):
    """A batch of training examples, `[batch]` each, and the query's raw features."""

    query: RawBatch
    query_id: tf.Tensor
    """string"""
    candidate_id: tf.Tensor
    """string"""
    timestamp: tf.Tensor
    """int64, seconds; 0 in data without time"""
    label: tf.Tensor
    """float32"""
    weight: tf.Tensor
    """float32"""


def parse_training_examples(serialized: tf.Tensor, spec: FeatureSpec) -> TrainingBatch:
    """Parses serialized training examples `[batch]`."""
    bookkeeping: dict[str, Any] = {
        "_query_id": tf.io.FixedLenFeature([], tf.string),
        "_candidate_id": tf.io.FixedLenFeature([], tf.string),
        "_timestamp": tf.io.FixedLenFeature([], tf.int64),
        "_label": tf.io.FixedLenFeature([], tf.float32),
        "_weight": tf.io.FixedLenFeature([], tf.float32),
    }
    features = spec.query.features
    parsed = tf.io.parse_example(serialized, parse_spec(features) | bookkeeping)
    return {
        "query": pad_raw(parsed, features),
        "query_id": parsed["_query_id"],
        "candidate_id": parsed["_candidate_id"],
        "timestamp": parsed["_timestamp"],
        "label": parsed["_label"],
        "weight": parsed["_weight"],
    }


def read_training_examples(
    directory: Path,
    spec: FeatureSpec,
    pattern: str = TRAIN_GLOB,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> tf.data.Dataset:
    """Batches of raw training examples (`TrainingBatch`), in shard order; the last may be short.

    Raises:
        MissingArtifact: there is no such file in the directory.
    """
    records = read_records(directory, pattern).batch(batch_size)
    return records.map(
        lambda serialized: parse_training_examples(serialized, spec),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(1)
