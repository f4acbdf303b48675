"""Embeds records with one side's tower and writes the vectors, on any Beam runner.

A shard of records is read, cut into batches and embedded by one worker, in the order of the
file: the same records are in the same batches on every runner, so that the last bits of the
vectors do not depend on it.

The worker leaves the vectors beside the output, in a file for each shard of it, and another worker
joins the files of a shard. The runner moves their paths only: vectors that all went through its one
process would keep several workers waiting.
"""

import functools
import gzip
import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from pipelines.imports import without_collector
from pipelines.transforms import batches, beam_job, sharded_output
from tfrs_twotower.artifacts.layout import WEIGHTS
from tfrs_twotower.errors import CorruptArtifact, EmbeddingError
from tfrs_twotower.specs import FeatureSpec

BAD = "bad"
_PARTS = ".parts"
"""Directory in the output with the vectors of each shard of records, until they are joined."""
_AS_IT_IS = CompressionTypes.UNCOMPRESSED
_NAMED_IDS = 10


@dataclass(frozen=True)
class EmbeddingJob:
    """The embedding of one kind of records."""

    name: str
    """Prefix of the output's files, such as `candidates` or `validation`."""
    side: str
    """`query` or `candidate`."""
    inputs: tuple[str, ...]
    """TFRecord shards."""
    output_dir: Path
    num_shards: int
    batch_size: int
    model_dir: Path
    spec: FeatureSpec
    weights: str = WEIGHTS
    """Name of the weights file in the model's directory."""
    width: int | None = None
    """Number of first entries of each vector that are kept; None keeps all."""

    @property
    def id_column(self) -> str:
        """Name of the id's column in the output."""
        return f"{self.side}_id"

    def columns(self, ids: pa.Array, titles: pa.Array, vectors: pa.Array) -> dict[str, pa.Array]:
        """The columns of the output."""
        titled = {"title": titles} if self.side == "candidate" else {}
        return {self.id_column: ids, **titled, "embedding": vectors}


