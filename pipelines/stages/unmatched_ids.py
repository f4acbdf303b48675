"""Says why ids of the interactions have no record: often the two tables write them differently."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.transforms import table_files, watched_cells
from pipelines.transforms.cells import BadCell, as_id
from pipelines.transforms.corpus import BAD_CANDIDATE, UNKNOWN_CANDIDATE
from pipelines.transforms.job_summary import JobSummary
from pipelines.transforms.table_sources import Source
from tfrs_twotower.artifacts.layout import QUARANTINE
from tfrs_twotower.data.ids import plain_id
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import FeatureSpec

_MOST = 0.5
"""Share of the interactions from which on a mistake of form is refused."""
_MAX_UNKNOWN = 1000
_MAX_KNOWN = 1_000_000
"""Ids that are compared: unknown ones, and those at the beginning of the table."""


def about_candidates(
    spec: FeatureSpec, summary: JobSummary, sources: Mapping[str, Source], staging: Path
) -> str:
    """Why interactions may lack their candidate: its id is written otherwise, or it is bad."""
    reasons = {reason for table, _, reason in summary.reasons if table == "interactions"}
    said = ""
    if UNKNOWN_CANDIDATE in reasons:
        unknown: dict[str, None] = {}
        for path in sorted((staging / QUARANTINE).glob("interactions-*.jsonl")):
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    record = json.loads(line)
                    if record["reason"] == UNKNOWN_CANDIDATE and len(unknown) < _MAX_UNKNOWN:
                        unknown[record["key"]] = None
        said = _written_otherwise(list(unknown), sources["candidates"], spec.candidates.id)
    bad_candidates = summary.reasons_in_words(sources["candidates"])
    if BAD_CANDIDATE in reasons and bad_candidates:
        said += f"Of the candidates: {bad_candidates[0]}. "
    return said


def queries_without_record(
    spec: FeatureSpec, summary: JobSummary, sources: Mapping[str, Source]
) -> str:
    """What to tell people about interactions whose query has no record; "" if all have one.

    Raises:
        DataError: these are most interactions, because the tables write ids in different ways.
    """
    form = ("interactions", spec.interactions.query_id, watched_cells.NO_RECORD)
    number, first = summary.forms.get(form, (0, []))
    if spec.queries is None or not number:
        return ""
    total = sum(summary.events().values())
    said = (
        f"interactions: {number:,} of {total:,} have a query without a record in queries, so its "
        "features are missing. "
    )
    hint = _written_otherwise([key for _, key, _ in first], sources["queries"], spec.queries.id)
    if hint and number >= _MOST * total:
        raise DataError(f"{said}{hint}Correct one of the tables.")
    return (said + hint).strip()


def _written_otherwise(unknown: list[str], source: Source, column: str) -> str:
    """`'2.0' in interactions is '2' in candidates`, for the first id that both tables have."""
    plain = {plain_id(key): key for key in reversed(unknown)}
    for cell in itertools.islice(_ids(source, column), _MAX_KNOWN):
        other = plain.get(plain_id(cell))
        if other is not None and other != cell:
            return (
                f"{other!r} in interactions is {cell!r} in {source.table}: an id must be written "
                "alike in both (pandas turns whole numbers into decimals where a value is missing, "
                "and drops leading zeros unless it reads them as text). If ids are whole numbers, "
                f"set whole_number_ids: true under {source.table}. "
            )
    return ""


def _ids(source: Source, column: str) -> Iterator[str]:
    for path in source.files:
        for _, cells, _ in table_files.read_table_file(path, source.file_format, (column,)):
            try:
                yield as_id(None if cells is None else cells[0])
            except BadCell:
                continue
