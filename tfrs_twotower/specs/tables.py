"""The three tables that a feature spec describes: where they are and which column is what."""

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
    """Path or glob; relative paths are looked for under the data root. `gs://` and `s3://` work
    where Beam's file systems for them are installed."""
    format: TableFormat | None = None
    """By default from the suffix: .csv, .tsv, .jsonl, .parquet, .tfrecord (each also .gz)."""

    @property
    def file_format(self) -> TableFormat:
        """The format, given or from the suffix.

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
    """Column of the query's id."""
    candidate_id: str
    """Column of the candidate's id."""
    timestamp: TimestampColumn | None = None
    """When it happened; needed by temporal splits, histories and recency."""
    label: str | None = None
    """Column of a rating or grade; without it every event is positive with label 1."""
    weight: str | None = None
    """Column of a training weight; without it 1."""
    session: str | None = None
    """Column of a basket or session id; a temporal split never cuts through one."""
    split: str | None = None
    """Column that names the split of a record (`split.kind: given`)."""


class EntityTable(Table):
    """One record for each query or candidate."""

    id: str
    """Column of the id."""
    title: str | None = None
    """Column to show to people in reports and `twotower query`."""
    split: str | None = None
    """Column that names the split of a query (`split.kind: given`)."""
