"""The preprocessing job: from the three tables to all files of the artifact.

candidates --+                                    +-> corpus, frequencies -> vocabularies,
             +-> match -> split time -> cut-offs  |                          statistics
interactions-+              |                     |
                            v                     |
queries ------------> group by query -------------+-> train, fresh (refit), interactions, queries
                            |
                            +-> evaluated queries (validation, test)
"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow.compute as pc
from apache_beam import pvalue

from pipelines.transforms import (
    batches,
    evaluated_queries,
    event_records,
    fresh_ids,
    numeric_statistics,
    query_examples,
    reading,
    records,
    sharded_output,
    splits,
    table_parts,
    table_sources,
    vocabularies,
)
from pipelines.transforms.corpus import BuildCorpus, CountCandidates, MatchCandidates
from pipelines.transforms.cutoffs import AddSplitTime, FindCutoffs, SummariseWindows, training_end
from pipelines.transforms.queries import REFIT_OUTPUT, BuildQueries
from pipelines.transforms.vocabularies import CountWords
from tfrs_twotower.artifacts.layout import FRESH_IDS
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.data import known_queries
from tfrs_twotower.features.wordpiece_list import MOST_WORDS
from tfrs_twotower.specs import TRAIN, VALIDATION, FeatureSpec, NumericFeature, TemporalSplit

SUMMARY = ".summary"
"""Directory of the job's summary, which the stage reads and removes."""
NUMBERS = f"{SUMMARY}/numbers"
"""Directory of the numbers of items that were written."""
_RECORDS_OF_A_SHARD = 1_000_000  # a worker sorts them in memory: about 200 bytes of an event
_RECORDS_IN_MEMORY = 2_000_000  # uncompressed, more would be twice what else the job holds
_TRAINING = {"train": TRAIN, REFIT_OUTPUT: VALIDATION}
_EXAMPLES = ("validation", "test", "corpus")
_SUMMARY_FILES = ("counts", "reasons", "forms", "windows", "cutoffs", "numeric")


