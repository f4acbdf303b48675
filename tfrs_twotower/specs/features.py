"""Feature kinds: what one named input of a tower is.

A kind fixes the form of the raw value in examples and in requests; `tfrs_twotower.features` turns
it into the tower's tokens.

    kind               raw value in an example and a request
    id, categorical    string `[batch]`, "" is missing
    multi_categorical  string `[batch, max_values]`, padded with ""
    numeric            float32 `[batch]`, NaN is missing
    text               string `[batch]`, "" is missing
    history            string `[batch, max_length]`, most recent first, padded with ""
    timestamp          int64 `[batch]`, seconds since 1970 (UTC), negative before; `MISSING_TIME`,
                       or any other number before the year 1, is missing
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PositiveInt, model_validator

from tfrs_twotower.documents import Document

EARLIEST_TIME = -62_135_596_800
"""0001-01-01T00:00:00 in seconds since 1970: the calendar, and Python's, begins here."""
MISSING_TIME = -(10**18)
"""Value of a missing time in examples and requests. No time equals it, since all numbers before
`EARLIEST_TIME` are missing; and JSON writers that know only doubles write it exactly."""
CHECKPOINT_VOCABULARY = "vocab.txt"
"""Name of the WordPiece list in the directory of a checkpoint."""
PADDING_ROW, UNKNOWN_ROW, NUM_SPECIAL_ROWS = 0, 1, 2
"""First rows of the table of a vocabulary; the value at position p has row 2 + p."""

TimeUnit = Literal["s", "ms", "us", "iso", "dmy", "mdy"]
"""How a column writes times. Numbers since 1970: `s`, `ms`, `us` (seconds, milli-, microseconds).
Text: `iso` (2025-12-31T14:05+01:00), `dmy` (31.12.2025 14:05), `mdy` (12/31/2025 2:05 PM)."""
_NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=_NAME, max_length=64)]


def _require_kind(schema: dict[str, Any]) -> None:
    """A document must name the kind; in Python the class says it."""
    schema["properties"]["kind"].pop("default", None)
    schema["required"] = [*schema.get("required", ()), "kind"]


class _Feature(Document):
    model_config = ConfigDict(json_schema_extra=_require_kind)

    name: Name
    """Name of the input in examples and in serving requests: lower case, digits, underscores."""
    column: str | None = None
    """Column of the table; by default the feature's name."""

    @property
    def source(self) -> str:
        """The column that this feature is read from."""
        return self.column or self.name


class _LookedUpFeature(_Feature):
    vocabulary: Name | None = None
    """Features of one vocabulary share their lookup and their embedding table. By default each
    feature has a vocabulary of its own, named after the feature."""
    min_count: PositiveInt = 1
    """Values that the training window has less often than this are looked up as unknown. Of ids,
    a refit counts the events of the validation window, too."""
    max_size: PositiveInt | None = None
    """Largest number of values, the most frequent ones; null keeps all. A refit adds the ids that
    are among so many of both windows."""
    hash_buckets: Annotated[int, Field(ge=2)] | None = None
    """Hashes values into this many buckets instead of learning a vocabulary."""

    @property
    def vocabulary_name(self) -> str:
        """The vocabulary that this feature is looked up in."""
        return self.vocabulary or self.name

    @model_validator(mode="after")
    def _one_way_of_lookup(self) -> "_LookedUpFeature":
        if self.hash_buckets is not None and (self.min_count > 1 or self.max_size is not None):
            raise ValueError("hash_buckets excludes min_count and max_size: hashing has no list")
        return self


class IdFeature(_LookedUpFeature):
    """The identity of a query or candidate."""

    kind: Literal["id"] = "id"


class CategoricalFeature(_LookedUpFeature):
    """One value out of a set."""

    kind: Literal["categorical"] = "categorical"


class MultiCategoricalFeature(_LookedUpFeature):
    """Several values out of a set, such as genres: a list column, or one string to be split."""

    kind: Literal["multi_categorical"] = "multi_categorical"
    format: Literal["text", "json", "python", "postgres", "numpy"] = "text"
    """How a string column writes several values; list columns (Parquet, JSONL) need none.
    `text`: `a|b`, with `separator`. `json`: `["a", "b"]`. `python`: `['a', 'b']`. `postgres`:
    `{a,b}`, also `[a, b]`. `numpy`: `['a' 'b']`."""
    separator: Annotated[str, Field(min_length=1)] = "|"
    """Separates the values of a string column of the format `text`."""
    max_values: PositiveInt = 8
    """Fixed width of the input; further values are dropped."""


