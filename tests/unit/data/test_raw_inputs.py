import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.data.raw_inputs import example_parser, raw_signature, read_records
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.specs import MISSING_TIME


def example(**features):
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def words(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def test_signature_has_the_shapes_of_the_spec(spec):
    signature = raw_signature(spec.query.features)
    shapes = {name: (s.dtype, s.shape.as_list()) for name, s in signature.items()}
    assert shapes == {
        "user_id": (tf.string, [None]),
        "segment": (tf.string, [None]),
        "interests": (tf.string, [None, 3]),
        "age": (tf.float32, [None]),
        "spend": (tf.float32, [None]),
        "tenure": (tf.float32, [None]),
        "bio": (tf.string, [None]),
        "history": (tf.string, [None, 6]),
        "event_time": (tf.int64, [None]),
    }
    assert all(s.name == name for name, s in signature.items())


def test_absent_features_are_missing_values(spec):
    raw = example_parser(raw_signature(spec.query.features))(tf.constant([example()]))
    assert raw["user_id"].numpy().tolist() == [b""]
    assert raw["interests"].numpy().tolist() == [[b"", b"", b""]]
    assert np.isnan(raw["age"].numpy()).all()
    assert raw["event_time"].numpy().tolist() == [MISSING_TIME]
    assert raw["history"].shape == [1, 6]


def test_lists_are_padded_and_cut(spec):
    serialized = [
        example(interests=words(b"a"), history=words(*[b"x%d" % i for i in range(9)])),
        example(interests=words(b"a", b"b", b"c", b"d")),
    ]
    raw = example_parser(raw_signature(spec.query.features))(tf.constant(serialized))
    assert raw["interests"].numpy().tolist() == [[b"a", b"", b""], [b"a", b"b", b"c"]]
    assert raw["history"].numpy()[0].tolist() == [b"x0", b"x1", b"x2", b"x3", b"x4", b"x5"]


def test_parsed_examples_fit_the_signature(spec):
    parse = tf.function(
        example_parser(raw_signature(spec.query.features)),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    outputs = parse.get_concrete_function().structured_outputs
    for name, expected in raw_signature(spec.query.features).items():
        assert outputs[name].dtype == expected.dtype
        assert outputs[name].shape.as_list() == expected.shape.as_list()


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
