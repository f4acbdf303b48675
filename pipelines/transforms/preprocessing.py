"""The whole preprocessing job: from three tables to every file of the artifact.

candidates --+                                    +-> corpus, frequencies -> vocabularies,
             +-> match -> split time -> cut-offs  |                          statistics
interactions-+              |                     |
                            v                     |
queries ------------> group by query -------------+-> train, fresh, interactions
                            |
                            +-> evaluated queries (validation, test)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms.corpus import BuildCorpus, CountCandidates
from pipelines.transforms.cutoffs import AddSplitTime, FindCutoffs, SummariseWindows, training_end
from pipelines.transforms.evaluated_queries import FinishEvaluations
from pipelines.transforms.membership import MatchCandidates
from pipelines.transforms.numeric_statistics import ExtractNumbers, NumericStatistics
from pipelines.transforms.quarantine import ReportQuarantine, SummariseReasons
from pipelines.transforms.queries import BuildQueries
from pipelines.transforms.reading import ReadTable
from pipelines.transforms.records import EntityParser, Event, EventParser
from pipelines.transforms.sharded_output import (
    Output,
    WriteShards,
    write_frequencies,
    write_interactions,
    write_json_lines,
    write_lines,
    write_tfrecords,
)
from pipelines.transforms.sources import Source
from pipelines.transforms.splits import given_cutoffs
from pipelines.transforms.vocabularies import (
    CountValues,
    SelectValues,
    text_vocabularies,
    value_vocabularies,
)
from pipelines.transforms.wordpieces import MOST_WORDS, CountWords
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.specs import FeatureSpec, NumericFeature, TemporalSplit

FINDINGS = ".findings"
"""Directory of small files that tell the stage what the job found; not part of the artifact."""
_LABEL = Event._fields.index("label")
_EXAMPLES = ("train", "fresh", "validation", "test", "corpus")
_FINDINGS = ("counts", "reasons", "windows", "cutoffs", "numeric")


class Preprocess(beam.PTransform):
    """Reads the tables and writes the artifact's files into a directory."""

    def __init__(
        self,
        spec: FeatureSpec,
        config: PreprocessConfig,
        sources: Mapping[str, Source],
        directory: str,
    ) -> None:
        super().__init__()
        self._spec = spec
        self._config = config
        self._sources = dict(sources)
        self._directory = directory

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Builds the graph; the result are the paths that were written."""
        spec, config = self._spec, self._config
        shards = config.num_shards
        tables = self._read(root)
        events = tables["interactions"].records
        if spec.relevance.drop_others:
            events = events | "DropOthers" >> beam.Filter(_is_positive, spec.relevance.min_label)
        matched = (tables["candidates"].records, events) | MatchCandidates()
        by_session = spec.interactions.session is not None
        temporal = isinstance(spec.split, TemporalSplit)
        timed = matched.events | AddSplitTime(by_session and temporal)
        cutoffs = self._cutoffs(root, timed)
        grouped: dict[str, Any] = {"events": timed}
        if "queries" in tables:
            grouped["queries"] = tables["queries"].records
        if cutoffs is not None:
            grouped["cutoffs"] = cutoffs
        queries: Any = grouped | BuildQueries(spec, shards, config.max_history_events)
        windows = queries.windows | SummariseWindows()
        train_end = _train_end(windows, cutoffs)
        tallies = (queries.tallies, train_end) | CountCandidates(config.recent_days)
        corpus = (matched.candidates, tallies) | BuildCorpus(spec, shards)
        evaluated = (queries.evaluations, tallies) | FinishEvaluations(
            spec.split.known_candidates_only, shards
        )
        numeric = self._numeric(queries.trained, corpus.trained)
        bad = [table.bad for table in tables.values()] + [matched.bad, queries.bad]
        bad_records = bad | "AllBad" >> beam.Flatten()
        counts = (
            [table.counts for table in tables.values()]
            + [queries.counts, corpus.counts, evaluated.counts]
            | "AllCounts" >> beam.Flatten()
            | "AddCounts" >> beam.CombinePerKey(sum)
        )
        items = [queries.items, corpus.items, evaluated.items]
        items.extend(self._vocabularies(queries.trained, corpus.trained))
        items.append(bad_records | ReportQuarantine(self._sources, shards))
        items.append(counts | "Counts" >> _finding("counts"))
        items.append(bad_records | SummariseReasons() | "Reasons" >> _finding("reasons"))
        items.append(windows | "Windows" >> _finding("windows"))
        if cutoffs is not None:
            items.append(
                cutoffs
                | "CutTimes" >> beam.Map(lambda cut: (cut.validation_from, cut.test_from))
                | "Cutoffs" >> _finding("cutoffs")
            )
        if numeric is not None:
            items.append(numeric | "Numeric" >> _finding("numeric"))
        return items | "AllItems" >> beam.Flatten() | WriteShards(self._directory, self._outputs())

    def _read(self, root: beam.Pipeline) -> dict[str, Any]:
        spec = self._spec
        parsers: dict[str, Any] = {
            "interactions": EventParser(spec.interactions),
            "candidates": EntityParser(spec.candidates, spec.candidate.features, "candidate"),
        }
        if spec.queries is not None:
            parsers["queries"] = EntityParser(spec.queries, spec.query.features, "query")
        return {
            table: root | f"Read_{table}" >> ReadTable(self._sources[table], parse)
            for table, parse in parsers.items()
        }

    def _cutoffs(self, root: beam.Pipeline, timed: beam.PCollection) -> beam.PCollection | None:
        split = self._spec.split
        if not isinstance(split, TemporalSplit):
            return None
        given = given_cutoffs(split)
        if given is not None:
            return root | "GivenCutoffs" >> beam.Create([given])
        return timed | "Times" >> beam.Map(lambda event: event[0]) | FindCutoffs(split)

    def _numeric(
        self, queries: beam.PCollection, candidates: beam.PCollection
    ) -> beam.PCollection | None:
        results = []
        for side, trained, features in (
            ("query", queries, self._spec.query.features),
            ("candidate", candidates, self._spec.candidate.features),
        ):
            numeric = [feature for feature in features if isinstance(feature, NumericFeature)]
            if not numeric:
                continue
            values = trained | f"Numbers_{side}" >> ExtractNumbers(side, features)
            for feature in numeric:
                name = f"{side}.{feature.name}"
                results.append(
                    values
                    | f"Only_{name}" >> beam.Filter(lambda item, name=name: item[0] == name)
                    | f"Statistics_{name}" >> beam.CombinePerKey(NumericStatistics(feature))
                )
        return results | "AllNumeric" >> beam.Flatten() if results else None

    def _vocabularies(
        self, queries: beam.PCollection, candidates: beam.PCollection
    ) -> list[beam.PCollection]:
        sides = (
            ("query", queries, self._spec.query.features),
            ("candidate", candidates, self._spec.candidate.features),
        )
        selected = []
        settings = value_vocabularies(self._spec)
        if settings:
            values = [
                trained | f"Values_{side}" >> CountValues(features)
                for side, trained, features in sides
            ]
            selected.append(
                values
                | "AllValues" >> beam.Flatten()
                | "SelectValues" >> SelectValues(settings, "vocabularies")
            )
        learned = self._learned_texts()
        if learned:
            words = [
                trained | f"Words_{side}" >> CountWords(features)
                for side, trained, features in sides
            ]
            selected.append(
                words
                | "AllWords" >> beam.Flatten()
                | "SelectWords"
                >> SelectValues(dict.fromkeys(learned, (1, MOST_WORDS)), f"{FINDINGS}/words")
            )
        return selected

    def _learned_texts(self) -> list[str]:
        return [
            name
            for name, feature in text_vocabularies(self._spec).items()
            if feature.vocabulary_file is None
        ]

    def _outputs(self) -> dict[str, Output]:
        shards = self._config.num_shards
        outputs = {name: Output(write_tfrecords, ".tfrecord.gz", shards) for name in _EXAMPLES}
        outputs["interactions"] = Output(write_interactions, ".parquet", shards)
        outputs["frequencies"] = Output(write_frequencies, ".parquet", shards)
        for table in self._sources:
            outputs[f"quarantine/{table}"] = Output(write_lines, ".jsonl", shards)
        for name in value_vocabularies(self._spec):
            outputs[f"vocabularies/{name}"] = Output(write_lines, ".txt", 0)
        for name in self._learned_texts():
            outputs[f"{FINDINGS}/words/{name}"] = Output(write_json_lines, ".jsonl", 0)
        for name in _FINDINGS:
            outputs[f"{FINDINGS}/{name}"] = Output(write_json_lines, ".jsonl", 0)
        return outputs


def _is_positive(event: Sequence[Any], min_label: float) -> bool:
    return bool(event[_LABEL] >= min_label)


def _finding(name: str) -> beam.PTransform:
    return beam.Map(lambda found: ((f"{FINDINGS}/{name}", 0), (found,)))


def _train_end(windows: beam.PCollection, cutoffs: beam.PCollection | None) -> beam.PCollection:
    if cutoffs is None:
        return windows | "TrainEnd" >> beam.Map(training_end, None)
    return windows | "TrainEnd" >> beam.Map(
        lambda found, cut: training_end(found, cut.validation_from), pvalue.AsSingleton(cutoffs)
    )
