"""Reads cells a column at a time: quickly where they are plain, else each distinct cell once.

The strict grammar of `cells` stays the judge. The quick ways take only columns that it would take
without a change; what it refuses, and what has to be said about a cell, is left to the reading of
single records.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.transforms import cell_forms, cells, table_files
from tfrs_twotower.tables import times

Quick = Callable[[pa.Array], pa.Array | None]
"""Gives the values of a whole column of plain cells, or None."""
_FLOAT_MAX = 3.4028234e38
_PRINTABLE, _NO_BLANK, _DIGITS = (0x20, 0x7E), (0x21, 0x7E), (0x30, 0x39)
_LONGEST_WHOLE = 18


class Rule(NamedTuple):
    """How the values of one output column come from the cells of a record."""

    name: str
    place: int | None
    """Place of the cell; None where the table has no such column."""
    read: Callable[[Any], Any]
    """Gives the value of a cell, or raises `BadCell`."""
    type: pa.DataType
    default: Any = ""
    """Value where there is no cell."""
    quick: Quick | None = None


def quick_id(column: pa.Array) -> pa.Array | None:
    """Ids: visible ASCII, or whole numbers."""
    if column.null_count:
        return None
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if not _is_text(column) or not _within(column, *_NO_BLANK) or _shortest(column) < 1:
        return None
    return None if _is_word(column) else column.cast(pa.string())


def quick_session(column: pa.Array) -> pa.Array | None:
    """Ids of sessions, some of them missing."""
    lines = quick_line(column)
    return lines if lines is not None and _within(column, *_NO_BLANK) else None


def quick_line(column: pa.Array) -> pa.Array | None:
    """Categories: printable ASCII that is neither a list nor a word for no value."""
    if not _is_text(column) or not _within(column, *_PRINTABLE) or _is_word(column):
        return None
    texts = pc.fill_null(column.cast(pa.string()), "")
    if pc.any(pc.match_substring_regex(texts, r"^\s*[\[{(]")).as_py():
        return None
    return texts


def quick_text(column: pa.Array) -> pa.Array | None:
    """Any text."""
    if not _is_text(column) or not _is_valid(column):
        return None
    return pc.fill_null(column.cast(pa.string()), "")


def quick_number(
    column: pa.Array, least: float = -_FLOAT_MAX, *, required: bool = False
) -> pa.Array | None:
    """Numbers of a numeric type that fit float32; NaN where one is missing, unless required."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None
    if pa.types.is_float16(column.type) or (required and column.null_count):
        return None
    if pa.types.is_integer(column.type) and column.null_count:
        return None  # NumPy would make them floats that are rounded
    values = np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.float64)
    known = values if required else values[~np.isnan(values)]
    if not np.all((known >= least) & (known <= _FLOAT_MAX)):
        return None
    return pa.array(values)


def quick_moment(column: pa.Array, unit: str) -> pa.Array | None:
    """Times of events, in seconds, or numbers of the order."""
    seconds = _moments(column, unit)
    if seconds is None:
        return None
    first, last = (0, (1 << 53) + 1) if unit == "order" else (cells.EARLIEST_S, cells.LATEST_S)
    return pa.array(seconds) if np.all((seconds >= first) & (seconds < last)) else None


def _moments(column: pa.Array, unit: str) -> NDArray[np.int64] | None:
    kind = column.type
    if column.null_count or not len(column):
        return None
    if pa.types.is_timestamp(kind) and unit != "order":
        micros = column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64())
        return np.asarray(micros.to_numpy()) // 1_000_000
    if unit != "order" and unit not in times.PER_SECOND:
        return None
    if _is_text(column):
        if not _within(column, *_DIGITS) or not 1 <= _shortest(column) <= _longest(column) <= (
            _LONGEST_WHOLE
        ):
            return None
        column = column.cast(pa.int64())
    elif not pa.types.is_integer(kind) or pa.types.is_uint64(kind):
        return None
    numbers = np.asarray(column.to_numpy()).astype(np.int64)
    return numbers if unit == "order" else numbers // times.PER_SECOND[unit]


def _is_text(column: pa.Array) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def _is_word(column: pa.Array) -> bool:
    """Whether a cell is a word for no value."""
    words = pa.array(sorted(cell_forms.MISSING_WORDS), column.type)
    return bool(pc.any(pc.is_in(column, value_set=words)).as_py())


