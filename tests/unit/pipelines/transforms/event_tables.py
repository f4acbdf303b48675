"""Small tables of events written as text, and the transforms of queries run on them.

A table's first line names its columns; `-` is an empty cell. Times are small integers, so that a
history can be read off the table. Every other name of the transforms stands here once.
"""

import tempfile
import textwrap
from collections import defaultdict
from pathlib import Path

import numpy as np
from apache_beam import Create, Map
from tensorflow.core.example.example_pb2 import Example

from pipelines.transforms.beam_job import run_pipeline
from pipelines.transforms.corpus import CountCandidates
from pipelines.transforms.cutoffs import AddSplitTime, SummariseWindows, training_end
from pipelines.transforms.evaluated_queries import FinishEvaluations
from pipelines.transforms.queries import BuildQueries
from pipelines.transforms.query_events import QueryEvent, QueryEvents
from pipelines.transforms.query_examples import QueryExampleBuilder, finish_evaluation
from pipelines.transforms.records import EntityParser, Event, entity_columns
from pipelines.transforms.sharded_output import write_training
from tfrs_twotower.data.stored_examples import read_training_examples
from tfrs_twotower.specs import SPLITS, TRAIN, VALIDATION, FeatureSpec

POSITIVE = 3
"""Events with a smaller label are not positive."""
BEFORE = {"name": "history", "kind": "history"}
OTHERS = {"name": "history", "kind": "history", "window": "leave_one_out"}
HOUR = {"name": "hour", "kind": "timestamp"}
_KEYS = {
    "query": "_query_id",
    "candidate": "_candidate_id",
    "time": "_timestamp",
    "label": "_label",
    "weight": "_weight",
    "relevant": "_relevant",
    "gain": "_gain",
    "seen": "_seen",
    "events": "_num_events",
}


def spec_of(rule=None, *, features=(BEFORE,), queries=None, **interactions):
    """A spec with these query features; keyword arguments name columns of the interactions."""
    table = {"path": "e.csv", "query_id": "query", "candidate_id": "candidate"}
    table |= {"timestamp": {"column": "time"}, "label": "label"}
    document = {
        "name": "by_hand",
        "interactions": table | interactions,
        "candidates": {"path": "c.csv", "id": "candidate"},
        "query": {"features": list(features)},
        "candidate": {"features": [{"name": "candidate", "kind": "id"}]},
        "relevance": {"min_label": POSITIVE},
        "split": rule or {"kind": "temporal"},
    }
    if queries is not None:
        document["queries"] = {"path": "q.csv", "id": "query"} | queries
    return FeatureSpec.model_validate(document)


