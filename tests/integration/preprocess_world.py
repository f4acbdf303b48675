"""Small tables with a planted spec, the stage run on them, and its files read back plainly."""

import csv
import gzip
import io
import json
import random

import pyarrow.parquet as pq
from tensorflow.core.example import example_pb2

from pipelines.progress import SilentReporter
from pipelines.stages import preprocess
from pipelines.stages.context import StageContext
from pipelines.transforms.sharded_output import read_frames
from tests.unit.pipelines.transforms.event_tables import read_raw_examples
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.config import PreprocessConfig, RunConfig
from tfrs_twotower.specs import FeatureSpec

START_S = 1_300_000_000
DAY_S = 86_400
QUERIES = ["query,colour,age"] + [
    f"q{number},{'red' if number % 3 else 'blue'},{'' if number == 4 else number * 1.5}"
    for number in range(12)
]
CANDIDATES = ["candidate,name,tags,price,made"] + [
    f'c{number},"Thing {number} of {number % 4}, boxed",a|b{number % 5},{number},{START_S}'
    for number in range(20)
]
SPEC = {
    "name": "planted",
    "interactions": {
        "path": "events.csv",
        "query_id": "query",
        "candidate_id": "candidate",
        "timestamp": {"column": "at"},
        "label": "stars",
        "session": "session",
    },
    "queries": {"path": "queries.csv", "id": "query"},
    "candidates": {"path": "candidates.csv", "id": "candidate", "title": "name"},
    "query": {
        "features": [
            {"name": "before", "kind": "history", "max_length": 4},
            {
                "name": "others",
                "kind": "history",
                "max_length": 3,
                "window": "leave_one_out",
                "positives_only": True,
            },
            {"name": "colour", "kind": "categorical"},
            {"name": "age", "kind": "numeric"},
            {"name": "hour", "kind": "timestamp"},
        ]
    },
    "candidate": {
        "features": [
            {"name": "item", "column": "candidate", "kind": "id"},
            {"name": "tags", "kind": "multi_categorical", "vocabulary": "tag"},
            {"name": "price", "kind": "numeric", "transform": "bucketise", "num_buckets": 4},
            {"name": "made", "kind": "timestamp", "parts": ["hour_of_day"]},
        ]
    },
    "relevance": {"min_label": 3},
    "split": {"kind": "temporal", "test_fraction": 0.2, "validation_fraction": 0.2},
}


def random_events(seed, number=240):
    """Rows `query, candidate, at, stars, session` with equal times, repeats and sessions."""
    dice = random.Random(seed)
    rows = []
    for _ in range(number):
        query = dice.randrange(13)  # q12 has no record
        at = START_S + dice.randrange(60) * DAY_S // 2
        session = f"s{query}-{at // (3 * DAY_S)}" if dice.random() < 0.5 else ""
        stars = dice.randrange(1, 6)
        rows.append((f"q{query}", f"c{dice.randrange(19)}", at, stars, session))  # c19: unseen
    return rows


def write_tables(directory, events, queries=QUERIES, candidates=CANDIDATES):
    """Writes the three CSV files."""
    directory.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("query", "candidate", "at", "stars", "session"))
    writer.writerows(events)
    (directory / "events.csv").write_text(text.getvalue(), encoding="utf-8")
    (directory / "queries.csv").write_text("\n".join(queries) + "\n", encoding="utf-8")
    (directory / "candidates.csv").write_text("\n".join(candidates) + "\n", encoding="utf-8")


def context_of(directory, spec=SPEC, beam_options=(), reporter=None, workdir="work", **settings):
    """The context of a run on the tables in the directory."""
    config = RunConfig(name="planted", spec="none.yaml", preprocess=PreprocessConfig(**settings))
    return StageContext(
        layout=Layout(directory / workdir),
        spec=FeatureSpec.model_validate(spec),
        config=config,
        data_root=directory,
        reporter=reporter or SilentReporter(),
        beam_options=tuple(beam_options),
    )


def run(directory, **options):
    """Runs the stage and returns its manifest."""
    return preprocess.run(context_of(directory, **options))


def examples(artifact, name, spec=SPEC):
    """All examples of one output, as dicts of lists, in file order."""
    if name in ("train", "fresh"):
        parsed = FeatureSpec.model_validate(spec)
        return read_raw_examples(artifact, parsed, f"{name}-*.arrow")
    records = []
    for path in sorted(artifact.glob(f"{name}-*.tfrecord.gz")):
        with gzip.open(path) as stream:
            for payload in read_frames(stream):
                features = example_pb2.Example.FromString(payload).features.feature
                records.append({key: _values(feature) for key, feature in features.items()})
    return records


def _values(feature):
    values = list(getattr(feature, feature.WhichOneof("kind")).value)
    return [one.decode() if isinstance(one, bytes) else one for one in values]


def interactions(artifact):
    """All interactions as dicts."""
    rows = []
    for path in sorted(artifact.glob("interactions-*.parquet")):
        rows.extend(pq.read_table(path).to_pylist())
    return rows


def frequencies(artifact):
    """{candidate id: (count, recent count)}."""
    rows = []
    for path in sorted(artifact.glob("frequencies-*.parquet")):
        rows.extend(pq.read_table(path).to_pylist())
    return {row["candidate_id"]: (row["count"], row["recent_count"]) for row in rows}


def vocabulary(artifact, name):
    """A vocabulary's values."""
    return (artifact / "vocabularies" / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def statistics(artifact):
    """The content of statistics.json."""
    return json.loads((artifact / "statistics.json").read_text(encoding="utf-8"))


def quarantined(directory, table):
    """Reasons and sources of a table's bad records."""
    lines = []
    for path in sorted(directory.glob(f"{table}-*.jsonl")):
        lines.extend(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {(line["key"], line["reason"], line["source"].rsplit("/", 1)[-1]) for line in lines}
