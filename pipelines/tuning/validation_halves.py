"""The data of a search: training examples, and the validation queries in two halves.

The search measures on one half. The other is written as if it were the test split, so that every
stage may read the artifact and nothing that the search does can depend on it; the estimate of the
winner is made there. The run's own test split is not part of the artifact: its queries are never
read, and its interactions are left out.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_twotower import artifacts
from tfrs_twotower.artifacts import layout
from tfrs_twotower.data import raw_inputs, shards
from tfrs_twotower.errors import ArtifactError, DataError
from tfrs_twotower.specs import SPLITS, TEST, TRAIN, VALIDATION

FEWEST_QUERIES = 8
"""Validation queries that are needed: four in each half, or nothing can be told."""
MOST_QUERIES = 6_000
"""Validation queries that are taken from a larger set: 3,000 in each half, as many as `model.wide`
is measured on, so that trials with it and without it see the same. The standard error of a mean
over so many is below .01 whatever is measured, and of a paired difference far less."""
_LINKED = (layout.TRAIN_GLOB, layout.CORPUS_GLOB, layout.FREQUENCIES_GLOB)
_ONE_SHARD = "-00000-of-00001"


def in_search_half(query_id: str) -> bool:
    """Whether the search sees a validation query; the others are held out."""
    return _hash(query_id) % 2 == 0


def _hash(query_id: str) -> int:
    return int.from_bytes(hashlib.sha256(query_id.encode("utf-8")).digest()[:8], "big")


def write_halves(source: Path, destination: Path, most: int = MOST_QUERIES) -> artifacts.Manifest:
    """Writes the data of a search, unless it is there.

    Args:
        source: a finished preprocessed artifact.
        destination: directory of the derived one, on the same file system for hard links.
        most: largest number of validation queries; of more, those with the smallest hashes.

    Returns:
        The manifest of the derived artifact: `validation_queries` is the search's half,
        `test_queries` the half that is held out.

    Raises:
        ArtifactError: the source cannot be read.
        DataError: there are too few validation queries.
    """
    parent = artifacts.read_manifest(source, "preprocessed")
    origin = artifacts.fingerprint({"validation halves of": parent.fingerprint, "most": most})
    try:
        found = artifacts.read_manifest(destination, "preprocessed")
        if found.config_fingerprint == origin:
            return found
    except ArtifactError:
        pass
    halves = _halves(source, most)
    staging = artifacts.staging_directory(destination)
    for path in _linked_files(source):
        target = staging / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        artifacts.link_or_copy(path, target)
    for name, records in zip(("validation", "test"), halves, strict=True):
        path = staging / f"{name}{_ONE_SHARD}.tfrecord.gz"
        with tf.io.TFRecordWriter(str(path), options="GZIP") as writer:
            for _, record in records:
                writer.write(record)
    held_out = [query_id for query_id, _ in halves[1]]
    interactions = _interactions(source, held_out)
    pq.write_table(interactions, staging / f"interactions{_ONE_SHARD}.parquet")
    same = ("candidates", "train_examples")
    counts = {name: count for name, count in parent.counts.items() if name in same}
    return artifacts.commit(
        staging,
        destination,
        kind="preprocessed",
        spec_fingerprint=parent.spec_fingerprint,
        config_fingerprint=origin,
        parents={},
        counts={
            **counts,
            "validation_queries": len(halves[0]),
            "test_queries": len(halves[1]),
            "interactions": len(interactions),
        },
    )


def _linked_files(source: Path) -> list[Path]:
    found = [path for pattern in _LINKED for path in shards.find_shards(source, pattern)]
    vocabularies = sorted((source / layout.VOCABULARIES).glob("*.txt"))
    return [*found, *vocabularies, source / layout.STATISTICS]


def _halves(source: Path, most: int) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """Ids and serialized records of both halves, the search's first, in the order of the ids."""
    query_id = {"_query_id": tf.io.FixedLenFeature([], tf.string)}
    found = [
        (tf.io.parse_single_example(record, query_id)["_query_id"].numpy().decode(), record.numpy())
        for record in raw_inputs.read_records(source, layout.VALIDATION_GLOB)
    ]
    if len(found) > most:
        found = sorted(found, key=lambda one: (_hash(one[0]), one[0]))[:most]
    found.sort(key=lambda one: one[0])
    search = [one for one in found if in_search_half(one[0])]
    held_out = [one for one in found if not in_search_half(one[0])]
    if min(len(search), len(held_out)) < FEWEST_QUERIES // 2:
        raise DataError(
            f"{source}: the split has {len(found)} validation queries with a relevant candidate, "
            f"{len(search)} for the search and {len(held_out)} to judge its result by; tune needs "
            f"{FEWEST_QUERIES} or more, and a few hundred to tell settings apart. Widen the "
            "validation window (split in the feature spec), or leave the settings as they are."
        )
    return search, held_out


def _interactions(source: Path, held_out: list[str]) -> pa.Table:
    """Interactions without those of the test window; those of held-out queries take its name."""
    train, validation, test = (SPLITS[code] for code in (TRAIN, VALIDATION, TEST))
    parts = [pq.read_table(path) for path in shards.find_shards(source, layout.INTERACTIONS_GLOB)]
    table = pa.concat_tables(parts)
    split = table["split"].combine_chunks().cast(pa.string())
    is_held_out = pc.and_(
        pc.equal(split, validation),
        pc.is_in(
            table["query_id"].combine_chunks().cast(pa.string()), pa.array(held_out, pa.string())
        ),
    )
    kept = pc.or_(pc.equal(split, train), pc.equal(split, validation))
    renamed = pc.if_else(is_held_out, pa.scalar(test), split).cast(table.schema.field("split").type)
    place = table.schema.get_field_index("split")
    return table.set_column(place, table.schema.field("split"), renamed).filter(kept)
