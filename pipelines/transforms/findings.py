"""What a preprocessing job found, read back from the small files that it left.

Counts travel this way and not as runner metrics, because some runners keep none.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.transforms.cutoffs import Window, window_times
from pipelines.transforms.quarantine import Summary
from pipelines.transforms.sources import Source
from pipelines.transforms.splits import SPLITS, Cutoffs

_ALWAYS = (
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
class Findings:
    """Counts, windows and statistics of one job."""

    directory: Path
    counts: Mapping[str, int]
    reasons: Mapping[tuple[str, str], Summary]
    """By table and reason: the number of bad records, and position and key of the first ones."""
    windows: Mapping[int, Window]
    cutoffs: Cutoffs | None
    numeric: Mapping[str, Any]

    def count(self, name: str) -> int:
        """A count; 0 if nothing was counted."""
        return self.counts.get(name, 0)

    def num_bad(self, table: str) -> int:
        """Quarantined records of a table."""
        return sum(n for (of, _), (n, _) in self.reasons.items() if of == table)

    def reasons_in_words(self, sources: Mapping[str, Source]) -> dict[str, list[str]]:
        """For each table its reasons with numbers and examples, the most common first."""
        words: dict[str, list[str]] = {table: [] for table in sources}
        for (table, reason), (number, first) in sorted(
            self.reasons.items(), key=lambda item: (-item[1][0], item[0])
        ):
            if table in words:
                times = "once" if number == 1 else f"{number:,} times"
                such_as = "such as " if number > len(first) else ""
                examples = ", ".join(_example(sources[table], *example) for example in first)
                words[table].append(f"{reason}, {times} ({such_as}{examples})")
        return words

    def events(self) -> dict[str, int]:
        """Number of events of each split."""
        return {name: self._window(split)[0] for split, name in enumerate(SPLITS)}

    def words(self, vocabulary: str) -> list[tuple[str, int]]:
        """Counted words of a text vocabulary, most frequent first."""
        lines = _lines(self.directory / "words" / f"{vocabulary}.jsonl")
        return [(word, -negative) for negative, word in lines]

    def manifest_counts(self, tables: Iterable[str]) -> dict[str, int]:
        """The counts that go into the manifest."""
        counts = {name: self.count(name) for name in _ALWAYS}
        events = self.events()
        counts["interactions"] = sum(events.values())
        counts.update({f"{split}_interactions": number for split, number in events.items()})
        counts["train_queries"] = self.count("train_queries")
        for table in tables:
            counts[f"quarantined_{table}"] = self.num_bad(table)
        return counts

    def statistics(self) -> dict[str, Any]:
        """The content of `statistics.json`; windows are null where there is no time."""
        times = window_times(dict(self.windows), self.cutoffs)
        names = ("train_start", "train_end", "validation_end", "test_end")
        has_time = any(window[3] for window in self.windows.values())
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


def _example(source: Source, position: int, key: str) -> str:
    place = source.describe(position)
    return f"key {key!r} in {place}" if key else place


def read_findings(directory: Path) -> Findings:
    """Reads what the job left in its directory of findings."""
    windows = _lines(directory / "windows.jsonl")[0][0]
    cutoffs = _lines(directory / "cutoffs.jsonl")
    return Findings(
        directory=directory,
        counts={name: number for ((name, number),) in _lines(directory / "counts.jsonl")},
        reasons={
            (table, reason): (number, [(position, key) for position, key in first])
            for (((table, reason), (number, first)),) in _lines(directory / "reasons.jsonl")
        },
        windows={int(split): tuple(window) for split, window in windows.items()},
        cutoffs=Cutoffs(*cutoffs[0][0]) if cutoffs else None,
        numeric={name: found for ((name, found),) in _lines(directory / "numeric.jsonl")},
    )


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
