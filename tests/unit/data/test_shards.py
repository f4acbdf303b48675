"""Shards read without TensorFlow: the same values as TensorFlow wrote."""

import gzip

import pytest
import tensorflow as tf

from tfrs_twotower.data.shards import read_examples
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

PATTERN = "test-*.tfrecord.gz"


def write_shard(directory, *examples, number=0, of=1):
    with tf.io.TFRecordWriter(str(directory / "plain")) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
    path = directory / f"test-{number:05d}-of-{of:05d}.tfrecord.gz"
    path.write_bytes(gzip.compress((directory / "plain").read_bytes()))
    return path


def example_of(**features):
    example = tf.train.Example()
    for name, values in features.items():
        slot = example.features.feature[name]
        kinds = {bytes: slot.bytes_list, float: slot.float_list, int: slot.int64_list}
        kinds[type(values[0]) if values else bytes].value.extend(values)
    return example


def test_every_kind_of_value_in_the_order_of_the_shards(tmp_path):
    numbers = [0, -1, 2**62, -(10**18)]
    first = example_of(id=["ü".encode(), b"\xff"], price=[-0.5, 2.0**-20, 3e38], when=numbers)
    write_shard(tmp_path, first, example_of(id=[]), number=0, of=2)
    write_shard(tmp_path, example_of(), number=1, of=2)
    found = list(read_examples(tmp_path, PATTERN))
    price = tf.constant([-0.5, 2.0**-20, 3e38]).numpy().tolist()
    assert found[0] == {"id": ["ü".encode(), b"\xff"], "price": price, "when": numbers}
    assert found[1:] == [{"id": []}, {}]


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_shard_that_is_cut_short(tmp_path, kept):
    path = write_shard(tmp_path, *[example_of(id=[b"a" * 50])] * 3)
    framed = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(framed[: int(len(framed) * kept)]))
    with pytest.raises(CorruptArtifact, match=r"test-00000.*: cannot be read: .* ends inside"):
        list(read_examples(tmp_path, PATTERN))


def test_what_is_no_shard(tmp_path):
    with pytest.raises(MissingArtifact, match="there is no file test-"):
        list(read_examples(tmp_path, PATTERN))
    (tmp_path / "test-00000-of-00001.tfrecord.gz").write_bytes(b"nothing of the kind")
    with pytest.raises(CorruptArtifact, match="cannot be read: Not a gzipped file"):
        list(read_examples(tmp_path, PATTERN))
