"""The events of a daily run: those that were there, new ones, and the window of each."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.transforms import batches, splits
from tfrs_twotower import specs
from tfrs_twotower.artifacts import layout
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.ranking.sorting import order_by

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

    query_ids: pa.Array
    candidate_ids: pa.Array
    timestamps: NDArray[np.int64]
    labels: NDArray[np.float64]
    weights: NDArray[np.float64]
    windows: NDArray[np.int64]
    """Code of the split; `len(SPLITS)` for a new event without one."""
    given: pa.Array
    """What the split column of a new event says."""

    @classmethod
    def stored(cls, directory: Path) -> "Events":
        """Those of a preprocessed artifact."""
        table = pq.read_table(find_shards(directory, layout.INTERACTIONS_GLOB))
        codes = pc.index_in(batches.flat(table["split"]), pa.array(specs.SPLITS))
        return cls(
            batches.flat(table["query_id"]),
            batches.flat(table["candidate_id"]),
            table["timestamp"].to_numpy(),
            _as_written(table["label"].to_numpy()),
            _as_written(table["weight"].to_numpy()),
            codes.to_numpy().astype(np.int64),
            batches.flat(table["split"]),
        )

    def not_in(self, found: list[NewEvent], corpus: pa.Array) -> list[NewEvent]:
        """Of some events of known candidates those that are not here, as often as they are not."""
        here = Counter(self._alike(found))
        candidates = pa.array([event.candidate_id for event in found], pa.string())
        is_known = pc.is_in(candidates, value_set=corpus).to_pylist()
        missing = []
        for event, known in zip(found, is_known, strict=True):
            key = (event.query_id, event.candidate_id, event.timestamp)
            if here[key]:
                here[key] -= 1
            elif known:
                missing.append(event)
        return missing

    def _alike(self, found: list[NewEvent]) -> Iterator[tuple[str, str, int]]:
        """Query, candidate and time of the events here that may be among some others."""
        times = pa.array([event.timestamp for event in found], pa.int64())
        at_a_time = np.flatnonzero(pc.is_in(pa.array(self.timestamps), value_set=times))
        queries = pa.array([event.query_id for event in found], pa.string())
        own = pc.is_in(self.query_ids.take(pa.array(at_a_time)), value_set=queries)
        rows = at_a_time[np.asarray(own, bool)]
        take = pa.array(rows)
        lists = (one.take(take).to_pylist() for one in (self.query_ids, self.candidate_ids))
        return zip(*lists, self.timestamps[rows].tolist(), strict=True)

    def with_new(self, new: list[NewEvent]) -> "Events":
        """These events and new ones."""
        new = sorted(new)

        def texts(before: pa.Array, name: str) -> pa.Array:
            own = [getattr(event, name) for event in new]
            return pa.concat_arrays([before, pa.array(own, pa.string())])

        def numbers(before: NDArray[Any], name: str) -> NDArray[Any]:
            return np.append(
                before, np.array([getattr(event, name) for event in new], before.dtype)
            )

        return Events(
            texts(self.query_ids, "query_id"),
            texts(self.candidate_ids, "candidate_id"),
            numbers(self.timestamps, "timestamp"),
            numbers(self.labels, "label"),
            numbers(self.weights, "weight"),
            np.append(self.windows, np.full(len(new), len(specs.SPLITS))),
            texts(self.given, "split"),
        )

    def last_of_each_query(self, split: specs.PerQueryLastSplit) -> NDArray[np.int64]:
        """The windows by place within a query; an event stays at most as late as it was."""
        windows = self.windows.copy()
        is_new = pa.array(self.windows == len(specs.SPLITS))
        touched = pc.is_in(self.query_ids, value_set=self.query_ids.filter(is_new))
        rows = np.flatnonzero(touched)
        ids, (query,) = batches.ranked(self.query_ids.take(pa.array(rows)))
        order = order_by(query, self.timestamps[rows])
        rows = rows[order]
        at = splits.split_by_order(split, batches.starts_of(query[order], len(ids)))
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
        table.query_id: events.query_ids,
        table.candidate_id: events.candidate_ids,
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
        columns[_WINDOW] = pa.array(specs.SPLITS, pa.string()).take(pa.array(codes))
        shared = split.model_dump(include=_SHARED)
        split = specs.GivenSplit(kind="given", **shared)
        changes["split"] = _WINDOW
    elif isinstance(split, specs.GivenSplit) and table.split is not None:
        named = dict(zip((split.train, split.validation, split.test), specs.SPLITS, strict=True))
        columns[_WINDOW] = [named.get(name, name) for name in events.given.to_pylist()]
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
