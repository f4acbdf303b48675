"""The summary of a preprocessing job: counts, reasons of bad records, windows and statistics.

The job writes it to small files, and not to the runner's metrics, because some runners keep none.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.transforms import reading, sharded_output, splits, table_sources
from pipelines.transforms.cutoffs import Window, window_times
from tfrs_twotower.specs import SPLITS
from tfrs_twotower.tables import delimited

_MANIFEST_COUNTS = (
    "candidates",
    "train_examples",
    "fresh_examples",
    "validation_queries",
    "test_queries",
    "validation_queries_empty",
    "test_queries_empty",
    "validation_queries_unknown",
    "test_queries_unknown",
    "interactions_without_query_record",
    "queries_without_interactions",
    "events_without_example",
)


@dataclass(frozen=True)
class JobSummary:
    """Counts, reasons of bad records, windows and statistics of one job."""

    directory: Path
    counts: Mapping[str, int]
    reasons: Mapping[tuple[str, str, str], reading.ReasonSummary]
    """Number of bad records and cells by table, column ("" for records) and reason, with position,
    key and value of the first ones."""
    forms: Mapping[tuple[str, str, str], reading.ReasonSummary]
    """Number and first ones of the cells by table, column and form (`watched_cells`)."""
    windows: Mapping[int, Window]
    cutoffs: splits.Cutoffs | None
    numeric: Mapping[str, Any]
    written: Mapping[str, int]
    """Number of items in the files of each output."""

    def count(self, name: str) -> int:
        """A count by its name; 0 if nothing was counted."""
        return self.counts.get(name, 0)

    def num_bad(self, table: str) -> int:
        """Number of quarantined records of a table."""
        return sum(
            n for (of, column, _), (n, _) in self.reasons.items() if (of, column) == (table, "")
        )

    def bad_columns(self, table: str) -> dict[str, int]:
        """Number of bad cells, which count as missing, by column of a table."""
        columns: dict[str, int] = {}
        for (of, column, _), (number, _) in self.reasons.items():
            if of == table and column:
                columns[column] = columns.get(column, 0) + number
        return columns

    def reasons_in_words(self, source: table_sources.Source, column: str = "") -> list[str]:
        """The reasons of a table's bad records, or of a column's bad cells, most common first.

        Each has its number and its first examples.
        """
        own = [
            (reason, number, first)
            for (table, of, reason), (number, first) in self.reasons.items()
            if (table, of) == (source.table, column)
        ]
        words = []
        for reason, number, first in sorted(own, key=lambda item: (-item[1], item[0])):
            times = "once" if number == 1 else f"{number:,} times"
            such_as = "such as " if number > len(first) else ""
            examples = ", ".join(_example(source, position, key) for position, key, _ in first)
            found = f" (found {first[0][2]})" if first[0][2] else ""
            words.append(f"{reason}{found}, {times} ({such_as}{examples})")
        return words

    def said(self, source: table_sources.Source) -> list[str]:
        """Sentences about the files of a table, sorted."""
        mark = reading.said_of(source.table)
        said = [name.removeprefix(mark) for name in self.counts if name.startswith(mark)]
        for (table, _, form), (number, first) in self.forms.items():
            if table == source.table and form.startswith(reading.PADDED):
                said.append(delimited.padded_ids(number, source.describe(first[0][0])))
        return sorted(said)

    def events(self) -> dict[str, int]:
        """Number of events of each split."""
        return {name: self._window(split)[0] for split, name in enumerate(SPLITS)}

    def words(self, vocabulary: str) -> list[tuple[str, int]]:
        """The words of a text vocabulary and their counts, most frequent first."""
        counts = pq.read_table(self.directory / "words" / f"{vocabulary}.parquet")
        return list(zip(*(column.to_pylist() for column in counts.columns), strict=True))

    def manifest_counts(self, tables: Iterable[str]) -> dict[str, int]:
        """The counts for the manifest."""
        counts = {name: self.count(name) for name in _MANIFEST_COUNTS}
        events = self.events()
        counts["interactions"] = sum(events.values())
        counts.update({f"{split}_interactions": number for split, number in events.items()})
        counts["train_queries"] = self.count("train_queries")
        for table in tables:
            counts[f"quarantined_{table}"] = self.num_bad(table)
            counts[f"bad_cells_{table}"] = sum(self.bad_columns(table).values())
        return counts

    def statistics(self, *, has_times: bool = True) -> dict[str, Any]:
        """The content of `statistics.json`; windows are null without times."""
        times = window_times(dict(self.windows), self.cutoffs)
        names = ("train_start", "train_end", "validation_end", "test_end")
        has_time = has_times and any(window[3] for window in self.windows.values())
        evaluated = SPLITS[1:]
        return {
            "numeric": dict(self.numeric),
            "window": {name: times.get(name) if has_time else None for name in names},
            "events": self.events(),
            "positives": {name: self._window(at)[1] for at, name in enumerate(SPLITS)},
            "queries": {name: self.count(f"{name}_queries") for name in SPLITS},
            "empty_queries": {name: self.count(f"{name}_queries_empty") for name in evaluated},
            "unknown_queries": {name: self.count(f"{name}_queries_unknown") for name in evaluated},
            "num_candidates": self.count("candidates"),
        }

    def _window(self, split: int) -> Window:
        return self.windows.get(split, (0, 0, 0, 0))


def _example(source: table_sources.Source, position: int, key: str) -> str:
    described = source.describe(position)
    return f"key {key!r} in {described}" if key else described


def read_job_summary(directory: Path) -> JobSummary:
    """Reads the summary from the directory that the job wrote it to.

    What an engine has lost of it counts as zero: the numbers do not agree then, and the stage
    refuses them.
    """
    (windows,) = (_lines(directory / "windows.jsonl") or [[{}]])[0]
    cutoffs = _lines(directory / "cutoffs.jsonl")
    return JobSummary(
        directory=directory,
        counts={name: number for ((name, number),) in _lines(directory / "counts.jsonl")},
        reasons={
            tuple(key): (number, [tuple(one) for one in first])
            for ((key, (number, first)),) in _lines(directory / "reasons.jsonl")
        },
        forms={
            tuple(key): (number, [tuple(one) for one in first])
            for ((key, (number, first)),) in _lines(directory / "forms.jsonl")
        },
        windows={int(split): tuple(window) for split, window in windows.items()},
        cutoffs=splits.Cutoffs(*cutoffs[0][0]) if cutoffs else None,
        numeric={name: statistics for ((name, statistics),) in _lines(directory / "numeric.jsonl")},
        written=sharded_output.read_numbers(directory / "numbers"),
    )


def _lines(path: Path) -> list[Any]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
