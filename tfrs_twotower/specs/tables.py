"""The three tables that a feature spec describes: their files, and what each column holds."""

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tfrs_twotower.documents import Document
from tfrs_twotower.specs.features import TimeUnit
from tfrs_twotower.tables.files import COMPRESSIONS
from tfrs_twotower.tables.text_forms import Declared

TableFormat = Literal["csv", "tsv", "jsonl", "parquet", "tfrecord"]
_SUFFIXES: dict[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
}
_TEXT = ("csv", "tsv", "jsonl")


def format_of_name(path: str) -> TableFormat | None:
    """The format that the suffix of a file or directory names; None if it names none."""
    path = path.rstrip("/")
    for suffix in COMPRESSIONS:
        path = path.removesuffix(suffix)
    return next((name for suffix, name in _SUFFIXES.items() if path.endswith(suffix)), None)


class Table(Document):
    """Files of one table."""

    path: Annotated[str, Field(min_length=1)]
    """File, glob, or directory as Spark writes them; relative paths start at the data root, `~` is
    the home directory. `key=value` in the names of directories is a column. `gs://` and `s3://`
    need Beam's file systems for them."""
    format: TableFormat | None = None
    """By default from the suffix: .csv, .tsv (.tab), .jsonl (.ndjson, .json: also one array),
    .parquet, .tfrecord, each also compressed (gzip, bzip2, zstd, xz; the first bytes decide)."""
    delimiter: Annotated[str, Field(min_length=1)] | None = None
    """What separates the fields of a CSV or TSV, such as `;` or `::`; a blank stands for any run
    of blanks and tabs. By default a comma or tab, or what the first lines show."""
    quote: Annotated[str, Field(max_length=1)] | None = None
    """The character around fields that hold a delimiter or a line break; "" if nothing is quoted.
    By default `"`; a TSV may be without. Declared, it is believed even where a field looks as if
    it swallowed records."""
    decimal: Literal[".", ","] | None = None
    """The decimal sign of numbers written as text; with a comma, `1.234,50` is read. By default a
    point, or what the first lines show."""
    encoding: str | None = None
    """Encoding of text, such as `cp1252`. By default UTF-8, or UTF-16 where the file shows it."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the columns of a CSV or TSV without a header."""
    missing: tuple[str, ...] = ()
    """Texts that mean no value, such as `[nan, "NULL"]`, in every column that is read. An empty
    cell always does."""

    @property
    def file_format(self) -> TableFormat:
        """The format, as declared or from the suffix.

        Raises:
            ValueError: the suffix names no known format.
        """
        named = self.format or format_of_name(self.path)
        if named is None and (self.delimiter or self.columns):
            named = "csv"
        if named is None:
            raise ValueError(
                f"cannot tell the format of '{self.path}' from its suffix; "
                f"add format: one of {', '.join(dict.fromkeys(_SUFFIXES.values()))}"
            )
        return named

    @property
    def declared(self) -> Declared:
        """What the spec says about the form of the files."""
        return Declared(self.delimiter, self.quote, self.decimal, self.encoding, self.columns)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                codecs.lookup(name)
                "x".encode(name)
        except LookupError:
            raise ValueError(
                "Python knows no such text encoding; common ones are utf-8, cp1252, shift_jis"
            ) from None
        return name

    @model_validator(mode="after")
    def _options_fit(self) -> "Table":
        if self.columns and len(set(self.columns)) != len(self.columns):
            raise ValueError(f"columns has a name twice: {', '.join(self.columns)}")
        if self.quote and self.delimiter and (len(self.delimiter) > 1 or self.delimiter == " "):
            raise ValueError(f"fields that '{self.delimiter}' separates cannot be quoted")
        if self.delimiter and set(self.delimiter) & {"\n", "\r", self.quote}:
            raise ValueError("delimiter cannot be a line end or the quote")
        given = {
            ("csv", "tsv"): (self.delimiter, self.quote, self.columns),
            _TEXT: (self.encoding,),
        }
        named = self.format or format_of_name(self.path)
        for formats, options in given.items():
            if named not in (None, *formats) and any(option is not None for option in options):
                raise ValueError(
                    "delimiter, quote and columns are for csv and tsv, encoding is for text; the "
                    f"format is {named}"
                )
        return self


class TimestampColumn(Document):
    """When an interaction happened."""

    column: str
    """Name of the column."""
    unit: TimeUnit | Literal["order"] = "s"
    """Numbers: seconds, milli- or microseconds since 1970. Text: `iso`, ISO 8601, the year first;
    `dmy`, the day first (`31.12.2025 14:05`); `mdy`, the month first (`12/31/2025 2:05 PM`). UTC
    where the text names no zone. `order`: whole numbers that only say which event of a query came
    first, such as 0, 1, 2 ...: histories, `per_query_last` and recency within a history follow
    them, and nothing that is counted in days can be had."""


class InteractionTable(Table):
    """One record for each event between a query and a candidate."""

    query_id: str
    """Column with the id of the query."""
    candidate_id: str
    """Column with the id of the candidate."""
    timestamp: TimestampColumn | None = None
    """When it happened; temporal splits and recency need it. Without it, earlier events are those
    earlier in the files, for histories and for `per_query_last`. A column of positions has the
    unit `order`."""
    label: str | None = None
    """Column with a rating or grade; without one every event is positive and has label 1."""
    weight: str | None = None
    """Column with a training weight; without one every weight is 1."""
    session: str | None = None
    """Column with a basket or session id; a temporal split keeps the events of one together."""
    split: str | None = None
    """Column with the name of the record's split (`split.kind: given`)."""
    leave_out: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Records that are not read, by columns and their values, such as
    `{status: [cancelled, returned]}`; "" is a missing value. They count neither as events nor as
    bad records."""

    @property
    def has_times(self) -> bool:
        """Whether events have times, and not only an order."""
        return self.timestamp is not None and self.timestamp.unit != "order"


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
