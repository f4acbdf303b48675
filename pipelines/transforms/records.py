"""Parses the cells of a record into a query or a candidate. Plain functions; no Beam."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from pipelines.transforms import batches, cell_forms, column_cells, watched_cells
from pipelines.transforms.cells import (
    BadCell,
    as_calendar_time,
    as_id,
    as_line,
    as_number,
    as_text,
    as_values,
)
from tfrs_twotower import specs
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.tables import times

Value = str | float | int | tuple[str, ...] | None

TRAINED = "trained"
"""Tag of the outputs that hold entities with training events: tables of their number, `events`,
their ids and their values."""
FRESH = "fresh"
"""Tag of the outputs that hold the same of the validation window, which only a refit learns."""


class Entity(NamedTuple):
    """One query or candidate."""

    entity_id: str
    position: int
    title: str
    split: str
    values: tuple[Value, ...]
    """One for each feature of the side, in the spec's order; None if events give the value."""


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
        self._read = read
        self.schema = batches.entities_schema(read)
        self.rules = self._rules()

    def __call__(self, position: int, cells: Sequence[Any], bad_cells: list[BadCell]) -> Entity:
        """Parses one record; the cells are in the order of `entity_columns`.

        A feature's bad cell counts as missing and is added to `bad_cells`, unless the table says
        that it makes its record bad.

        Raises:
            BadCell: the record cannot be used; the reason names the column.
        """
        table, at = self._table, self._at
        entity_id = self._id(cells[at[table.id]])
        title = self._title(cells[at[table.title]], bad_cells) if table.title else ""
        split = as_text(cells[at[table.split]]) if table.split else ""
        values = tuple(
            [
                None if feature is None else self._value(feature, entity_id, cells, bad_cells)
                for feature in self._features
            ]
        )
        return Entity(entity_id, position, title, split, values)

    def row_of(self, entity: Entity) -> tuple[Any, ...]:
        """The fields of an entity in the order of the schema."""
        values = zip(self._features, entity.values, strict=True)
        own = [value for feature, value in values if feature is not None]
        return (entity.entity_id, entity.position, entity.title, entity.split, *own)

    def _rules(self) -> list[column_cells.Rule]:
        """How columns are read where every cell is good."""
        table, at, text = self._table, self._at, self.schema.field("title").type
        quick_id = None if table.whole_number_ids else column_cells.quick_id
        title = None if self._title_is_html else column_cells.quick_text
        title_at, split_at = (
            None if column is None else at[column] for column in (table.title, table.split)
        )
        return [
            column_cells.Rule("entity_id", at[table.id], self._id, text, "", quick_id),
            column_cells.Rule("title", title_at, self._plain_title, text, "", title),
            column_cells.Rule("split", split_at, as_text, text, "", column_cells.quick_text),
            *[
                column_cells.Rule(
                    batches.value_column(feature),
                    at[feature.source],
                    partial(self._of_feature, feature),
                    batches.type_of(feature),
                    None,
                    quick_id if feature.source == table.id else _quick(feature),
                )
                for feature in self._read
            ],
        ]

    def _id(self, cell: Any) -> str:
        table = self._table
        return required_id(table.id, f"{self._side} id", table.whole_number_ids, cell)

    def _of_feature(self, feature: specs.Feature, cell: Any) -> Value:
        if feature.source == self._table.id and isinstance(cell, str):
            cell = self._id(cell)  # written as interactions and histories have it
        return _feature_value(feature, cell)

    def _value(
        self,
        feature: specs.Feature,
        entity_id: str,
        cells: Sequence[Any],
        bad_cells: list[BadCell],
    ) -> Value:
        cell = cells[self._at[feature.source]]
        if feature.source == self._table.id and isinstance(cell, str):
            cell = entity_id
        try:
            return _feature_value(feature, cell)
        except BadCell as bad:
            if self._table.bad_cells == "quarantine":
                raise
            _report_once(bad, bad_cells)
            return _feature_value(feature, None)

    def _plain_title(self, cell: Any) -> str:
        try:
            return cell_forms.plain_text(as_text(cell)) if self._title_is_html else as_text(cell)
        except BadCell as bad:
            column = str(self._table.title)
            raise BadCell(f"column '{column}': {bad.reason}", bad.value, column) from None

    def _title(self, cell: Any, bad_cells: list[BadCell]) -> str:
        try:
            return self._plain_title(cell)
        except BadCell as located:
            if self._table.bad_cells == "quarantine":
                raise
            _report_once(located, bad_cells)
            return ""


def _quick(feature: specs.Feature) -> column_cells.Quick | None:
    if isinstance(feature, specs.NumericFeature):
        return column_cells.quick_number
    if isinstance(feature, specs.TextFeature):
        return None if feature.format == "html" else column_cells.quick_text
    is_line = isinstance(feature, specs.IdFeature | specs.CategoricalFeature)
    return column_cells.quick_line if is_line else None


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


def required_id(column: str, what: str, whole_numbers: bool, cell: Any) -> str:
    """The id in a cell.

    Raises:
        BadCell: the reason names the column.
    """
    try:
        return as_id(cell, whole_numbers)
    except BadCell as bad:
        if bad.reason == "missing":
            raise BadCell(f"missing {what} in column '{column}'") from None
        raise in_column(what, column, bad) from None


def in_column(what: str, column: str, bad: BadCell) -> BadCell:
    """What is wrong with a cell, with its column."""
    return BadCell(f"{what} in column '{column}': {bad.reason}", bad.value)
