"""The tensors of a request, from a caller's values or from queries sampled from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.graph import names
from tfrs_twotower.artifacts.layout import TEST_GLOB
from tfrs_twotower.data.shards import read_examples
from tfrs_twotower.errors import DataError, EndpointError, did_you_mean
from tfrs_twotower.specs import MISSING_TIME
from tfrs_twotower.tables import json_records
from tfrs_twotower.tables.encodings import read_head
from tfrs_twotower.tables.files import UnreadableFile, malformed_in, open_local, unreadable_as_such

Arrays = dict[str, npt.NDArray[Any]]
ANY_WIDTH = -1
_DTYPES: dict[str, tuple[Any, Any]] = {
    "DT_STRING": (object, b""),
    "DT_FLOAT": (np.float32, np.nan),
    "DT_INT64": (np.int64, MISSING_TIME),
}
"""NumPy type and missing value for each type of a bundle's inputs."""
_BOOKKEEPING_PREFIX = "_"


@dataclass(frozen=True)
class Input:
    """An input of a signature, as the server's metadata describes it."""

    dtype: str
    """Name of a TensorFlow `DataType`, such as `DT_STRING`."""
    width: int | None
    """Number of values per query: None for a single value, `ANY_WIDTH` if requests may differ."""


Signatures = dict[str, dict[str, Input]]


def width_of(shape: Sequence[int]) -> int | None:
    """The `width` of an input with this shape, such as `[-1, 20]`."""
    if len(shape) < 2:
        return None
    return ANY_WIDTH if shape[1] < 0 else shape[1]


def unknown_names(inputs: Mapping[str, Input], values: Mapping[str, Any]) -> list[str]:
    """Names of values that are not inputs of the signature."""
    return [name for name in values if name not in inputs]


def unknown_name_message(where: str, signature: str, inputs: Mapping[str, Input], name: str) -> str:
    """One line on a name that is not an input of a signature."""
    if name in (names.ALLOW, names.DENY):
        return (
            f"{where}: {signature} takes no '{name}': the bundle declares no restricts. List the "
            "features under export.restricts and export again."
        )
    return (
        f"{where}: {signature} has no input '{name}'{did_you_mean(name, inputs)}; it takes "
        f"{', '.join(sorted(inputs))}."
    )


def build_inputs(
    inputs: Mapping[str, Input], values: Mapping[str, Sequence[Any] | npt.NDArray[Any]]
) -> Arrays:
    """Builds a tensor for every input of a signature.

    Inputs without values become missing values: "", NaN or `MISSING_TIME`. Lists of text are cut,
    or padded with "", to their fixed width. `exclude_ids`, `allow` and `deny` get a first column of
    "": a server that batches requests repeats a request's first element to pad it.

    Args:
        inputs: those of the signature.
        values: a value, or a list of values, per query, by input name.

    Returns:
        Arrays `[batch]` or `[batch, width]`: objects (bytes), float32 or int64.

    Raises:
        EndpointError: the inputs differ in length, a value has the wrong type, or a list of numbers
            has the wrong width.
    """
    sizes = {name: len(column) for name, column in values.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        lengths = ", ".join(f"{name} {size}" for name, size in sizes.items()) or "none"
        raise EndpointError(
            "the inputs of a request need the same number of queries, at least one; found "
            f"{lengths}.",
            "INVALID_ARGUMENT",
        )
    batch = next(iter(sizes.values()))
    return {name: _array(name, spec, values.get(name), batch) for name, spec in inputs.items()}


def _array(
    name: str, spec: Input, values: Sequence[Any] | npt.NDArray[Any] | None, batch: int
) -> npt.NDArray[Any]:
    if spec.dtype not in _DTYPES:
        raise EndpointError(
            f"input '{name}' is of type {spec.dtype}; bundles take {', '.join(_DTYPES)} only, so "
            "the target serves another model. Name one that `twotower` or `serving.export_bundle` "
            "wrote.",
            "FAILED_PRECONDITION",
        )
    dtype, missing = _DTYPES[spec.dtype]
    try:
        if spec.width is None:
            column = [missing] * batch if values is None else list(values)
            return np.array([_value(value, missing) for value in column], dtype)
        lists = [[]] * batch if values is None else values
        rows = [[_value(value, missing) for value in _as_list(row)] for row in lists]
    except (TypeError, ValueError) as cause:
        raise EndpointError(
            f"input '{name}': {cause}. Expected {_expected(spec)} for each query.",
            "INVALID_ARGUMENT",
        ) from None
    if values is not None and spec.dtype != "DT_STRING":
        _check_width(name, spec, rows)
    if name in names.LISTS:
        rows = [[b"", *row] for row in rows]
    width = max(1, *map(len, rows)) if spec.width == ANY_WIDTH else spec.width
    return np.array([(row + [missing] * width)[:width] for row in rows], dtype)


def _check_width(name: str, spec: Input, rows: list[list[Any]]) -> None:
    """Refuses numbers of another width: cut or padded, they would be a different vector."""
    for row in rows:
        if spec.width not in (ANY_WIDTH, len(row)):
            raise EndpointError(
                f"input '{name}': found a list of {len(row)}. Expected {spec.width} numbers for "
                "each query.",
                "INVALID_ARGUMENT",
            )


def _as_list(row: Any) -> Any:
    if isinstance(row, str | bytes):
        raise TypeError(f"found {row!r}, which is not a list")
    return row


def _value(value: Any, missing: Any) -> Any:
    if value is None:
        return missing
    if not isinstance(missing, bytes):
        return type(missing)(value)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"found {value!r}, which is not text")


