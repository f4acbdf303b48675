"""Raw inputs of a tower: their shapes in a batch, and how a tf.Example carries them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import specs
from tfrs_twotower.data.shards import find_shards

RawBatch = dict[str, tf.Tensor]


def fixed_width(feature: specs.Feature) -> int | None:
    """Second dimension of a feature's raw tensor; None if it has one value for each record."""
    if isinstance(feature, specs.HistoryFeature):
        return feature.max_length
    if isinstance(feature, specs.MultiCategoricalFeature):
        return feature.max_values
    return None


def raw_dtype(feature: specs.Feature) -> tf.DType:
    """Type of a feature's raw tensor."""
    if isinstance(feature, specs.NumericFeature):
        return tf.float32
    if isinstance(feature, specs.TimestampFeature):
        return tf.int64
    return tf.string


def missing_value(dtype: tf.DType) -> str | int | float:
    """What stands for a missing value in a raw tensor of this type."""
    values: dict[tf.DType, str | int | float] = {
        tf.string: "",
        tf.int64: specs.MISSING_TIME,
        tf.float32: float("nan"),
    }
    return values[dtype]


def raw_signature(features: Sequence[specs.Feature]) -> dict[str, tf.TensorSpec]:
    """Specs of the raw inputs, `[batch]` or `[batch, width]`, under the features' names."""
    return {
        feature.name: tf.TensorSpec(
            [None] if (width := fixed_width(feature)) is None else [None, width],
            raw_dtype(feature),
            name=feature.name,
        )
        for feature in features
    }


def parse_spec(features: Sequence[specs.Feature]) -> dict[str, Any]:
    """The features' specification for `tf.io.parse_example`; absent ones become missing values."""
    return {name: _parsed(taken) for name, taken in raw_signature(features).items()}


def _parsed(taken: tf.TensorSpec) -> Any:
    """Lists of strings may be of any length; of numbers, an Example has all or none."""
    if taken.shape.rank == 2 and taken.dtype == tf.string:
        return tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64)
    shape = list(taken.shape[1:])
    missing = np.full(shape, missing_value(taken.dtype)).tolist()
    return tf.io.FixedLenFeature(shape, taken.dtype, missing)


def pad_raw(parsed: dict[str, Any], features: Sequence[specs.Feature]) -> RawBatch:
    """The raw features of a parsed batch; lists are cut and padded with "" to their fixed width."""
    return _padded(parsed, raw_signature(features))


def _padded(parsed: Mapping[str, Any], inputs: Mapping[str, tf.TensorSpec]) -> RawBatch:
    return {
        name: parsed[name].to_tensor(default_value="", shape=[None, taken.shape[1]])
        if isinstance(parsed[name], tf.RaggedTensor)
        else parsed[name]
        for name, taken in inputs.items()
    }


def example_parser(inputs: Mapping[str, tf.TensorSpec]) -> Callable[[tf.Tensor], RawBatch]:
    """Makes the function from serialized tf.Examples `[batch]` to the raw batch of a tower.

    Args:
        inputs: inputs of the tower, as `raw_signature` gives them: string, int64 or float32,
            `[None]` or `[None, width]`. A value that an Example lacks becomes "", `MISSING_TIME` or
            NaN.
    """
    features = {name: _parsed(taken) for name, taken in inputs.items()}

    def parse(serialized: tf.Tensor) -> RawBatch:
        return _padded(tf.io.parse_example(serialized, features), inputs)

    return parse


def read_records(directory: Path, pattern: str) -> tf.data.Dataset:
    """Serialized records of all shards, in shard order then record order."""
    paths = [str(path) for path in find_shards(directory, pattern)]
    return tf.data.TFRecordDataset(paths, compression_type="GZIP", buffer_size=1 << 20)