class NumericFeature(_Feature):
    """One number."""

    kind: Literal["numeric"] = "numeric"
    format: Literal["plain", "point", "comma"] = "plain"
    """How a string column writes numbers. `plain`: `1234.5`. `point`: `$1,234.50`. `comma`:
    `1.234,50 €`. The last two leave out currency, percent signs (`12 %` is 12) and marks between
    thousands."""
    transform: Literal["normalise", "log", "bucketise"] = "normalise"
    """`normalise`: (x - mean) / deviation; `log`: the same of log(1 + max(x, 0)); `bucketise`:
    an embedding for each quantile bucket. Statistics come from the training window."""
    num_buckets: Annotated[int, Field(ge=2, le=1000)] = 16
    """Quantile buckets of `bucketise`."""


class TextFeature(_Feature):
    """Free text, tokenised in the graph with tf-text WordPiece."""

    kind: Literal["text"] = "text"
    format: Literal["plain", "html"] = "plain"
    """How `column` is written. From `html`, tags are taken away and entities (`&amp;`) become their
    characters while the table is read, also in a `title` of the same column; requests send plain
    text."""
    vocabulary: Name | None = None
    """Text features of one vocabulary share their WordPieces and the embedding table."""
    vocabulary_file: str | None = None
    """A WordPiece list to use, one piece a line (`[PAD]` first, with `[UNK]`), relative to the data
    root; by default that of the checkpoint, or one learned from the training window's texts."""
    vocabulary_size: Annotated[int, Field(ge=64, le=200_000)] = 8000
    """Size of a learned vocabulary."""
    max_tokens: Annotated[int, Field(ge=1, le=512)] = 32
    """Fixed number of tokens; further tokens are dropped."""
    lower_case: bool = True
    """Whether to lower-case texts and strip accents before they are split, as uncased BERT does."""
    keep_accents: bool = False
    """Lower-cases without stripping accents and the marks of other scripts, which tell words apart
    (`hacía` and `hacia`, `müssten` and `mussten`, `パンダ` and `ハンダ`). Without `lower_case` they
    are kept anyway."""
    encoder: Literal["bag", "transformer", "pretrained"] = "bag"
    """`bag`: weighted mean of token vectors; `transformer`: self-attention over them;
    `pretrained`: a transformer that starts from `checkpoint`."""
    checkpoint: str | None = None
    """Directory of a BERT-type encoder (`model.safetensors`, `vocab.txt`, `config.json`) for
    `pretrained`, relative to the data root."""

    @property
    def vocabulary_name(self) -> str:
        """The vocabulary that this feature is tokenised with."""
        return self.vocabulary or self.name

    @property
    def given_vocabulary(self) -> str | None:
        """Path of the WordPiece list, relative to the data root; None if it is learned."""
        if self.vocabulary_file is not None or self.checkpoint is None:
            return self.vocabulary_file
        return f"{self.checkpoint}/{CHECKPOINT_VOCABULARY}"

    @property
    def contextual(self) -> bool:
        """Whether the vector of a token depends on the text around it, which a bag's does not."""
        return self.encoder != "bag"

    @model_validator(mode="after")
    def _checkpoint_goes_with_pretrained(self) -> "TextFeature":
        if (self.encoder == "pretrained") != (self.checkpoint is not None):
            raise ValueError("encoder: pretrained and checkpoint: DIRECTORY go together")
        return self


class HistoryFeature(_Feature):
    """The query's earlier candidates, most recent first, looked up as candidate ids."""

    kind: Literal["history"] = "history"
    max_length: Annotated[int, Field(ge=1, le=1000)] = 50
    """Keeps the most recent n events."""
    window: Literal["before", "leave_one_out"] = "before"
    """Which events a training example sees. `before`: those strictly before its own event.
    `leave_one_out`: the query's other events of the training window without its own candidate
    (gives short windows more examples with a history, but shows later events of the window).
    Validation and test queries see all events before their cut-off in both cases."""
    positives_only: bool = False
    """Keeps only events that count as positive (`relevance.min_label`)."""


class TimestampFeature(_Feature):
    """Parts of a time: of the event on the query side, of `column` on the candidate side.

    Times of `column` may be of the years 1 to 2099.
    """

    kind: Literal["timestamp"] = "timestamp"
    parts: Annotated[
        tuple[Literal["hour_of_day", "day_of_week", "day_of_month", "month_of_year"], ...],
        Field(min_length=1),
    ] = ("hour_of_day", "day_of_week")
    """Which calendar parts (UTC) get an embedding."""
    unit: TimeUnit = "s"
    """How `column` is written, as in `interactions.timestamp`."""


Feature = Annotated[
    IdFeature
    | CategoricalFeature
    | MultiCategoricalFeature
    | NumericFeature
    | TextFeature
    | HistoryFeature
    | TimestampFeature,
    Field(discriminator="kind"),
]
