"""Arrays from `TensorProto`s that nobody has looked at, and back.

`tf.make_ndarray` believes a proto: one value with the shape [1000000000] takes gigabytes. Here the
shape is held against the signature first.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.server.limits import MAX_BODY_BYTES, MAX_STRING_BYTES
from serving.server.refusals import invalid
from serving.server.signatures import Signature, num_values

_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def array_of(signature: Signature, name: str, proto: Any) -> npt.NDArray[Any]:
    """The array that a `TensorProto` holds.

    Fewer values than the shape asks for are filled up with the last one, as TensorFlow does; none
    at all means zeros or "".

    Args:
        signature: that the request is for.
        name: of the input.
        proto: `TensorProto`.

    Raises:
        Refusal: it does not fit the signature, or holds another number of values than it says.
    """
    dtype = signature.inputs[name].dtype
    if proto.dtype != dtype.as_datatype_enum:
        raise invalid(
            f"input '{name}' has the type {_type_name(proto.dtype)}; expected {dtype.name}."
        )
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank:
        raise invalid(f"input '{name}' has no shape.")
    signature.check_shape(name, shape)
    count = num_values(shape)
    if proto.tensor_content:
        return _from_content(name, proto.tensor_content, dtype, count).reshape(shape)
    values = list(getattr(proto, _field(name, dtype)))
    if len(values) > count:
        raise invalid(f"input '{name}' has {len(values)} values; its shape asks for {count}.")
    filler = values[-1] if values else (b"" if dtype == tf.string else 0)
    values += [filler] * (count - len(values))
    if dtype == tf.string:
        check_strings(name, values)
    return np.array(values, _numpy_type(dtype)).reshape(shape)


def proto_of(values: npt.NDArray[Any]) -> Any:
    """A `TensorProto` with the values in their typed field, as TensorFlow Serving writes it.

    Args:
        values: of any shape; float, integer, bool, or object with bytes.
    """
    dtype = tf.string if values.dtype == object else tf.as_dtype(values.dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in values.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _field("output", dtype)).extend(values.reshape(-1).tolist())
    return proto


def check_strings(name: str, values: list[bytes]) -> None:
    """Refuses strings that are too long, alone or together.

    One string and a large shape make much of little: together they may have what a body may have.

    Raises:
        Refusal: they are.
    """
    if sum(map(len, values)) > MAX_BODY_BYTES:
        raise invalid(f"input '{name}' has more than {MAX_BODY_BYTES} bytes of strings.")
    longest = max(map(len, values), default=0)
    if longest > MAX_STRING_BYTES:
        raise invalid(
            f"input '{name}' has a string of {longest} bytes; at most {MAX_STRING_BYTES} are "
            "allowed."
        )


def _from_content(name: str, content: bytes, dtype: Any, count: int) -> npt.NDArray[Any]:
    if dtype == tf.string:
        raise invalid(f"input '{name}' has strings in tensor_content; put them into string_val.")
    expected = count * dtype.size
    if len(content) != expected:
        raise invalid(
            f"input '{name}' has {len(content)} bytes of tensor_content; its shape asks for "
            f"{expected}."
        )
    if dtype == tf.bool:
        return np.frombuffer(content, np.uint8) != 0
    return np.frombuffer(content, dtype.as_numpy_dtype)


def _numpy_type(dtype: Any) -> Any:
    return object if dtype == tf.string else dtype.as_numpy_dtype


def _field(name: str, dtype: Any) -> str:
    try:
        return _FIELDS[dtype]
    except KeyError:
        raise invalid(f"'{name}': tensors of {dtype.name} are not supported.") from None


def _type_name(number: int) -> str:
    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return f"number {number}"
