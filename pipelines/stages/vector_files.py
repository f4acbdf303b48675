"""Reads the files of `import-embeddings`: vectors by id, and relevance judgements."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import DataError
from tfrs_twotower.ranking import RowArray
from tfrs_twotower.specs.tables import format_of_name
from tfrs_twotower.tables.delimited import FileNotes, read_delimited
from tfrs_twotower.tables.encodings import read_head, refuse_guess
from tfrs_twotower.tables.files import UnreadableFile, malformed_in, open_local, unreadable_as_such
from tfrs_twotower.tables.sniffing import find_form
from tfrs_twotower.tables.text_forms import Declared

_ID_COLUMNS = ("query_id", "candidate_id")
_GAIN = "gain"
_TREC = (_ID_COLUMNS[0], "iteration", _ID_COLUMNS[1], _GAIN)
"""Columns of TREC's judgements, which have no header."""
_MISSING = ("", "na", "nan", "null")
_MAX_SHOWN = 3


@dataclass(frozen=True)
class JudgedPairs:
    """Pairs of a query and a relevant candidate, as rows of both files sorted by id."""

    query: RowArray
    """`[num_pairs]` rows of the queries, ascending."""
    candidate: RowArray
    """`[num_pairs]` rows of the candidates."""
    gain: npt.NDArray[np.float64]
    """`[num_pairs]` gains, all above 0."""

    def by_query(
        self,
    ) -> tuple[RowArray, list[RowArray], list[npt.NDArray[np.float64]]]:
        """Rows of the judged queries, and the candidates and gains of each."""
        rows, starts = np.unique(self.query, return_index=True)
        return rows, np.split(self.candidate, starts[1:]), np.split(self.gain, starts[1:])


def read_vectors(path: Path) -> Corpus:
    """Reads ids, vectors and, if present, titles of a Parquet file, sorted by id.

    Args:
        path: a file with the columns `id` (string), `embedding` (list or fixed-size list of
            float32), and perhaps `title` (string).

    Raises:
        DataError: it cannot be read, a column is missing or of another type, widths differ, a
            number is not finite, or an id is empty or occurs twice.
    """
    table = _read_parquet(path)
    ids = _strings(table, "id", path)
    _refuse_nulls(ids, "id", path)
    titles = _strings(table, "title", path) if "title" in table.column_names else None
    names = ids.to_pylist()
    vectors = _vectors(table, names, path)
    return Corpus.of(
        names, vectors, None if titles is None else titles.to_pylist(), where=str(path)
    )


def read_judgements(path: Path, queries: Corpus, candidates: Corpus) -> JudgedPairs:
    """Reads the pairs of a Parquet, CSV or TSV file; pairs with gain 0 are left out.

    Args:
        path: a file with the columns `query_id`, `candidate_id`, and perhaps `gain` (a number, 1
            without the column).
        queries: the queries that may be named.
        candidates: the candidates that may be named.

    Raises:
        DataError: it cannot be read, a column is missing or of another type, an id is unknown, a
            pair occurs twice, a gain is negative or not a number, or no pair has a gain above 0.
    """
    is_parquet = format_of_name(path.name) == "parquet"
    table = _read_parquet(path) if is_parquet else _read_delimited(path)
    columns = [_strings(table, name, path) for name in _ID_COLUMNS]
    rows = []
    for name, column, known in zip(_ID_COLUMNS, columns, (queries, candidates), strict=True):
        _refuse_nulls(column, name, path)
        ids = column.to_pylist()
        known_rows = known.row_of(ids)
        unknown = [ids[place] for place in np.flatnonzero(known_rows < 0)[:_MAX_SHOWN]]
        if unknown:
            shown = ", ".join(map(repr, unknown))
            raise DataError(
                f"{path}: {int((known_rows < 0).sum())} of {len(ids)} values of {name} are not "
                f"among the {len(known)} ids of the vectors, such as {shown}. Every judged query "
                "and candidate needs a vector; leave the others out."
            )
        rows.append(known_rows.astype(np.int64))
    query, candidate = rows
    gain = _gains(table, path)
    order = np.lexsort((candidate, query))
    repeated = np.flatnonzero((np.diff(query[order]) == 0) & (np.diff(candidate[order]) == 0))
    if len(repeated):
        place = order[repeated[0]]
        raise DataError(
            f"{path}: the pair {queries.ids[query[place]]!r}, {candidates.ids[candidate[place]]!r} "
            "occurs twice; a candidate has one gain for a query. Merge them."
        )
    order = order[gain[order] > 0.0]
    if not len(order):
        raise DataError(
            f"{path}: none of {len(gain)} pairs has a gain above 0; an evaluation needs relevant "
            "candidates. Leave --judgements out, or give some."
        )
    return JudgedPairs(query[order], candidate[order], gain[order])


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (OSError, pa.ArrowException) as cause:
        raise DataError(
            f"{path}: cannot be read as a Parquet file: {cause}. Vectors are read from Parquet, "
            "judgements also from .csv and .tsv."
        ) from cause


