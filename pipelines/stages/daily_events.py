"""The events of a daily run: those that were there, new ones, and the window of each."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.transforms import splits
from tfrs_twotower import specs
from tfrs_twotower.artifacts import layout
from tfrs_twotower.data.shards import find_shards

_WINDOW = "_window"
_ROUNDING = 1e-9
_SHARED = {"new_pairs_only", "known_queries_only", "known_candidates_only"}


class NewEvent(NamedTuple):
    """An event that was read from a table; sorts by time and then by place in the files."""

    timestamp: int
    """Epoch seconds."""
    position: int
    query_id: str
    candidate_id: str
    split: str
    """Value of the split column, or ""."""
    label: float
    weight: float


@dataclass(frozen=True)
class Events:
    """Columns of events, in the order of their times within a query."""

    query_ids: list[str]
    candidate_ids: list[str]
    timestamps: NDArray[np.int64]
    labels: NDArray[np.float64]
    weights: NDArray[np.float64]
    windows: NDArray[np.int64]
    """Code of the split; `len(SPLITS)` for a new event without one."""
    given: list[str]
    """What the split column of a new event says."""

    @classmethod
    def stored(cls, directory: Path) -> "Events":
        """Those of a preprocessed artifact."""
        table = pq.read_table(find_shards(directory, layout.INTERACTIONS_GLOB))
        codes = pc.index_in(table["split"], pa.array(specs.SPLITS))
        return cls(
            table["query_id"].to_pylist(),
            table["candidate_id"].to_pylist(),
            table["timestamp"].to_numpy(),
            _as_written(table["label"].to_numpy()),
            _as_written(table["weight"].to_numpy()),
            codes.to_numpy().astype(np.int64),
            [specs.SPLITS[code] for code in codes.to_pylist()],
        )

    def not_in(self, found: list[NewEvent], corpus: set[str]) -> list[NewEvent]:
        """Of some events of known candidates those that are not here, as often as they are not."""
        queries = {event.query_id for event in found}
        here = Counter(
            (query_id, candidate_id, int(time))
            for query_id, candidate_id, time in zip(
                self.query_ids, self.candidate_ids, self.timestamps, strict=True
            )
            if query_id in queries
        )
        missing = []
        for event in found:
            key = (event.query_id, event.candidate_id, event.timestamp)
            if here[key]:
                here[key] -= 1
            elif event.candidate_id in corpus:
                missing.append(event)
        return missing

    def with_new(self, new: list[NewEvent]) -> "Events":
        """These events and new ones."""
        new = sorted(new)
        return Events(
            self.query_ids + [event.query_id for event in new],
            self.candidate_ids + [event.candidate_id for event in new],
            np.append(self.timestamps, np.array([event.timestamp for event in new], np.int64)),
            np.append(self.labels, np.array([event.label for event in new], np.float64)),
            np.append(self.weights, np.array([event.weight for event in new], np.float64)),
            np.append(self.windows, np.full(len(new), len(specs.SPLITS))),
            self.given + [event.split for event in new],
        )

    def last_of_each_query(self, split: specs.PerQueryLastSplit) -> NDArray[np.int64]:
        """The windows by place within a query; an event stays at most as late as it was."""
        windows = self.windows.copy()
        is_new = self.windows == len(specs.SPLITS)
        touched = {self.query_ids[row] for row in np.flatnonzero(is_new).tolist()}
        rows_of: dict[str, list[int]] = {query_id: [] for query_id in touched}
        for row, query_id in enumerate(self.query_ids):
            if query_id in touched:
                rows_of[query_id].append(row)
        for rows in rows_of.values():
            rows.sort(key=lambda row: (self.timestamps[row], row))
            validation, test = splits.last_counts(split, len(rows))
            at = np.full(len(rows), specs.TRAIN)
            at[len(rows) - test - validation :] = specs.VALIDATION
            at[len(rows) - test :] = specs.TEST
            windows[rows] = np.minimum(at, self.windows[rows])
        return windows


def _as_written(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The shortest decimals of numbers: 3.3 and not 3.2999999523, which a limit would refuse."""
    distinct, places = np.unique(values, return_inverse=True)
    return np.array([float(str(one)) for one in distinct], np.float64)[places]


def derived(
    spec: specs.FeatureSpec, events: Events, directory: Path, path: Path
) -> tuple[specs.FeatureSpec, dict[str, Any]]:
    """The spec that reads the table of events, and the columns of that table."""
    table, split = spec.interactions, spec.split
    assert table.timestamp is not None
    columns: dict[str, Any] = {
        table.query_id: pa.array(events.query_ids, pa.string()),
        table.candidate_id: pa.array(events.candidate_ids, pa.string()),
        table.timestamp.column: events.timestamps,
    }
    for name, values in ((table.label, events.labels), (table.weight, events.weights)):
        if name is not None:
            columns[name] = values
    changes: dict[str, Any] = {
        "path": str(path),
        "timestamp": specs.TimestampColumn(column=table.timestamp.column, unit="s"),
    }
    if isinstance(split, specs.PerQueryLastSplit):
        codes = events.last_of_each_query(split)
        columns[_WINDOW] = pa.array([specs.SPLITS[code] for code in codes], pa.string())
        shared = split.model_dump(include=_SHARED)
        split = specs.GivenSplit(kind="given", **shared)
        changes["split"] = _WINDOW
    elif isinstance(split, specs.GivenSplit) and table.split is not None:
        named = dict(zip((split.train, split.validation, split.test), specs.SPLITS, strict=True))
        columns[_WINDOW] = [named.get(name, name) for name in events.given]
        split = split.model_copy(update=dict(zip(specs.SPLITS, specs.SPLITS, strict=True)))
        changes["split"] = _WINDOW
    elif isinstance(split, specs.TemporalSplit) and splits.given_cutoffs(split) is None:
        moments = [_as_iso(time) for time in _cutoffs(split, events.timestamps, directory)]
        split = split.model_copy(update={"validation_from": moments[0], "test_from": moments[1]})
    fields = {name: getattr(table, name) for name in ("query_id", "candidate_id", "label")}
    described = type(table)(**fields, weight=table.weight, format="parquet", **changes)
    return spec.model_copy(update={"interactions": described, "split": split}), columns


def _cutoffs(
    split: specs.TemporalSplit, timestamps: NDArray[np.int64], directory: Path
) -> list[int]:
    """The cut-offs of a full run on these events, or those before if they are later."""
    window = json.loads((directory / layout.STATISTICS).read_text(encoding="utf-8"))["window"]
    times, cuts = np.sort(timestamps), []
    shares = (split.test_fraction + split.validation_fraction, split.test_fraction)
    for share, end in zip(shares, ("train_end", "validation_end"), strict=True):
        place = min(int((1 - share) * len(times) + _ROUNDING), len(times) - 1)
        cut = int(times[place]) if share else int(times[-1]) + 1
        cuts.append(max(cut, int(window[end] or 0)))
    return cuts


def _as_iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
