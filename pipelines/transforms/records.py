"""Parses the cells of a record into an event, a query or a candidate. Plain functions; no Beam."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.transforms import cell_forms, watched_cells
from pipelines.transforms.cells import (
    BadCell,
    as_calendar_time,
    as_finite,
    as_id,
    as_line,
    as_moment,
    as_number,
    as_text,
    as_values,
)
from tfrs_twotower import specs
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.tables import times

Value = str | float | int | tuple[str, ...] | None

Trained = tuple[int, tuple[Value, ...], str]
"""An entity with training interactions: their number, its feature values, its id."""
TRAINED = "trained"
"""Tag of the outputs that hold `Trained` entities."""
FRESH = "fresh"
"""Tag of the outputs that hold the same of the validation window, which only a refit learns."""


class Event(NamedTuple):
    """One interaction. A plain tuple of plain values, so that Beam moves it fast."""

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


class Entity(NamedTuple):
    """One query or candidate."""

    entity_id: str
    position: int
    title: str
    split: str
    values: tuple[Value, ...]
    """One for each feature of the side, in the spec's order; None if events give the value."""


def interaction_columns(table: specs.InteractionTable) -> list[str]:
    """The columns that interactions are read from."""
    time = table.timestamp.column if table.timestamp else None
    named = (table.query_id, table.candidate_id, time, table.label, table.weight)
    return [c for c in (*named, table.split, table.session, *table.leave_out) if c is not None]


def entity_columns(
    table: specs.EntityTable, features: Sequence[specs.Feature], side: str
) -> list[str]:
    """The columns that the queries or the candidates (`side`: query, candidate) are read from."""
    sources = [feature.source for feature in _from_table(features, side)]
    return [c for c in (table.id, table.title, table.split, *sources) if c is not None]


def number_columns(
    table: specs.InteractionTable | specs.EntityTable, features: Sequence[specs.Feature] = ()
) -> list[str]:
    """The columns of a table that hold numbers, which may be written with a decimal comma."""
    named: list[str | None] = [
        feature.source for feature in features if isinstance(feature, specs.NumericFeature)
    ]
    if isinstance(table, specs.InteractionTable):
        time = table.timestamp
        named += [table.label, table.weight]
        if time is not None and time.unit in (*times.PER_SECOND, "order"):
            named.append(time.column)
    return [column for column in named if column is not None]


def from_event(feature: specs.Feature) -> bool:
    """Whether a query feature is computed from events and not read from the queries table."""
    return isinstance(feature, specs.HistoryFeature) or (
        isinstance(feature, specs.TimestampFeature) and feature.column is None
    )


def _from_table(features: Sequence[specs.Feature], side: str) -> list[specs.Feature]:
    return [feature for feature in features if side == "candidate" or not from_event(feature)]


def query_features(spec: specs.FeatureSpec) -> tuple[specs.Feature, ...]:
    """The query tower's features.

    Raises:
        FeatureSpecError: a feature needs a queries table and there is none.
    """
    if spec.queries is None:
        for feature in spec.query.features:
            if not from_event(feature) and feature.source != spec.interactions.query_id:
                raise FeatureSpecError(
                    f"query.features: '{feature.name}' is read from the column "
                    f"'{feature.source}' of the queries table, but the spec has no `queries`. "
                    f"Without them only '{spec.interactions.query_id}', histories and the "
                    "event's time are known; add `queries`, or remove the feature."
                )
    return spec.query.features


class EventParser:
    """Parses the cells of an interaction into an event.

    Args:
        spec: the feature spec, whose tables of queries and candidates say how ids are read.
    """

    def __init__(self, spec: specs.FeatureSpec) -> None:
        table = spec.interactions
        self._table = table
        self._whole_queries = spec.queries is not None and spec.queries.whole_number_ids
        self._whole_candidates = spec.candidates.whole_number_ids
        columns = list(dict.fromkeys(interaction_columns(table)))
        self._at = {column: place for place, column in enumerate(columns)}
        self.missing = frozenset(table.missing)
        self.watched = watched_cells.watched_interactions(table)
        self.leave_out = [(self._at[c], frozenset(v)) for c, v in table.leave_out.items()]

    def __call__(self, position: int, cells: Sequence[Any], bad_cells: list[BadCell]) -> Event:
        """Parses one record; the cells are in the order of `interaction_columns`.

        A bad cell always makes an event bad: `bad_cells` stays empty.

        Raises:
            BadCell: the reason names the column.
        """
        table, at = self._table, self._at
        query, candidate = table.query_id, table.candidate_id
        query_id = _required(cells[at[query]], query, "query id", self._whole_queries)
        candidate_id = _required(
            cells[at[candidate]], candidate, "candidate id", self._whole_candidates
        )
        timestamp, label, weight = 0, 1.0, 1.0
        if table.timestamp:
            column = table.timestamp.column
            try:
                timestamp = as_moment(cells[at[column]], table.timestamp.unit)
            except BadCell as bad:
                raise _in_column("timestamp", column, bad) from None
        if table.label:
            label = _finite("label", table.label, cells[at[table.label]])
        if table.weight:
            weight = _finite("weight", table.weight, cells[at[table.weight]])
            if weight < 0:
                raise BadCell(f"negative weight in column '{table.weight}'", weight)
        split = as_text(cells[at[table.split]]) if table.split else ""
        session = as_text(cells[at[table.session]]) if table.session else ""
        return Event(query_id, candidate_id, timestamp, label, weight, split, session, position)