def _read_delimited(path: Path) -> pa.Table:
    """Reads a CSV, a TSV, or TREC's form without a header; ids are text even if they are digits."""
    open_file, default = partial(open_local, str(path)), "\t" if path.suffix == ".tsv" else ","
    try:
        with unreadable_as_such(str(path)), malformed_in(str(path)):
            with open_file() as stream:
                head = read_head(stream)
            form = find_form(head, default, Declared())
            if len(form.invented) == len(_TREC):
                form = find_form(head, default, Declared(columns=_TREC))
            refuse_guess(form.encoding, by_option=False)
            names = tuple(filter(None, form.columns))
            rows = list(read_delimited(str(path), open_file, form, names, FileNotes()))
    except UnreadableFile as cause:
        raise DataError(
            f"{cause} Expected a header with query_id, candidate_id and perhaps gain, a number."
        ) from cause
    for line, values, reason in rows:
        if values is None:
            raise DataError(f"{path}:{line}: {reason}. Correct it.")
    if not names:
        raise DataError(f"{path}: is empty, expected a header with query_id and candidate_id.")
    columns = {
        name: [values[at] for _, values, _ in rows if values] for at, name in enumerate(names)
    }
    return pa.table({name: _typed(name, cells, path) for name, cells in columns.items()})


def _typed(name: str, cells: list[str], path: Path) -> pa.Array:
    if name != _GAIN:
        return pa.array(cells, pa.string())
    try:
        return pa.array(
            [None if cell.strip().lower() in _MISSING else float(cell) for cell in cells],
            pa.float64(),
        )
    except ValueError as cause:
        raise DataError(
            f"{path}: cannot be read: {cause}. Expected in '{_GAIN}' a number with a decimal point."
        ) from cause


def _column(table: pa.Table, name: str, path: Path) -> Any:
    if name not in table.column_names:
        raise DataError(
            f"{path}: there is no column '{name}'; it has {', '.join(table.column_names)}. Rename "
            "one, or add it."
        )
    if table.column_names.count(name) > 1:
        raise DataError(f"{path}: the column '{name}' occurs twice. Remove one.")
    column = table[name].combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _strings(table: pa.Table, name: str, path: Path) -> Any:
    column = _column(table, name, path)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DataError(
            f"{path}: the column '{name}' is of type {column.type}, expected string. Turn it into "
            "text, as ids and titles are text everywhere."
        )
    return column


def _refuse_nulls(column: Any, name: str, path: Path) -> None:
    if column.null_count:
        place = pc.index(column.is_null(), True).as_py()
        raise DataError(
            f"{path}: {column.null_count} of {len(column)} values of '{name}' are missing, the "
            f"first in record {place + 1}. Every record needs one."
        )


def _vectors(table: pa.Table, names: Sequence[str], path: Path) -> npt.NDArray[np.float32]:
    column = _column(table, "embedding", path)
    listed = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not (listed or pa.types.is_fixed_size_list(column.type)) or not pa.types.is_float32(
        column.type.value_type
    ):
        raise DataError(
            f"{path}: the column 'embedding' is of type {column.type}, expected list<float> (a "
            "list, or fixed-size list, of float32). Cast it: pa.list_(pa.float32())."
        )
    _refuse_nulls(column, "embedding", path)
    if not len(column):
        raise DataError(f"{path}: has no record; give at least one vector.")
    widths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    unequal = np.flatnonzero(widths != widths[0])
    if len(unequal) or not widths[0]:
        place = unequal[0] if len(unequal) else 0
        raise DataError(
            f"{path}: the vector of {names[place]!r} (record {place + 1}) has {widths[place]} "
            f"numbers, that of {names[0]!r} {widths[0]}; all must have the same number, at least "
            "one. Embed them again."
        )
    flat = pc.list_flatten(column)
    if flat.null_count:
        place = pc.index(flat.is_null(), True).as_py() // int(widths[0])
        raise DataError(
            f"{path}: the vector of {names[place]!r} (record {place + 1}) lacks a number; all must "
            "be there and finite. Remove or correct it."
        )
    return flat.to_numpy(zero_copy_only=False).reshape(-1, int(widths[0]))


def _gains(table: pa.Table, path: Path) -> npt.NDArray[np.float64]:
    if _GAIN not in table.column_names:
        return np.ones(len(table))
    column = _column(table, _GAIN, path)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(
            f"{path}: the column '{_GAIN}' is of type {column.type}, expected a number. Cast it, "
            "or leave it out."
        )
    _refuse_nulls(column, _GAIN, path)
    gain = column.to_numpy(zero_copy_only=False).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(gain) | (gain < 0.0))
    if len(bad):
        raise DataError(
            f"{path}: the gain of record {bad[0] + 1} is {gain[bad[0]]}; a gain is finite and at "
            "least 0, and 0 is not relevant. Correct it."
        )
    return gain
