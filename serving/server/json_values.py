"""REST bodies: JSON to arrays, row by row or column by column, and answers to JSON."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.server.refusals import invalid
from serving.server.signatures import DEFAULT, Signature
from serving.server.tensor_protos import check_strings

_B64 = "b64"
_BYTES_SUFFIX = "_bytes"
_FLOAT32_LARGEST = float(np.finfo(np.float32).max)
_FLOAT32_INTEGERS = (1 << np.finfo(np.float32).nmant + 1) - 1


@dataclass(frozen=True)
class JsonRequest:
    """A body that was read as far as the signature's name."""

    signature: str
    rows: bool
    """Whether it lists instances; else it lists inputs."""
    values: Any


def read_body(body: bytes) -> JsonRequest:
    """Reads a predict request's body.

    Raises:
        Refusal: it is not JSON, or not of the form that TensorFlow Serving takes.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as cause:
        raise invalid(f"JSON Parse error: {cause or type(cause).__name__}") from cause
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: found {_kind(document)}. Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    keys = [key for key in ("instances", "inputs") if key in document]
    if not keys:
        raise invalid("Missing 'inputs' or 'instances' key")
    if len(keys) == 2:
        raise invalid(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    values = document[keys[0]]
    rows = keys[0] == "instances"
    if rows and not (isinstance(values, list) and values):
        raise invalid("Expecting 'instances' to be a list/array with at least one value")
    return JsonRequest(name or DEFAULT, rows, values)


def arrays_of(request: JsonRequest, signature: Signature) -> dict[str, npt.NDArray[Any]]:
    """A request's inputs as arrays.

    Raises:
        Refusal: they do not fit the signature.
    """
    columns: Any = request.values
    if request.rows:
        columns = _columns_of_rows(request.values, signature)
    if not isinstance(columns, dict) or _is_b64(columns):
        columns = {_only_input(signature, "inputs is a plain value/list"): columns}
    signature.check_names(columns)
    return {name: _dense(signature, name, value) for name, value in columns.items()}


def answer_of(outputs: Mapping[str, npt.NDArray[Any]], rows: bool) -> bytes:
    """The body of an answer; with one output its name is left out.

    Args:
        outputs: `[rows, ...]` each, finite.
        rows: the form of the request.
    """
    columns = {name: _listed(name, values) for name, values in outputs.items()}
    content: dict[str, Any]
    if len(columns) == 1:
        (only,) = columns.values()
        content = {"predictions" if rows else "outputs": only}
    elif rows:
        each = zip(*columns.values(), strict=True)
        content = {"predictions": [dict(zip(columns, row, strict=True)) for row in each]}
    else:
        content = {"outputs": columns}
    return json.dumps(content, allow_nan=False).encode()


def _columns_of_rows(rows: list[Any], signature: Signature) -> Any:
    named = isinstance(rows[0], dict) and not _is_b64(rows[0])
    if not named:
        return {_only_input(signature, "instances is a plain list"): rows}
    names = set(signature.inputs)
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != names:
            found = ",".join(sorted(row))[:300] if isinstance(row, dict) else _kind(row)
            raise invalid(
                f"Failed to process element: {number} of 'instances' list: found {found}; keys "
                f"must be equal to: {','.join(sorted(names))}"
            )
    return {name: [row[name] for row in rows] for name in names}


def _only_input(signature: Signature, what: str) -> str:
    if len(signature.inputs) > 1:
        raise invalid(f"{what}, but expecting an object as multiple input tensors required")
    return next(iter(signature.inputs))


def _dense(signature: Signature, name: str, value: Any) -> npt.NDArray[Any]:
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    signature.check_shape(name, shape)
    leaves = [value]
    for size in shape:
        for item in leaves:
            if not isinstance(item, list) or len(item) != size:
                raise invalid(f"input '{name}': lists of one level must have one length.")
        leaves = [inner for item in leaves for inner in item]
    dtype = signature.inputs[name].dtype
    read = _READERS.get(dtype)
    if read is None:
        raise invalid(f"input '{name}': JSON cannot be read as {dtype.name}.")
    try:
        values = [read(leaf) for leaf in leaves]
    except (ValueError, TypeError, binascii.Error) as cause:
        raise invalid(f"input '{name}' is not of expected type {dtype.name}: {cause}") from cause
    if dtype == tf.string:
        check_strings(name, values)
        return np.array(values, object).reshape(shape)
    return np.array(values, dtype.as_numpy_dtype).reshape(shape)


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if _is_b64(value):
        return base64.b64decode(value[_B64], validate=True)
    raise TypeError(f"found {_kind(value)}")


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"found {_kind(value)}")
    if isinstance(value, int):
        lossy = abs(value) > _FLOAT32_INTEGERS
    else:
        lossy = np.isfinite(value) and abs(value) > _FLOAT32_LARGEST
    if lossy:
        raise ValueError(f"Cannot convert {str(value)[:40]} to float without loss of precision.")
    return float(value)


def _integer(bits: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"found {_kind(value)}")
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise ValueError(f"found an integer of more than {bits} bits")
        return value

    return read


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"found {_kind(value)}")
    return value


_READERS: dict[Any, Callable[[Any], Any]] = {
    tf.string: _string,
    tf.float32: _float,
    tf.int32: _integer(32),
    tf.int64: _integer(64),
    tf.bool: _bool,
}


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == [_B64] and isinstance(value[_B64], str)


def _listed(name: str, values: npt.NDArray[Any]) -> list[Any]:
    if values.dtype != object:
        return list(values.tolist())
    if name.endswith(_BYTES_SUFFIX):
        written: list[Any] = [{_B64: base64.b64encode(v).decode()} for v in values.reshape(-1)]
    else:
        written = [value.decode("utf-8", errors="replace") for value in values.reshape(-1)]
    return list(np.array(written, object).reshape(values.shape).tolist())


def _kind(value: Any) -> str:
    names = {dict: "Object", list: "Array", str: "String", bool: "Bool", type(None): "Null"}
    return names.get(type(value), "Number")
