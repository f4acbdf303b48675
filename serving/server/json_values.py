"""REST bodies: request JSON to arrays, by rows or by columns, and answers to JSON.

No library reads this form: TensorFlow Serving alone defines which JSON value fits which tensor, and
the texts of refusals.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.server.refusals import invalid
from serving.server.request_tensors import DEFAULT, Signature, check_strings

_B64 = "b64"
_TYPES = {
    tf.string: (str,),
    tf.float32: (int, float),
    tf.int32: (int,),
    tf.int64: (int,),
    tf.bool: (bool,),
}
"""Python types of the JSON values that each tensor type accepts; a bool is not an int here."""
_FLOAT32_END = 2.0**128 - 2.0**103
"""From here on, numbers round to an infinite float32."""


@dataclass(frozen=True)
class JsonRequest:
    """A body after its form and the name of its signature have been read."""

    signature: str
    rows: bool
    """Whether the body lists rows (`instances`) rather than columns (`inputs`)."""
    values: Any


def read_body(body: bytes) -> JsonRequest:
    """Reads the body of a predict request; what follows its JSON is ignored.

    Raises:
        Refusal: the body is not JSON, or does not have the form that TensorFlow Serving takes.
    """
    try:
        text = body.decode("utf-8-sig", "surrogateescape").lstrip(" \t\r\n")
        document, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as cause:
        raise invalid(f"JSON Parse error: {cause or type(cause).__name__}") from cause
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: found {_kind(document)}. Is not object")
    name, rows = document.get("signature_name", ""), "instances" in document
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    if rows and "inputs" in document:
        raise invalid(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if not rows and "inputs" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    values = document["instances" if rows else "inputs"]
    if rows and not (isinstance(values, list) and values):
        raise invalid("Expecting 'instances' to be a list/array with at least one value")
    return JsonRequest(name or DEFAULT, rows, values)


def arrays_of(request: JsonRequest, signature: Signature) -> dict[str, npt.NDArray[Any]]:
    """Converts the inputs of a request to arrays.

    Every input must be there, also one with a default: TensorFlow Serving's REST API knows none.
    It ignores columns that are no inputs.

    Raises:
        Refusal: the inputs do not fit the signature.
    """
    columns: Any = request.values
    if request.rows:
        columns = _columns_of_rows(request.values, signature)
    if not isinstance(columns, dict) or _is_b64(columns):
        columns = {_only_input(signature, "inputs is a plain value/list"): columns}
    for name in signature.inputs:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _dense(signature, name, columns[name]) for name in signature.inputs}


def answer_of(outputs: Mapping[str, npt.NDArray[Any]], rows: bool) -> bytes:
    """The body of an answer; a single output has no name in it.

    Args:
        outputs: `[rows, ...]` each, finite.
        rows: whether the request listed rows.
    """
    columns = {name: _listed(name, values) for name, values in outputs.items()}
    content: Any = columns
    if len(columns) == 1:
        (content,) = columns.values()
    elif rows:
        value_rows = zip(*columns.values(), strict=True)
        content = [dict(zip(columns, row, strict=True)) for row in value_rows]
    return json.dumps({"predictions" if rows else "outputs": content}, allow_nan=False).encode()


def _columns_of_rows(rows: list[Any], signature: Signature) -> Any:
    named = isinstance(rows[0], dict) and not _is_b64(rows[0])
    if not named:
        return {_only_input(signature, "instances is a plain list"): rows}
    names = set(signature.inputs)
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != names:
            keys = ",".join(sorted(row))[:300] if isinstance(row, dict) else _kind(row)
            raise invalid(
                f"Failed to process element: {number} of 'instances' list: found {keys}; keys "
                f"must be equal to: {','.join(sorted(names))}"
            )
    return {name: [row[name] for row in rows] for name in names}


def _only_input(signature: Signature, what: str) -> str:
    if len(signature.inputs) > 1:
        raise invalid(f"{what}, but expecting an object as multiple input tensors required")
    return next(iter(signature.inputs))


def _dense(signature: Signature, name: str, value: Any) -> npt.NDArray[Any]:
    leaves = np.array(value, object)
    if leaves.size and isinstance(leaves.flat[0], list):
        raise invalid(f"input '{name}': lists of one level must have one length.")
    signature.check_shape(name, leaves.shape)
    dtype = signature.inputs[name].dtype
    if dtype not in _TYPES:
        raise invalid(f"input '{name}': JSON cannot be read as {dtype.name}.")
    try:
        values = [_read(leaf, dtype) for leaf in leaves.flat]
    except (ValueError, TypeError, binascii.Error) as cause:
        raise invalid(f"input '{name}' is not of expected type {dtype.name}: {cause}") from cause
    if dtype == tf.string:
        check_strings(name, values)
    return np.array(values, dtype.as_numpy_dtype).reshape(leaves.shape)


def _read(leaf: Any, dtype: tf.DType) -> Any:
    """Converts one JSON value to a value of a tensor.

    Raises:
        TypeError: the value has another type.
        ValueError: the tensor's type cannot hold the value.
    """
    if dtype == tf.string and _is_b64(leaf):
        text = "".join(leaf[_B64].split())
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if type(leaf) not in _TYPES[dtype]:
        raise TypeError(f"found {_kind(leaf)}")
    if dtype == tf.string:
        return leaf.encode()
    if dtype.is_integer and not -(1 << 8 * dtype.size - 1) <= leaf < 1 << 8 * dtype.size - 1:
        raise ValueError(f"found an integer of more than {8 * dtype.size} bits")
    if dtype.is_floating and _FLOAT32_END <= abs(leaf) < float("inf"):
        raise ValueError(f"found {str(leaf)[:40]}, which is beyond the largest float32")
    return leaf


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == [_B64] and isinstance(value[_B64], str)


def _listed(name: str, values: npt.NDArray[Any]) -> Any:
    if values.dtype == np.float32:
        return values.astype(str).astype(float).tolist()  # 0.1, not 0.10000000149011612
    if values.dtype != object:
        return values.tolist()
    # TensorFlow Serving writes an output as base64 if its name ends so.
    write = _b64 if name.endswith("_bytes") else _text
    return np.array([write(value) for value in values.flat], object).reshape(values.shape).tolist()


def _b64(value: bytes) -> dict[str, str]:
    return {_B64: base64.b64encode(value).decode()}


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


def _kind(value: Any) -> str:
    names = {dict: "Object", list: "Array", str: "String", bool: "Bool", type(None): "Null"}
    return names.get(type(value), "Number")
