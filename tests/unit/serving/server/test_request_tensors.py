from dataclasses import replace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.server.refusals import MAX_ROWS, MAX_STRING_BYTES, MAX_VALUES, Refusal
from serving.server.request_tensors import Signature, array_of, arrays_of, proto_of
from tests.fixtures.served_model import REQUEST, request_of
from tests.unit.serving.server.signature_of import basket


def proto(dtype, shape, **fields):
    made = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def read(name, made):
    return array_of(basket(), name, made)


@pytest.mark.parametrize(
    ("name", "values", "dtype"),
    [
        ("name", [b"a", b"\xff\xfe"], tf.string),
        ("recent", [[b"a", b"", b"c"]], tf.string),
        ("size", [0.5, float("nan"), -1e30], tf.float32),
        ("when", [1 << 60, -1], tf.int64),
    ],
)
def test_what_tensorflow_writes_is_read_as_tensorflow_reads_it(name, values, dtype):
    written = tf.make_tensor_proto(values, dtype)
    np.testing.assert_array_equal(read(name, written), tf.make_ndarray(written))


@pytest.mark.parametrize(
    "values",
    [np.array([[1.5, -2.0]], np.float32), np.array([3, 4]), np.array([[b"a"], [b"\xff"]], object)],
)
def test_tensorflow_reads_what_is_written(values):
    array = tf.make_ndarray(proto_of(values))
    np.testing.assert_array_equal(array, values)
    assert array.dtype == values.dtype


def test_values_are_in_their_typed_fields():
    written = proto_of(np.array([0.5], np.float32))
    assert list(written.float_val) == [0.5]
    assert not written.tensor_content


def test_the_last_value_fills_up():
    assert read("size", proto(1, [4], float_val=[1, 2])).tolist() == [1, 2, 2, 2]
    assert read("name", proto(7, [2])).tolist() == [b"", b""]


def test_bytes_that_are_neither_true_nor_false_are_true():
    signature = Signature("s", {"flag": tf.TensorSpec([None], tf.bool)}, ())
    array = array_of(signature, "flag", proto(10, [3], tensor_content=b"\x00\x01\x02"))
    assert array.dtype == bool
    assert array.view(np.uint8).tolist() == [0, 1, 1]
    assert array_of(signature, "flag", proto(10, [2], bool_val=[True])).tolist() == [True, True]


def test_types_that_no_signature_of_a_bundle_has_are_refused():
    signature = Signature("s", {"half": tf.TensorSpec([None], tf.float16)}, ())
    with pytest.raises(Refusal, match="tensors of float16 are not supported"):
        array_of(signature, "half", proto(19, [1], half_val=[1]))


@pytest.mark.parametrize(
    ("name", "made", "text"),
    [
        ("size", proto(9, [1], int64_val=[1]), "has the type int64; expected float32"),
        ("size", proto(999, [1]), "has the type number 999"),
        ("size", proto(1, [1, 1], float_val=[1]), r"shape \[1, 1\]; expected \[n\]"),
        ("size", proto(1, [-1], float_val=[1]), r"shape \[-1\]"),
        ("size", proto(1, [0]), r"at least one row"),
        ("size", proto(1, [1 << 62], float_val=[1]), f"at most {MAX_ROWS}"),
        ("size", proto(1, [], float_val=[1]), r"shape \[\]"),
        ("size", proto(1, [2], float_val=[1, 2, 3]), "has 3 values; its shape asks for 2"),
        ("size", proto(1, [2], tensor_content=b"123"), "3 bytes of tensor_content; .* asks for 8"),
        ("name", proto(7, [1], tensor_content=b"\x01a"), "put them into string_val"),
        ("name", proto(7, [1], string_val=[b"x" * (MAX_STRING_BYTES + 1)]), "a string of 65537"),
        ("name", proto(7, [100], string_val=[b"x" * 60_000]), "more than 4194304 bytes of strings"),
        ("recent", proto(7, [1, 4], string_val=[b""] * 4), r"expected \[n, 3\]"),
        ("exclude_ids", proto(7, [2, MAX_VALUES], string_val=[b""]), f"at most {MAX_VALUES} are"),
        ("exclude_ids", proto(7, [1 << 40, 1 << 40]), f"at most {MAX_ROWS}"),
        ("exclude_ids", proto(7, [2, 0]), "at least one row and one column"),
    ],
)
def test_what_does_not_fit_is_refused(name, made, text):
    with pytest.raises(Refusal, match=text) as caught:
        read(name, made)
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["extra", ""])
def test_an_input_that_the_signature_lacks_is_refused(name):
    request = request_of()
    request.inputs[name].CopyFrom(request.inputs["size"])
    with pytest.raises(Refusal, match="input size does not match signature: 6!=5"):
        arrays_of(basket(), request)


def test_defaults_stand_for_what_a_request_leaves_out():
    defaults = {"exclude_ids": np.array([[b""]], object), "size": np.array([np.nan], np.float32)}
    signature = replace(basket(), defaults=defaults)
    request = request_of(inputs={name: values[:1] for name, values in REQUEST.items()})
    given = arrays_of(signature, request)
    assert given["size"].tolist() == [1.0]
    del request.inputs["size"], request.inputs["exclude_ids"]
    filled = arrays_of(signature, request)
    assert filled["exclude_ids"].tolist() == [[b""]]
    assert np.isnan(filled["size"]).tolist() == [True]
    assert filled["name"].tolist() == given["name"].tolist()
    del request.inputs["when"]
    with pytest.raises(Refusal, match=r"2!=5.*Missing but required: \{when\}"):
        arrays_of(signature, request)


def test_an_unknown_rank_is_refused():
    made = tensor_pb2.TensorProto(dtype=1, float_val=[1])
    made.tensor_shape.unknown_rank = True
    with pytest.raises(Refusal, match="has no shape"):
        read("size", made)
