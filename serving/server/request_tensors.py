"""Inputs and outputs of a version's signatures, and conversion to and from `TensorProto`s.

`tf.make_ndarray` trusts the shape of a message: a single value with the shape [1000000000] takes
gigabytes. So a request is checked against the signature first. `tf.make_tensor_proto` would write
numbers as raw bytes, but TensorFlow Serving answers with values in typed fields.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.bundle import loading, versions
from serving.server import refusals

DEFAULT = "serving_default"
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


@dataclass(frozen=True)
class Signature:
    """One signature, with checks of the inputs of a request."""

    name: str
    inputs: dict[str, tf.TensorSpec]
    outputs: tuple[str, ...]
    defaults: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Values, of one row each, of inputs that a request over gRPC may leave out."""

    def check_names(self, names: Collection[str]) -> None:
        """Refuses unknown inputs, and missing ones without a default.

        Raises:
            Refusal: the names do not fit the signature.
        """
        unknown, left_out = set(names) - set(self.inputs), set(self.inputs) - set(names)
        if unknown or left_out - set(self.defaults):
            extra = ",".join(sorted(unknown))
            missing = ",".join(sorted(left_out - set(self.defaults)))
            raise refusals.invalid(
                f"input size does not match signature: {len(names)}!={len(self.inputs)}. Sent "
                f"extra: {{{extra[:300]}}}. Missing but required: {{{missing}}}."
            )

    def check_shape(self, name: str, shape: Sequence[int]) -> None:
        """Refuses a shape before a tensor of it is built.

        Raises:
            Refusal: wrong rank or width, no rows, no columns, or too many values.
        """
        expected = self.inputs[name].shape.as_list()
        sizes = zip(shape, expected, strict=False)
        fits = len(shape) == len(expected) and all(n > 0 and m in (None, n) for n, m in sizes)
        if not fits:
            shown = ", ".join("n" if width is None else str(width) for width in expected)
            raise _misfit(
                name,
                f"has the shape {list(shape[:8])}; expected [{shown}] with at least one row and "
                "one column.",
            )
        _check_count(name, shape[0], refusals.MAX_ROWS, f"{shape[0]} rows")
        size = math.prod(shape)
        _check_count(name, size, refusals.MAX_VALUES, f"{size} values")

    def requested_outputs(self, output_filter: Sequence[str]) -> tuple[str, ...]:
        """Names of the requested outputs; all outputs without a filter.

        Raises:
            Refusal: there is no such output, or one is requested twice.
        """
        if unknown := set(output_filter) - set(self.outputs):
            raise refusals.invalid(
                f"output tensor alias not found in signature: {min(unknown)[:100]} Outputs "
                f"expected to be in the set {{{','.join(self.outputs)}}}."
            )
        if len(set(output_filter)) < len(output_filter):
            raise refusals.invalid(f"duplicate output tensor alias: {','.join(output_filter)}")
        return tuple(output_filter) or self.outputs


def check_strings(name: str, values: Collection[bytes]) -> None:
    """Refuses strings that are too long, alone or together.

    A short message can stand for many copies of one string, so all copies together must not have
    more bytes than a body may have.

    Raises:
        Refusal: the strings are too long.
    """
    limit, longest = refusals.MAX_BODY_BYTES, max(map(len, values), default=0)
    _check_count(name, sum(map(len, values)), limit, f"more than {limit} bytes of strings")
    _check_count(name, longest, refusals.MAX_STRING_BYTES, f"a string of {longest} bytes")


def read_signature_defs(version_dir: Path) -> Any:
    """Reads only the signatures of a SavedModel, as a `SignatureDefMap`."""
    content = (version_dir / versions.SAVED_MODEL_NAME).read_bytes()
    definitions = get_model_metadata_pb2.SignatureDefMap()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    for name, definition in graph.signature_def.items():
        definitions.signature_def[name].CopyFrom(definition)
    return definitions


def signatures_of(model: loading.LoadedModel, definitions: Any) -> dict[str, Signature]:
    """The callable signatures of a model by name, with the defaults of its `SignatureDefMap`."""
    return {
        name: Signature(
            name,
            model.inputs(name),
            tuple(sorted(function.structured_outputs)),
            {
                key: tf.make_ndarray(value)
                for key, value in definitions.signature_def[name].defaults.items()
            },
        )
        for name, function in model.model.signatures.items()
    }


def arrays_of(signature: Signature, request: Any) -> dict[str, npt.NDArray[Any]]:
    """The inputs of a `PredictRequest`, with defaults for those that it leaves out.

    Raises:
        Refusal: they do not fit the signature.
    """
    signature.check_names(request.inputs.keys())
    given = {name: array_of(signature, name, proto) for name, proto in request.inputs.items()}
    return {**signature.defaults, **given}


def array_of(signature: Signature, name: str, proto: Any) -> npt.NDArray[Any]:
    """The array that a `TensorProto` holds.

    If it has fewer values than its shape needs, the last one is repeated, as TensorFlow does;
    without any value, the array holds zeros or "".

    Raises:
        Refusal: the tensor does not fit the signature's input of this name, or holds more values
            than its shape needs.
    """
    dtype = signature.inputs[name].dtype
    if proto.dtype != dtype.as_datatype_enum:
        known = proto.dtype in types_pb2.DataType.values()
        found = (
            types_pb2.DataType.Name(proto.dtype)[3:].lower() if known else f"number {proto.dtype}"
        )
        raise _misfit(name, f"has the type {found}; expected {dtype.name}.")
    if proto.tensor_shape.unknown_rank:
        raise _misfit(name, "has no shape.")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    signature.check_shape(name, shape)
    count, values = math.prod(shape), getattr(proto, _field(name, dtype))
    if proto.tensor_content and dtype == tf.string:
        raise _misfit(name, "has strings in tensor_content; put them into string_val.")
    if (size := len(proto.tensor_content)) not in (0, count * dtype.size):
        wanted = count * dtype.size
        raise _misfit(name, f"has {size} bytes of tensor_content; its shape asks for {wanted}.")
    if len(values) > count:
        raise _misfit(name, f"has {len(values)} values; its shape asks for {count}.")
    if dtype == tf.string:
        if not values:
            values.append(b"")  # otherwise tf.make_ndarray repeats "" as text
        check_strings(name, [*values, *[values[-1]] * (count - len(values))])
    array = tf.make_ndarray(proto)
    # A byte of tensor_content other than 0 and 1 would be an invalid bool.
    return array.view(np.uint8) != 0 if dtype == tf.bool else array


def proto_of(values: npt.NDArray[Any]) -> Any:
    """A `TensorProto` of numbers or bytes in their typed field, as TensorFlow Serving writes it."""
    dtype = tf.string if values.dtype == object else tf.as_dtype(values.dtype)
    shape = tf.TensorShape(values.shape).as_proto()
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, tensor_shape=shape)
    getattr(proto, _field("output", dtype)).extend(values.reshape(-1).tolist())
    return proto


def _field(name: str, dtype: tf.DType) -> str:
    if dtype not in _FIELDS:
        raise refusals.invalid(f"'{name}': tensors of {dtype.name} are not supported.")
    return _FIELDS[dtype]


def _check_count(name: str, count: int, limit: int, found: str) -> None:
    if count > limit:
        raise _misfit(name, f"has {found}; at most {limit} are allowed.")


def _misfit(name: str, what: str) -> refusals.Refusal:
    return refusals.invalid(f"input '{name}' {what}")
