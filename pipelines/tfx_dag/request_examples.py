"""Every known query as a `tf.train.Example`, as the signature `serving_examples` takes it.

Preprocessing writes each query as it stands after all its events; where only new candidates count,
`exclude_ids` holds those that it has seen. Nothing here imports TFX.
"""

import functools
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq

from pipelines.stages.context import StageContext, open_parent
from pipelines.transforms import beam_job
from serving.graph import names
from tfrs_twotower.artifacts.layout import QUERIES_GLOB
from tfrs_twotower.data import known_queries
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.errors import MissingArtifact
from tfrs_twotower.specs import FeatureSpec, TimestampFeature

SPLIT = "queries"
"""Name of the one split."""
_ROWS_AT_ONCE = 1024


def write(context: StageContext, directory: str) -> None:
    """Writes the Examples as compressed TFRecords, a file for each shard of the queries.

    A feature that is the time of the request is the time of this call.

    Raises:
        MissingArtifact: the preprocessed artifact has no known queries.
        ArtifactError: it is damaged, or of another feature spec.
    """
    open_parent(context, "preprocessed")
    paths = find_shards(context.layout.preprocessed, QUERIES_GLOB)
    if not paths:
        raise MissingArtifact(
            f"{context.layout.preprocessed}: there is no file {QUERIES_GLOB}. Run preprocess again."
        )
    write_shard = functools.partial(
        _write_shard, directory=directory, spec=context.spec, now=int(time.time())
    )
    beam_job.run_pipeline(
        lambda pipeline: (
            pipeline
            | "Shards" >> beam.Create([str(path) for path in paths])
            | "Spread" >> beam.Reshuffle()
            | "WriteExamples" >> beam.Map(write_shard)
        ),
        context.beam_options,
        context.reporter,
        "requests",
    )


def _write_shard(path: str, directory: str, spec: FeatureSpec, now: int) -> None:
    import tensorflow as tf

    tf.io.gfile.makedirs(directory)
    destination = f"{directory}/{Path(path).stem}.tfrecord.gz"
    with tf.io.TFRecordWriter(f"{destination}.partial", "GZIP") as writer:
        for batch in pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                writer.write(example_of(row, spec, now))
    tf.io.gfile.rename(f"{destination}.partial", destination, overwrite=True)


def example_of(row: dict[str, Any], spec: FeatureSpec, now: int) -> bytes:
    """A known query as a serialized Example; what is missing is left out.

    Args:
        row: of the known queries.
        spec: the feature spec.
        now: seconds since 1970 that stand for the time of the request.
    """
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example()
    values = {feature.name: row[feature.name] for feature in spec.query.features}
    for feature in spec.query.features:
        if isinstance(feature, TimestampFeature) and feature.column is None:
            values[feature.name] = now
    values[names.EXCLUDE_IDS] = row[known_queries.SEEN]
    for name, value in values.items():
        items = value if isinstance(value, list) else [value]
        items = [item for item in items if item is not None]
        if not items:
            continue
        target = example.features.feature[name]
        if isinstance(items[0], str):
            target.bytes_list.value.extend(item.encode() for item in items)
        elif isinstance(items[0], float):
            target.float_list.value.extend(items)
        else:
            target.int64_list.value.extend(items)
    return example.SerializeToString()