def _expected(spec: Input) -> str:
    kind = {"DT_STRING": "text", "DT_FLOAT": "a number", "DT_INT64": "an integer"}[spec.dtype]
    return kind if spec.width is None else f"a list of {kind}"


def read_queries(path: Path, limit: int) -> list[dict[str, Any]]:
    """Reads evenly spaced queries from a file.

    Args:
        path: a file of JSON objects, one in each line or all in an array, or a `preprocessed`
            directory, whose test queries are read.
        limit: largest number of queries.

    Returns:
        Values by feature name for each query; at least one query.

    Raises:
        DataError: there is no query, or a line or element is not a query.
        ArtifactError: the directory has no test queries.
    """
    if path.is_dir():
        examples = list(read_examples(path, TEST_GLOB))
        if not examples:
            raise DataError(
                f"{path}: holds no test query: its split has none. Give --queries, a JSONL file of "
                "feature values."
            )
        return [_features_of(examples[at]) for at in _spread(len(examples), limit)]
    open_file = partial(open_local, str(path))
    try:
        with unreadable_as_such(str(path)), malformed_in(str(path)):
            with open_file() as stream:
                head = read_head(stream)
            encoding = json_records.json_encoding(head, by_option=False)
            array = json_records.is_array(head, encoding)
            objects = partial(
                json_records.read_json_objects, str(path), open_file, encoding, array=array
            )
            chosen = set(_spread(sum(1 for _ in objects()), limit))
            sample = [query for at, query in enumerate(objects()) if at in chosen]
    except UnreadableFile as cause:
        raise DataError(
            f"{cause} Expected JSON objects, one in each line or in an array."
        ) from cause
    if not sample:
        raise DataError(f"{path}: holds no query. Expected a JSON object in each line.")
    part = "element" if array else "line"
    return [_checked(f"{path}, {part} {at}", query, reason) for at, query, reason in sample]


def as_columns(
    queries: Sequence[Mapping[str, Any]], inputs: Mapping[str, Input]
) -> dict[str, list[Any]]:
    """Arranges queries as columns: per input, a value or a list of values for each query.

    Values that are not inputs are left out.
    """
    return {
        name: [_fit(query.get(name), spec) for query in queries] for name, spec in inputs.items()
    }


def _fit(value: Any, spec: Input) -> Any:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return values if spec.width is not None else next(iter(values), None)


def _spread(count: int, limit: int) -> list[int]:
    return np.linspace(0, max(count - 1, 0), min(limit, count)).astype(int).tolist()


def _features_of(example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: values for name, values in example.items() if not name.startswith(_BOOKKEEPING_PREFIX)
    }


def _checked(where: str, query: dict[str, Any] | None, reason: str) -> dict[str, Any]:
    reason = reason if query is None else json_records.unwritable(query)
    if query is None or reason:
        raise DataError(f"{where}: {reason}; expected an object of feature values. Correct it.")
    return query
