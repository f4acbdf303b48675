"""Examples by columns, compared with protobuf's own bytes and with TensorFlow's reader."""

import io
import math
import random

import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow.core.example.example_pb2 import Example

from pipelines.transforms.example_columns import encode_examples, write_examples
from pipelines.transforms.sharded_output import read_frames

TEXTS = pa.list_(pa.string())
KINDS = {"bytes": "bytes_list", "float": "float_list", "int": "int64_list"}


def table_of(seed, number=300):
    dice = random.Random(seed)
    lengths = [0, 1, 2, 20, 127, 128, 300]
    texts = [
        "".join(dice.choice("ab \u00e9\u6f22") for _ in range(dice.choice(lengths)))
        for _ in range(50)
    ]
    floats = [0.0, -0.0, 1.5, 1e30, math.nan, 0.1]
    integers = [0, 1, 127, 128, -1, 1 << 40, -(10**18), None]

    def lists(values):
        return [[dice.choice(values) for _ in range(dice.choice([0, 1, 3]))] for _ in range(number)]

    return pa.table(
        {
            "z": [dice.choice(texts) for _ in range(number)],
            "many": pa.array(lists(texts), TEXTS),
            "_number": pa.array([dice.choice(floats) for _ in range(number)], pa.float64()),
            "time": pa.array([dice.choice(integers) for _ in range(number)], pa.int64()),
            "gains": pa.array(lists(floats), pa.list_(pa.float32())),
        }
    )


def by_protobuf(row):
    example = Example()
    kinds = {"z": "bytes", "many": "bytes", "_number": "float", "time": "int", "gains": "float"}
    for name, value in row.items():
        if value is None:
            continue
        slot = getattr(example.features.feature[name], KINDS[kinds[name]])
        slot.SetInParent()
        values = value if isinstance(value, list) else [value]
        slot.value.extend([one.encode() if isinstance(one, str) else one for one in values])
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("seed", range(2))
def test_the_bytes_are_those_of_protobuf(seed, monkeypatch):
    monkeypatch.setattr("pipelines.transforms.example_columns._AT_ONCE", 64)
    whole = table_of(seed)
    for table in (whole, whole.slice(70, 131), whole.take([5, 5, 299]), whole.slice(0, 0)):
        encoded = [one for part in encode_examples(table) for one in part.to_pylist()]
        assert encoded == [by_protobuf(row) for row in table.to_pylist()]


def test_tensorflow_reads_the_records(tmp_path):
    table, stream = table_of(2, number=30), io.BytesIO()
    write_examples(table, stream.write)
    (tmp_path / "t.tfrecord").write_bytes(stream.getvalue())
    read = [one.numpy() for one in tf.data.TFRecordDataset(str(tmp_path / "t.tfrecord"))]
    assert read == [by_protobuf(row) for row in table.to_pylist()]
    stream.seek(0)
    assert list(read_frames(stream)) == read