class Preprocess(beam.PTransform):
    """Reads the tables and writes the artifact's files into a directory.

    No word is counted for the text vocabularies in `kept_texts`: their WordPieces are there. The
    tables between the steps of a job that `is_large` should be compressed, to save memory.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        config: PreprocessConfig,
        sources: Mapping[str, table_sources.Source],
        directory: str,
        kept_texts: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._spec, self._kept_texts = spec, frozenset(kept_texts)
        self._config = config
        self._sources = dict(sources)
        self._directory = directory
        self._fresh_ids = fresh_ids.id_vocabularies(spec)
        most_records = table_parts.records_of_the_largest(sources)
        self._num_shards = num_shards_of(config, most_records)
        self.is_large = most_records > _RECORDS_IN_MEMORY

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Builds the graph; its output is the paths that were written."""
        spec, config, shards = self._spec, self._config, self._num_shards
        files = sharded_output.ShardFiles(self._directory, self._outputs(), NUMBERS)
        tables = self._read(root)
        events, more_counts = tables["interactions"].records, []
        if spec.relevance.drop_others:
            split = events | "DropOthers" >> beam.ParDo(
                _drop_others, spec.relevance.min_label
            ).with_outputs(reading.COUNTS, main=reading.RECORDS)
            events, more_counts = split[reading.RECORDS], [split[reading.COUNTS]]
        listed = tables["candidates"]
        matched = (listed.records, events, listed.bad) | MatchCandidates(shards)
        by_session = spec.interactions.session is not None
        temporal = isinstance(spec.split, TemporalSplit)
        timed = matched.events | AddSplitTime(by_session and temporal, shards)
        cutoffs = self._cutoffs(root, timed)
        grouped: dict[str, Any] = {"events": timed}
        if "queries" in tables:
            grouped["queries"] = tables["queries"].records
        if cutoffs is not None:
            grouped["cutoffs"] = cutoffs
        queries: Any = grouped | BuildQueries(spec, shards, config.max_history_events, files)
        windows = queries.windows | SummariseWindows()
        train_end = _train_end(windows, cutoffs)
        tallies = (queries.tallies, train_end) | CountCandidates(config.recent_days)
        of_corpus = (matched.candidates, tallies, queries.fresh_choices)
        corpus = of_corpus | BuildCorpus(spec, shards, files)
        evaluated = (queries.evaluations, tallies) | evaluated_queries.FinishEvaluations(
            spec.split.known_candidates_only, shards, files
        )
        numeric = self._numeric(queries.trained, corpus.trained)
        bad = [table.bad for table in tables.values()] + [matched.bad, queries.bad]
        bad_records = bad | "AllBad" >> beam.Flatten()
        counts = (
            [table.counts for table in tables.values()]
            + [queries.counts, corpus.counts, evaluated.counts, *more_counts]
            | "AllCounts" >> beam.Flatten()
            | "AddCounts" >> beam.CombinePerKey(sum)
        )
        quarantined = bad_records | reading.ReportQuarantine(self._sources, config.num_shards)
        items = [*self._vocabularies(queries, corpus), quarantined]
        items.append(counts | "Counts" >> _to_summary("counts"))
        items.append(bad_records | reading.SummariseReasons() | "Reasons" >> _to_summary("reasons"))
        forms = [table.forms for table in tables.values()] + [queries.forms] | beam.Flatten()
        forms |= "AddForms" >> beam.CombinePerKey(reading.merge_summaries)
        items.append(forms | "Forms" >> _to_summary("forms"))
        items.append(windows | "Windows" >> _to_summary("windows"))
        if cutoffs is not None:
            items.append(
                cutoffs
                | "CutTimes" >> beam.Map(lambda cut: (cut.validation_from, cut.test_from))
                | "Cutoffs" >> _to_summary("cutoffs")
            )
        if numeric is not None:
            items.append(numeric | "Numeric" >> _to_summary("numeric"))
        of_shards = {*_TRAINING, *_EXAMPLES, "interactions", "queries", "frequencies"}
        written = (
            items
            | "AllItems" >> beam.Flatten()
            | sharded_output.WriteShards(files, set(files.outputs) - of_shards)
        )
        return (
            written,
            queries.written,
            corpus.written,
            evaluated.written,
        ) | "AllWritten" >> beam.Flatten()

    def _read(self, root: beam.Pipeline) -> dict[str, Any]:
        spec = self._spec
        parsers: dict[str, Any] = {
            "interactions": event_records.EventParser(spec),
            "candidates": records.EntityParser(
                spec.candidates, spec.candidate.features, "candidate"
            ),
        }
        if spec.queries is not None:
            parsers["queries"] = records.EntityParser(spec.queries, spec.query.features, "query")
        return {
            table: root | f"Read_{table}" >> reading.ReadTable(self._sources[table], parse)
            for table, parse in parsers.items()
        }

    def _cutoffs(self, root: beam.Pipeline, timed: beam.PCollection) -> beam.PCollection | None:
        split = self._spec.split
        if not isinstance(split, TemporalSplit):
            return None
        given = splits.given_cutoffs(split)
        if given is not None:
            return root | "GivenCutoffs" >> beam.Create([given])
        return timed | FindCutoffs(split)

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
            values = trained | f"Numbers_{side}" >> numeric_statistics.ExtractNumbers(
                side, features
            )
            for feature in numeric:
                name = f"{side}.{feature.name}"
                results.append(
                    values
                    | f"Only_{name}" >> beam.Filter(lambda item, name=name: item[0] == name)
                    | f"Statistics_{name}"
                    >> beam.CombinePerKey(numeric_statistics.NumericStatistics(feature))
                )
        return results | "AllNumeric" >> beam.Flatten() if results else None

    def _vocabularies(self, queries: Any, corpus: Any) -> list[beam.PCollection]:
        sides = (
            ("query", queries, self._spec.query.features),
            ("candidate", corpus, self._spec.candidate.features),
        )
        learned: dict[str, vocabularies.Settings] = dict.fromkeys(
            self._learned_texts(), (1, MOST_WORDS)
        )
        selected = []
        for count, settings, prefix in (
            (vocabularies.CountValues, vocabularies.value_vocabularies(self._spec), "vocabularies"),
            (CountWords, learned, f"{SUMMARY}/words"),
        ):
            if settings:
                name = count.__name__
                counted = [
                    entities.trained | f"{name}_{side}" >> count(features)
                    for side, entities, features in sides
                ] | f"{name}_both" >> beam.Flatten()
                selected.append(
                    counted
                    | f"{name}_select"
                    >> vocabularies.SelectValues(settings, prefix, self._num_shards)
                )
                if count is vocabularies.CountValues and self._fresh_ids:
                    fresh = [
                        entities.fresh | f"{name}_fresh_{side}" >> count(features)
                        for side, entities, features in sides
                    ] | f"{name}_fresh" >> beam.Flatten()
                    selected.append(
                        (counted, fresh) | fresh_ids.SelectFreshIds(self._fresh_ids, FRESH_IDS)
                    )
        return selected

    def _learned_texts(self) -> list[str]:
        texts = vocabularies.text_vocabularies(self._spec)
        learned = [name for name, feature in texts.items() if feature.given_vocabulary is None]
        return [name for name in learned if name not in self._kept_texts]

    def _outputs(self) -> dict[str, sharded_output.Output]:
        shards, features = self._num_shards, self._spec.query.features
        as_parquet = sharded_output.write_parquet
        schemas = {
            "interactions": sharded_output.INTERACTIONS_SCHEMA,
            "queries": known_queries.schema_of(features),
            "frequencies": sharded_output.FREQUENCIES_SCHEMA,
        }
        tables: list[tuple[str, Any, str, int]] = [
            *(
                (name, partial(query_examples.write_training, self._spec, split), ".arrow", shards)
                for name, split in _TRAINING.items()
            ),
            *((name, sharded_output.write_tfrecords, ".tfrecord.gz", shards) for name in _EXAMPLES),
            *(
                (name, partial(as_parquet, own), ".parquet", shards)
                for name, own in schemas.items()
            ),
        ]
        for name in vocabularies.value_vocabularies(self._spec):
            tables.append((f"vocabularies/{name}", sharded_output.write_values, ".txt", 0))
        for name in self._fresh_ids:
            tables.append((f"{FRESH_IDS}/{name}", sharded_output.write_values, ".txt", 0))
        for name in self._learned_texts():
            tables.append((f"{SUMMARY}/words/{name}", sharded_output.write_counts, ".parquet", 0))
        lines = [
            (f"quarantine/{table}", sharded_output.write_lines, ".jsonl", self._config.num_shards)
            for table in self._sources
        ]
        lines += [
            (f"{SUMMARY}/{name}", sharded_output.write_json_lines, ".jsonl", 0)
            for name in _SUMMARY_FILES
        ]
        return {
            name: sharded_output.Output(write, suffix, number, of_table)
            for formats, of_table in ((tables, True), (lines, False))
            for name, write, suffix, number in formats
        }


def num_shards_of(config: PreprocessConfig, most_records: int) -> int:
    """The shards of each output: as configured, and more for tables with many records."""
    return max(config.num_shards, -(-most_records // _RECORDS_OF_A_SHARD))


def _drop_others(part: bytes, min_label: float) -> Iterator[Any]:
    table = batches.unpacked([part])
    kept = table.filter(pc.greater_equal(table["label"], min_label))
    if kept.num_rows:
        yield batches.packed(kept)
    dropped = ("dropped_interactions", table.num_rows - kept.num_rows)
    yield pvalue.TaggedOutput(reading.COUNTS, dropped)


def _to_summary(name: str) -> beam.PTransform:
    return beam.Map(lambda value: ((f"{SUMMARY}/{name}", 0), (value,)))


def _train_end(windows: beam.PCollection, cutoffs: beam.PCollection | None) -> beam.PCollection:
    if cutoffs is None:
        return windows | "TrainEnd" >> beam.Map(training_end, None)
    return windows | "TrainEnd" >> beam.Map(
        lambda merged, cut: training_end(merged, cut.validation_from), pvalue.AsSingleton(cutoffs)
    )