class EmbedRecords(beam.PTransform):
    """Turns shards of records into Parquet shards of embeddings.

    Columns: `query_id` or `candidate_id`, `title` (candidates only), `embedding`; sorted by the
    bytes of the id inside a shard, which is chosen by a hash of the id.
    """

    def __init__(self, job: EmbeddingJob, towers: Shared) -> None:
        """Takes a job.

        Args:
            job: the records to embed, and the output.
            towers: holds the loaded tower of a worker process; transforms of one side and one
                model may share it.
        """
        super().__init__(f"Embed {job.name}")
        self._job = job
        self._towers = towers

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Embeds the shards; returns the paths of the written files.

        Raises:
            EmbeddingError: (in a worker) some vectors have no direction.
        """
        job = self._job
        embedded = (
            pipeline
            | "Name shards" >> beam.Create([(path, None) for path in job.inputs])
            # Grouping lets a runner hand each shard to another worker.
            | "Spread shards" >> beam.GroupByKey()
            | "Embed" >> beam.ParDo(_EmbedShard(job, self._towers)).with_outputs(BAD, main="good")
        )
        _ = (
            embedded[BAD]
            | "Gather bad" >> beam.CombineGlobally(_FirstIds())
            | "Refuse bad" >> beam.Map(_refuse, job)
        )
        every_shard = pipeline | "All shards" >> beam.Create(
            [(shard, None) for shard in range(job.num_shards)]
        )
        return (
            (embedded["good"], every_shard)
            | "With empty shards" >> beam.Flatten()
            | "Group by shard" >> beam.GroupByKey()
            | "Write" >> beam.MapTuple(functools.partial(_write_shard, job))
        )


def embed_all(pipeline: beam.Pipeline, jobs: Sequence[EmbeddingJob]) -> None:
    """Adds all jobs of one model to a pipeline; a worker process loads each tower once."""
    towers = {(job.side, job.weights): Shared() for job in jobs}
    for job in jobs:
        _ = pipeline | EmbedRecords(job, towers[job.side, job.weights])


class _Embedder:
    """A tower, and the parsing of its records."""

    def __init__(self, job: EmbeddingJob) -> None:
        with without_collector():
            import tensorflow as tf

            from tfrs_twotower.data.raw_inputs import RawBatch, pad_raw, parse_spec, raw_signature
            from tfrs_twotower.towers.embedding import BatchEmbedder
            from tfrs_twotower.towers.storage import load_towers

        tower = getattr(load_towers(job.model_dir, job.weights, width=job.width), job.side)
        features = getattr(job.spec, job.side).features
        text = tf.io.FixedLenFeature([], tf.string, "")
        spec = {**parse_spec(features), f"_{job.id_column}": text, "_title": text}

        def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, RawBatch]:
            parsed = tf.io.parse_example(serialized, spec)
            return parsed[f"_{job.id_column}"], parsed["_title"], pad_raw(parsed, features)

        self._parse = tf.function(
            parse, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )
        self._embed = BatchEmbedder(tower, raw_signature(features))
        self._job = job

    def __call__(self, serialized: list[bytes]) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
        """Embeds a batch; returns its rows, and which vectors are unusable, `[batch]`."""
        ids, titles, raw = self._parse(serialized)
        vectors = self._embed(raw)
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        columns = self._job.columns(_texts(ids), _texts(titles), rows)
        return pa.table(columns), self._embed.unusable(vectors)


class _EmbedShard(beam.DoFn):
    def __init__(self, job: EmbeddingJob, towers: Shared) -> None:
        self._job = job
        self._towers = towers
        self._embedder: _Embedder | None = None

    def setup(self) -> None:
        """Loads the model, once for all threads of a worker process."""
        self._embedder = self._towers.acquire(lambda: _Embedder(self._job))

    def process(self, element: tuple[str, Any]) -> Iterator[Any]:
        job, unusable = self._job, list[str]()
        with _Parts(job, element[0]) as parts:
            for table in batches.gathered(self._embedded(element[0], unusable)):
                parts.add(table)
        yield from parts.paths.items()
        for name in unusable:
            yield beam.pvalue.TaggedOutput(BAD, name)

    def _embedded(self, path: str, unusable: list[str]) -> Iterator[pa.Table]:
        """The rows of each batch; adds the ids of unusable vectors."""
        if self._embedder is None:
            raise RuntimeError("setup was not called")
        records = _read_records(path)
        while batch := list(itertools.islice(records, self._job.batch_size)):
            table, bad = self._embedder(batch)
            beam_job.count_records(len(batch))
            unusable += table[self._job.id_column].filter(pa.array(bad)).to_pylist()
            yield table


class _Parts:
    """The files of one shard of records, one for each shard of the output that has some of them.

    They get their names when all are complete, so that a repeated attempt gives the same files.
    """

    def __init__(self, job: EmbeddingJob, path: str) -> None:
        self._job, self._source = job, Path(path).name.partition(".")[0]
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self.paths: dict[int, str] = {}
        """Path by shard of the output, at the end."""

    def __enter__(self) -> "_Parts":
        return self

    def add(self, table: pa.Table) -> None:
        """Writes rows to the files that they belong to."""
        for shard, rows in batches.parted(table, self._job.id_column, self._job.num_shards):
            if shard not in self._writers:
                path = self._path(shard, ".partial")
                path.parent.mkdir(parents=True, exist_ok=True)
                self._writers[shard] = pa.ipc.new_stream(str(path), rows.schema)
            self._writers[shard].write_table(rows)

    def __exit__(self, kind: Any, *_: object) -> None:
        for shard, writer in self._writers.items():
            writer.close()
            if kind is None:
                self.paths[shard] = str(self._path(shard, ".partial").rename(self._path(shard)))

    def _path(self, shard: int, suffix: str = "") -> Path:
        directory = self._job.output_dir / _PARTS / self._job.name
        return directory / f"{self._source}-to-{shard:05d}.arrow{suffix}"


def remove_parts(output_dir: Path) -> None:
    """Removes what workers have left for each other; the embeddings are complete."""
    shutil.rmtree(output_dir / _PARTS, ignore_errors=True)


class _FirstIds(beam.CombineFn):
    """The number of ids, and the first few of them in order."""

    def create_accumulator(self) -> tuple[int, list[str]]:
        return 0, []

    def add_input(self, accumulator: tuple[int, list[str]], element: str) -> Any:
        return accumulator[0] + 1, sorted([*accumulator[1], element])[:_NAMED_IDS]

    def merge_accumulators(self, accumulators: Iterable[tuple[int, list[str]]]) -> Any:
        parts = list(accumulators)
        names = sorted(name for part in parts for name in part[1])
        return sum(part[0] for part in parts), names[:_NAMED_IDS]

    def extract_output(self, accumulator: tuple[int, list[str]]) -> Any:
        return accumulator


def _refuse(unusable: tuple[int, list[str]], job: EmbeddingJob) -> None:
    count, names = unusable
    if count:
        shown = ", ".join(repr(name) for name in names)
        raise EmbeddingError(
            f"embed: {job.name}: found {count} embeddings that are NaN, infinite or of norm zero: "
            f"{shown}{', ...' if count > len(names) else ''}. Every embedding must have a "
            "direction: look for extreme numbers among these records' features, and at the "
            "training loss; then train again."
        )


def _read_records(path: str) -> Iterator[bytes]:
    with FileSystems.open(path, compression_type=_AS_IT_IS) as raw, gzip.open(raw) as stream:
        for number, record in enumerate(sharded_output.read_frames(cast(IO[bytes], stream)), 1):
            if record is None:
                raise CorruptArtifact(
                    f"{path}: record {number} does not match its checksum. Run preprocess again."
                )
            yield record


def _write_shard(job: EmbeddingJob, shard: int, parts: Iterable[str | None]) -> str:
    filled = sorted(part for part in parts if part is not None)
    tables = [pa.ipc.open_stream(pa.memory_map(part)).read_all() for part in filled]
    rows = pa.concat_tables(tables).combine_chunks() if tables else _no_rows(job)
    path = job.output_dir / f"{job.name}-{shard:05d}-of-{job.num_shards:05d}.parquet"
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(rows.take(pc.sort_indices(rows[job.id_column])), partial)
    partial.replace(path)
    return str(path)


def _no_rows(job: EmbeddingJob) -> pa.Table:
    from tfrs_twotower.towers.storage import embedding_dim_of

    text, dim = pa.array([], pa.string()), job.width or embedding_dim_of(job.model_dir)
    return pa.table(job.columns(text, text, pa.array([], pa.list_(pa.float32(), dim))))


def _texts(tensor: Any) -> pa.Array:
    return pa.array(tensor.numpy(), pa.binary()).cast(pa.string())
