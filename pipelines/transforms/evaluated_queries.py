"""Finishes evaluated queries; drops relevant candidates without training interactions if asked."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import pvalue

from pipelines.transforms import batches, reading, sharded_output
from tfrs_twotower import specs

_DRAFTS, _KNOWN, _TRAINED, _RELEVANT = 0, 1, 2, 3
_EVALUATED = (specs.VALIDATION, specs.TEST)


class FinishEvaluations(beam.PTransform):
    """Writes drafts of evaluated queries, `(shard, packed drafts)`, and counts them.

    With `split.known_candidates_only`, relevant candidates stay only if they are among the tallies,
    `(shard of the candidates, packed tallies)`; a query without one is counted, but not written.
    """

    def __init__(self, known_only: bool, num_shards: int, files: sharded_output.ShardFiles) -> None:
        super().__init__()
        self._known_only = known_only
        self._num_shards = num_shards
        self._files = files

    def expand(self, tables: Any) -> Any:
        """Outputs `written`, the paths, and `counts`."""
        drafts, tallies = tables
        parts = [
            drafts | "Drafts" >> beam.MapTuple(lambda shard, part: (shard, (_DRAFTS, part))),
            sharded_output.every_shard(drafts.pipeline, self._num_shards),
        ]
        if self._known_only:
            parts.append(self._known(drafts, tallies))
        return (
            parts
            | "ByQuery" >> beam.Flatten()
            | "GroupByQuery" >> beam.GroupByKey()
            | beam.FlatMap(_finish, self._known_only, self._files).with_outputs(
                reading.COUNTS, main="written"
            )
        )

    def _known(self, drafts: beam.PCollection, tallies: beam.PCollection) -> beam.PCollection:
        return (
            (
                drafts | "Relevant" >> beam.FlatMap(_relevant_candidates, self._num_shards),
                tallies | "Trained" >> beam.MapTuple(lambda at, part: (at, (_TRAINED, 0, part))),
            )
            | "ByCandidate" >> beam.Flatten()
            | "GroupByCandidate" >> beam.GroupByKey()
            | "Known" >> beam.FlatMap(_known_candidates)
        )


def _relevant_candidates(
    draft: tuple[int, bytes], num_shards: int
) -> Iterator[tuple[int, tuple[int, int, bytes]]]:
    shard, part = draft
    relevant = batches.unpacked([part])["_relevant"].combine_chunks().flatten()
    table = pa.table({"candidate_id": pc.unique(relevant)})
    for of_candidates, rows in batches.divided(table, "candidate_id", num_shards):
        yield of_candidates, (_RELEVANT, shard, rows)


def _known_candidates(
    group: tuple[int, Iterable[tuple[int, int, bytes]]],
) -> Iterator[tuple[int, tuple[int, bytes]]]:
    members = list(group[1])
    tallies = [part for kind, _, part in members if kind == _TRAINED]
    if not tallies:
        return
    trained = batches.flat(batches.unpacked(tallies)["candidate_id"])
    for kind, shard, part in members:
        if kind == _RELEVANT:
            table = batches.unpacked([part])
            known = table.filter(pc.is_in(table["candidate_id"], value_set=trained))
            if known.num_rows:
                yield shard, (_KNOWN, batches.packed(known))


def _finish(
    group: tuple[int, Iterable[tuple[int, bytes]]],
    known_only: bool,
    files: sharded_output.ShardFiles,
) -> Iterator[Any]:
    shard, members = group
    parts: dict[int, list[bytes]] = {_DRAFTS: [], _KNOWN: []}
    for kind, part in members:
        if kind in parts:
            parts[kind].append(part)
    drafts: dict[int, pa.Table] = {}
    for part in parts[_DRAFTS]:
        table = batches.unpacked([part])
        drafts[table["split"][0].as_py()] = table
    known = batches.unpacked(parts[_KNOWN], pa.schema([("candidate_id", pa.string())]))
    for split in _EVALUATED:
        name = specs.SPLITS[split]
        table = drafts.get(split)
        finished = pa.table({})
        if table is not None:
            finished = table.drop(["split"])
            if known_only:
                finished = _only_known(finished, batches.flat(known["candidate_id"]))
        number = 0 if table is None else table.num_rows
        yield files.write(name, shard, finished)
        for counted, of_split in (
            (f"{name}_queries", finished.num_rows),
            (f"{name}_queries_empty", number - finished.num_rows),
            (f"{name}_finished", number),
        ):
            yield pvalue.TaggedOutput(reading.COUNTS, (counted, of_split))


def _only_known(table: pa.Table, known: pa.Array) -> pa.Table:
    """The drafts with their known relevant candidates, without those that have none."""
    relevant, gain = (batches.flat(table[name]) for name in ("_relevant", "_gain"))
    stays = pc.is_in(relevant.flatten(), value_set=known)
    before = np.concatenate([[0], np.cumsum(stays.to_numpy(zero_copy_only=False))])
    offsets = before[relevant.offsets.to_numpy() - relevant.offsets[0].as_py()]
    for name, lists in (("_relevant", relevant), ("_gain", gain)):
        own = batches.lists_of(offsets, lists.flatten().filter(stays))
        table = table.set_column(table.column_names.index(name), name, own)
    return table.filter(pa.array(np.diff(offsets) > 0))
