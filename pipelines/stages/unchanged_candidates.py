"""Embeds only new and changed candidates where the candidate tower is the one of the run before.

The embeddings keep a hash of each candidate's record. A candidate whose record has the same hash
takes over its vector; the others are written to a shard of their own, which is embedded as usual.
"""

import gzip
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tensorflow.core.example import example_pb2

from pipelines.stages.training_runs import FROZEN, WENT_ON_FROM
from pipelines.transforms import embedding, sharded_output
from tfrs_twotower.artifacts import layout, read_manifest, shard_of, verify_files
from tfrs_twotower.artifacts.manifest import Manifest
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.errors import ArtifactError, CorruptArtifact

HASHES = "candidate_hashes.parquet"
"""Columns `candidate_id`, `hash` (16 bytes)."""
_CHANGED = ".changed"


def records_of(path: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Id, hash and bytes of each candidate in a shard of the corpus.

    Raises:
        CorruptArtifact: a record does not match its checksum.
    """
    with gzip.open(path) as stream:
        for payload in sharded_output.read_frames(cast(IO[bytes], stream)):
            if payload is None:
                raise CorruptArtifact(f"{path}: a record is damaged. Run preprocess again.")
            features = example_pb2.Example.FromString(payload).features.feature
            candidate_id = features["_candidate_id"].bytes_list.value[0].decode()
            yield candidate_id, hashlib.blake2b(payload, digest_size=16).digest(), payload


def write_hashes(corpus: Sequence[Path], staging: Path) -> None:
    """Writes the hashes of a corpus into the directory of its embeddings."""
    pairs = [(one, digest) for path in corpus for one, digest, _ in records_of(path)]
    columns = {"candidate_id": [p[0] for p in pairs], "hash": [p[1] for p in pairs]}
    pq.write_table(pa.table(columns), staging / HASHES)


def embeddings_before(directory: Path, model: Manifest) -> Path | None:
    """The embeddings that the candidate tower of this model has made; None without them.

    Args:
        directory: of the embeddings that are there now.
        model: the manifest of the model.
    """
    if not model.details.get(FROZEN) or model.details.get("wide"):
        return None  # a wide part counts events, so that every vector changes
    try:
        before = read_manifest(directory, "embeddings")
        verify_files(directory, before)
    except ArtifactError:
        return None
    same = before.parents.get("model") in (model.details[WENT_ON_FROM], model.fingerprint)
    return directory if same and HASHES in before.files else None


def only_changed(
    job: embedding.EmbeddingJob, before: Path
) -> tuple[embedding.EmbeddingJob, pa.Table]:
    """The job of the candidates that have to be embedded, and the rows of the others.

    Args:
        job: the job of the whole corpus.
        before: the embeddings of the run before.
    """
    stored = pq.read_table(before / HASHES)
    known = dict(zip(stored["candidate_id"].to_pylist(), stored["hash"].to_pylist(), strict=True))
    directory = job.output_dir / _CHANGED
    directory.mkdir()
    path = directory / "corpus-00000-of-00001.tfrecord.gz"
    unchanged, changed = [], []
    for shard in job.inputs:
        for candidate_id, digest, payload in records_of(Path(shard)):
            if known.get(candidate_id) == digest:
                unchanged.append(candidate_id)
            else:
                changed.append(payload)
    with gzip.open(path, "wb") as stream:
        stream.writelines(sharded_output.frame(payload) for payload in changed)
    rows = pq.read_table(find_shards(before, layout.CANDIDATE_EMBEDDINGS_GLOB))
    kept = rows.filter(pc.is_in(rows["candidate_id"], pa.array(unchanged, pa.string())))
    return replace(job, inputs=(str(path),)), kept


def join(job: embedding.EmbeddingJob, kept: pa.Table) -> None:
    """Adds the rows of unchanged candidates to the shards of the others."""
    shards = [shard_of(one, job.num_shards) for one in kept["candidate_id"].to_pylist()]
    for shard in range(job.num_shards):
        path = job.output_dir / f"{job.name}-{shard:05d}-of-{job.num_shards:05d}.parquet"
        own = kept.filter(pa.array([one == shard for one in shards], pa.bool_()))
        rows = pa.concat_tables([pq.read_table(path), own.cast(pq.read_schema(path))])
        order = pc.sort_indices(rows["candidate_id"].cast(pa.binary()))
        pq.write_table(rows.take(order), path)
    shutil.rmtree(job.output_dir / _CHANGED)
