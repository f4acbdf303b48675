"""Vectors stay beside the output, and the runner moves paths: what each step leaves, by hand."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam import pvalue

from pipelines.transforms import embedding, sharded_output
from tests.fixtures.tiny import tiny_spec
from tfrs_twotower.artifacts import shard_of

SHARDS = 3


class Letters:
    """Embeds a record as the length of its id; ids that begin with x have no direction."""

    def __call__(self, serialized):
        ids = [one.decode() for one in serialized]
        vectors = [[float(len(one)), 1.0] for one in ids]
        columns = {"candidate_id": ids, "title": ids}
        rows = pa.array(vectors, pa.list_(pa.float32(), 2))
        table = pa.table({**columns, "embedding": rows})
        return table, np.array([one.startswith("x") for one in ids])


@pytest.fixture
def job(tmp_path):
    """Two shards of records with three batches; the second has a single one."""
    paths = []
    for number, ids in enumerate((["b", "aa", "x1", "ccc", "d"], ["zz"])):
        path = tmp_path / f"corpus-0000{number}-of-00002.tfrecord.gz"
        with gzip.open(path, "wb") as stream:
            stream.writelines(sharded_output.frame(one.encode()) for one in ids)
        paths.append(str(path))
    return embedding.EmbeddingJob(
        "candidates", "candidate", tuple(paths), tmp_path, SHARDS, 2, tmp_path, tiny_spec()
    )


def embedded(job, path):
    """What a worker puts out for a shard: paths by shard of the output, and unusable ids."""
    worker = embedding._EmbedShard(job, None)
    worker._embedder = Letters()
    out = list(worker.process((path, None)))
    bad = [one.value for one in out if isinstance(one, pvalue.TaggedOutput)]
    return dict(one for one in out if not isinstance(one, pvalue.TaggedOutput)), bad


def test_a_worker_puts_out_paths_and_another_one_joins_their_files(job):
    first, bad = embedded(job, job.inputs[0])
    second, _ = embedded(job, job.inputs[1])
    assert bad == ["x1"]
    ids = ["aa", "b", "ccc", "d", "x1", "zz"]
    assert set(first) == {shard_of(one, SHARDS) for one in ids[:-1]}
    assert set(second) == {shard_of("zz", SHARDS)}
    found = []
    for shard in range(SHARDS):
        parts = [None, *(part[shard] for part in (second, first) if shard in part)]
        rows = pq.read_table(embedding._write_shard(job, shard, parts)).to_pylist()
        own = [row["candidate_id"] for row in rows]
        assert own == sorted(own)
        assert {shard_of(one, SHARDS) for one in own} <= {shard}
        assert all(row["embedding"] == [len(row["candidate_id"]), 1] for row in rows)
        found += own
    assert sorted(found) == ids
    embedding.remove_parts(job.output_dir)
    left = {path.name for path in job.output_dir.iterdir()}
    assert left == {
        *(f"corpus-0000{number}-of-00002.tfrecord.gz" for number in range(2)),
        *(f"candidates-0000{shard}-of-00003.parquet" for shard in range(SHARDS)),
    }


def test_an_attempt_that_breaks_off_leaves_no_file_with_its_name(job):
    def breaks_off(batch):
        if broken:
            raise RuntimeError
        broken.append(batch)
        return Letters()(batch)

    broken = []
    worker = embedding._EmbedShard(job, None)
    worker._embedder = breaks_off
    with pytest.raises(RuntimeError):
        list(worker.process((job.inputs[0], None)))
    assert not list(job.output_dir.rglob("*.arrow"))
    again, _ = embedded(job, job.inputs[0])
    assert sorted(again.values()) == sorted(map(str, job.output_dir.rglob("*.arrow")))
    assert again == embedded(job, job.inputs[0])[0]
