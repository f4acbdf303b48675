"""Arrow tables as elements of a pipeline: packed for the runner, divided by a hash of an id.

A table travels as the bytes of an Arrow stream, which every runner moves alike. The number of a
part is the number of the output shard, so whatever belongs to one shard meets in one place.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tfrs_twotower import specs
from tfrs_twotower.data import example_shards
from tfrs_twotower.ranking.sorting import is_first, order_by

EVENTS = pa.schema(
    [
        ("query_id", pa.string()),
        ("candidate_id", pa.string()),
        ("timestamp", pa.int64()),
        ("label", pa.float64()),
        ("weight", pa.float64()),
        ("split", pa.string()),
        ("session", pa.string()),
        ("position", pa.int64()),
    ]
)
"""Columns of events, the fields of `records.Event`."""
SPLIT_TIME = "split_time"
"""Column of timed events: the time, in epoch seconds, that decides on the split."""
ROWS = 1 << 17
"""Rows of a table that travels: enough to work by columns, few enough to hold many."""
_TEXTS = pa.list_(pa.string())


def entities_schema(features: Sequence[specs.Feature]) -> pa.Schema:
    """Columns of queries or candidates, the fields of `records.Entity`; a value is `value:NAME`.

    The columns of values that come from events are missing.
    """
    fields = [("entity_id", pa.string()), ("position", pa.int64())]
    fields += [("title", pa.string()), ("split", pa.string())]
    fields += [(value_column(feature), type_of(feature)) for feature in features]
    return pa.schema(fields)


def value_column(feature: specs.Feature) -> str:
    """The column of a feature's values in a table of entities."""
    return f"value:{feature.name}"


def type_of(feature: specs.Feature) -> pa.DataType:
    """The type of a feature's values, as parsers give them."""
    if isinstance(feature, specs.NumericFeature):
        return pa.float64()
    if isinstance(feature, specs.TimestampFeature):
        return pa.int64()
    return _TEXTS if isinstance(feature, specs.MultiCategoricalFeature) else pa.string()


class _Packing:
    """How tables are packed in this process."""

    options = pa.ipc.IpcWriteOptions(compression="lz4")


@contextmanager
def as_they_are() -> Iterator[None]:
    """Tables are packed without compression inside, because they do not leave the process."""
    before, _Packing.options = _Packing.options, pa.ipc.IpcWriteOptions()
    try:
        yield
    finally:
        _Packing.options = before


def packed(table: pa.Table) -> bytes:
    """The bytes of a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_Packing.options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def unpacked(parts: Iterable[bytes], schema: pa.Schema | None = None) -> pa.Table:
    """The rows of packed tables, one after the other; without a part, no row of the schema."""
    tables = [pa.ipc.open_stream(part).read_all() for part in parts]
    if not tables and schema is not None:
        return schema.empty_table()
    return pa.concat_tables(tables).combine_chunks()


def gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of tables in tables of about `ROWS` rows."""
    waiting: list[pa.Table] = []
    number = 0
    for table in tables:
        waiting.append(table)
        number += table.num_rows
        if number >= ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, number = [], 0
    if number:
        yield pa.concat_tables(waiting).combine_chunks()


def divided(table: pa.Table, column: str, num_shards: int) -> Iterator[tuple[int, bytes]]:
    """The shards of a table's rows by a column of ids, `(shard, packed rows)`."""
    for shard, rows in parted(table, column, num_shards):
        yield shard, packed(rows)


def parted(table: pa.Table, column: str, num_shards: int) -> Iterator[tuple[int, pa.Table]]:
    """The shards of a table's rows by a column of ids, those that have any."""
    shards = shards_of(table[column], num_shards)
    order = np.argsort(shards, kind="stable")
    table = table.take(pa.array(order))
    ends = np.searchsorted(shards[order], np.arange(num_shards + 1))
    for shard, (start, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        if end > start:
            yield shard, table.slice(start, end - start)


def shards_of(ids: Any, num_shards: int) -> NDArray[np.int64]:
    """The shard of each id, `artifacts.shard_of`, which is computed once for equal ids."""
    if num_shards == 1:
        return np.zeros(len(ids), np.int64)
    encoded = flat(ids).cast(pa.binary()).dictionary_encode()
    of_distinct = [zlib.crc32(one) % num_shards for one in encoded.dictionary.to_pylist()]
    return np.array(of_distinct, np.int64)[encoded.indices.to_numpy()]


def flat(values: Any) -> pa.Array:
    """A column as one array."""
    if not isinstance(values, pa.ChunkedArray):
        return values
    if values.num_chunks == 1:
        return values.chunk(0)
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)


def ranked(*columns: Any) -> tuple[pa.Array, list[NDArray[np.int64]]]:
    """The distinct texts of some columns, sorted, and the places of each column's texts in them."""
    return example_shards.ranked(*map(flat, columns))


def numbers(table: pa.Table, column: str) -> NDArray[Any]:
    """A column of numbers or truth values without nulls."""
    return np.asarray(flat(table[column]).to_numpy(zero_copy_only=False))


def starts_of(groups: NDArray[np.integer], number: int) -> NDArray[np.int64]:
    """Where each group begins in ascending group numbers, and their end: `[number + 1]`."""
    return np.searchsorted(groups, np.arange(number + 1)).astype(np.int64)


def lists_of(offsets: NDArray[np.integer], values: pa.Array) -> pa.ListArray:
    """A list of the values between each two offsets."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def first_of_each(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The record of each id that comes first in the files, sorted by id, and the other records."""
    _, (places,) = ranked(table["entity_id"])
    order = order_by(places, numbers(table, "position"))
    first = is_first(places[order])
    return table.take(pa.array(order[first])), table.take(pa.array(order[~first]))
