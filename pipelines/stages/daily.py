"""The preprocessing of a daily run: yesterday's events, and of the tables only what is new.

    events that preprocessed/ holds --+
                                      +-> one table with windows -> the ordinary job
    new or changed files: from a day -+

What is new are events of that day and later which `preprocessed/` does not hold yet, so the same
day twice is the same as once. Events before it which are not there either came late: they are
counted and left out until the next full run.

The windows are those of a full run on the same events, but an event never moves to a later window
than it had: a model that goes on has learned it. Vocabularies keep the numbers of their values and
grow at their ends, and the statistics of numbers and the lists of WordPieces stay, because the
weights that training goes on from were made for them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stages import daily_events, fingerprints
from pipelines.stages.context import StageContext
from pipelines.transforms import batches, event_records, reading, table_parts, table_sources
from tfrs_twotower import specs
from tfrs_twotower.artifacts import Manifest, fingerprint, layout, read_manifest, verify_files
from tfrs_twotower.data.assets import read_lines, write_lines
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.errors import ArtifactError, DataError

FILES = "interaction_files"
"""Key in the details of `preprocessed/manifest.json`: the identity of each file of interactions."""
DAILY = "daily"
"""Key beside it: what a daily run has read, and what it was based on."""
_EVENTS = ".events.parquet"


@dataclass(frozen=True)
class Day:
    """What a daily run preprocesses instead of the tables."""

    context: StageContext
    """The run, with a spec whose interactions are `events`."""
    events: Path
    base: Manifest
    facts: dict[str, Any]
    """For the manifest: day, numbers of new and late events, base."""

    @property
    def bad_records(self) -> int:
        """Number of bad records of interactions, of earlier days too."""
        before = self.base.counts.get("quarantined_interactions", 0)
        return before + int(self.facts["bad_records"])


def open_day(
    context: StageContext, source: table_sources.Source, staging: Path
) -> tuple[Day | None, str]:
    """Reads what is new, and writes the table of all events into the staging directory.

    Args:
        context: a run with a day.
        source: the files of interactions.
        staging: of the new artifact.

    Returns:
        The day; or None and, in words, why all tables have to be read.

    Raises:
        DataError: a file cannot be read, or too many of its records are bad.
    """
    spec, directory = context.spec, context.layout.preprocessed
    try:
        base = read_manifest(directory, "preprocessed")
        verify_files(directory, base)
    except ArtifactError as problem:
        return None, str(problem).partition("; run")[0].partition(". Run")[0]
    if base.spec_fingerprint != fingerprint(spec):
        return None, "the feature spec changed"
    if FILES not in base.details:
        return None, f"{directory} does not say which files it was made from"
    if not spec.interactions.has_times:
        return None, "the interactions have no times"
    if spec.interactions.session is not None:
        return None, "sessions may go on from one day to the next"
    before = daily_events.Events.stored(directory)
    hashed = fingerprints.HashedFiles(context.layout.root)
    known = set(base.details[FILES])
    unread = [n for n, path in enumerate(source.files) if hashed.identity(path) not in known]
    found, bad = _read(source, unread, spec)
    if not context.config.preprocess.tolerates(len(bad), len(found) + len(bad)):
        first = source.describe(bad[0][1])
        raise DataError(
            f"interactions: {len(bad):,} of {len(found) + len(bad):,} new records are bad, first "
            f"{bad[0][3]} in {first}; allowed is a share of preprocess.max_bad_fraction. Correct "
            "the file, and run again."
        )
    added = before.not_in(found, _corpus_ids(directory))
    midnight = datetime.fromisoformat(context.since or "").replace(tzinfo=timezone.utc)
    is_late = np.array([event.timestamp < midnight.timestamp() for event in added], bool)
    events = before.with_new([one for one, late in zip(added, is_late, strict=True) if not late])
    path = staging / _EVENTS
    derived, columns = daily_events.derived(spec, events, directory, path)
    # Read once, and at once: dictionaries would take three times as long to write and to read.
    pq.write_table(pa.table(columns), path, use_dictionary=False, compression="lz4")
    late = int(is_late.sum())
    waiting = base.details.get(DAILY, {}).get("late_events_waiting", 0) + late
    facts = {
        "since": context.since,
        "settings": fingerprints.preprocess(context),
        "base": base.fingerprint,
        "new_events": int((~is_late).sum()),
        "late_events": late,
        "late_events_waiting": waiting,
        "files_read": len(unread),
        "bad_records": len(bad),
    }
    return Day(replace(context, spec=derived), path, base, facts), ""


def said(day: Day) -> Iterator[str]:
    """Sentences about what was read."""
    facts = day.facts
    yield (
        f"--since {facts['since']}: read {facts['files_read']:,} new or changed files with "
        f"{facts['new_events']:,} new events"
    )
    if facts["late_events"]:
        yield (
            f"interactions: {facts['late_events']:,} events before {facts['since']} came late and "
            "are left out; the next run without --since learns them"
        )


def _read(
    source: table_sources.Source, numbers: list[int], spec: specs.FeatureSpec
) -> tuple[list[daily_events.NewEvent], list[reading.BadRecord]]:
    reader = reading.Reading(source, event_records.EventParser(spec))
    dropped = spec.relevance.min_label if spec.relevance.drop_others else None
    events, bad = [], []
    for part in table_parts.parts_of(source):
        if part.file_number not in numbers:
            continue
        for table, problems in reader.tables(part):
            bad += problems
            columns = [table[name].to_pylist() for name in daily_events.NewEvent._fields]
            read = map(daily_events.NewEvent._make, zip(*columns, strict=True))
            events += [one for one in read if dropped is None or one.label >= dropped]
    return events, bad


def _corpus_ids(directory: Path) -> pa.Array:
    paths = find_shards(directory, layout.FREQUENCIES_GLOB)
    return batches.flat(pq.read_table(paths, columns=["candidate_id"])["candidate_id"])


def keep_numbers(base: Path, staging: Path) -> None:
    """Lets the new artifact's vocabularies begin with those of the one before.

    Args:
        base: the preprocessed artifact before.
        staging: the new one; its vocabularies and statistics are written again.
    """
    for path in sorted((staging / layout.VOCABULARIES).glob("*.txt")):
        before = read_lines(base / layout.VOCABULARIES / path.name)
        fresh = staging / layout.FRESH_IDS / path.name
        kept = set(before)
        now = before + [value for value in read_lines(path) if value not in kept]
        write_lines(now, path)
        if fresh.exists():
            kept.update(now)
            write_lines([value for value in read_lines(fresh) if value not in kept], fresh)
    path = staging / layout.STATISTICS
    statistics = json.loads(path.read_text(encoding="utf-8"))
    earlier = json.loads((base / layout.STATISTICS).read_text(encoding="utf-8"))
    statistics["numeric"] = earlier["numeric"]
    path.write_text(json.dumps(statistics, indent=2, sort_keys=True) + "\n", encoding="utf-8")
