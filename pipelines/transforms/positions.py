"""Where a record comes from: one integer that sorts like reading the files in order.

The files of a table are numbered in the order of their names; inside a file a record has a line
number (text), a record number (TFRecord) or a row group and a row (Parquet).
"""

from collections.abc import Sequence

_FILE_SHIFT = 44
_GROUP_SHIFT = 24
_PARQUET_ROW_MASK = (1 << _GROUP_SHIFT) - 1
_IN_FILE_MASK = (1 << _FILE_SHIFT) - 1


def position_of(file_number: int, number_in_file: int) -> int:
    """The position of a record: `number_in_file` starts at 1."""
    return (file_number << _FILE_SHIFT) | number_in_file


def parquet_number(row_group: int, row: int) -> int:
    """Number in a Parquet file, which orders by row group and then by row (both from 0)."""
    return (row_group << _GROUP_SHIFT) | row


def describe_position(position: int, files: Sequence[str], file_format: str) -> str:
    """The position in words, such as `ratings.csv:17` or `a.parquet: row group 0, row 16`."""
    path = files[position >> _FILE_SHIFT]
    number = position & _IN_FILE_MASK
    if file_format == "parquet":
        return f"{path}: row group {number >> _GROUP_SHIFT}, row {number & _PARQUET_ROW_MASK}"
    if file_format == "tfrecord":
        return f"{path}: record {number}"
    return f"{path}:{number}"
