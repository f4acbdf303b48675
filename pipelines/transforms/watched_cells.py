"""Counts how the cells of a table are written, while it is read, so that a form can be questioned.

A form is a short word such as `list:json` or `word:nan`; what a form means for the data and what to
do about it is for the stage to say.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.transforms import cell_forms, column_cells
from tfrs_twotower import specs

PRESENT = "present"
"""Form of every cell that is not missing; the other forms are shares of these."""
OWN_SEPARATOR = "separator"
"""A text with the separator that the spec names."""
LIST, NUMBER, WORD, SEPARATOR = "list:", "number:", "word:", "separator:"
"""Beginnings of forms: a list as text in a format; a decorated number in a format; a word for no
value; a text with another separator."""
IS_LIST = "is list"
"""A text that is surely a list, whichever formats read it."""
NO_RECORD = "no query record"
"""An interaction whose query has no record in the table of queries."""
_MAX_SHOWN = 60

Role = Literal["id", "category", "list", "number", "other"]
Seen = tuple[int, list[tuple[int, str, str]]]
"""How many cells have a form; position, key and cell of the first of them."""


class Watched(NamedTuple):
    """A column whose cells are counted."""

    column: str
    role: Role
    plain: bool = True
    """Whether cells are read as plain text (`format: text` or `plain`)."""
    separator: str = ""


def watched_interactions(table: specs.InteractionTable) -> list[Watched]:
    """The columns of the interactions that are watched."""
    numbers = [Watched(column, "number") for column in (table.label, table.weight) if column]
    sessions = [Watched(table.session, "category")] if table.session else []
    return [Watched(table.query_id, "id"), Watched(table.candidate_id, "id"), *numbers, *sessions]


def watched_entities(
    table: specs.EntityTable, features: Sequence[specs.Feature | None]
) -> list[Watched]:
    """The watched columns of queries or candidates: the id, and those that features are read from.

    Args:
        table: the table.
        features: the features that are read from it, and None for the others.
    """
    watched = {table.id: Watched(table.id, "id")}
    if table.title is not None:
        watched.setdefault(table.title, Watched(table.title, "other"))
    for feature in features:
        if feature is not None:
            own = _watched_feature(feature)
            known = watched.setdefault(own.column, own)
            if known.role == "other":
                watched[own.column] = own
    return list(watched.values())


def _watched_feature(feature: specs.Feature) -> Watched:
    match feature:
        case specs.IdFeature() | specs.CategoricalFeature():
            return Watched(feature.source, "category")
        case specs.MultiCategoricalFeature():
            plain = feature.format == "text"
            return Watched(feature.source, "list", plain, feature.separator)
        case specs.NumericFeature():
            return Watched(feature.source, "number", feature.format == "plain")
        case _:
            return Watched(feature.source, "other")


class CellWatch:
    """Counts the forms of the cells of one file.

    Args:
        watched: the columns to count.
        columns: the columns in the order of a record's cells.
    """

    def __init__(self, watched: Sequence[Watched], columns: Sequence[str]) -> None:
        self._watched = [(columns.index(one.column), one) for one in watched]
        self._present = [0] * len(watched)
        self._seen: dict[tuple[str, str], Seen] = {}

    def look(self, position: int, cells: Sequence[Any]) -> None:
        """Counts the cells of one record; the first cell is its key."""
        for number, (place, watched) in enumerate(self._watched):
            cell = cells[place]
            if cell is None or cell == "" or cell != cell:
                continue
            self._present[number] += 1
            if isinstance(cell, str):
                for form in _forms(cell, watched):
                    self._add(watched.column, form, 1, (position, cells[0], cell))

    def look_at(
        self,
        columns: Sequence[column_cells.CellColumn],
        rows: NDArray[np.bool_],
        positions: NDArray[np.int64],
    ) -> None:
        """Counts the cells of the chosen rows of some columns, of which the first is the key."""
        keys, key_of = None, None
        for number, (place, watched) in enumerate(self._watched):
            column = columns[place]
            self._present[number] += int(np.count_nonzero(column.present() & rows))
            if watched.role == "other" or column.is_plain:
                continue
            distinct, places = column.distinct()
            chosen, first = np.unique(places[rows], return_index=True)
            counts = np.bincount(places[rows], minlength=len(distinct))
            for at, row in zip(chosen.tolist(), np.flatnonzero(rows)[first].tolist(), strict=True):
                cell = column.repaired(distinct[at])
                if isinstance(cell, str) and cell:
                    for form in _forms(cell, watched):
                        if keys is None:
                            keys, key_of = columns[0].distinct()
                        key = columns[0].repaired(keys[key_of[row]])  # type: ignore[index]
                        place_of = (int(positions[row]), key, cell)
                        self._add(watched.column, form, int(counts[at]), place_of)

    def _add(self, column: str, form: str, number: int, seen: tuple[int, Any, str]) -> None:
        position, key, cell = seen
        count, first = self._seen.get((column, form), (0, []))
        if not first or position < first[0][0]:
            first = [(position, str(key)[:_MAX_SHOWN], cell[:_MAX_SHOWN])]
        self._seen[column, form] = (count + number, first)

    def seen(self) -> Iterator[tuple[tuple[str, str], Seen]]:
        """`(column, form)` and its count with the first cell."""
        yield from self._seen.items()
        for number, (_, watched) in enumerate(self._watched):
            if self._present[number]:
                yield (watched.column, PRESENT), (self._present[number], [])


def _forms(cell: str, watched: Watched) -> Iterator[str]:
    role = watched.role
    if role == "other":
        return
    if cell in cell_forms.MISSING_WORDS:
        yield f"{WORD}{cell}"
    elif role == "number":
        if watched.plain and not _is_number(cell):
            yield from (f"{NUMBER}{name}" for name in cell_forms.number_formats_of(cell))
    elif role != "id" and watched.plain:
        yield from _list_forms(cell, watched)


def _list_forms(cell: str, watched: Watched) -> Iterator[str]:
    formats = cell_forms.list_formats_of(cell)
    if formats:
        yield from (f"{LIST}{name}" for name in formats)
        if cell_forms.is_list(cell):
            yield IS_LIST
    elif watched.role == "list":
        if watched.separator in cell:
            yield OWN_SEPARATOR
        yield from (f"{SEPARATOR}{other}" for other in cell_forms.SEPARATORS if other in cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