def read_table(text):
    """The lines of a table as dicts of texts."""
    names, *lines = [line.split() for line in text.strip().splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


def gather(text, *, limit=100, order=None):
    """The events of one query; the columns are split, time, candidate and perhaps label, weight."""
    placed = [
        (SPLITS.index(row["split"]), _placed(position, row))
        for position, row in enumerate(read_table(text), start=1)
    ]
    return collect(placed if order is None else [placed[at] for at in order], limit=limit)


def collect(placed, *, limit=100):
    """The events of one query from `(split, event)` in any order."""
    events = QueryEvents(limit)
    for split, event in placed:
        events.add(split, event)
    events.sort()
    return events


def _placed(position, row):
    label = float(row.get("label", 5))
    return event_at(
        int(row["time"]), position, row["candidate"], label, float(row.get("weight", 1))
    )


def event_at(time, position, candidate, label=5.0, weight=1.0):
    """One event of a query."""
    return QueryEvent(time, position, candidate, label, weight, label >= POSITIVE)


def built(events, spec, split, values=None, older=()):
    """The training (or refit) examples of a query's events, as they are read again."""
    values = [None] * len(spec.query.features) if values is None else values
    number = SPLITS.index(split)
    made = QueryExampleBuilder(spec).training_item("q", values, events, number, older)
    examples = written(spec, number, [] if made is None else [made[0]])
    assert len(examples) == (0 if made is None else made[1])
    return examples


def written(spec, split, items):
    """Writes the shard of some queries, and reads its examples as dicts of lists."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "train-00000-of-00001.arrow"
        with path.open("wb") as stream:
            number = write_training(spec, split, stream, sorted(items))
        examples = read_raw_examples(Path(directory), spec)
    assert len(examples) == number
    return examples


def read_raw_examples(directory, spec, pattern="train-*.arrow"):
    """All examples of a directory as dicts of lists, in their order."""
    examples = []
    for batch in read_training_examples(directory, spec, pattern):
        columns = batch["query"] | {
            f"_{name}": values for name, values in batch.items() if name != "query"
        }
        for row in zip(*columns.values(), strict=True):
            examples.append(dict(zip(columns, map(_as_list, row), strict=True)))
    return examples


def _as_list(cell):
    """A cell as a list of values, without padding."""
    if isinstance(cell, np.ndarray):
        return [one.decode() for one in cell if one]
    return [cell.decode() if isinstance(cell, bytes) else cell.item()]


def asked(events, spec, split, *, cutoffs=None, relevant=(), seen=()):
    """The serialised evaluated query of a split."""
    values = [None] * len(spec.query.features)
    draft = QueryExampleBuilder(spec).evaluation(
        "q", values, events, SPLITS.index(split), cutoffs=cutoffs, seen=seen
    )
    return finish_evaluation(draft, [(candidate_id, 1.0) for candidate_id in relevant])


def read_example(serialised):
    """A `tf.train.Example` as a dict of lists."""
    found = {}
    for name, feature in Example.FromString(serialised).features.feature.items():
        values = getattr(feature, feature.WhichOneof("kind")).value
        found[name] = [one.decode() if isinstance(one, bytes) else one for one in values]
    return found


def check(serialised, expected):
    """Compares examples, as dicts or serialised, with a table of some of their features.

    The order does not matter.
    """
    wanted = read_table(expected)
    names = expected.strip().splitlines()[0].split()
    found = [
        {name: _as_cell(example[_KEYS.get(name, name)]) for name in names}
        for example in (one if isinstance(one, dict) else read_example(one) for one in serialised)
    ]
    check_rows(found, wanted)


def check_rows(found, wanted):
    """Compares lists of dicts of texts, whatever their order."""
    found, wanted = (sorted(rows, key=lambda row: list(row.items())) for rows in (found, wanted))
    assert found == wanted, f"found\n{_as_text(found)}\nin the place of\n{_as_text(wanted)}"


def _as_cell(values):
    return ",".join(one if isinstance(one, str) else f"{one:g}" for one in values) or "-"


def _as_text(rows):
    lines = [" ".join(rows[0]) if rows else "no row", *(" ".join(row.values()) for row in rows)]
    return textwrap.indent("\n".join(lines), "    ")


def read_events(text):
    """Events from the columns query, candidate, time and perhaps label, weight, split, session."""
    empty = {"split": "-", "session": "-", "label": 5, "weight": 1}
    events = []
    for position, row in enumerate(read_table(text), start=1):
        cells = empty | row
        split, session = (cells[name].replace("-", "") for name in ("split", "session"))
        label, weight = float(cells["label"]), float(cells["weight"])
        query, candidate, time = cells["query"], cells["candidate"], int(cells["time"])
        events.append(Event(query, candidate, time, label, weight, split, session, position))
    return events


def read_queries(spec, text):
    """Records of the queries table; `-` is an empty cell."""
    parse = EntityParser(spec.queries, spec.query.features, "query")
    names = list(dict.fromkeys(entity_columns(spec.queries, spec.query.features, "query")))
    return [
        parse(position, [row[name].replace("-", "") for name in names], [])
        for position, row in enumerate(read_table(text), start=1)
    ]


class Silent:
    """Reports no progress."""

    def progress(self, description, done, total, detail=""):
        pass


_ELEMENTS = defaultdict(list)  # the runner works in this process, so its workers reach it


def _keep(element, name):
    _ELEMENTS[name].append(element)


def run_beam(build):
    """Runs a pipeline; `build` takes its root and names collections, whose elements come back."""
    _ELEMENTS.clear()

    def keep_all(root):
        for name, collection in build(root).items():
            _ = collection | f"Keep_{name}" >> Map(_keep, name)

    run_pipeline(keep_all, (), Silent(), "by hand")
    return defaultdict(list, _ELEMENTS)


_OUTPUTS = ("items", "evaluations", "trained", "bad", "counts")


def run_queries(spec, events, *, queries=None, cutoffs=None, limit=100, recent_days=1.0):
    """What the job makes of events and queries, from the split time to the evaluated queries.

    `train` and `fresh` are examples as they are read again, `validation` and `test` serialised.
    """

    def build(root):
        plain = [tuple(event) for event in events]
        timed = root | "Events" >> Create(plain) | AddSplitTime(bool(spec.interactions.session))
        tables = {"events": timed}
        if queries is not None:
            tables["queries"] = root | "Queries" >> Create([tuple(query) for query in queries])
        if cutoffs is not None:
            tables["cutoffs"] = root | "Cutoffs" >> Create([cutoffs])
        found = tables | BuildQueries(spec, 1, limit)
        windows = found.windows | SummariseWindows()
        cutoff = None if cutoffs is None else cutoffs.validation_from
        train_end = windows | "TrainEnd" >> Map(training_end, cutoff)
        tallies = (found.tallies, train_end) | CountCandidates(recent_days)
        known_only = spec.split.known_candidates_only
        evaluated = (found.evaluations, tallies) | FinishEvaluations(known_only, 1)
        outputs = {name: getattr(found, name) for name in _OUTPUTS}
        more = {"evaluated": evaluated.items, "evaluated_counts": evaluated.counts}
        return outputs | more | {"windows": windows, "tallies": tallies}

    found = run_beam(build)
    for (name, _), item in found["items"] + found["evaluated"]:
        found[name].append(item[-1] if name in ("validation", "test") else item)
    for name, split in (("train", TRAIN), ("fresh", VALIDATION)):
        found[name] = written(spec, split, found[name])
    counts = defaultdict(int)
    for name, number in found["counts"] + found["evaluated_counts"]:
        counts[name] += number
    return found | {"counts": dict(counts), "tallies": dict(found["tallies"])}


def check_splits(found, expected):
    """Compares the split of every event with a table of query, candidate, time and split."""
    rows = [
        {"query": query, "candidate": candidate, "time": str(time), "split": SPLITS[split]}
        for query, time, candidate, _, _, _, split, _ in found["interactions"]
    ]
    names = expected.strip().splitlines()[0].split()
    check_rows([{name: row[name] for name in names} for row in rows], read_table(expected))