class EntityParser:
    """Parses the cells of a query or candidate into an entity."""

    def __init__(
        self, table: specs.EntityTable, features: Sequence[specs.Feature], side: str
    ) -> None:
        self._table = table
        self._side = side
        read = _from_table(features, side)
        self._features = [feature if feature in read else None for feature in features]
        columns = list(dict.fromkeys(entity_columns(table, features, side)))
        self._at = {column: place for place, column in enumerate(columns)}
        self.missing = frozenset(table.missing)
        self.watched = watched_cells.watched_entities(table, self._features)
        self._title_is_html = any(
            isinstance(f, specs.TextFeature) and f.format == "html" and f.source == table.title
            for f in features
        )
        self.leave_out: list[tuple[int, frozenset[str]]] = []

    def __call__(self, position: int, cells: Sequence[Any], bad_cells: list[BadCell]) -> Entity:
        """Parses one record; the cells are in the order of `entity_columns`.

        A feature's bad cell counts as missing and is added to `bad_cells`, unless the table says
        that it makes its record bad.

        Raises:
            BadCell: the record cannot be used; the reason names the column.
        """
        table, at = self._table, self._at
        entity_id = _required(
            cells[at[table.id]], table.id, f"{self._side} id", table.whole_number_ids
        )
        title = self._title(cells[at[table.title]], bad_cells) if table.title else ""
        split = as_text(cells[at[table.split]]) if table.split else ""
        values = tuple(
            [
                None if feature is None else self._value(feature, entity_id, cells, bad_cells)
                for feature in self._features
            ]
        )
        return Entity(entity_id, position, title, split, values)

    def _value(
        self,
        feature: specs.Feature,
        entity_id: str,
        cells: Sequence[Any],
        bad_cells: list[BadCell],
    ) -> Value:
        cell = cells[self._at[feature.source]]
        if feature.source == self._table.id and isinstance(cell, str):
            cell = entity_id  # written as interactions and histories have it
        try:
            return _feature_value(feature, cell)
        except BadCell as bad:
            if self._table.bad_cells == "quarantine":
                raise
            _report_once(bad, bad_cells)
            return _feature_value(feature, None)

    def _title(self, cell: Any, bad_cells: list[BadCell]) -> str:
        try:
            return cell_forms.plain_text(as_text(cell)) if self._title_is_html else as_text(cell)
        except BadCell as bad:
            column = str(self._table.title)
            located = BadCell(f"column '{column}': {bad.reason}", bad.value, column)
            if self._table.bad_cells == "quarantine":
                raise located from None
            _report_once(located, bad_cells)
            return ""


def _report_once(bad: BadCell, bad_cells: list[BadCell]) -> None:
    """Adds a bad cell; one that two features (or a title) read alike counts once."""
    if not any(other.column == bad.column for other in bad_cells):
        bad_cells.append(bad)


def missing_values(
    features: Sequence[specs.Feature], id_columns: Sequence[str], entity_id: str
) -> tuple[Value, ...]:
    """Feature values of a query without a record: its id for features of the id, else missing."""
    values: list[Value] = []
    for feature in features:
        if from_event(feature):
            values.append(None)
        else:
            try:
                cell = entity_id if feature.source in id_columns else None
                values.append(_feature_value(feature, cell))
            except BadCell:  # an id that is not a number, say
                values.append(_feature_value(feature, None))
    return tuple(values)


def _feature_value(feature: specs.Feature, cell: Any) -> Value:
    try:
        if isinstance(feature, specs.NumericFeature):
            return as_number(cell, feature.format)
        if isinstance(feature, specs.MultiCategoricalFeature):
            return as_values(cell, feature.separator, feature.max_values, feature.format)
        if isinstance(feature, specs.TimestampFeature):
            return as_calendar_time(cell, feature.unit)
        if isinstance(feature, specs.TextFeature):
            text = as_text(cell)
            return cell_forms.plain_text(text) if feature.format == "html" else text
        return as_line(cell)
    except BadCell as bad:
        column = feature.source
        raise BadCell(f"column '{column}': {bad.reason}", bad.value, column) from None


def _required(cell: Any, column: str, what: str, whole_numbers: bool) -> str:
    try:
        return as_id(cell, whole_numbers)
    except BadCell as bad:
        if bad.reason == "missing":
            raise BadCell(f"missing {what} in column '{column}'") from None
        raise _in_column(what, column, bad) from None


def _finite(what: str, column: str, cell: Any) -> float:
    try:
        return as_finite(cell)
    except BadCell as bad:
        raise _in_column(what, column, bad) from None


def _in_column(what: str, column: str, bad: BadCell) -> BadCell:
    return BadCell(f"{what} in column '{column}': {bad.reason}", bad.value)