def _within(column: pa.Array, low: int, high: int) -> bool:
    """Whether all bytes of a column of texts are within bounds."""
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    offsets = np.frombuffer(column.buffers()[1] or b"", kind)[column.offset :]
    if not len(column) or not len(offsets):
        return True
    used = data[offsets[0] : offsets[len(column)]]
    return not len(used) or bool(used.min() >= low and used.max() <= high)


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _shortest(column: pa.Array) -> int:
    return int(pc.min(pc.binary_length(column)).as_py() or 0)


def _longest(column: pa.Array) -> int:
    return int(pc.max(pc.binary_length(column)).as_py() or 0)


class CellColumn:
    """The raw cells of a column; distinct ones are looked at once.

    Args:
        cells: the cells as the file has them.
        repair: what is done to a cell before it is read; raises `ValueError` or `BadCell` where
            single records say why.
    """

    def __init__(
        self, cells: pa.Array, repair: Callable[[Any], Any], *, is_repaired: bool = False
    ) -> None:
        self.cells = cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
        self.is_plain = False
        """Whether no cell has a form that is worth saying."""
        self._repair = repair
        self._is_repaired = is_repaired
        self._distinct: list[Any] | None = None
        self._places: NDArray[np.int64] = np.zeros(0, np.int64)

    def distinct(self) -> tuple[list[Any], NDArray[np.int64]]:
        """The distinct cells, which may repeat, and the place of each row's cell in them."""
        if self._distinct is None:
            try:
                encoded = self.cells.dictionary_encode(null_encoding="encode")
                values = encoded.dictionary
                self._places = np.asarray(encoded.indices.to_numpy(), np.int64)
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid, AttributeError):
                values = self.cells
                self._places = np.arange(len(values))
            self._distinct = table_files.python_values(values)
        return self._distinct, self._places

    def matches(self, texts: frozenset[str]) -> NDArray[np.bool_]:
        """The rows whose cell, as text without blanks around it, is one of these."""
        distinct, places = self.distinct()
        found = [cells.bare_text(self.repaired(cell)) in texts for cell in distinct]
        return np.array(found, bool)[places]

    def repaired(self, cell: Any) -> Any:
        """A cell as it is read; None if it is left to the reading of single records."""
        try:
            return self._repair(cell)
        except (ValueError, cells.BadCell):
            return None

    def read(self, rule: Rule) -> tuple[pa.Array, NDArray[np.bool_] | None]:
        """The values of all rows, and which of them are none; None if all are good."""
        if rule.quick is not None and not self._is_repaired:
            quick = rule.quick(self.cells)
            if quick is not None:
                self.is_plain |= rule.quick is not quick_text
                return quick, None
        distinct, places = self.distinct()
        values: list[Any] = []
        bad = np.zeros(len(distinct), bool)
        for at, cell in enumerate(distinct):
            try:
                values.append(rule.read(self._repair(cell)))
            except (ValueError, cells.BadCell):
                values.append(None)
                bad[at] = True
        try:
            of_distinct = pa.array(values, rule.type)
        except (pa.ArrowInvalid, UnicodeEncodeError, OverflowError):
            return pa.nulls(len(self.cells), rule.type), np.ones(len(self.cells), bool)
        return of_distinct.take(pa.array(places)), bad[places] if bad.any() else None

    def present(self) -> NDArray[np.bool_]:
        """The rows whose cell is not missing."""
        if self._is_repaired:
            distinct, places = self.distinct()
            cells_ = [self.repaired(cell) for cell in distinct]
            known = [not (one is None or one == "" or one != one) for one in cells_]
            return np.array(known, bool)[places]
        found = pc.invert(self.cells.is_null(nan_is_null=True))
        if _is_text(self.cells):
            found = pc.and_(found, pc.fill_null(pc.greater(pc.binary_length(self.cells), 0), False))
        return np.asarray(found.to_numpy(zero_copy_only=False), bool)


def read_table(
    columns: Sequence[CellColumn], rules: Sequence[Rule], positions: NDArray[np.int64]
) -> tuple[pa.Table, NDArray[np.bool_]]:
    """The values of all rows, by the names of rules, and which rows all rules could read."""
    good = np.ones(len(positions), bool)
    arrays: dict[str, pa.Array] = {}
    for rule in rules:
        if rule.place is None:
            arrays[rule.name] = pa.repeat(pa.scalar(rule.default, rule.type), len(positions))
            continue
        arrays[rule.name], bad = columns[rule.place].read(rule)
        if bad is not None:
            good &= ~bad
    arrays["position"] = pa.array(positions)
    return pa.table(arrays), good


def rows_as_table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Records as a table, their fields in the order of the schema."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
