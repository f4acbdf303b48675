"""Stage `preprocess`: from the tables to examples, corpus, vocabularies and statistics."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.stages import daily, fingerprints, table_checks, unmatched_ids
from pipelines.stages.context import StageContext, record_counters
from pipelines.stages.element_counts import check_counts, preprocessing_counts
from pipelines.transforms import (
    beam_job,
    event_records,
    job_summary,
    preprocessing,
    records,
    splits,
    table_sources,
    vocabularies,
)
from tfrs_twotower.artifacts import Manifest, commit, fingerprint, staging_directory
from tfrs_twotower.artifacts.layout import QUARANTINE, STATISTICS, VOCABULARIES
from tfrs_twotower.errors import DataError
from tfrs_twotower.features.wordpiece_list import learn_wordpieces, read_wordpieces
from tfrs_twotower.specs import TemporalSplit

config_fingerprint = fingerprints.preprocess


def run(context: StageContext) -> Manifest:
    """Preprocesses the tables and writes `preprocessed/`.

    Raises:
        FeatureSpecError: the spec needs columns or files that its tables do not have.
        DataError: a table cannot be read, too many of its records are bad, or there is no training
            example; the bad records are then in `quarantine/preprocess/` of the working
            directory.
        LostElements: the engine lost or repeated elements.
    """
    records.query_features(context.spec)
    if isinstance(context.spec.split, TemporalSplit):
        splits.given_cutoffs(context.spec.split)
    given = _given_wordpieces(context)
    settings = config_fingerprint(context)
    sources = find_sources(context)
    for source in sources.values():
        for sentence in source.said():
            context.reporter.message(sentence)
    destination = context.layout.preprocessed
    staging = staging_directory(destination)
    spec, hashed = context.spec, fingerprints.HashedFiles(context.layout.root)
    identities = [hashed.identity(path) for path in sources["interactions"].files]
    day = _open_day(context, sources["interactions"], staging)
    if day is not None:
        context = day.context
        sources = find_sources(context)
        given = _texts_of(context, destination) | given
    job = preprocessing.Preprocess(
        context.spec, context.config.preprocess, sources, str(staging), given.keys()
    )
    counters = beam_job.run_pipeline(
        lambda pipeline: pipeline | job,
        context.beam_options,
        context.reporter,
        "preprocess",
        compress=job.is_large,
    )
    record_counters(context.layout.root, "preprocess", counters)
    summary = job_summary.read_job_summary(staging / preprocessing.SUMMARY)
    kept = context.layout.root / QUARANTINE / "preprocess"
    shutil.rmtree(kept, ignore_errors=True)
    check_counts(
        "preprocess",
        preprocessing_counts(
            summary, {table: len(source.files) for table, source in sources.items()}
        ),
    )
    try:
        table_checks.check_tables(
            context.spec, context.config.preprocess, summary, sources, staging, kept
        )
        _check_training(summary)
        without_record = unmatched_ids.queries_without_record(context.spec, summary, sources)
    except DataError:
        shutil.copytree(staging / QUARANTINE, kept)
        shutil.rmtree(staging)
        raise
    _write_wordpieces(context, summary, given, staging / VOCABULARIES)
    shutil.rmtree(staging / preprocessing.SUMMARY)
    statistics = summary.statistics(has_times=context.spec.interactions.has_times)
    text = json.dumps(statistics, indent=2, sort_keys=True) + "\n"
    (staging / STATISTICS).write_text(text, encoding="utf-8")
    if without_record:
        context.reporter.message(without_record)
    _report(context, summary, sources)
    counts, details = summary.manifest_counts(tuple(sources)), {}
    if day is not None:
        daily.keep_numbers(destination, staging)
        day.events.unlink()
        details[daily.DAILY] = day.facts
        counts["quarantined_interactions"] += day.bad_records
        if day.facts["late_events_waiting"]:
            settings = fingerprint({"settings": settings, "late": day.facts})
    return commit(
        staging,
        destination,
        kind="preprocessed",
        spec_fingerprint=fingerprint(spec),
        config_fingerprint=settings,
        parents={},
        counts=counts,
        details={
            daily.FILES: sorted(identities),
            **details,
            "quarantine_reasons": {
                table: [
                    words
                    for column in ("", *summary.bad_columns(table))
                    for words in summary.reasons_in_words(source, column)
                ]
                for table, source in sources.items()
            },
        },
    )


def _open_day(
    context: StageContext, source: table_sources.Source, staging: Path
) -> daily.Day | None:
    if context.since is None:
        return None
    day, reason = daily.open_day(context, source, staging)
    if day is None:
        context.reporter.message(f"--since {context.since}: reads all tables: {reason}")
        return None
    for sentence in daily.said(day):
        context.reporter.message(sentence)
    return day


def _texts_of(context: StageContext, base: Path) -> dict[str, list[str]]:
    """The WordPieces of the artifact before, which weights were made for."""
    names = vocabularies.text_vocabularies(context.spec)
    return {name: read_wordpieces(base / VOCABULARIES / f"{name}.txt") for name in names}


def find_sources(context: StageContext) -> dict[str, table_sources.Source]:
    """The files of each table, their columns checked.

    Raises:
        DataError: see `find_source`.
    """
    spec = context.spec
    events, corpus, queries = spec.interactions, spec.candidates, spec.queries
    tables: dict[str, tuple[Any, list[str], list[str]]] = {
        "interactions": (
            events,
            event_records.interaction_columns(events),
            records.number_columns(events),
        )
    }
    for name, table, features in (
        ("candidates", corpus, spec.candidate.features),
        ("queries", queries, spec.query.features),
    ):
        if table is not None:
            side = "candidate" if name == "candidates" else "query"
            columns = records.entity_columns(table, features, side)
            tables[name] = (table, columns, records.number_columns(table, features))
    return {
        name: table_sources.find_source(name, table, columns, context.data_root, numbers)
        for name, (table, columns, numbers) in tables.items()
    }


def _given_wordpieces(context: StageContext) -> dict[str, list[str]]:
    files = fingerprints.vocabulary_files(context)
    return {name: read_wordpieces(path) for name, path in files.items()}


def _write_wordpieces(
    context: StageContext,
    summary: job_summary.JobSummary,
    given: Mapping[str, list[str]],
    directory: Path,
) -> None:
    directory.mkdir(exist_ok=True)
    for name, feature in vocabularies.text_vocabularies(context.spec).items():
        if name in given:
            pieces = given[name]
        else:
            context.reporter.message(f"learning the WordPieces of '{name}'")
            pieces = learn_wordpieces(summary.words(name), feature.vocabulary_size)
        text = "".join(f"{piece}\n" for piece in pieces)
        (directory / f"{name}.txt").write_text(text, encoding="utf-8")


def _check_training(summary: job_summary.JobSummary) -> None:
    if not summary.count("train_examples"):
        raise DataError(
            f"split: the training window has no positive interaction (events by split: "
            f"{summary.events()}). Check split and relevance.min_label in the feature spec."
        )


def _report(
    context: StageContext,
    summary: job_summary.JobSummary,
    sources: Mapping[str, table_sources.Source],
) -> None:
    say = context.reporter.message
    for table, source in sources.items():
        where = f"all are in {context.layout.preprocessed / QUARANTINE}/{table}-*.jsonl"
        reasons = summary.reasons_in_words(source)
        for sentence in summary.said(source):
            say(f"{table}: {sentence}")
        if summary.count(f"left_out_{table}"):
            say(
                f"{table}: {summary.count(f'left_out_{table}'):,} of "
                f"{summary.count(f'read_{table}'):,} records are left out by leave_out"
            )
        if reasons:
            say(
                f"{table}: left out {summary.num_bad(table):,} of "
                f"{summary.count(f'read_{table}'):,} records as bad; most common: {reasons[0]}; "
                + where
            )
        for column, number in summary.bad_columns(table).items():
            reasons = summary.reasons_in_words(source, column)
            cells = table_checks.counted(number, "bad cell")
            say(f"{table}: {cells} taken as missing: {reasons[0]}; {where}")
        for question in table_checks.questions(table, table_checks.forms_of(summary, table)):
            say(question)
    counts = summary.manifest_counts(())
    say(
        f"{counts['train_examples']:,} training examples, {counts['candidates']:,} candidates, "
        f"{counts['validation_queries']:,} validation and {counts['test_queries']:,} test queries"
    )
    for split, follows in (
        ("validation", "training runs to its end"),
        ("test", "there will be a bundle and no report"),
    ):
        evaluated, empty = counts[f"{split}_queries"], counts[f"{split}_queries_empty"]
        if not evaluated:
            say(
                f"no {split} query has a relevant candidate, so {follows}; if that is not meant, "
                "look at split in the feature spec"
            )
        elif empty > evaluated:
            say(
                f"{empty:,} of {evaluated + empty:,} {split} queries have no relevant candidate "
                "and are not evaluated: check relevance.min_label and split"
            )
