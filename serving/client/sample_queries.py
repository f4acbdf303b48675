"""Queries to replay: from a JSONL file, or from the evaluated queries of a working directory.

A line of a JSONL file is an object with a value, or a list of values, by feature name; it may also
have `exclude_ids`, `allow` and `deny`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.client.request_inputs import Input
from tfrs_twotower.artifacts.layout import TEST_GLOB
from tfrs_twotower.data.raw_inputs import read_records
from tfrs_twotower.errors import DataError

_KINDS = ("bytes_list", "float_list", "int64_list")
_BOOKKEEPING = "_"


def read_queries(path: Path, limit: int) -> list[dict[str, Any]]:
    """Queries that stand evenly spaced in their file.

    Args:
        path: a JSONL file, or a `preprocessed` directory, of which the test queries are taken.
        limit: how many at most.

    Returns:
        Lists of values by feature name, one for each query; at least one query.

    Raises:
        DataError: there is no query, or a line is no query.
        ArtifactError: the directory has no test queries.
    """
    if path.is_dir():
        records = list(read_records(path, TEST_GLOB).as_numpy_iterator())
        return [_from_example(records[at]) for at in _spread(len(records), limit)]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"{path}: cannot be read as JSONL in UTF-8: {cause}.") from cause
    lines = [(at, line) for at, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: holds no query. Expected a JSON object in each line.")
    return [_from_line(path, *lines[at]) for at in _spread(len(lines), limit)]


def as_columns(
    queries: Sequence[Mapping[str, Any]], inputs: Mapping[str, Input]
) -> dict[str, list[Any]]:
    """A value, or a list of values, for each query, by the names that a signature takes.

    What a query has beyond them is left out.
    """
    return {
        name: [_fit(query.get(name), spec) for query in queries] for name, spec in inputs.items()
    }


def _fit(value: Any, spec: Input) -> Any:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return values if spec.width is not None else next(iter(values), None)


def _spread(count: int, limit: int) -> list[int]:
    return np.linspace(0, count - 1, min(limit, count)).astype(int).tolist()


def _from_example(serialized: bytes) -> dict[str, Any]:
    features = tf.train.Example.FromString(serialized).features.feature
    return {
        name: [value for kind in _KINDS for value in getattr(feature, kind).value]
        for name, feature in features.items()
        if not name.startswith(_BOOKKEEPING)
    }


def _from_line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        query = json.loads(line)
    except ValueError as cause:
        raise DataError(f"{path}, line {number}: is not JSON: {cause}.") from None
    if not isinstance(query, dict):
        raise DataError(
            f"{path}, line {number}: found {line[:60]!r}, expected an object of feature values."
        )
    return query
