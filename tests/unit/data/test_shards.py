import pytest
import tensorflow as tf

from tfrs_twotower.data.raw_inputs import find_shards, read_records
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact


def write(path, *records):
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions("GZIP")) as writer:
        for record in records:
            writer.write(record)


def test_records_come_in_shard_order(tmp_path):
    write(tmp_path / "train-00001-of-00002.tfrecord.gz", b"c")
    write(tmp_path / "train-00000-of-00002.tfrecord.gz", b"b", b"a")
    records = list(read_records(tmp_path, "train-*.tfrecord.gz").as_numpy_iterator())
    assert records == [b"b", b"a", b"c"]


def test_no_shard(tmp_path):
    with pytest.raises(MissingArtifact, match=r"there is no file train-\*"):
        find_shards(tmp_path, "train-*.tfrecord.gz")


@pytest.mark.parametrize(
    "names",
    [
        ["train-00001-of-00002.tfrecord.gz"],
        ["train-00000-of-00001.tfrecord.gz", "train-00000-of-00002.tfrecord.gz"],
        ["train-x.tfrecord.gz"],
    ],
)
def test_a_missing_shard_is_noticed(tmp_path, names):
    for name in names:
        write(tmp_path / name)
    with pytest.raises(CorruptArtifact, match="are not complete"):
        find_shards(tmp_path, "train-*.tfrecord.gz")
