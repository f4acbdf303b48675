"""The three tables that a feature spec describes: their files, and what each column holds."""

from typing import Annotated, Literal

from pydantic import Field

from tfrs_twotower.documents import Document

TableFormat = Literal["csv", "tsv", "jsonl", "parquet", "tfrecord"]
_SUFFIXES: dict[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
}


class Table(Document):
    """Files of one table."""

    path: Annotated[str, Field(min_length=1)]
    """Path or glob; relative paths start at the data root. `gs://` and `s3://` need Beam's file
    systems for them."""
    format: TableFormat | None = None
    """By default from the suffix: .csv, .tsv, .jsonl, .parquet, .tfrecord (each also .gz)."""
    missing: tuple[str, ...] = ()
    """Texts that mean no value, such as `[nan, "NULL"]`, in every column that is read. An empty
    cell always does."""

    @property
    def file_format(self) -> TableFormat:
        """The format, as declared or from the suffix.

        Raises:
            ValueError: the suffix names no known format.
        """
        if self.format:
            return self.format
        path = self.path.removesuffix(".gz")
        for suffix, name in _SUFFIXES.items():
            if path.endswith(suffix):
                return name
        raise ValueError(
            f"cannot tell the format of '{self.path}' from its suffix; "
            f"add format: one of {', '.join(_SUFFIXES.values())}"
        )


class TimestampColumn(Document):
    """When an interaction happened."""

    column: str
    """Name of the column."""
    unit: Literal["s", "ms", "us", "iso"] = "s"
    """Seconds, milli- or microseconds since 1970, or ISO 8601 text (UTC where it names no zone)."""


class InteractionTable(Table):
    """One record for each event between a query and a candidate."""

    query_id: str
    """Column with the id of the query."""
    candidate_id: str
    """Column with the id of the candidate."""
    timestamp: TimestampColumn | None = None
    """When it happened; temporal splits and recency need it. Without it, earlier events are those
    earlier in the files, for histories and for `per_query_last`."""
    label: str | None = None
    """Column with a rating or grade; without one every event is positive and has label 1."""
    weight: str | None = None
    """Column with a training weight; without one every weight is 1."""
    session: str | None = None
    """Column with a basket or session id; a temporal split keeps the events of one together."""
    split: str | None = None
    """Column with the name of the record's split (`split.kind: given`)."""


class EntityTable(Table):
    """One record for each query or candidate."""

    id: str
    """Column with the id."""
    whole_number_ids: bool = False
    """Reads ids that tools have written as decimals or with leading zeros, `2.0`, `1e+05` and
    `007`, as the whole numbers 2, 100000 and 7, here and in the interactions. Other ids are then
    bad."""
    title: str | None = None
    """Column with the name that reports and `twotower query` show."""
    split: str | None = None
    """Column with the name of the query's split (`split.kind: given`)."""
    bad_cells: Literal["missing", "quarantine"] = "missing"
    """What becomes of a feature's cell that cannot be read. `missing`: it counts as missing, and
    the record is used; too many in one column fail preprocessing, as too many bad records do
    (`preprocess.max_bad_fraction`). `quarantine`: the record is left out. A bad id or split always
    leaves the record out."""
