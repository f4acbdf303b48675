"""Finishes evaluated queries; drops relevant candidates without training interactions if asked."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms import query_examples, reading, sharded_output
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.specs import SPLITS

_TRAINED, _RELEVANT = 0, 1
_DRAFT, _KNOWN = 0, 1


class FinishEvaluations(beam.PTransform):
    """Turns `(drafts, tallies)` into output items of `validation` and `test`, and counts.

    Drafts are `((split, query id), (draft bytes, [(candidate id, gain)]))`; tallies are keyed by
    the ids of the candidates with a training interaction (`split.known_candidates_only`).
    """

    def __init__(self, known_candidates_only: bool, num_shards: int) -> None:
        super().__init__()
        self._known_only = known_candidates_only
        self._num_shards = num_shards

    def expand(self, tables: Any) -> Any:
        """Adds the gains; a query without a relevant candidate is only counted."""
        drafts, tallies = tables
        if self._known_only:
            drafts = _keep_known(drafts, tallies)
        return drafts | beam.FlatMap(_finish, self._num_shards).with_outputs(
            reading.COUNTS, main=sharded_output.ITEMS
        )


def _keep_known(drafts: beam.PCollection, tallies: beam.PCollection) -> beam.PCollection:
    known = (
        (
            drafts | "Relevant" >> beam.FlatMap(_relevant_candidates),
            tallies | "Trained" >> beam.Map(lambda tally: (tally[0], (_TRAINED, None))),
        )
        | "ByCandidate" >> beam.Flatten()
        | "GroupByCandidate" >> beam.GroupByKey()
        | "Known" >> beam.FlatMap(_known_candidates)
    )
    return (
        (drafts | "Drafts" >> beam.Map(lambda draft: (draft[0], (_DRAFT, draft[1]))), known)
        | "ByQuery" >> beam.Flatten()
        | "GroupByQuery" >> beam.GroupByKey()
        | "OnlyKnown" >> beam.Map(_only_known)
    )


def _relevant_candidates(draft: Any) -> Iterator[tuple[str, tuple[int, Any]]]:
    key, (_, gains) = draft
    for candidate_id, _ in gains:
        yield candidate_id, (_RELEVANT, key)


def _known_candidates(
    group: tuple[str, Iterable[tuple[int, Any]]],
) -> Iterator[tuple[Any, Any]]:
    candidate_id, members = group
    if any(kind == _TRAINED for kind, _ in members):
        for kind, key in members:
            if kind == _RELEVANT:
                yield key, (_KNOWN, candidate_id)


def _only_known(group: tuple[Any, Iterable[tuple[int, Any]]]) -> Any:
    key, members = group
    known = set()
    draft: tuple[bytes, list[tuple[str, float]]] = (b"", [])
    for kind, value in members:
        if kind == _KNOWN:
            known.add(value)
        else:
            draft = value
    return key, (draft[0], [gain for gain in draft[1] if gain[0] in known])


def _finish(draft: Any, num_shards: int) -> Iterator[Any]:
    (split, query_id), (example, gains) = draft
    name = SPLITS[split]
    if not gains:
        yield pvalue.TaggedOutput(reading.COUNTS, (f"{name}_queries_empty", 1))
        return
    yield pvalue.TaggedOutput(reading.COUNTS, (f"{name}_queries", 1))
    yield (
        (name, shard_of(query_id, num_shards)),
        (query_id, query_examples.finish_evaluation(example, gains)),
    )
