"""Parses the cells of an interaction into an event. Plain functions; no Beam."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from pipelines.transforms import batches, cells, column_cells, records, watched_cells
from tfrs_twotower import specs

_Read = Callable[[Any], Any]


class Event(NamedTuple):
    """One interaction, as a record gives it; its fields are the columns of `batches.EVENTS`."""

    query_id: str
    candidate_id: str
    timestamp: int
    """Seconds since 1970, or the number of the order; 0 if the table has neither."""
    label: float
    weight: float
    split: str
    """Value of the split column, or ""."""
    session: str
    """Value of the session column, or ""."""
    position: int


def interaction_columns(table: specs.InteractionTable) -> list[str]:
    """The columns that interactions are read from."""
    time = table.timestamp.column if table.timestamp else None
    named = (table.query_id, table.candidate_id, time, table.label, table.weight)
    return [c for c in (*named, table.split, table.session, *table.leave_out) if c is not None]


class EventParser:
    """Parses the cells of an interaction into an event.

    Args:
        spec: the feature spec, whose tables of queries and candidates say how ids are read.
    """

    schema = batches.EVENTS

    def __init__(self, spec: specs.FeatureSpec) -> None:
        table = spec.interactions
        columns = list(dict.fromkeys(interaction_columns(table)))
        self._at = {column: place for place, column in enumerate(columns)}
        self.missing = frozenset(table.missing)
        self.watched = watched_cells.watched_interactions(table)
        self.leave_out = [(self._at[c], frozenset(v)) for c, v in table.leave_out.items()]
        time = table.timestamp
        finite = partial(column_cells.quick_number, required=True)
        not_negative = partial(finite, least=0.0)
        moment = partial(column_cells.quick_moment, unit=time.unit if time else "")
        whole = (
            spec.queries is not None and spec.queries.whole_number_ids,
            spec.candidates.whole_number_ids,
        )
        self.rules = [
            self._id("query_id", table.query_id, whole[0]),
            self._id("candidate_id", table.candidate_id, whole[1]),
            self._rule(
                "timestamp", time.column if time else None, partial(_moment, time), 0, moment
            ),
            self._rule("label", table.label, partial(_finite, "label", table.label), 1.0, finite),
            self._rule("weight", table.weight, partial(_weight, table.weight), 1.0, not_negative),
            self._rule("split", table.split, cells.as_text, "", column_cells.quick_text),
            self._rule("session", table.session, cells.as_text, "", column_cells.quick_session),
        ]

    def __call__(
        self, position: int, values: Sequence[Any], bad_cells: list[cells.BadCell]
    ) -> Event:
        """Parses one record, whose cells are in the order of `interaction_columns`.

        A bad cell always makes an event bad: `bad_cells` stays empty.

        Raises:
            BadCell: the reason names the column.
        """
        read = [
            rule.default if rule.place is None else rule.read(values[rule.place])
            for rule in self.rules
        ]
        return Event._make([*read, position])

    @staticmethod
    def row_of(event: Event) -> tuple[Any, ...]:
        """The fields of an event in the order of the schema."""
        return event

    def _id(self, name: str, column: str, whole_numbers: bool) -> column_cells.Rule:
        what = name.replace("_", " ")
        read = partial(records.required_id, column, what, whole_numbers)
        return self._rule(name, column, read, "", None if whole_numbers else column_cells.quick_id)

    def _rule(
        self,
        name: str,
        column: str | None,
        read: _Read,
        default: Any,
        quick: column_cells.Quick | None,
    ) -> column_cells.Rule:
        place = None if column is None else self._at[column]
        kind = batches.EVENTS.field(name).type
        return column_cells.Rule(name, place, read, kind, default, quick)


def _moment(time: Any, cell: Any) -> int:
    try:
        return cells.as_moment(cell, time.unit)
    except cells.BadCell as bad:
        raise records.in_column("timestamp", time.column, bad) from None


def _finite(what: str, column: str | None, cell: Any) -> float:
    try:
        return cells.as_finite(cell)
    except cells.BadCell as bad:
        raise records.in_column(what, str(column), bad) from None


def _weight(column: str | None, cell: Any) -> float:
    weight = _finite("weight", column, cell)
    if weight < 0:
        raise cells.BadCell(f"negative weight in column '{column}'", weight)
    return weight
